//! Each crate by itself: a product may depend on one of them and on nothing else of ours.
//!
//! Inside the workspace cargo unites the features that its members ask for, so that a crate that forgot to ask for
//! one of its own builds all the same. Built alone, it does not.

use crate::cargo::{Package, Workspace};
use crate::deadline::Deadline;
use crate::error::Result;
use crate::invocation::Invocation;

/// The package that wires the others together; what it does alone is what the whole test run tests.
const UMBRELLA: &str = "halfbyte";

/// Lints each library with no features and with each single one, and compiles the tests of each domain crate with what it asks for itself.
/// They run with all features in a step of their own: to build and run them once more here took a third of the whole time.
pub fn run(workspace: &Workspace, by: Deadline) -> Result {
    workspace.packages.iter().flat_map(invocations).try_for_each(|invocation| invocation.run(&workspace.root, by))
}

fn invocations(package: &Package) -> Vec<Invocation> {
    if !package.library {
        return Vec::new();
    }
    // Clippy hands `-D warnings` to our crates only, where RUSTFLAGS would build every dependency again.
    let lint = |feature: &[&str]| {
        Invocation::cargo("clippy --lib --no-default-features")
            .args(["-p", &package.name])
            .args(feature.iter().copied())
            .args(["--", "-D", "warnings"])
    };
    let mut invocations = vec![lint(&[])];
    invocations.extend(package.features.iter().map(|feature| lint(&["--features", feature])));
    if package.name != UMBRELLA {
        invocations.push(Invocation::cargo("check --all-targets").args(["-p", &package.name]));
    }
    invocations
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, library: bool) -> Package {
        Package { name: name.to_owned(), library, features: vec!["sqlite".to_owned()], benches: Vec::new() }
    }

    #[test]
    fn a_domain_crate_is_linted_with_none_and_each_feature_and_its_tests_are_compiled() {
        let shown: Vec<String> =
            invocations(&package("halfbyte-noun", true)).iter().map(Invocation::to_string).collect();
        assert_eq!(
            shown,
            [
                "cargo clippy --lib --no-default-features -p halfbyte-noun -- -D warnings",
                "cargo clippy --lib --no-default-features -p halfbyte-noun --features sqlite -- -D warnings",
                "cargo check --all-targets -p halfbyte-noun",
            ]
        );
    }

    #[test]
    fn what_nobody_depends_on_is_left_out() {
        assert!(invocations(&package("xtask", false)).is_empty());
    }
}
