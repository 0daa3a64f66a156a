//! Looks at the environment and the arguments of this process and of those that it starts, over and over.

use std::collections::BTreeSet;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use secrecy::zeroize::Zeroizing;

use super::findings::Findings;

/// Between two looks. What lives shorter than that may not be seen.
const PAUSE: Duration = Duration::from_millis(1);

/// Looks until `done`, and once more.
pub(super) fn watch(findings: &Findings, done: &AtomicBool) {
    loop {
        let last = done.load(Ordering::Acquire);
        look_at_children(findings, "self", &mut BTreeSet::new());
        if last {
            break;
        }
        thread::sleep(PAUSE);
    }
    look(findings, "self");
    own_environment(findings);
}

/// What was set since the process started, which children inherit.
#[expect(clippy::disallowed_methods, reason = "it looks for what others set, and reads no configuration")]
fn own_environment(findings: &Findings) {
    for (name, value) in std::env::vars_os() {
        let value = Zeroizing::new(value.into_encoded_bytes());
        findings.look(&value, || format!("the environment of this process: {}", name.display()));
    }
}

fn look(findings: &Findings, process: &str) {
    let whose = || match process {
        "self" => "this process".to_owned(),
        child => format!("the child process {}", name(child)),
    };
    for (file, what) in [("environ", "the environment"), ("cmdline", "the arguments")] {
        if let Ok(content) = fs::read(format!("/proc/{process}/{file}")).map(Zeroizing::new) {
            findings.look(&content, || format!("{what} of {}", whose()));
        }
    }
}

fn look_at_children(findings: &Findings, process: &str, seen: &mut BTreeSet<String>) {
    for child in children(process) {
        if seen.insert(child.clone()) {
            look(findings, &child);
            look_at_children(findings, &child, seen);
        }
    }
}

/// Those that the threads of a process have started.
fn children(process: &str) -> Vec<String> {
    let threads = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let lists = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).collect()
}

fn name(process: &str) -> String {
    fs::read_to_string(format!("/proc/{process}/comm"))
        .map_or_else(|_| "(gone)".to_owned(), |name| name.trim().to_owned())
}

/// Why processes cannot be looked at here, if they cannot.
pub(super) fn obstacle() -> Option<String> {
    let children = "/proc/thread-self/children";
    match fs::metadata(children) {
        Ok(_) => None,
        Err(error) => Some(format!("child processes, since {children} cannot be read ({error})")),
    }
}
