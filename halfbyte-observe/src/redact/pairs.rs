//! Names with values in a text: parameters of queries, connection strings, JSON, `Debug` of structs, lines of headers.

use super::text::{Finding, is_prose, run, step};
use super::{REDACTED, Rules};

/// The longest end of a name that is looked at.
const NAME: usize = 64;

/// The name in front of a separator.
struct Name<'a> {
    text: &'a str,
    /// `"name"`, perhaps in a text that is itself quoted.
    is_quoted: bool,
    /// Behind `?`, `&` or `#`.
    is_in_query: bool,
}

/// The separator at `at`, if a name of a secret is before it and a value behind.
pub(super) fn pair(rules: &Rules, text: &str, at: usize, is_query: bool) -> Option<Finding> {
    let name = Name::before(text, at, is_query)?;
    let mut decoded = [0; NAME];
    let key = decode(name.text, &mut decoded);
    let is_secret = if name.is_in_query { rules.is_secret_in_query(key) } else { rules.names_a_secret(key) };
    if is_secret { value(text.as_bytes(), at, &name) } else { None }
}

impl<'a> Name<'a> {
    fn before(text: &'a str, at: usize, is_query: bool) -> Option<Self> {
        let bytes = text.as_bytes();
        let mut end = at;
        let mut skip = |these: &[u8]| {
            let is_there = end.checked_sub(1).is_some_and(|before| these.contains(&bytes[before]));
            end -= usize::from(is_there);
            is_there
        };
        let is_spaced = skip(b" ");
        let is_quoted = skip(b"\"'`");
        if is_quoted {
            skip(b"\\");
        } else {
            skip(b"]");
        }
        let near = &bytes[end.saturating_sub(NAME)..end];
        let is_part =
            |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'%' | b'[' | b'$');
        let length = near.iter().rev().take_while(|byte| is_part(byte)).count();
        step(length as u64);
        let start = end - length;
        let is_behind = match start.checked_sub(1) {
            Some(before) => matches!(bytes[before], b'?' | b'&' | b'#'),
            None => is_query,
        };
        let is_in_query = is_behind && bytes[at] == b'=' && !is_spaced && !is_quoted;
        let text = text.get(start..end).filter(|text| !text.is_empty())?;
        Some(Self { text, is_quoted, is_in_query })
    }
}

/// A name as a server would read it from a query: `access%5Ftoken`.
fn decode<'a>(name: &'a str, room: &'a mut [u8; NAME]) -> &'a str {
    if !name.contains('%') {
        return name;
    }
    let mut length = 0;
    for (place, byte) in room.iter_mut().zip(percent_encoding::percent_decode_str(name)) {
        *place = byte;
        length += 1;
    }
    str::from_utf8(&room[..length]).unwrap_or(name)
}

fn value(bytes: &[u8], at: usize, name: &Name<'_>) -> Option<Finding> {
    let next = |at: usize| bytes.get(at).copied().unwrap_or_default();
    // `name=value`, in which the value is one, whatever it reads like.
    let mut is_assigned = bytes[at] == b'=';
    let mut from = at + 1;
    match (bytes[at], next(from)) {
        (b'=', b'=') | (b':', b':') => return None,
        (b'=', b'>') => (from, is_assigned) = (from + 1, false),
        (b':', b'=') => (from, is_assigned) = (from + 1, true),
        (b'(', b'"' | b'\\') | (b'=' | b':', _) => {}
        _ => return None,
    }
    if !name.is_in_query {
        let spaces = run(bytes, from, |byte| byte == b' ');
        from += spaces.min(4);
        is_assigned &= spaces == 0;
        if bytes[from.min(bytes.len())..].starts_with(b"Some(") {
            from += "Some(".len();
        }
        if let Some(quoted) = quoted(bytes, from) {
            return quoted.ok();
        }
    }
    if matches!(next(from), b'{' | b'[') {
        return None;
    }
    // Cookies have a `=`; what has none near its beginning is prose.
    let near = &bytes[from..bytes.len().min(from + NAME)];
    if is_cookie(name.text) && !is_assigned && !near[..unquoted(near, 0, false)].contains(&b'=') {
        return None;
    }
    let mut to = from + unquoted(bytes, from, name.is_in_query);
    if matches!(&bytes[from..to], b"null" | b"None" | b"true" | b"false" | b"REDACTED" | b"[redacted]") {
        return None;
    }
    if is_scheme(&bytes[from..to]) && next(to) == b' ' {
        let credential = to + 1;
        to = credential + unquoted(bytes, credential, false);
        if is_prose(&bytes[credential..to]) && !is_assigned {
            return None;
        }
    } else if is_cookie(name.text) {
        // They go on behind a semicolon.
        while next(to) == b';' && next(to + 1) == b' ' {
            to += 2 + unquoted(bytes, to + 2, false);
        }
    } else if !is_assigned && !name.is_quoted && (to - from < 6 || is_prose(&bytes[from..to])) {
        return None;
    }
    // A number in JSON becomes a text.
    let with = if name.is_quoted && bytes[at] == b':' { "\"REDACTED\"" } else { REDACTED };
    (to > from).then_some(Finding { from, to, with })
}

/// What is between quotes from `from` on; an error is one that has nothing to remove.
fn quoted(bytes: &[u8], from: usize) -> Option<Result<Finding, ()>> {
    let (open, escaped) = match bytes.get(from..)? {
        [b'\\', quote @ (b'"' | b'\''), ..] => (*quote, true),
        [quote @ (b'"' | b'\'' | b'`'), ..] => (*quote, false),
        _ => return None,
    };
    let from = from + 1 + usize::from(escaped);
    let mut to = from;
    loop {
        step(1);
        match bytes.get(to..).unwrap_or_default() {
            [] => break,
            [b'\\', quote, ..] if escaped && *quote == open => break,
            [quote, ..] if *quote == open => break,
            [b'\\', _, ..] => to += 2,
            _ => to += 1,
        }
    }
    // An escape may have stepped into a letter that is not ASCII.
    while bytes.get(to).is_some_and(|byte| byte & 0xC0 == 0x80) {
        to += 1;
    }
    Some(match &bytes[from..to.min(bytes.len())] {
        b"" | b"REDACTED" | b"[redacted]" => Err(()),
        content => Ok(Finding { from, to: from + content.len(), with: REDACTED }),
    })
}

/// How long the value is that begins at `from`; what closes the sentence around it is no part of it.
fn unquoted(bytes: &[u8], from: usize, is_in_query: bool) -> usize {
    let is_part = |byte| match byte {
        ..=b' ' | b'"' | b'&' => false,
        b'#' | b'<' | b'>' => !is_in_query,
        b';' => is_in_query,
        _ => true,
    };
    let mut length = run(bytes, from, is_part);
    if bytes.get(from + length) == Some(&b'"') && length > 0 && bytes[from + length - 1] == b'\\' {
        length -= 1;
    }
    if !is_in_query {
        let closing = |byte: &&u8| matches!(byte, b',' | b')' | b']' | b'}' | b'.' | b'>' | b'\'');
        length -= bytes[from..from + length].iter().rev().take_while(closing).count();
    }
    length
}

fn is_scheme(word: &[u8]) -> bool {
    ["bearer", "basic", "dpop", "digest", "token", "negotiate", "apikey"]
        .iter()
        .any(|scheme| word.eq_ignore_ascii_case(scheme.as_bytes()))
}

fn is_cookie(name: &str) -> bool {
    name.len().checked_sub(6).and_then(|start| name.get(start..)).is_some_and(|end| end.eq_ignore_ascii_case("cookie"))
}
