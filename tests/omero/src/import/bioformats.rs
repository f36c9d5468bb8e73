//! Bio-Formats itself, asked through a small Java program (`reader/UsedFiles.java`) that runs beside the stand-in.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde::Deserialize;

use crate::import::candidates::{Candidate, Looked};

/// The variable that names Bio-Formats' jar; unset, the stand-in imitates it.
const JAR: &str = "OMERO_STANDIN_BIOFORMATS";

const PROGRAM: &str = include_str!("../../reader/UsedFiles.java");

/// The readers in a Java process, started when they are first asked.
pub struct BioFormats {
    jar: PathBuf,
    here: PathBuf,
    running: Option<Running>,
}

struct Running {
    child: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
enum Answer {
    Candidate { reader: String, spw: bool, series: usize, used: Vec<String> },
    Unknown,
    Unreadable,
    MissingLibrary { why: String },
    Broken { why: String },
}

impl BioFormats {
    /// The readers for a process whose working directory is `here`, if the environment names their jar.
    pub fn wanted(here: &Path) -> Option<Self> {
        let jar = std::env::var_os(JAR).filter(|v| !v.is_empty())?;
        Some(Self { jar: jar.into(), here: here.to_owned(), running: None })
    }

    /// Asks about one file, given by its absolute path.
    pub fn look(&mut self, path: &Path) -> Looked {
        let text = path.to_string_lossy().into_owned();
        match self.ask(&text) {
            Ok(Answer::Candidate { reader, spw, series, used }) => Looked::Candidate(Candidate {
                file: text,
                used,
                reader,
                spw,
                series: vec![None; series.max(1)],
                plate: None,
            }),
            Ok(Answer::Unknown) => Looked::Unknown,
            Ok(Answer::Unreadable) => Looked::Unreadable,
            Ok(Answer::MissingLibrary { why }) => Looked::MissingLibrary(why),
            Ok(Answer::Broken { why }) => Looked::Broken(why),
            Err(e) => {
                complain!("stand-in: Bio-Formats ({}) does not answer: {e}", self.jar.display());
                std::process::exit(99)
            }
        }
    }

    fn ask(&mut self, path: &str) -> std::io::Result<Answer> {
        let running = match &mut self.running {
            Some(r) => r,
            none => none.insert(start(&self.jar, &self.here)?),
        };
        writeln!(running.questions, "{path}")?;
        running.questions.flush()?;
        let mut line = String::new();
        running.answers.read_line(&mut line)?;
        Ok(serde_json::from_str(&line)?)
    }
}

/// Starts the program from its source; the directory it lies in is removed again at once.
fn start(jar: &Path, here: &Path) -> std::io::Result<Running> {
    let dir = std::env::temp_dir().join(format!("omero-standin-{}", crate::sys::uuid()));
    std::fs::create_dir(&dir)?;
    let source = dir.join("UsedFiles.java");
    std::fs::write(&source, PROGRAM)?;
    let mut child = Command::new("java")
        .args(["-XX:TieredStopAtLevel=1", "-cp"])
        .arg(jar)
        .arg(&source)
        .current_dir(here)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()?;
    let (Some(mut questions), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(std::io::Error::other("no pipes"));
    };
    let mut answers = BufReader::new(answers);
    // A first question: once it is answered, the source has been read.
    writeln!(questions, "/nonexistent")?;
    questions.flush()?;
    let mut line = String::new();
    answers.read_line(&mut line)?;
    std::fs::remove_dir_all(&dir)?;
    if line.is_empty() {
        return Err(std::io::Error::other("it ended at once"));
    }
    Ok(Running { child, questions, answers })
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has nothing to lose, and need not be waited for long.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
