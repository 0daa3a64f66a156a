//! A process that is known by more than its pid, so that a reused pid is never signalled.

use std::fs;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::{Context, Error, Result};

const POLL: Duration = Duration::from_millis(20);
/// How long a server may take to end by itself after TERM.
const PATIENCE: Duration = Duration::from_secs(5);

/// The leader of a process group that we started.
#[derive(Clone, Debug, PartialEq)]
pub struct Process {
    id: u32,
    started: String,
}

impl Process {
    /// The process that has this id now.
    pub fn now(id: u32) -> Option<Self> {
        look(id).map(|seen| Self { id, started: seen.started })
    }

    /// The process that had this id when it was recorded.
    pub fn recorded(id: u32, started: &str) -> Self {
        Self { id, started: started.to_owned() }
    }

    pub fn id(&self) -> u32 {
        self.id
    }

    /// When it started, as the system has it.
    pub fn started(&self) -> &str {
        &self.started
    }

    /// Whether this very process still runs.
    pub fn is_alive(&self) -> bool {
        look(self.id).is_some_and(|seen| !seen.ended && seen.started == self.started)
    }

    /// Asks its group to end, and makes it after a while; a process that is gone already is fine.
    pub fn stop(&self, name: &str) -> Result {
        for signal in ["TERM", "KILL"] {
            if !self.is_alive() {
                return Ok(());
            }
            signal_group(self.id, signal)?;
            let start = Instant::now();
            while self.is_alive() && start.elapsed() < PATIENCE {
                thread::sleep(POLL);
            }
        }
        if self.is_alive() { Err(Error::new(format!("{name} (pid {}) does not end", self.id))) } else { Ok(()) }
    }
}

/// Tells all of the group that this process leads.
pub fn signal_group(leader: u32, signal: &str) -> Result {
    // The shell's own `kill`: the standard library signals children only, and not every system has the program.
    Command::new("sh")
        .args(["-c", "kill -s \"$0\" -- \"-$1\"", signal, &leader.to_string()])
        .stderr(Stdio::null())
        .status()
        .map(drop)
        .context("cannot run `sh` to send a signal")
}

/// What the system says of a process.
#[derive(Debug, PartialEq)]
struct Seen {
    started: String,
    /// Only its exit code is left, for its parent to fetch.
    ended: bool,
}

fn look(id: u32) -> Option<Seen> {
    if fs::exists("/proc/self/stat").unwrap_or(false) {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        read_stat(&fs::read_to_string(format!("/proc/{id}/stat")).ok()?, boot.trim())
    } else {
        // Systems without /proc have `ps`.
        let output = Command::new("ps").args(["-o", "stat=,lstart=", "-p", &id.to_string()]).output().ok()?;
        read_ps(&String::from_utf8(output.stdout).ok()?)
    }
}

/// Fields 3 and 22 of `/proc/PID/stat`. The name in field 2 may hold blanks and brackets: counting begins after it.
fn read_stat(stat: &str, boot: &str) -> Option<Seen> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace();
    let ended = fields.next()? == "Z";
    Some(Seen { started: format!("{} after boot {boot}", fields.nth(18)?), ended })
}

fn read_ps(line: &str) -> Option<Seen> {
    let (state, started) = line.trim().split_once(' ')?;
    Some(Seen { started: started.trim().to_owned(), ended: state.starts_with('Z') })
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt;
    use std::process::Child;

    use super::*;

    fn sleeper() -> (Child, Process) {
        let child = Command::new("sleep").arg("60").process_group(0).spawn().expect("sleep");
        let process = Process::now(child.id()).expect("it runs");
        (child, process)
    }

    #[test]
    fn a_process_is_stopped_once_and_stopping_again_is_fine() {
        let (mut child, process) = sleeper();
        assert!(process.is_alive());
        process.stop("sleep").expect("it ends on TERM");
        assert!(!process.is_alive());
        process.stop("sleep").expect("it is gone already");
        child.wait().expect("its exit code");
    }

    #[test]
    fn a_reused_pid_is_left_alone() {
        let (mut child, process) = sleeper();
        let before = Process::recorded(process.id(), "1 after boot earlier");
        assert!(!before.is_alive());
        before.stop("what had this pid before").expect("nothing to stop");
        assert!(process.is_alive());
        child.kill().and_then(|()| child.wait()).expect("the sleeper ends");
    }

    #[test]
    fn a_name_with_brackets_does_not_shift_the_fields() {
        let fields = (4..=22).map(|n| n.to_string()).collect::<Vec<_>>().join(" ");
        let seen = |ended| Some(Seen { started: "22 after boot b".to_owned(), ended });
        assert_eq!(read_stat(&format!("7 (a) b) S {fields} 23"), "b"), seen(false));
        assert_eq!(read_stat(&format!("7 (gone) Z {fields} 23"), "b"), seen(true));
    }

    #[test]
    fn ps_is_understood_too() {
        let seen = Seen { started: "Sat Nov 21 03:25:18 2026".to_owned(), ended: false };
        assert_eq!(read_ps("Ss   Sat Nov 21 03:25:18 2026\n"), Some(seen));
        assert_eq!(read_ps(""), None);
    }
}
