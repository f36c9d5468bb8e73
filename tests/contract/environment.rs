//! The environment with the real `omero` command.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Its directory; made where there is none (`tests/contract/environment`), which can take minutes.
pub fn environment() -> &'static Path {
    // A failure is remembered too: each test would else try for minutes.
    static MADE: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let made = MADE.get_or_init(|| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR"))
            .ancestors()
            .map(|directory| directory.join("tests/contract/environment"))
            .find(|script| script.is_file())
            .expect("the tests stand in the repository");
        let output = Command::new(script).output().map_err(|e| e.to_string())?;
        let (path, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        if output.status.success() { Ok(path.trim_end().into()) } else { Err(said.into_owned()) }
    });
    made.as_ref().unwrap_or_else(|why| panic!("{why}"))
}
