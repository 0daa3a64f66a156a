//! The files that the rules look at.

use std::fs;
use std::path::Path;

use crate::error::{Context, Result};

/// Folders that hold nothing written by hand.
const SKIPPED: &[&str] = &["target", ".git", ".halfbyte", "node_modules"];
/// Files that a tool writes.
const GENERATED: &[&str] = &["Cargo.lock", "package-lock.json"];

/// A text file with its path from the root.
pub struct File {
    pub path: String,
    pub text: String,
}

impl File {
    pub fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// The lines with their numbers.
    pub fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        (1..).zip(self.text.lines())
    }

    /// The lines that are not tests: none of a file of tests, and in others those above the module of tests.
    pub fn product_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        let is_test = self.path.split('/').any(|part| part == "tests" || part == "tests.rs");
        self.lines().take_while(move |(_, line)| !is_test && line.trim() != "#[cfg(test)]")
    }
}

/// Reads every text file below `root`.
pub fn read(root: &Path) -> Result<Vec<File>> {
    let mut files = Vec::new();
    collect(root, "", &mut files)?;
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

fn collect(dir: &Path, prefix: &str, files: &mut Vec<File>) -> Result {
    for entry in fs::read_dir(dir).context(format_args!("cannot list {}", dir.display()))? {
        let entry = entry.context(format_args!("cannot list {}", dir.display()))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let kind = entry.file_type().context(format_args!("cannot look at {}", entry.path().display()))?;
        if kind.is_dir() && !SKIPPED.contains(&name.as_str()) {
            collect(&entry.path(), &format!("{prefix}{name}/"), files)?;
        } else if kind.is_file() && !GENERATED.contains(&name.as_str()) {
            let bytes = fs::read(entry.path()).context(format_args!("cannot read {}", entry.path().display()))?;
            files.extend(String::from_utf8(bytes).ok().map(|text| File { path: format!("{prefix}{name}"), text }));
        }
    }
    Ok(())
}

#[cfg(test)]
pub fn file(path: &str, text: &str) -> File {
    File { path: path.to_owned(), text: text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_not_product_lines() {
        let module = file("src/lib.rs", "fn a() {}\n#[cfg(test)]\nmod tests {}");
        assert_eq!(module.product_lines().collect::<Vec<_>>(), [(1, "fn a() {}")]);
        assert_eq!(file("tests/backends.rs", "fn a() {}").product_lines().count(), 0);
    }

    #[test]
    fn what_is_built_or_generated_is_not_read() {
        let root = tempfile::tempdir().expect("a temporary folder");
        for path in ["src/lib.rs", "target/debug/build.rs", "Cargo.lock", ".ci/run"] {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().expect("below root")).expect("a folder");
            fs::write(path, "text").expect("a file");
        }
        let paths: Vec<String> = read(root.path()).expect("readable").into_iter().map(|file| file.path).collect();
        assert_eq!(paths, [".ci/run", "src/lib.rs"]);
    }
}
