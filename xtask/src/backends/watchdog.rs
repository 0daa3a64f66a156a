//! A process that outlives ours by a moment, to stop the backends however we ended.
//!
//! It holds the reading end of a pipe whose writing end only we have. The system closes that end when we are gone,
//! by Ctrl-C, SIGTERM, SIGKILL or a panic alike, with no signal handler and no unsafe code.

use std::env;
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use super::record::Record;
use crate::error::{Context, Result};

/// Our end of the pipe.
pub struct Watchdog {
    lifeline: Option<ChildStdin>,
    child: Child,
}

impl Watchdog {
    /// Starts one that stops the backends in `record`, should any be recorded there when we end.
    pub fn start(record: &Path) -> Result<Self> {
        let program = env::current_exe().context("cannot find this program")?;
        let mut child = Command::new(program)
            .arg("watch")
            .arg(record)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // A group of its own, so that Ctrl-C does not end it with us.
            .process_group(0)
            .spawn()
            .context("cannot start the watchdog")?;
        Ok(Self { lifeline: child.stdin.take(), child })
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        drop(self.lifeline.take());
        drop(self.child.wait());
    }
}

/// What the watchdog does: waits until its parent is gone, then stops what the record names.
pub fn watch(record: &Path) -> Result {
    drop(io::stdin().read_to_end(&mut Vec::new()));
    let record = Record::load(record)?;
    for running in &record.running {
        running.process.stop(&running.name)?;
    }
    record.delete()
}
