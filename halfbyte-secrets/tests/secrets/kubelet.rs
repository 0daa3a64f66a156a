//! Writes a folder as a kubelet does: the eleven steps that `AtomicWriter` in Kubernetes' `pkg/volume/util` documents.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Component, Path, PathBuf};

/// What a folder is to hold: paths and contents.
pub type Payload = BTreeMap<String, Vec<u8>>;

/// The kubelet's hand on the mount at `target`. One at a time.
pub struct AtomicWriter {
    target: PathBuf,
    /// In place of the time, which the names of folders begin with.
    writes: u64,
}

impl AtomicWriter {
    pub fn new(target: &Path) -> Self {
        Self { target: target.into(), writes: 0 }
    }

    /// Makes the mount hold `payload`; answers whether that took a swap.
    pub fn write(&mut self, payload: &Payload) -> io::Result<bool> {
        // 1. The payload is checked.
        payload.keys().try_for_each(|path| check(Path::new(path)))?;

        // 2. The folder of now is what `..data` leads to.
        let data = self.target.join("..data");
        let old = match fs::read_link(&data) {
            Ok(old) => Some(self.target.join(old)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let mut gone = BTreeSet::new();
        if let Some(old) = &old {
            // 3. What it holds and the payload does not is to go.
            gone = &files(old, old)? - &payload.keys().cloned().collect();
            // 4. If nothing differs, there is nothing to do.
            let same = |(path, content): (&String, &Vec<u8>)| fs::read(old.join(path)).is_ok_and(|now| now == *content);
            if gone.is_empty() && payload.iter().all(same) {
                return Ok(false);
            }
        }

        // 5. A new folder, of a name never used before.
        self.writes += 1;
        let name = format!("..2026_11_21_00_00_00.{:09}", self.writes);
        let fresh = self.target.join(&name);
        fs::create_dir(&fresh)?;
        fs::set_permissions(&fresh, fs::Permissions::from_mode(0o755))?;

        // 6. The payload is written into it.
        for (path, content) in payload {
            let path = fresh.join(path);
            fs::create_dir_all(path.parent().expect("inside of the folder"))?;
            fs::write(&path, content)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o644))?;
        }

        // 7. What users see, where it is new: a link through `..data` for the first part of each path.
        for first in payload.keys().map(|path| first(path)) {
            let visible = self.target.join(first);
            if fs::read_link(&visible).is_err() {
                symlink(Path::new("..data").join(first), visible)?;
            }
        }

        // 8. A link to the new folder.
        symlink(&name, self.target.join("..data_tmp"))?;
        // 9. It takes the place of `..data`, at one stroke.
        fs::rename(self.target.join("..data_tmp"), &data)?;

        // 10. Links to what is gone are removed.
        let kept: BTreeSet<&str> = payload.keys().map(|path| first(path)).collect();
        for first in gone.iter().map(|path| first(path)).filter(|first| !kept.contains(first)).collect::<BTreeSet<_>>()
        {
            fs::remove_file(self.target.join(first))?;
        }
        // 11. So is the old folder.
        old.map_or(Ok(()), fs::remove_dir_all)?;
        Ok(true)
    }
}

fn first(path: &str) -> &str {
    path.split('/').next().unwrap_or(path)
}

/// Relative, nowhere `..`, the first part not beginning so, no part over 255 bytes, at most 4096 in all.
fn check(path: &Path) -> io::Result<()> {
    let length = path.as_os_str().len();
    let parts_are_fine = path.components().all(|part| matches!(part, Component::Normal(part) if part.len() <= 255));
    let is_reserved = path.to_string_lossy().starts_with("..");
    if length == 0 || length > 4096 || !parts_are_fine || is_reserved {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "no path for a volume"));
    }
    Ok(())
}

/// The files under `folder`, by their paths from `root`.
fn files(root: &Path, folder: &Path) -> io::Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            found.append(&mut files(root, &path)?);
        } else {
            found.insert(path.strip_prefix(root).expect("below it").to_string_lossy().into_owned());
        }
    }
    Ok(found)
}

#[test]
fn the_fixture_leaves_a_mount_as_a_kubelet_does() {
    let folder = tempfile::tempdir().expect("a folder");
    let payload = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(path, content)| ((*path).to_owned(), content.as_bytes().to_vec())).collect::<Payload>()
    };
    let listed = || {
        let entries = fs::read_dir(folder.path()).expect("listed");
        let mut names: Vec<_> =
            entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    };
    let mut writer = AtomicWriter::new(folder.path());
    assert!(writer.write(&payload(&[("a", "1"), ("b/c", "2"), ("b/d", "3")])).expect("written"));
    assert_eq!(fs::read_link(folder.path().join("b")).expect("a link"), Path::new("..data/b"));
    assert_eq!(fs::read(folder.path().join("b/c")).expect("read"), b"2");
    assert!(!writer.write(&payload(&[("a", "1"), ("b/c", "2"), ("b/d", "3")])).expect("nothing to do"));
    assert!(writer.write(&payload(&[("b/c", "4")])).expect("written"));
    assert_eq!(listed(), ["..2026_11_21_00_00_00.000000002", "..data", "b"]);
    assert_eq!(fs::read(folder.path().join("b/c")).expect("read"), b"4");
    assert!(!folder.path().join("b/d").exists());
    for path in ["", "/a", "../a", "a/../b", "..a", &"x".repeat(256), &"x/".repeat(2049)] {
        assert!(writer.write(&payload(&[(path, "x")])).is_err(), "{path}");
    }
}
