//! `cargo xtask new NAME`: a product outside of this workspace, that builds, runs and has tests.

mod name;
mod template;
pub mod trial;

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use crate::cargo::Workspace;
use crate::deadline::Deadline;
use crate::error::{Context, Error, Result};
use crate::invocation::Invocation;

/// For `cargo fmt`.
const FORMAT: Duration = Duration::from_secs(5 * 60);

#[derive(clap::Args)]
pub struct Args {
    /// What it is called: a lower-case letter, then up to 62 of a-z, 0-9 and '-'
    name: String,
    /// The folder to write, which must not be there yet; NAME beside this workspace when left out
    #[arg(long, value_name = "DIR")]
    path: Option<PathBuf>,
    /// Depend on published versions, and not on this workspace by its path
    #[arg(long)]
    versions: bool,
}

/// Writes the product and says how to go on.
pub fn run(workspace: &Workspace, args: &Args) -> Result {
    let beside = workspace.root.parent().unwrap_or(&workspace.root).join(&args.name);
    let folder = args.path.clone().unwrap_or(beside);
    write(workspace, &args.name, &folder, args.versions)?;
    println!("wrote {}\n\n  cd {}\n  cargo run", folder.display(), folder.display());
    Ok(())
}

/// Writes the product called `name` into `folder`, which it makes.
fn write(workspace: &Workspace, name: &str, folder: &Path, versions: bool) -> Result {
    name::check(name)?;
    let parent = folder.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."));
    let parent = parent.canonicalize().context(format_args!("cannot find {}", parent.display()))?;
    let root = workspace.root.canonicalize().context("cannot find this workspace")?;
    if parent.starts_with(&root) {
        return Err(Error::new(format!("{} is inside this workspace; name another with --path", folder.display())));
    }
    let from = folder.file_name().map(|name| parent.join(name)).unwrap_or_default();
    // Relative, since an image has neither folder where this machine has it.
    let root = relative(&root, &from);
    let files = template::files((!versions).then_some(&*root), name)?;
    // Whatever is there already stays as it is.
    fs::create_dir(folder).context(format_args!("cannot make {}", folder.display()))?;
    for (path, text) in files {
        let path = folder.join(path);
        let within = path.parent().unwrap_or(folder);
        fs::create_dir_all(within).context(format_args!("cannot make {}", within.display()))?;
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)
            .context(format_args!("cannot make {}", path.display()))?;
        file.write_all(text.as_bytes()).context(format_args!("cannot write {}", path.display()))?;
    }
    // The versions that this workspace is tested with.
    let lock = workspace.root.join("Cargo.lock");
    fs::copy(&lock, folder.join("Cargo.lock")).context(format_args!("cannot copy {}", lock.display()))?;
    // Where lines end, and what comes first, depends on the name.
    Invocation::cargo("fmt").run(folder, Deadline::within(FORMAT))
}

/// The way to `to` that begins in `from`; both are absolute and have no links in them.
fn relative(to: &Path, from: &Path) -> PathBuf {
    let common = to.components().zip(from.components()).take_while(|(to, from)| to == from).count();
    let up = from.components().skip(common).map(|_| Component::ParentDir);
    up.chain(to.components().skip(common)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_to_this_workspace_is_relative() {
        for (to, from, way) in [
            ("/src/halfbyte", "/src/shop", "../halfbyte"),
            ("/work/main", "/tmp/new/shop", "../../../work/main"),
            ("/src", "/src/products/shop", "../.."),
        ] {
            assert_eq!(relative(Path::new(to), Path::new(from)), Path::new(way));
        }
    }

    #[test]
    fn a_product_is_written_where_there_is_nothing_yet() {
        let workspace = Workspace::load().expect("cargo runs this test");
        let place = tempfile::tempdir().expect("a temporary folder");
        let folder = place.path().join("shop");
        write(&workspace, "shop", &folder, false).expect("there is room");
        for file in ["Cargo.toml", "Cargo.lock", "src/main.rs", "policies/shop.cedar", ".gitignore", "README.md"] {
            assert!(folder.join(file).is_file(), "{file}");
        }
        fs::write(folder.join("src/main.rs"), "mine").expect("a file");
        let error = write(&workspace, "shop", &folder, false).expect_err("it is there").to_string();
        assert!(error.starts_with("cannot make "), "{error}");
        assert_eq!(fs::read_to_string(folder.join("src/main.rs")).expect("still there"), "mine");
        let empty = place.path().join("empty");
        fs::create_dir(&empty).expect("a folder");
        write(&workspace, "shop", &empty, false).expect_err("a folder that is there is somebody's");
    }

    #[test]
    fn a_product_is_not_written_into_this_workspace() {
        let workspace = Workspace::load().expect("cargo runs this test");
        for inside in ["shop", "examples/shop", "examples/../xtask/shop"] {
            let error = write(&workspace, "shop", &workspace.root.join(inside), false).expect_err(inside).to_string();
            assert!(error.contains("is inside this workspace"), "{error}");
        }
        assert!(!workspace.root.join("shop").exists());
    }
}
