//! Until when something must have ended, so that what hangs is cut and named, and does not stay.

use std::fmt::Display;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::backends::process::signal_group;
use crate::error::{Context, Error, Result};

/// Until when commands may go on, one after the other.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Instant);

impl Deadline {
    /// For all that begins from now on.
    pub fn within(limit: Duration) -> Self {
        Self(Instant::now() + limit)
    }

    /// Runs `command`, which people know as `shown`; what goes on for too long is killed, with all that it started.
    pub fn run(self, command: &mut Command, shown: &dyn Display) -> Result<ExitStatus> {
        // Nobody answers what asks.
        self.wait_for(command.stdin(Stdio::null()), shown, |mut child| child.wait())
    }

    /// The same, and takes what it prints.
    pub fn output(self, command: &mut Command, shown: &dyn Display) -> Result<Output> {
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        self.wait_for(command, shown, Child::wait_with_output)
    }

    fn wait_for<T: Send + 'static>(
        self,
        command: &mut Command,
        shown: &dyn Display,
        wait: fn(Child) -> io::Result<T>,
    ) -> Result<T> {
        let begun = Instant::now();
        // A group of its own: it is killed as a whole, and we are not in it.
        let child = command.process_group(0).spawn().context(format_args!("cannot run `{shown}`"))?;
        let group = child.id();
        let _leash = Leash::on(group)?;
        let (done, ended) = mpsc::channel();
        // Nobody listens any more once it was given up.
        thread::spawn(move || drop(done.send(wait(child))));
        match ended.recv_timeout(self.0.saturating_duration_since(begun)) {
            Ok(result) => result.context(format_args!("cannot wait for `{shown}`")),
            Err(_) => {
                signal_group(group, "KILL")?;
                let seconds = begun.elapsed().as_secs_f64();
                Err(Error::new(format!(
                    "this hung: it had not ended after {seconds:.1} s, and was killed with all that it started:\n  {shown}"
                )))
            }
        }
    }
}

/// Ends a group when we are gone, by Ctrl-C or however else: in a group of its own it would not hear of it. As with the
/// watchdog of the backends, the system closes our end of a pipe.
struct Leash(Child);

impl Leash {
    fn on(group: u32) -> Result<Self> {
        Command::new("sh")
            .args(["-c", "cat >/dev/null; kill -s TERM -- \"-$0\"", &group.to_string()])
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map(Self)
            .context("cannot run `sh` to end a command when we end")
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        // First itself, then what it waits with: else it would take our end for the end of the command.
        drop(self.0.kill());
        drop(self.0.stdin.take());
        drop(self.0.wait());
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::backends::process::Process;

    const SOON: Duration = Duration::from_millis(300);
    /// Far more than anything here takes, and far less than what it must not wait for.
    const AT_MOST: Duration = Duration::from_secs(30);

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    fn ends(process: &Process) -> bool {
        let begun = Instant::now();
        while process.is_alive() && begun.elapsed() < AT_MOST {
            thread::sleep(Duration::from_millis(10));
        }
        !process.is_alive()
    }

    /// The process whose id `script` has left in `file`.
    fn noted(file: &std::path::Path) -> Process {
        let begun = Instant::now();
        loop {
            let text = fs::read_to_string(file).unwrap_or_default();
            if let Some(process) = text.strip_suffix('\n').and_then(|id| Process::now(id.parse().ok()?)) {
                return process;
            }
            assert!(begun.elapsed() < AT_MOST, "it starts nothing");
            thread::sleep(Duration::from_millis(10));
        }
    }

    #[test]
    fn what_hangs_is_named_and_killed_with_all_that_it_started() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("id");
        // What it started does not end when it is asked to.
        let script = format!("sh -c 'trap \"\" TERM; sleep 600; sleep 600' & echo $! > {}; wait", file.display());
        let begun = Instant::now();
        let error = Deadline::within(SOON).run(&mut shell(&script), &"sleep 600").expect_err("it hangs").to_string();
        assert!(begun.elapsed() < AT_MOST);
        assert!(
            error.starts_with("this hung: it had not ended after 0.") && error.ends_with("\n  sleep 600"),
            "{error}"
        );
        let id = fs::read_to_string(&file).expect("its id");
        let below = Process::now(id.trim().parse().expect("a number"));
        assert!(below.is_none_or(|process| ends(&process)), "what it started is gone too");
        let error = Deadline::within(SOON).output(&mut shell("sleep 600"), &"sleep").expect_err("so does this");
        assert!(error.to_string().starts_with("this hung"), "{error}");
    }

    #[test]
    fn what_ends_in_time_is_as_it_is() {
        let by = Deadline::within(AT_MOST);
        assert_eq!(by.run(&mut shell("exit 3"), &"exit").expect("it ran").code(), Some(3));
        assert_eq!(by.output(&mut shell("echo so"), &"echo").expect("it ran").stdout, b"so\n");
        let error = by.run(&mut Command::new("no-such-program"), &"no-such-program").expect_err("there is none");
        assert!(error.to_string().starts_with("cannot run `no-such-program`: "), "{error}");
    }

    #[test]
    fn commands_share_their_time() {
        let by = Deadline::within(SOON);
        by.run(&mut shell("true"), &"true").expect("there is time");
        thread::sleep(SOON);
        by.run(&mut shell("sleep 600"), &"sleep").expect_err("there is none left");
    }

    #[test]
    fn a_command_ends_when_we_are_gone() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("id");
        let mut child = shell(&format!("echo $$ > {}; exec sleep 600", file.display()))
            .process_group(0)
            .spawn()
            .expect("it starts");
        let process = noted(&file);
        let mut leash = Leash::on(child.id()).expect("a shell");
        // As the system does it.
        drop(leash.0.stdin.take());
        drop(child.wait());
        assert!(!process.is_alive());
        drop(leash);
    }
}
