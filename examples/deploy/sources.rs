//! From which folders a product is built, as cargo knows it: a context of a build must have them all.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// A context, and what of it is needed.
#[derive(Debug, PartialEq)]
pub(crate) struct Sources {
    pub(crate) context: PathBuf,
    /// The product's workspace, by its path in the context; empty if it is the context.
    pub(crate) product: String,
    /// What it depends on by path besides, in the same way.
    pub(crate) others: Vec<String>,
}

impl Sources {
    /// Of the product in `folder`. The context is the folder above its workspace if it needs others, unless it is said.
    pub(crate) fn of(folder: &Path, context: Option<&Path>) -> Result<Self, String> {
        let mut roots: Vec<PathBuf> = Vec::new();
        let (mut seen, mut todo) = (BTreeSet::new(), vec![canonical(folder)?]);
        while let Some(folder) = todo.pop() {
            if !seen.insert(folder.clone()) {
                continue;
            }
            let metadata = metadata(&folder)?;
            let root = canonical(Path::new(metadata["workspace_root"].as_str().unwrap_or_default()))?;
            refuse_absolute(&root.join("Cargo.toml"))?;
            for package in items(&metadata, "packages") {
                refuse_absolute(Path::new(package["manifest_path"].as_str().unwrap_or_default()))?;
                for path in items(package, "dependencies").iter().filter_map(|dependency| dependency["path"].as_str()) {
                    todo.push(canonical(Path::new(path))?);
                }
            }
            roots.push(root);
        }
        let product = roots.first().cloned().unwrap_or_default();
        let whole = roots.clone();
        roots.retain(|root| !whole.iter().any(|other| other != root && root.starts_with(other)));
        roots.sort();
        roots.dedup();
        let context = match context {
            Some(context) => canonical(context)?,
            None if roots == [product.clone()] => product.clone(),
            None => product.parent().unwrap_or(&product).to_owned(),
        };
        let within = |root: &Path| match root.strip_prefix(&context) {
            Ok(path) => path.to_str().map(str::to_owned).ok_or_else(|| format!("{} is no text", root.display())),
            Err(_) => Err(format!(
                "{} is needed by path and is outside of the context {}: lay it beside the product, name a folder that has both, or \
                 depend on a published version",
                root.display(),
                context.display()
            )),
        };
        let others: Result<_, _> = roots.iter().filter(|root| **root != product).map(|root| within(root)).collect();
        Ok(Self { product: within(&product)?, others: others?, context })
    }
}

fn canonical(path: &Path) -> Result<PathBuf, String> {
    path.canonicalize().map_err(|error| format!("{}: {error}", path.display()))
}

fn items<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value[name].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// What cargo says of the workspace in `folder`, without what it would have to fetch.
fn metadata(folder: &Path) -> Result<Value, String> {
    let output = Command::new("cargo")
        .args(["metadata", "--no-deps", "--offline", "--format-version=1"])
        .current_dir(folder)
        .output()
        .map_err(|error| format!("cargo cannot be run: {error}"))?;
    if !output.status.success() {
        return Err(format!("{}: {}", folder.display(), String::from_utf8_lossy(&output.stderr).trim()));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| format!("cargo metadata: {error}"))
}

/// What is depended on by an absolute path is nowhere in an image.
fn refuse_absolute(manifest: &Path) -> Result<(), String> {
    let text = fs::read_to_string(manifest).map_err(|error| format!("{}: {error}", manifest.display()))?;
    let parsed: toml::Table = text.parse().map_err(|error| format!("{}: {error}", manifest.display()))?;
    match absolute_in(&toml::Value::Table(parsed), false) {
        Some(path) => Err(format!(
            "{} depends on {path}, which no image has there: write it relative to the product",
            manifest.display()
        )),
        None => Ok(()),
    }
}

/// The first absolute `path` of a dependency.
fn absolute_in(value: &toml::Value, is_dependency: bool) -> Option<String> {
    let table = value.as_table()?;
    let path =
        table.get("path").and_then(toml::Value::as_str).filter(|path| is_dependency && Path::new(path).is_absolute());
    path.map(str::to_owned).or_else(|| {
        table.iter().find_map(|(name, value)| absolute_in(value, is_dependency || name.ends_with("dependencies")))
    })
}
