//! Real other processes, which are killed or find the disk full: this test binary again, with a role to play.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::{self, BufRead as _, BufReader, Lines, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use halfbyte_core::config::Config;

use super::super::Spool;
use super::*;

/// Told apart from what the test harness prints.
const MARK: &str = "> ";
const ROLE: &str = "SPOOL_ROLE";
const FOLDER: &str = "SPOOL_FOLDER";

struct Process {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Process {
    fn start(role: &str, folder: &Path) -> Self {
        Self::run(Command::new(std::env::current_exe().unwrap()), role, folder)
    }

    /// With a script that gets this test binary and its arguments as `"$@"`.
    fn start_with(script: &str, role: &str, folder: &Path) -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh"]).arg(std::env::current_exe().unwrap());
        Self::run(command, role, folder)
    }

    fn run(mut command: Command, role: &str, folder: &Path) -> Self {
        command.args(["--exact", "spool::tests::processes::another_process", "--nocapture", "--test-threads", "1"]);
        let environment = [(ROLE, OsStr::new(role)), (FOLDER, folder.as_os_str())];
        let mut child = command.envs(environment).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// What it says next; `None` when it has ended.
    fn line(&mut self) -> Option<String> {
        self.lines.by_ref().map_while(Result::ok).find_map(|line| Some(line.split_once(MARK)?.1.to_owned()))
    }

    /// SIGKILL; answers what it had said that nobody had read.
    fn kill(mut self) -> Vec<String> {
        self.child.kill().unwrap();
        let said = std::iter::from_fn(|| self.line()).collect();
        self.child.wait().unwrap();
        said
    }

    fn join(mut self) -> Vec<String> {
        drop(self.child.stdin.take());
        let said: Vec<_> = std::iter::from_fn(|| self.line()).collect();
        assert!(self.child.wait().unwrap().success(), "it said {said:?}");
        said
    }
}

fn say(what: impl std::fmt::Display) {
    // One write, so that a line is there as a whole or not at all.
    io::stdout().write_all(format!("{MARK}{what}\n").as_bytes()).unwrap();
    io::stdout().flush().unwrap();
}

/// Does nothing unless it was started with a role.
#[test]
fn another_process() {
    let config = Config::from_env().unwrap();
    let (Some(role), Some(folder)) = (config.other.get(ROLE), config.other.get(FOLDER)) else { return };
    // The harness has left its line open.
    println!();
    let folder = Path::new(folder);
    match role {
        "push" => push(folder),
        "pop" => pop(folder),
        "adopt" => adopt(folder),
        "hold" => hold(folder),
        "fill" => fill(folder),
        other => panic!("no such role: {other}"),
    }
}

/// Pushes batches for ever, from the number on that comes by standard input.
fn push(folder: &Path) {
    let mut first = String::new();
    io::stdin().read_line(&mut first).unwrap();
    let first: u64 = first.trim().parse().unwrap();
    let mut spool = Spool::open(folder, ROOMY).unwrap();
    for number in first.. {
        // From a few bytes to many pages, so that it is killed in the midst of writing one.
        assert_eq!(spool.push(&batch(number, 1, 1 << (number % 18))).unwrap(), 0);
        say(number);
    }
}

fn pop(folder: &Path) {
    let mut spool = Spool::open(folder, ROOMY).unwrap();
    while let Some(batch) = spool.front() {
        spool.pop();
        say(number(&batch));
    }
}

fn adopt(folder: &Path) {
    say("adopting");
    let spool = Spool::open(folder, ROOMY).unwrap();
    say(spool.items());
    io::stdin().read_line(&mut String::new()).unwrap();
}

fn hold(folder: &Path) {
    let mut spool = Spool::open(folder, ROOMY).unwrap();
    spool.push(&batch(7, 1, 100)).unwrap();
    say("holding");
    io::stdin().read_line(&mut String::new()).unwrap();
    say(format!("{:?}", numbers(&mut spool)));
}

/// Pushes until the disk is full, again and again, and reads everything that was taken.
fn fill(folder: &Path) {
    let mut spool = Spool::open(folder, ROOMY).unwrap();
    let mut taken = Vec::new();
    let mut next = 0;
    for round in 0..3 {
        let error = loop {
            let sizes = [100, 3000, 20_000];
            match spool.push(&batch(next, 1, sizes[next as usize % 3])) {
                Ok(evicted) => {
                    assert_eq!(evicted, 0);
                    taken.push(next);
                }
                Err(error) => break error,
            }
            next += 1;
        };
        say(format!("{:?}", error.kind()));
        assert_eq!(spool.items(), taken.len() as u64);
        assert_eq!(spool.push(&batch(next, 1, 200_000)).unwrap_err().kind(), error.kind());
        next += 1;
        // The last time it is left as it is.
        if round < 2 {
            assert_eq!(numbers(&mut spool), taken);
            assert_eq!((spool.items(), spool.take_corrupt()), (0, 0));
            taken.clear();
        }
    }
    drop(spool);
    let mut spool = Spool::open(folder, ROOMY).unwrap();
    assert_eq!(numbers(&mut spool), taken);
    assert_eq!(spool.take_corrupt(), 0);
    say("read");
}

#[test]
fn what_was_pushed_survives_sigkill_in_the_midst_of_writing() {
    let folder = private();
    let mut acknowledged = Vec::new();
    let mut first = 0;
    for round in 0..12 {
        let mut process = Process::start("push", folder.path());
        writeln!(process.child.stdin.as_mut().unwrap(), "{first}").unwrap();
        for _ in 0..round * 7 + 1 {
            acknowledged.push(process.line().unwrap().parse::<u64>().unwrap());
        }
        acknowledged.extend(process.kill().iter().map(|line| line.parse::<u64>().unwrap()));
        // One that was written but not acknowledged has a number of its own.
        first = acknowledged.last().unwrap() + 2;
    }
    let mut spool = Spool::open(folder.path(), ROOMY).unwrap();
    let torn = spool.take_corrupt();
    assert!(torn <= 12, "one a process at most: {torn}");
    let found = numbers(&mut spool);
    assert!(found.is_sorted());
    let unique: BTreeSet<_> = found.iter().copied().collect();
    assert_eq!(unique.len(), found.len(), "none is there twice");
    for number in &acknowledged {
        assert!(unique.contains(number), "{number} is lost");
    }
    assert!(found.len() <= acknowledged.len() + 12);
    assert_eq!(spool.take_corrupt(), 0);
}

#[test]
fn what_was_popped_does_not_come_again_after_sigkill() {
    let folder = private();
    let mut spool = Spool::open(folder.path(), ROOMY).unwrap();
    for number in 0..20_000 {
        spool.push(&batch(number, 1, 200)).unwrap();
    }
    drop(spool);
    let mut next = 0;
    for round in 0..6 {
        let mut process = Process::start("pop", folder.path());
        let mut popped: Vec<u64> = (0..round * 200 + 1).map(|_| process.line().unwrap().parse().unwrap()).collect();
        popped.extend(process.kill().iter().map(|line| line.parse::<u64>().unwrap()));
        // The last one may have been popped and not said.
        assert!(popped[0] == next || popped[0] == next + 1, "{} came after {next}", popped[0]);
        assert_eq!(popped, (popped[0]..popped[0] + popped.len() as u64).collect::<Vec<_>>());
        next = popped.last().unwrap() + 1;
    }
    let mut spool = Spool::open(folder.path(), ROOMY).unwrap();
    let first = number(&spool.front().unwrap());
    assert!(first == next || first == next + 1, "{first} came after {next}");
    assert_eq!(spool.take_corrupt(), 0);
}

#[test]
fn what_is_being_adopted_survives_the_death_of_its_adopter() {
    let folder = private();
    let mut left: Vec<_> = (0..300).map(|_| Spool::open(folder.path(), ROOMY).unwrap()).collect();
    for (number, spool) in (0..).zip(&mut left) {
        spool.push(&batch(number, 1, 100)).unwrap();
    }
    drop(left);
    let mut in_the_midst = 0;
    for round in 0..12 {
        let mut process = Process::start("adopt", folder.path());
        assert_eq!(process.line().unwrap(), "adopting");
        // Later each time: whenever it dies, the end is the same.
        std::thread::sleep(Duration::from_micros(500 * round));
        in_the_midst += usize::from(process.kill().is_empty());
    }
    assert!(in_the_midst > 0, "none was killed while it adopted");
    let mut spool = Spool::open(folder.path(), ROOMY).unwrap();
    assert_eq!((spool.items(), spool.take_corrupt()), (300, 0));
    assert_eq!(numbers(&mut spool).into_iter().collect::<BTreeSet<_>>(), (0..300).collect());
    drop(spool);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn another_process_that_lives_keeps_its_own_and_one_that_is_gone_leaves_it() {
    let folder = private();
    let [mut lives, mut dies] = [(); 2].map(|()| Process::start("hold", folder.path()));
    assert_eq!((lives.line().unwrap(), dies.line().unwrap()), ("holding".to_owned(), "holding".to_owned()));
    let mut spool = Spool::open(folder.path(), ROOMY).unwrap();
    assert_eq!(spool.items(), 0);
    spool.push(&batch(1, 1, 100)).unwrap();
    dies.kill();
    let mut later = Spool::open(folder.path(), ROOMY).unwrap();
    assert_eq!(numbers(&mut later), [7]);
    assert_eq!(lives.join(), ["[7]"]);
    assert_eq!(numbers(&mut spool), [1]);
}

#[test]
fn a_file_that_cannot_grow_is_an_error_and_leaves_what_can_be_read() {
    let folder = private();
    // In blocks of 512 or 1024 bytes, by the shell; the signal would kill it.
    let script = "trap '' XFSZ; ulimit -f 100 && exec \"$@\"";
    let said = Process::start_with(script, "fill", folder.path()).join();
    assert_eq!(said, ["FileTooLarge", "FileTooLarge", "FileTooLarge", "read"]);
}

#[test]
fn a_full_file_system_is_an_error_and_leaves_what_can_be_read() {
    let folder = private();
    let mount = "mount -t tmpfs -o size=160k,mode=700 spool \"$SPOOL_FOLDER\"";
    let mut probe = Command::new("unshare");
    let probe = probe.args(["-rm", "sh", "-c", mount]).env(FOLDER, folder.path()).stderr(Stdio::null()).status();
    if !probe.is_ok_and(|status| status.success()) {
        eprintln!("left out: this machine lets no user mount; the limit on files is tried without");
        return;
    }
    let script = format!("exec unshare -rm sh -c '{mount} && exec \"$@\"' sh \"$@\"");
    let said = Process::start_with(&script, "fill", folder.path()).join();
    assert_eq!(said, ["StorageFull", "StorageFull", "StorageFull", "read"]);
}
