//! A folder of policies, as it is at one moment.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::OFlags;

use super::place::Found;
use super::policies::Bounds;
use super::source::{Finding, SourceFile};

/// How often a folder that changes while it is read is read again.
const TRIES: usize = 8;

/// The policy files that stand in a folder itself, in the order of their names. Within one look nothing has changed: what is listed
/// and how it stands is the same before the first file is read and after the last one.
///
/// Hidden files, and files that are neither policies nor schemas, are left out. A link leads to what is in the folder's own tree, as
/// Kubernetes lays out a `ConfigMap`. What is no file is a finding, and never opened: a pipe would be waited for, and whoever puts
/// policies into a folder in the folder takes them to be in force.
pub(super) fn read(path: &Path, bounds: &Bounds) -> io::Result<Found> {
    for _ in 0..TRIES {
        if let Some(found) = once(path, bounds)? {
            return Ok(found);
        }
    }
    Err(io::Error::other(format!("{}: the policies are being changed", path.display())))
}

/// `None` if it changed meanwhile.
fn once(path: &Path, bounds: &Bounds) -> io::Result<Option<Found>> {
    // Resolved once: a link that is moved to another folder in the middle does not mix the two.
    let root = fs::canonicalize(path).map_err(|error| named(path, &error))?;
    let before = match list(&root, bounds).map_err(|error| named(path, &error))? {
        Ok(before) => before,
        Err(findings) => {
            // What is wrong for a moment, in the middle of a change, is not wrong.
            let is_so = list(&root, bounds).is_ok_and(|after| after.is_err_and(|after| after == findings));
            return Ok(is_so.then_some(Err(findings)));
        }
    };
    let (mut files, mut findings, mut room) = (Vec::new(), Vec::new(), bounds.bytes);
    for Listed { name, path: file, seen } in &before {
        let text = match read_file(file, seen, room) {
            Ok(Some(text)) => text,
            Ok(None) => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(named(&path.join(name), &error)),
        };
        let wrong = match room.checked_sub(text.len()) {
            Some(left) => {
                room = left;
                match String::from_utf8(text) {
                    Ok(text) => {
                        files.push(SourceFile::new(&**name, text));
                        continue;
                    }
                    Err(_) => "it is not UTF-8".to_owned(),
                }
            }
            None => format!("with this file there are more bytes than the {} that are taken", bounds.bytes),
        };
        findings.push(Finding { file: name.as_str().into(), line: 0, reason: wrong.into() });
    }
    let is_same = list(&root, bounds).is_ok_and(|after| after.is_ok_and(|after| after == before));
    Ok(is_same.then_some(if findings.is_empty() { Ok(files) } else { Err(findings) }))
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// A file of the folder.
#[derive(PartialEq, Eq)]
struct Listed {
    name: String,
    /// Where it is, without any link.
    path: PathBuf,
    seen: Stamp,
}

/// Tells a file from another one, and from what it is after a change.
#[derive(PartialEq, Eq)]
struct Stamp([i128; 5]);

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        let nanoseconds = |seconds: i64, more: i64| i128::from(seconds) * 1_000_000_000 + i128::from(more);
        Self([
            metadata.dev().into(),
            metadata.ino().into(),
            metadata.size().into(),
            nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
            nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
        ])
    }
}

/// The files that count, in the order of their names; or what stands there and is none.
fn list(root: &Path, bounds: &Bounds) -> io::Result<Result<Vec<Listed>, Vec<Finding>>> {
    let (mut listed, mut findings) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        // Of a name that is not UTF-8 the ending may be.
        let (name, is_whole) = match entry.file_name().into_string() {
            Ok(name) => (name, true),
            Err(name) => (name.to_string_lossy().into_owned(), false),
        };
        let counts = is_policy_file(&name);
        if name.starts_with('.') || !counts && entry.file_type().is_ok_and(|kind| kind.is_file()) {
            continue;
        }
        let looked = look_at(root, &entry.path());
        match looked
            .and_then(|file| if is_whole { Ok(file) } else { Err("its name is not UTF-8: rename it".to_owned()) })
        {
            Ok((path, seen)) if counts => listed.push(Listed { name, path, seen }),
            Ok(_) => {}
            Err(reason) => {
                let file = name.escape_debug().to_string().into();
                findings.push(Finding { file, line: 0, reason: reason.into() });
            }
        }
        if listed.len().max(findings.len()) > bounds.files {
            let reason = format!("there are more files than the {} that are taken", bounds.files);
            return Ok(Err(vec![Finding { file: Arc::default(), line: 0, reason: reason.into() }]));
        }
    }
    if !findings.is_empty() {
        findings.sort_by(|one, other| one.file.cmp(&other.file));
        return Ok(Err(findings));
    }
    listed.sort_by(|one: &Listed, other| one.name.cmp(&other.name));
    Ok(Ok(listed))
}

pub(super) fn is_policy_file(name: &str) -> bool {
    name.ends_with(".cedar") || name.ends_with(".cedarschema")
}

/// Where a file of the folder is, and what it is now; or why it is none. Nothing is opened.
fn look_at(root: &Path, path: &Path) -> Result<(PathBuf, Stamp), String> {
    let gone = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => "it is a link that leads nowhere: mend or remove it".to_owned(),
        _ => format!("it cannot be looked at: {error}"),
    };
    let path = fs::canonicalize(path).map_err(gone)?;
    if !path.starts_with(root) {
        return Err("it is a link that leads out of the folder: put the file itself there".to_owned());
    }
    let metadata = fs::symlink_metadata(&path).map_err(gone)?;
    let kind = metadata.file_type();
    let kind = match () {
        () if kind.is_file() => return Ok((path, Stamp::of(&metadata))),
        () if kind.is_dir() => return Err("it is a folder, and no policy in it is read: move them, or it".to_owned()),
        () if kind.is_fifo() => "a pipe",
        () if kind.is_socket() => "a socket",
        () if kind.is_char_device() || kind.is_block_device() => "a device",
        () => "no file",
    };
    Err(format!("it is {kind}: policies stand in files"))
}

/// What stands in a file, or one byte more than there is `room` for; `None` if it is not what was seen.
fn read_file(path: &Path, seen: &Stamp, room: usize) -> io::Result<Option<Vec<u8>>> {
    // What has taken its place since it was looked at is neither waited for nor followed.
    let flags = OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::NOCTTY;
    let opened = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path);
    let file: File = match opened {
        Ok(file) => file,
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => return Ok(None),
        Err(error) => return Err(error),
    };
    let metadata = file.metadata()?;
    if !metadata.is_file() || Stamp::of(&metadata) != *seen {
        return Ok(None);
    }
    let most = room.saturating_add(1) as u64;
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.size().min(most)).unwrap_or(0));
    file.take(most).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::mpsc;
    use std::time::Duration;

    use rustix::fs::{CWD, FileType, Mode, mknodat};
    use tempfile::TempDir;

    use super::*;

    fn folder(files: &[(&str, &str)]) -> TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            fs::write(folder.path().join(name), text).expect("written");
        }
        folder
    }

    /// What is wrong with a folder, by a look that must not wait for anybody.
    fn wrong(folder: &Path) -> Vec<String> {
        let (done, looked) = mpsc::channel();
        let path = folder.to_owned();
        std::thread::spawn(move || done.send(read(&path, &Bounds::default())));
        let looked = looked.recv_timeout(Duration::from_secs(30)).expect("a look comes to an end");
        let findings = looked.expect("there").err().unwrap_or_default();
        findings.iter().map(ToString::to_string).collect()
    }

    fn pipe(path: &Path) {
        mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a pipe");
    }

    #[test]
    fn of_a_folder_policies_and_schemas_are_read_and_nothing_else() {
        let folder = folder(&[
            ("b.cedar", "b"),
            ("a.cedarschema", "a"),
            (".c.cedar", "c"),
            ("d.cedar~", "d"),
            ("README.md", "e"),
        ]);
        fs::create_dir(folder.path().join(".git")).expect("made");
        pipe(&folder.path().join(".pipe.cedar"));
        symlink("README.md", folder.path().join("LIESMICH.md")).expect("linked");
        let found = read(folder.path(), &Bounds::default()).expect("there").expect("readable");
        assert_eq!(found, [SourceFile::new("a.cedarschema", "a"), SourceFile::new("b.cedar", "b")]);
        let error = read(&folder.path().join("away"), &Bounds::default()).expect_err("not there");
        assert!(error.to_string().contains("away: "), "{error}");
    }

    #[test]
    fn what_is_no_file_refuses_the_set_by_its_name_and_is_not_waited_for() {
        let outside = folder(&[("outside.cedar", "permit(principal, action, resource);")]);
        type Make<'a> = &'a dyn Fn(&Path);
        let make: [(&str, Make<'_>, &str); 10] = [
            ("p.cedar", &pipe, "it is a pipe: "),
            ("pipe", &pipe, "it is a pipe: "),
            ("s.cedar", &|path| drop(UnixListener::bind(path).expect("bound")), "it is a socket: "),
            ("more.cedar", &|path| fs::create_dir(path).expect("made"), "it is a folder, "),
            ("more", &|path| fs::create_dir(path).expect("made"), "it is a folder, "),
            ("again", &|path| symlink(".", path).expect("linked"), "it is a folder, "),
            (
                "null.cedar",
                &|path| symlink("/dev/null", path).expect("linked"),
                "it is a link that leads out of the folder: ",
            ),
            (
                "out.cedar",
                &|path| symlink(outside.path().join("outside.cedar"), path).expect("linked"),
                "it is a link that leads out of the folder: ",
            ),
            ("nowhere.cedar", &|path| symlink("none", path).expect("linked"), "it is a link that leads nowhere: "),
            ("self.cedar", &|path| symlink("self.cedar", path).expect("linked"), "it cannot be looked at: "),
        ];
        for (name, make, expected) in make {
            let folder = folder(&[("good.cedar", "permit(principal, action, resource);")]);
            assert_eq!(wrong(folder.path()), [""; 0]);
            make(&folder.path().join(name));
            let wrong = wrong(folder.path());
            assert_eq!(wrong.len(), 1, "{name}: {wrong:?}");
            assert!(wrong[0].starts_with(&format!("{name}: {expected}")), "{wrong:?}");
        }
    }

    #[test]
    fn what_took_the_place_of_a_file_since_it_was_listed_is_not_read() {
        let folder = folder(&[("a.cedar", "a"), ("b.cedar", "b")]);
        let path = folder.path().join("a.cedar");
        let (_, seen) = look_at(&fs::canonicalize(folder.path()).expect("there"), &path).expect("a file");
        assert_eq!(read_file(&path, &seen, 9).expect("readable").as_deref(), Some(&b"a"[..]));
        assert_eq!(
            read_file(&path, &seen, 0).expect("readable").as_deref(),
            Some(&b"a"[..]),
            "one more than there is room for"
        );
        fs::remove_file(&path).expect("removed");
        symlink("b.cedar", &path).expect("linked");
        assert_eq!(read_file(&path, &seen, 9).expect("readable"), None, "a link");
        fs::remove_file(&path).expect("removed");
        pipe(&path);
        assert_eq!(read_file(&path, &seen, 9).expect("readable"), None, "a pipe");
        fs::rename(folder.path().join("b.cedar"), &path).expect("moved");
        assert_eq!(read_file(&path, &seen, 9).expect("readable"), None, "another file of the same size");
    }

    #[test]
    fn names_that_are_not_text_are_shown_as_far_as_they_can_be() {
        let folder = folder(&[]);
        fs::write(folder.path().join(OsStr::from_bytes(b"\xff.cedar")), "").expect("written");
        assert_eq!(wrong(folder.path()), ["\u{fffd}.cedar: its name is not UTF-8: rename it"]);
        fs::rename(folder.path().join(OsStr::from_bytes(b"\xff.cedar")), folder.path().join("a\nb")).expect("moved");
        assert_eq!(wrong(folder.path()), [""; 0], "nobody takes it for a policy");
        fs::remove_file(folder.path().join("a\nb")).expect("removed");
        fs::create_dir(folder.path().join("a\nb")).expect("made");
        assert!(wrong(folder.path())[0].starts_with("a\\nb: it is a folder"));
    }

    #[test]
    fn what_is_over_the_bounds_is_refused_before_it_is_parsed() {
        let permit = "permit(principal, action, resource);";
        let folder = folder(&[("a.cedar", permit), ("b.cedar", permit)]);
        let of = |bounds: Bounds| {
            let found = read(folder.path(), &bounds).expect("there").and_then(|files| bounds.within(files));
            found.err().unwrap_or_default().iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let exact = Bounds { files: 2, bytes: 72, policies: 2 };
        assert_eq!(of(exact.clone()), [""; 0]);
        assert_eq!(of(Bounds { files: 1, ..exact.clone() }), ["there are more files than the 1 that are taken"]);
        assert_eq!(
            of(Bounds { bytes: 71, ..exact.clone() }),
            ["b.cedar: with this file there are more bytes than the 71 that are taken"]
        );
        assert_eq!(
            of(Bounds { policies: 1, ..exact.clone() }),
            ["there are 2 policies, more than the 1 that are taken"]
        );
        for name in ["c", "d", "e"] {
            fs::create_dir(folder.path().join(name)).expect("made");
        }
        assert_eq!(of(exact), ["there are more files than the 2 that are taken"], "nor more that are none");
    }

    /// As a kubelet lays out a `ConfigMap`: links to files in a folder, to which a link leads that is moved.
    struct Mount(TempDir);

    impl Mount {
        fn new(names: &[&str]) -> Self {
            let mount = Self(folder(&[]));
            for name in names {
                symlink(Path::new("..data").join(name), mount.0.path().join(name)).expect("linked");
            }
            mount
        }

        fn swap(&self, version: usize, files: &[(&str, &str)]) {
            let at = |name: &str| self.0.path().join(name);
            let name = format!("..2026_{version}");
            fs::create_dir(at(&name)).expect("made");
            for (file, text) in files {
                fs::write(at(&name).join(file), text).expect("written");
            }
            symlink(&name, at("..data_tmp")).expect("linked");
            fs::rename(at("..data_tmp"), at("..data")).expect("moved");
            // Not the one that was there just now: what is read of it is whole files, of yesterday.
            if let Some(old) = version.checked_sub(2) {
                fs::remove_dir_all(at(&format!("..2026_{old}"))).expect("removed");
            }
        }
    }

    /// Also when the test has failed, or its thread would go on for ever.
    struct Stopping<'a>(&'a AtomicBool);

    impl Drop for Stopping<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    #[test]
    fn the_links_of_a_config_map_are_followed_and_a_swap_is_seen_whole() {
        let mount = Mount::new(&["a.cedar", "b.cedar", "c.cedarschema"]);
        let texts = |version: usize| version.to_string().repeat(version % 7 + 1);
        let swap = |version: usize| {
            let text = texts(version);
            mount.swap(version, &[("a.cedar", &text), ("b.cedar", &text), ("c.cedarschema", &text)]);
        };
        swap(0);
        let stop = AtomicBool::new(false);
        let (mut whole, mut disturbed) = (0, 0);
        std::thread::scope(|scope| {
            let swapping = scope.spawn(|| {
                for version in 1.. {
                    swap(version);
                    if stop.load(Ordering::Relaxed) {
                        return version;
                    }
                }
                unreachable!("it goes on")
            });
            let stopping = Stopping(&stop);
            while whole < 2_000 {
                match read(mount.0.path(), &Bounds::default()) {
                    Ok(found) => {
                        let files = found.expect("there is always a whole set");
                        let texts: Vec<_> = files.iter().map(|file| &*file.text).collect();
                        assert!(texts.len() == 3 && texts.iter().all(|text| *text == texts[0]), "{texts:?}");
                        whole += 1;
                    }
                    Err(error) => {
                        assert!(error.to_string().ends_with(": the policies are being changed"), "{error}");
                        disturbed += 1;
                    }
                }
                assert!(disturbed < 1_000_000, "it is never at rest");
            }
            drop(stopping);
            let last = swapping.join().expect("swapped");
            let found = read(mount.0.path(), &Bounds::default()).expect("there").expect("readable");
            assert_eq!(&*found[0].text, texts(last));
        });
    }
}
