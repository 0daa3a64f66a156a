//! `cargo xtask bench [NAME]`.

use crate::cargo::Workspace;
use crate::error::{Error, Result};
use crate::invocation::Invocation;

/// The package that holds every bench, and the peers that they compare with.
pub const PACKAGE: &str = "halfbyte-benches";

/// Runs the bench called `name`, or all.
pub fn run(workspace: &Workspace, name: Option<&str>) -> Result {
    let benches: Vec<&str> = workspace
        .packages
        .iter()
        .filter(|package| package.name == PACKAGE)
        .flat_map(|package| package.benches.iter().map(String::as_str))
        .collect();
    let chosen = choose(&benches, name)?;
    for bench in chosen {
        Invocation::cargo("bench").args(["-p", PACKAGE, "--bench", bench]).run(&workspace.root)?;
    }
    Ok(())
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
    fn without_a_name_all_benches_run() {
        assert_eq!(choose(&["stack", "live"], None).expect("there are benches"), ["stack", "live"]);
    }
}
