//! What cargo knows of the workspace: where it is and what packages it has.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::error::{Context, Error, Result};

/// The workspace that this program belongs to.
#[derive(Debug)]
pub struct Workspace {
    pub root: PathBuf,
    pub target: PathBuf,
    pub packages: Vec<Package>,
}

/// One member of the workspace.
#[derive(Debug, PartialEq)]
pub struct Package {
    pub name: String,
    /// A library that others may depend on: has a library target and is published.
    pub library: bool,
    /// All features but `default`.
    pub features: Vec<String>,
    pub benches: Vec<String>,
}

impl Workspace {
    /// Asks `cargo metadata`.
    pub fn load() -> Result<Self> {
        let output = Command::new("cargo")
            .args(["metadata", "--format-version=1", "--no-deps"])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .context("cannot run `cargo metadata`")?;
        if !output.status.success() {
            return Err(Error::new(format!("`cargo metadata` failed:\n{}", String::from_utf8_lossy(&output.stderr))));
        }
        let metadata = serde_json::from_slice(&output.stdout).context("`cargo metadata` answered with bad JSON")?;
        parse(&metadata)
            .ok_or_else(|| Error::new("`cargo metadata` answered in a form that xtask/src/cargo.rs cannot read"))
    }

    /// Where the backends are installed, logged and recorded.
    pub fn backends_dir(&self) -> PathBuf {
        self.target.join("backends")
    }
}

fn parse(metadata: &Value) -> Option<Workspace> {
    Some(Workspace {
        root: metadata["workspace_root"].as_str()?.into(),
        target: metadata["target_directory"].as_str()?.into(),
        packages: metadata["packages"].as_array()?.iter().map(parse_package).collect::<Option<_>>()?,
    })
}

fn parse_package(package: &Value) -> Option<Package> {
    let targets = package["targets"].as_array()?;
    let is =
        |target: &Value, kind: &str| target["kind"].as_array().is_some_and(|kinds| kinds.iter().any(|k| k == kind));
    let publish_is_false = package["publish"].as_array().is_some_and(Vec::is_empty);
    Some(Package {
        name: package["name"].as_str()?.to_owned(),
        library: !publish_is_false && targets.iter().any(|target| is(target, "lib")),
        features: package["features"].as_object()?.keys().filter(|name| *name != "default").cloned().collect(),
        benches: targets
            .iter()
            .filter(|target| is(target, "bench"))
            .map(|target| target["name"].as_str().map(str::to_owned))
            .collect::<Option<_>>()?,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_published_library_is_told_from_a_private_one() {
        let package = |publish: Value| {
            json!({
                "name": "halfbyte-noun",
                "publish": publish,
                "features": {"default": ["sqlite"], "sqlite": []},
                "targets": [{"kind": ["lib"], "name": "halfbyte_noun"}, {"kind": ["bench"], "name": "stack"}],
            })
        };
        let published = Package {
            name: "halfbyte-noun".to_owned(),
            library: true,
            features: vec!["sqlite".to_owned()],
            benches: vec!["stack".to_owned()],
        };
        assert_eq!(parse_package(&package(Value::Null)), Some(published));
        assert!(parse_package(&package(json!([]))).is_some_and(|package| !package.library));
    }

    #[test]
    fn this_workspace_is_found() {
        let workspace = Workspace::load().expect("cargo runs this test");
        assert!(workspace.root.join("xtask/src/cargo.rs").is_file());
        assert!(workspace.packages.iter().any(|package| package.name == "halfbyte-core" && package.library));
        assert!(workspace.packages.iter().any(|package| package.name == "xtask" && !package.library));
    }
}
