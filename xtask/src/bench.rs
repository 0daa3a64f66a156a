//! `cargo xtask bench [NAME]`.

use std::time::Duration;

use crate::backends::watchdog::Watchdog;
use crate::backends::{self, Session};
use crate::cargo::Workspace;
use crate::deadline::Deadline;
use crate::error::{Error, Result};
use crate::invocation::Invocation;

/// The package that holds every bench, and the peers that they compare with.
pub const PACKAGE: &str = "halfbyte-benches";

/// The real servers that benches compare with, started for them alone.
const PEERS: &[(&str, &[&str])] = &[("billing", &["nats", "postgres"])];

/// For one bench, which takes a fraction of it; to build it in release comes first.
const LIMIT: Duration = Duration::from_secs(2 * 3600);

/// Runs the bench called `name`, or all.
pub fn run(workspace: &Workspace, name: Option<&str>) -> Result {
    let benches: Vec<&str> = workspace
        .packages
        .iter()
        .filter(|package| package.name == PACKAGE)
        .flat_map(|package| package.benches.iter().map(String::as_str))
        .collect();
    let chosen = choose(&benches, name)?;
    let dir = workspace.backends_dir();
    let _watchdog = Watchdog::start(&Session::run_record_path(&dir))?;
    for bench in chosen {
        let by = Deadline::within(LIMIT);
        // Built first: a compiler beside it would slow a server down, and one that waits need not run yet.
        Invocation::cargo("bench --no-run").args(["-p", PACKAGE, "--bench", bench]).run(&workspace.root, by)?;
        let mut session = backends::start_for_benches(&dir, peers(bench))?;
        let run = Invocation::cargo("bench").args(["-p", PACKAGE, "--bench", bench]);
        let run = session.env().iter().fold(run, |run, (key, value)| run.env(key, value));
        run.run(&workspace.root, by)?;
        session.stop()?;
    }
    Ok(())
}

fn peers(bench: &str) -> &'static [&'static str] {
    PEERS.iter().find(|(name, _)| *name == bench).map_or(&[], |(_, peers)| peers)
}

fn choose<'a>(benches: &[&'a str], name: Option<&str>) -> Result<Vec<&'a str>> {
    let chosen: Vec<&str> = benches.iter().copied().filter(|bench| name.is_none_or(|name| name == *bench)).collect();
    match name {
        _ if benches.is_empty() => Err(Error::new(format!("{PACKAGE} has no benches"))),
        Some(name) if chosen.is_empty() => {
            Err(Error::new(format!("no bench is called {name}; there are: {}", benches.join(", "))))
        }
        _ => Ok(chosen),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_bench_is_refused_with_the_known_ones() {
        let error = choose(&["stack", "live"], Some("stak")).expect_err("there is no such bench");
        assert_eq!(error.to_string(), "no bench is called stak; there are: stack, live");
    }

    #[test]
    fn every_peer_is_a_server_that_there_is_and_of_a_bench_that_there_is() {
        let workspace = Workspace::load().expect("cargo runs this test");
        for (bench, names) in PEERS {
            assert!(
                workspace.packages.iter().any(|package| package.benches.iter().any(|name| name == bench)),
                "{bench}"
            );
            for name in *names {
                assert!(backends::ALL.iter().any(|backend| backend.name == *name), "{name}");
            }
        }
        assert!(peers("stack").is_empty());
    }

    #[test]
    fn without_a_name_all_benches_run() {
        assert_eq!(choose(&["stack", "live"], None).expect("there are benches"), ["stack", "live"]);
    }
}
