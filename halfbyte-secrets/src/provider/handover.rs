//! A program hands values to itself: it writes them into an anonymous file in memory, starts itself in its own place without
//! the variables that held them, finds the file among those that it has inherited, and empties it and seals it, since each
//! program that it starts inherits it too.

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use secrecy::zeroize::Zeroizing;

use crate::{Error, ErrorKind};

/// How the file is known among those that a process has inherited.
const FILE: &str = "halfbyte-secrets-handover";

/// More than the operating system lets an environment be. What is larger is not ours.
const LARGEST: u64 = 64 << 20;

/// Values by the names of their variables.
pub(super) struct Taken(BTreeMap<String, Zeroizing<Vec<u8>>>);

impl Taken {
    pub(super) fn get(&self, variable: &str) -> Option<&[u8]> {
        self.0.get(variable).map(|value| value.as_slice())
    }
}

/// What was handed over, in the program that was started anew; if one of `variables` is set, hands over and does not return.
/// What this program was handed `before` is handed on.
pub(super) fn take(variables: Vec<String>, before: Option<&Taken>) -> Result<Option<Taken>, Error> {
    let fail = |what: &'static str| {
        move |error: io::Error| {
            let message = format!("the secrets cannot be taken out of the environment: {what}");
            Error::new(ErrorKind::Unavailable, message).with_source(error)
        }
    };
    let received = receive().map_err(fail("the file in memory cannot be read, emptied and sealed"))?;
    let set = variables.into_iter().filter_map(|name| Some((value(&name)?, name))).collect::<Vec<_>>();
    if set.is_empty() {
        return Ok(Some(received.unwrap_or(Taken(BTreeMap::new()))));
    }
    // Without "close on exec": it must outlive this program. It is closed when the new one cannot be started.
    let file = memfd_create(FILE, MemfdFlags::ALLOW_SEALING).map_err(io::Error::from);
    let mut file = File::from(file.map_err(fail("no file in memory"))?);
    write!(file, "{}\0", std::process::id()).map_err(fail("the file in memory"))?;
    let before = before.into_iter().chain(&received);
    let before = before.flat_map(|taken| taken.0.iter().map(|(name, value)| (value, name)));
    for (value, name) in before.chain(set.iter().map(|(value, name)| (value, name))) {
        let parts: [&[u8]; 4] = [name.as_bytes(), b"=", value, b"\0"];
        parts.into_iter().try_for_each(|part| file.write_all(part)).map_err(fail("the file in memory"))?;
    }
    let mut arguments = env::args_os();
    let mut command = Command::new(this_program().map_err(fail("/proc/self/exe cannot be read"))?);
    command.arg0(arguments.next().unwrap_or_default()).args(arguments);
    for (_, name) in &set {
        command.env_remove(name);
    }
    Err(fail("the program cannot be started anew")(command.exec()))
}

#[expect(clippy::disallowed_methods, reason = "configuration must never see these, since it keeps what it reads")]
fn value(variable: &str) -> Option<Zeroizing<Vec<u8>>> {
    let value = env::var_os(variable).filter(|value| !value.is_empty())?;
    // The same memory, not a copy of it.
    Some(Zeroizing::new(std::os::unix::ffi::OsStringExt::into_vec(value)))
}

/// The file that this process runs. By its path where that is the same file, so that process lists show its name.
fn this_program() -> io::Result<PathBuf> {
    let itself = PathBuf::from("/proc/self/exe");
    let running = fs::metadata(&itself)?;
    let path = env::current_exe()?;
    let is_same = fs::metadata(&path).is_ok_and(|file| (file.dev(), file.ino()) == (running.dev(), running.ino()));
    Ok(if is_same { path } else { itself })
}

/// Reads, empties and seals the file that this process has handed to itself, if there is one. One of another process was
/// inherited from it, or is somebody's who wants to choose our values.
fn receive() -> io::Result<Option<Taken>> {
    for entry in fs::read_dir("/proc/self/fd")? {
        let path = entry?.path();
        // The folder itself was open while it was listed, and is no more.
        let Ok(target) = fs::read_link(&path) else { continue };
        let is_ours = target.as_os_str().as_bytes().strip_prefix(b"/memfd:").is_some_and(|name| {
            name.strip_prefix(FILE.as_bytes()).is_some_and(|rest| rest.is_empty() || rest == b" (deleted)")
        });
        if !is_ours {
            continue;
        }
        let mut file = OpenOptions::new().read(true).write(true).open(&path)?;
        let size = file.metadata()?.len();
        if size == 0 || size > LARGEST {
            continue;
        }
        // Of full size from the start: a buffer that grows leaves copies behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(size).map_err(io::Error::other)? + 1));
        (&mut file).take(size).read_to_end(&mut bytes)?;
        let Some(values) = bytes.strip_prefix(format!("{}\0", std::process::id()).as_bytes()) else { continue };
        let taken = Taken(parse(values));
        // What was inherited stays open, here and in programs started from here: with nothing in it, for ever.
        file.set_len(0)?;
        fcntl_add_seals(&file, SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)?;
        return Ok(Some(taken));
    }
    Ok(None)
}

fn parse(bytes: &[u8]) -> BTreeMap<String, Zeroizing<Vec<u8>>> {
    let pair = |line: &[u8]| {
        let end = line.iter().position(|&byte| byte == b'=')?;
        Some((str::from_utf8(&line[..end]).ok()?.to_owned(), Zeroizing::new(line[end + 1..].to_vec())))
    };
    bytes.split(|&byte| byte == 0).filter_map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_handed_over_is_what_was_set() {
        let parsed = parse(b"A=1\0B=x=y\0C=\xff\n\0");
        let shown: Vec<_> = parsed.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect();
        assert_eq!(shown, [("A", &b"1"[..]), ("B", b"x=y"), ("C", b"\xff\n")]);
        assert!(parse(b"").is_empty());
    }

    #[test]
    fn a_file_of_this_process_is_emptied_and_sealed_and_that_of_another_is_left_alone() {
        let file = |text: String| {
            let mut file = File::from(memfd_create(FILE, MemfdFlags::ALLOW_SEALING).expect("made"));
            file.write_all(text.as_bytes()).expect("written");
            file
        };
        let _foreign = file(format!("{}\0A=poison\0", std::process::id() + 1));
        let _formless = file("A=poison\0".to_owned());
        assert!(receive().expect("looked").is_none());
        let mut own = file(format!("{}\0A=1\0", std::process::id()));
        let taken = receive().expect("looked").expect("handed over");
        assert_eq!(taken.get("A"), Some(&b"1"[..]));
        assert_eq!(own.metadata().expect("there").len(), 0);
        own.write_all(b"A=poison\0").expect_err("nothing is written to it any more");
        own.set_len(1).expect_err("and it does not grow");
        assert!(receive().expect("looked").is_none());
    }
}
