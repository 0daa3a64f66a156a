//! Real second processes: this test binary, started again.

use std::env;
use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::sync::mpsc;

/// Told apart from what the test harness prints.
pub const MARK: &str = "> ";

/// A child process, which runs the test `children::a_child_process`.
pub struct Child {
    process: std::process::Child,
    lines: mpsc::Receiver<String>,
}

impl Child {
    pub fn start<'a>(environment: impl IntoIterator<Item = (&'a str, &'a OsStr)>) -> Self {
        // Where files cannot grow, a write must fail and not kill.
        let mut process = Command::new("sh")
            .args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""])
            .arg(env::current_exe().expect("this binary"))
            .args(["--exact", "children::a_child_process", "--nocapture"])
            .envs(environment)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("started");
        let mut output = BufReader::new(process.stdout.take().expect("piped"));
        let (say, lines) = mpsc::channel();
        // Whether or not anybody listens: a child that is not listened to must not wait for that.
        std::thread::spawn(move || {
            let mut line = String::new();
            // A line that its death cut short is not one.
            while output.read_line(&mut line).is_ok() && line.ends_with('\n') {
                // The harness leaves its own line open.
                if let Some((_, said)) = line.trim_end().split_once(MARK) {
                    _ = say.send(said.to_owned());
                }
                line.clear();
            }
        });
        Self { process, lines }
    }

    /// The next thing it says; `None` when it has ended.
    pub fn line(&mut self) -> Option<String> {
        self.lines.recv().ok()
    }

    /// SIGKILL; answers everything it had said that was not read yet.
    pub fn kill(mut self) -> Vec<String> {
        self.process.kill().expect("killed");
        let said = self.lines.iter().collect();
        self.process.wait().expect("gone");
        said
    }

    /// Waits for its end.
    pub fn join(mut self) -> Vec<String> {
        let said: Vec<_> = self.lines.iter().collect();
        assert!(self.process.wait().expect("gone").success(), "a child failed; it said {said:?}");
        said
    }
}
