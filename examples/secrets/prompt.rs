//! Asks for a value without showing it.

use std::io::{self, IsTerminal as _, Write as _};
use std::os::fd::AsFd as _;

use halfbyte::secrets::SecretString;
use halfbyte::secrets::zeroize::Zeroizing;
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};

use crate::Outcome;

/// As much as a local secret may have, and what shows that there is more.
const LARGEST: usize = 64 * 1024 + 2;

/// The value that is typed at a terminal, up to the first line end; or all that comes through a pipe, less one line end.
pub fn value(prompt: &str) -> Outcome<SecretString> {
    let bytes = if io::stdin().is_terminal() { typed(prompt)? } else { piped()? };
    let text = str::from_utf8(&bytes).map_err(|_| "the value is not UTF-8 text")?;
    // Copied once, to memory of just its size; the buffer is wiped.
    Ok(SecretString::from(text))
}

fn piped() -> Outcome<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(vec![0; LARGEST]);
    let mut length = 0;
    // Not by `Stdin`, whose own buffer is not wiped.
    loop {
        match rustix::io::read(io::stdin().as_fd(), &mut bytes[length..])? {
            0 if length == LARGEST => return Err("the value is larger than 64 KiB".into()),
            0 => break,
            read => length += read,
        }
    }
    bytes.truncate(length);
    if bytes.ends_with(b"\n") {
        bytes.pop();
    }
    Ok(bytes)
}

fn typed(prompt: &str) -> Outcome<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(LARGEST));
    let _quiet = Quiet::begin()?;
    eprint!("{prompt}");
    io::stderr().flush()?;
    loop {
        let mut byte = [0];
        if rustix::io::read(io::stdin().as_fd(), &mut byte)? == 0 {
            return Err("the input ended".into());
        }
        match byte[0] {
            b'\r' | b'\n' => return Ok(bytes),
            // Control and C, and with D.
            3 | 4 => return Err("nothing was changed".into()),
            // Backspace takes a whole character.
            8 | 127 => while bytes.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {},
            // Control and U.
            21 => bytes.clear(),
            _ if bytes.len() == LARGEST => return Err("the value is larger than 64 KiB".into()),
            byte => bytes.push(byte),
        }
    }
}

/// A terminal that shows nothing and hands over each key, until this is dropped. Keys that would end the program are keys
/// too: it would leave the terminal as it is now.
struct Quiet(Termios);

impl Quiet {
    fn begin() -> Outcome<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG | LocalModes::IEXTEN);
        // Each key by itself, and no waiting for more.
        quiet.special_codes[SpecialCodeIndex::VMIN] = 1;
        quiet.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(io::stdin(), OptionalActions::Flush, &quiet)?;
        Ok(Self(before))
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        eprintln!();
        let _as_good_as_it_gets = tcsetattr(io::stdin(), OptionalActions::Flush, &self.0);
    }
}
