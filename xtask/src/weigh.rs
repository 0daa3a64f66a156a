//! `cargo xtask weigh`: how long the example product takes to build from nothing, how large its binary is, and what each feature adds.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::cargo::Workspace;
use crate::error::{Context, Error, Result};
use crate::table;

const PRODUCT: &str = "parcel";
const LIBRARY: &str = "halfbyte";

/// On in every product, or what others are made of.
const ALWAYS: &[&str] = &["default", "axum"];

/// What one build came to.
struct Weight {
    took: Duration,
    crates: BTreeSet<String>,
    bytes: u64,
    stripped: u64,
}

/// Builds the product from nothing, then once for each feature on top of that, and prints what each came to.
pub fn run(workspace: &Workspace) -> Result {
    let library = workspace.packages.iter().find(|package| package.name == LIBRARY);
    let features = library.map(|library| library.features.clone()).unwrap_or_default();
    let dir = workspace.target.join("weigh");
    remove(&dir)?;
    let product = dir.join(PRODUCT);
    std::fs::create_dir_all(&product).context(format_args!("cannot make {}", product.display()))?;
    write(&product, "Cargo.toml", &manifest(&workspace.root))?;
    // The same versions as in this workspace.
    let lock = workspace.root.join("Cargo.lock");
    std::fs::copy(&lock, product.join("Cargo.lock")).context(format_args!("cannot copy {}", lock.display()))?;
    let plain = dir.join("plain");
    let base = build(&product, &plain, None)?;
    let mut rows = vec![row(PRODUCT, &base)];
    for feature in features.iter().filter(|feature| !ALWAYS.contains(&feature.as_str())) {
        // On top of the same build each time, so that none has built what another needs too.
        let copy = dir.join(feature);
        copied(&plain, &copy)?;
        let with = build(&product, &copy, Some(feature))?;
        rows.push(added(feature, &with, &base));
        remove(&copy)?;
    }
    println!("\n{}", table::render(["built", "seconds", "crates", "MiB", "MiB stripped"], &rows));
    Ok(())
}

/// The example as a package of its own: as an example of the library it would be built with what the library's tests need.
fn manifest(root: &Path) -> String {
    let root = root.display();
    format!(
        r#"[package]
name = "{PRODUCT}"
version = "0.1.0"
edition = "2024"
publish = false

[[bin]]
name = "{PRODUCT}"
path = "{root}/examples/{PRODUCT}/main.rs"

[dependencies]
aws-lc-rs = {{ version = "1", default-features = false, features = ["alloc", "aws-lc-sys"] }}
axum = {{ version = "0.8", default-features = false, features = ["json"] }}
halfbyte = {{ path = "{root}" }}
secrecy = "0.10"
serde = {{ version = "1", features = ["derive"] }}
serde_json = "1"
tokio = {{ version = "1", features = ["macros", "rt-multi-thread"] }}
uuid = {{ version = "1", features = ["v7"] }}

[workspace]
"#
    )
}

fn write(folder: &Path, name: &str, text: &str) -> Result {
    let file = folder.join(name);
    std::fs::write(&file, text).context(format_args!("cannot write {}", file.display()))
}

fn remove(dir: &Path) -> Result {
    if dir.exists() {
        std::fs::remove_dir_all(dir).context(format_args!("cannot remove {}", dir.display()))?;
    }
    Ok(())
}

/// With the times of its files, by which cargo knows what is fresh.
fn copied(from: &Path, to: &Path) -> Result {
    let status = Command::new("cp").arg("-a").args([from, to]).status().context("cannot run cp")?;
    if status.success() { Ok(()) } else { Err(Error::new(format!("cannot copy {}: {status}", from.display()))) }
}

fn build(product: &Path, target: &Path, feature: Option<&str>) -> Result<Weight> {
    let feature = feature.map(|feature| format!(" --features {LIBRARY}/{feature}")).unwrap_or_default();
    println!("$ cargo build --release{feature}");
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--release", "--message-format", "json"]).args(feature.split_whitespace());
    let began = Instant::now();
    let output = cargo
        .env("CARGO_TARGET_DIR", target)
        .current_dir(product)
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    let took = began.elapsed();
    if !output.status.success() {
        return Err(Error::new(format!("the build failed with {}", output.status)));
    }
    let binary = target.join("release").join(PRODUCT);
    let stripped = target.join("stripped");
    let strip = Command::new("strip").arg("-o").args([&stripped, &binary]).status().context("cannot run strip")?;
    if !strip.success() {
        return Err(Error::new(format!("strip failed with {strip}")));
    }
    Ok(Weight { took, crates: crates(&output.stdout), bytes: size(&binary)?, stripped: size(&stripped)? })
}

fn size(file: &Path) -> Result<u64> {
    Ok(std::fs::metadata(file).context(format_args!("no {}", file.display()))?.len())
}

/// The packages that were compiled or were there, from what cargo says of each artifact.
fn crates(messages: &[u8]) -> BTreeSet<String> {
    let messages = messages.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice::<Value>(line).ok());
    messages
        .filter(|message| message["reason"] == "compiler-artifact")
        .filter_map(|message| message["package_id"].as_str().map(str::to_owned))
        .collect()
}

fn row(name: &str, weight: &Weight) -> [String; 5] {
    [
        name.to_owned(),
        format!("{:.0}", weight.took.as_secs_f64()),
        weight.crates.len().to_string(),
        mebibytes(weight.bytes),
        mebibytes(weight.stripped),
    ]
}

fn added(feature: &str, with: &Weight, base: &Weight) -> [String; 5] {
    let more = |with: u64, base: u64| format!("+{}", mebibytes(with.saturating_sub(base)));
    [
        format!("+ {feature}"),
        format!("+{:.0}", with.took.as_secs_f64()),
        format!("+{}", with.crates.difference(&base.crates).count()),
        more(with.bytes, base.bytes),
        more(with.stripped, base.stripped),
    ]
}

#[expect(clippy::cast_precision_loss, reason = "a binary is smaller than 2^52 bytes")]
fn mebibytes(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / f64::from(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weight(crates: &[&str], bytes: u64) -> Weight {
        let crates = crates.iter().map(|&name| name.to_owned()).collect();
        Weight { took: Duration::from_millis(9600), crates, bytes, stripped: bytes / 2 }
    }

    #[test]
    fn a_feature_is_shown_by_what_it_adds() {
        let (base, with) = (weight(&["a", "b"], 8 << 20), weight(&["a", "c", "d"], 9 << 20));
        assert_eq!(row("parcel", &base), ["parcel", "10", "2", "8.0", "4.0"]);
        assert_eq!(added("tls", &with, &base), ["+ tls", "+10", "+2", "+1.0", "+0.5"]);
    }

    #[test]
    fn each_package_counts_once_however_much_of_it_is_built() {
        let said = br#"{"reason":"compiler-artifact","package_id":"a 1"}
{"reason":"build-script-executed","package_id":"b 1"}
{"reason":"compiler-artifact","package_id":"a 1"}
no json
"#;
        assert_eq!(crates(said), BTreeSet::from(["a 1".to_owned()]));
    }
}
