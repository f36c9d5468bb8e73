//! Debian's Chromium without a window, driven by its `DevTools` protocol over two pipes.

use crate::support::PATIENCE;
use base64::prelude::{BASE64_STANDARD, Engine};
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::spawn;

/// A browser with one tab.
pub struct Browser {
    child: Child,
    to: ChildStdin,
    from: Receiver<Value>,
    calls: u64,
    session: Option<String>,
    /// All events since the start.
    events: Vec<Value>,
}

impl Browser {
    /// Starts a browser whose files are below `dir` and that can reach no host but this one.
    pub fn start(dir: &Path) -> Self {
        let profile = dir.join("browser");
        // The protocol is spoken on descriptors 3 and 4.
        let mut child = Command::new("sh")
            .args(["-c", "exec \"$@\" 3<&0 4>&1 </dev/null >/dev/null 2>browser.log", "sh", "chromium"])
            .args([
                "--headless=new",
                "--remote-debugging-pipe",
                "--no-sandbox",
                "--disable-gpu",
                "--no-first-run",
            ])
            .args([
                "--disable-dev-shm-usage",
                "--disable-background-networking",
                "--disable-component-update",
            ])
            .args(["--disable-sync", "--disable-extensions", "--mute-audio", "--force-color-profile=srgb"])
            .arg("--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost")
            .arg(format!("--user-data-dir={}", profile.display()))
            .env("HOME", dir)
            .current_dir(dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (to, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (send, from) = channel();
        spawn(move || {
            for message in BufReader::new(stdout).split(0).map_while(Result::ok) {
                let _ = send.send(serde_json::from_slice(&message).unwrap()); // the test may have ended
            }
        });
        let mut browser = Self { child, to, from, calls: 0, session: None, events: Vec::new() };
        browser.open_tab(dir);
        browser
    }

    fn open_tab(&mut self, dir: &Path) {
        let tab = self.try_call("Target.createTarget", &json!({"url": "about:blank"})).unwrap_or_else(|| {
            let log = fs::read_to_string(dir.join("browser.log")).unwrap_or_default();
            panic!("chromium does not start; script/bootstrap installs it: {log}")
        });
        let attach = json!({"targetId": tab["targetId"], "flatten": true});
        let session = self.call("Target.attachToTarget", attach)["sessionId"].as_str().unwrap().to_owned();
        self.session = Some(session);
        for domain in ["Page", "Runtime", "Network", "Log", "Audits", "Accessibility"] {
            self.call(&format!("{domain}.enable"), json!({}));
        }
    }

    /// Keeps the next message: an event, or the answer to a call. `None` if the browser has ended.
    fn receive(&mut self) -> Option<Value> {
        let message = self.from.recv_timeout(PATIENCE).ok()?;
        if message.get("method").is_some() {
            self.events.push(message.clone());
        }
        Some(message)
    }

    fn try_call(&mut self, method: &str, params: &Value) -> Option<Value> {
        self.calls += 1;
        let mut message = json!({"id": self.calls, "method": method, "params": params});
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        self.to.write_all(format!("{message}\0").as_bytes()).ok()?;
        loop {
            let mut answer = self.receive()?;
            if answer["id"] == self.calls {
                assert!(answer.get("error").is_none(), "{message}: {answer}");
                return Some(answer["result"].take());
            }
        }
    }

    /// A call of the protocol.
    #[allow(clippy::needless_pass_by_value)] // it is made for the call
    pub fn call(&mut self, method: &str, params: Value) -> Value {
        self.try_call(method, &params).expect("chromium answers")
    }

    /// What an expression in the page gives.
    pub fn eval(&mut self, expression: &str) -> Value {
        let asked = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let mut answer = self.call("Runtime.evaluate", asked);
        assert!(answer.get("exceptionDetails").is_none(), "{expression}: {answer}");
        answer["result"]["value"].take()
    }

    /// The text that can be read on the page.
    pub fn text(&mut self) -> String {
        self.eval("document.body.innerText").as_str().unwrap().to_owned()
    }

    /// Does something that leads to another page, and waits for that.
    pub fn follow(&mut self, act: impl FnOnce(&mut Self)) {
        let mut seen = self.events.len();
        act(self);
        loop {
            while seen < self.events.len() {
                seen += 1;
                if self.events[seen - 1]["method"] == "Page.loadEventFired" {
                    return;
                }
            }
            self.receive().expect("the page is loaded");
        }
    }

    /// Opens an address.
    pub fn open(&mut self, url: &str) {
        self.follow(|b| {
            let answer = b.call("Page.navigate", json!({"url": url}));
            assert!(answer.get("errorText").is_none(), "{url}: {answer}");
        });
    }

    /// Presses the mouse in the middle of the first element that fits.
    pub fn click(&mut self, selector: &str) {
        let middle = format!(
            "(() => {{ const e = document.querySelector({selector:?}); e.scrollIntoView({{block: 'center'}}); \
             const r = e.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; }})()"
        );
        let middle = self.eval(&middle);
        for kind in ["mousePressed", "mouseReleased"] {
            let event =
                json!({"type": kind, "x": middle[0], "y": middle[1], "button": "left", "clickCount": 1});
            self.call("Input.dispatchMouseEvent", event);
        }
    }

    /// Presses a key.
    pub fn press(&mut self, key: &str, code: u32, text: &str) {
        for kind in ["keyDown", "keyUp"] {
            let text = if kind == "keyDown" { text } else { "" };
            let event =
                json!({"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code, "text": text});
            self.call("Input.dispatchKeyEvent", event);
        }
    }

    /// Goes on with the tabulator until an element has the focus that fits.
    pub fn tab_to(&mut self, selector: &str) {
        for _ in 0..300 {
            self.press("Tab", 9, "");
            if self.eval(&format!("document.activeElement.matches({selector:?})")) == true {
                return;
            }
        }
        panic!("the keyboard does not lead to {selector}: {}", self.text());
    }

    /// Types text where the focus is.
    pub fn type_text(&mut self, text: &str) {
        self.call("Input.insertText", json!({"text": text}));
    }

    /// Shows the page as on a screen of this width.
    pub fn screen(&mut self, width: u32, height: u32, dark: bool) {
        let scheme = if dark { "dark" } else { "light" };
        let phone = width < 600;
        self.call(
            "Emulation.setDeviceMetricsOverride",
            json!({"width": width, "height": height, "deviceScaleFactor": if phone { 2 } else { 1 }, "mobile": phone}),
        );
        self.call(
            "Emulation.setEmulatedMedia",
            json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]}),
        );
    }

    /// Puts a picture of what the screen shows into the directory that `OMERO_SCREENSHOTS` names, if it does.
    pub fn picture(&mut self, name: &str) {
        let Some(dir) = std::env::var_os("OMERO_SCREENSHOTS") else { return };
        let shot = self.call("Page.captureScreenshot", json!({}));
        let bytes = BASE64_STANDARD.decode(shot["data"].as_str().unwrap()).unwrap();
        fs::write(PathBuf::from(dir).join(format!("{name}.png")), bytes).unwrap();
    }

    /// What the browser complains of: errors, warnings, violations of the policy, dialogues. An answer that is an error
    /// is none.
    pub fn complaints(&self) -> Vec<&Value> {
        let complains = |event: &&Value| match event["method"].as_str().unwrap_or_default() {
            "Log.entryAdded" => event["params"]["entry"]["source"] != "network",
            "Runtime.exceptionThrown"
            | "Runtime.consoleAPICalled"
            | "Page.javascriptDialogOpening"
            | "Audits.issueAdded" => true,
            _ => false,
        };
        self.events.iter().filter(complains).collect()
    }

    /// Every address that was asked for.
    pub fn requests(&self) -> Vec<&str> {
        let asked = self.events.iter().filter(|e| e["method"] == "Network.requestWillBeSent");
        asked.map(|e| e["params"]["request"]["url"].as_str().unwrap()).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
