//! Backends that are started together and, unless they are left running, stopped together.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{self, Child, Stdio};
use std::time::{Duration, Instant};

use super::process::Process;
use super::record::{Record, Running};
use super::{Backend, Env};
use crate::error::{Context, Error, Result};

/// How long a server may take until it serves.
const START: Duration = Duration::from_secs(30);
/// What the scripts that start servers are told of `durable`: `on` or `off`.
const FSYNC: &str = "HB_BACKEND_FSYNC";
/// How many of the last lines of a log are shown.
const TAIL: usize = 40;

/// What one command started; stopped when dropped.
pub struct Session {
    dir: PathBuf,
    /// Goes into the names of the logs.
    label: &'static str,
    /// Whether what is acknowledged is on the disk.
    durable: bool,
    record: Record,
    children: Vec<Child>,
}

impl Session {
    /// Where the backends that a person left running are recorded.
    pub fn record_path(dir: &Path) -> PathBuf {
        dir.join("running.json")
    }

    /// The backends that a person left running, to add to.
    pub fn resume(dir: &Path) -> Result<Self> {
        let mut record = Record::load(&Self::record_path(dir))?;
        record.running.retain(|running| running.process.is_alive());
        Ok(Self { dir: dir.to_owned(), label: "log", durable: false, record, children: Vec::new() })
    }

    /// Backends for this one test run, apart from those of a person. They need not survive a loss of power.
    pub fn for_tests(dir: &Path) -> Self {
        Self::of_this_run(dir, "test.log", false)
    }

    /// Backends for this one run of benches. They are as durable as in production: time is what they are asked for.
    pub fn for_benches(dir: &Path) -> Self {
        Self::of_this_run(dir, "bench.log", true)
    }

    fn of_this_run(dir: &Path, label: &'static str, durable: bool) -> Self {
        let record = Record::empty(&Self::run_record_path(dir));
        Self { dir: dir.to_owned(), label, durable, record, children: Vec::new() }
    }

    /// Where the backends of this run are recorded.
    pub fn run_record_path(dir: &Path) -> PathBuf {
        dir.join(format!("run-{}.json", process::id()))
    }

    pub fn find(&self, name: &str) -> Option<&Running> {
        self.record.running.iter().find(|running| running.name == name)
    }

    /// What tests are told of the backends that run.
    pub fn env(&self) -> Vec<(String, String)> {
        self.record.running.iter().flat_map(|running| running.env.clone()).collect()
    }

    /// Starts an installed backend and waits until it serves.
    pub fn start(&mut self, backend: &Backend) -> Result {
        let name = backend.name;
        let begun = Instant::now();
        let log = self.dir.join("log").join(format!("{name}.{}", self.label));
        let mut launch = (backend.launch)(&self.dir.join(name))?;
        let child = launch
            .command
            .env("NO_COLOR", "1")
            .env(FSYNC, if self.durable { "on" } else { "off" })
            .stdin(Stdio::null())
            .stdout(create(&log)?)
            .stderr(append(&log)?)
            // A group of its own, so that Ctrl-C reaches us and not the server under a test that still runs.
            .process_group(0)
            .spawn()
            .context(format_args!("cannot start {name} ({})", launch.command.get_program().display()))?;
        let id = child.id();
        self.children.push(child);
        let env = owned(launch.env);
        let process = Process::now(id).ok_or_else(|| Error::new(format!("{name} ended at once")))?;
        // Recorded before it is ready, so that it can be stopped however we end.
        self.record.running.push(Running { name: name.to_owned(), process, log: log.clone(), env });
        self.record.save()?;
        let exited = || self.children.last_mut()?.try_wait().ok()?.map(|status| status.to_string());
        launch.ready.wait(START, exited).map_err(|error| Error::new(format!("{name} {error}\n{}", tail(&log))))?;
        if let Some(set_up) = launch.set_up {
            let told = set_up().map_err(|error| Error::new(format!("{name}: {error}\n{}", tail(&log))))?;
            if let Some(running) = self.record.running.last_mut() {
                running.env.extend(owned(told));
            }
            self.record.save()?;
        }
        println!("started {name} (pid {id}) in {:.1} s, log in {}", begun.elapsed().as_secs_f64(), log.display());
        Ok(())
    }

    /// The last lines of each log, for a test that failed.
    pub fn log_tails(&self) -> String {
        self.record.running.iter().map(|running| tail(&running.log)).collect()
    }

    /// Stops what this session started; what it found running stays.
    pub fn stop(&mut self) -> Result {
        let mut failures = Vec::new();
        for mut child in self.children.drain(..).rev() {
            let recorded = self.record.running.iter().position(|running| running.process.id() == child.id());
            let stopped = match recorded.map(|index| self.record.running.remove(index)) {
                Some(running) => running.process.stop(&running.name),
                None => child.kill().context("cannot stop a server that could not be recorded"),
            };
            match stopped {
                // It has ended, so this does not block; it frees the pid.
                Ok(()) => drop(child.wait()),
                Err(error) => failures.push(error.to_string()),
            }
        }
        let recorded = if self.record.running.is_empty() { self.record.delete() } else { self.record.save() };
        failures.extend(recorded.err().map(|error| error.to_string()));
        if failures.is_empty() { Ok(()) } else { Err(Error::new(failures.join("\n"))) }
    }

    /// Leaves everything running for `cargo xtask backends down`.
    pub fn leave_running(mut self) {
        self.children.clear();
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if !self.children.is_empty()
            && let Err(error) = self.stop()
        {
            eprintln!("error: {error}");
        }
    }
}

fn owned(env: Env) -> Vec<(String, String)> {
    env.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

fn create(log: &Path) -> Result<File> {
    if let Some(parent) = log.parent() {
        fs::create_dir_all(parent).context(format_args!("cannot make {}", parent.display()))?;
    }
    // Removed and not truncated: a server of another session may still write to the old file.
    drop(fs::remove_file(log));
    append(log)
}

fn append(log: &Path) -> Result<File> {
    File::options().append(true).create(true).open(log).context(format_args!("cannot open {}", log.display()))
}

fn tail(log: &Path) -> String {
    let text = fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let last = &lines[lines.len().saturating_sub(TAIL)..];
    format!("--- end of {} ---\n{}\n", log.display(), last.join("\n"))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::super::install::Package;
    use super::super::ready::Ready;
    use super::super::{Launch, SetUp};
    use super::*;

    fn backend(name: &'static str, launch: fn(&Path) -> Result<Launch>) -> Backend {
        Backend { name, role: "a test", package: Package::PyPi { name, version: "1" }, launch }
    }

    fn shell(script: &str, ready: Ready) -> Launch {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Launch { command, ready, env: vec![("HB_TEST_IT", "here".to_owned())], set_up: None }
    }

    #[test]
    fn what_a_session_started_is_recorded_and_ends_with_it() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let mut session = Session::for_tests(dir.path());
        // Ready at once, as it promises to listen nowhere.
        session.start(&backend("sleeper", |_| Ok(shell("sleep 60", Ready::Listening(vec![]))))).expect("it starts");
        assert_eq!(session.env(), [("HB_TEST_IT".to_owned(), "here".to_owned())]);
        let recorded = Record::load(&Session::run_record_path(dir.path())).expect("a record").running;
        assert!(recorded[0].process.is_alive());
        drop(session);
        assert!(!recorded[0].process.is_alive());
        assert!(!Session::run_record_path(dir.path()).exists());
    }

    #[test]
    fn a_server_is_told_whether_what_it_acknowledges_must_be_on_the_disk() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        for (mut session, told) in [(Session::for_tests(dir.path()), "off"), (Session::for_benches(dir.path()), "on")] {
            let says = backend("says", |_| Ok(shell("echo $HB_BACKEND_FSYNC; sleep 60", Ready::Listening(vec![]))));
            session.start(&says).expect("it starts");
            let log = session.record.running[0].log.clone();
            let begun = Instant::now();
            while fs::read_to_string(&log).expect("a log").trim() != told {
                assert!(begun.elapsed() < START, "it is not told {told}");
            }
        }
    }

    #[test]
    fn what_setting_up_tells_is_recorded_too() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let mut session = Session::for_tests(dir.path());
        let sleeper = backend("sleeper", |_| {
            let set_up: SetUp = Box::new(|| Ok(vec![("HB_TEST_TOKEN", "made".to_owned())]));
            Ok(Launch { set_up: Some(set_up), ..shell("sleep 60", Ready::Listening(vec![])) })
        });
        session.start(&sleeper).expect("it starts");
        let recorded = &Record::load(&Session::run_record_path(dir.path())).expect("a record").running[0];
        assert_eq!(
            recorded.env.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>(),
            ["HB_TEST_IT", "HB_TEST_TOKEN"]
        );
        assert_eq!(recorded.env, session.env());
    }

    #[test]
    fn a_server_that_cannot_be_set_up_shows_the_end_of_its_log_and_ends() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let sleeper = backend("sleeper", |_| {
            let set_up: SetUp = Box::new(|| Err(Error::new("it says no")));
            Ok(Launch { set_up: Some(set_up), ..shell("sleep 60", Ready::Listening(vec![])) })
        });
        let mut session = Session::for_tests(dir.path());
        let error = session.start(&sleeper).expect_err("it is not ready").to_string();
        assert!(error.starts_with("sleeper: it says no\n--- end of "), "{error}");
        let process = session.record.running[0].process.clone();
        drop(session);
        assert!(!process.is_alive());
    }

    #[test]
    fn a_server_that_fails_to_start_shows_the_end_of_its_log() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let broken = backend("broken", |_| {
            Ok(shell("echo starting; echo no such file >&2; exit 3", Ready::Http { port: 1, path: "/" }))
        });
        let error = Session::for_tests(dir.path()).start(&broken).expect_err("it ends").to_string();
        assert!(error.contains("broken ended before it was ready: exit status: 3"), "{error}");
        assert!(error.contains("starting\nno such file"), "{error}");
    }
}
