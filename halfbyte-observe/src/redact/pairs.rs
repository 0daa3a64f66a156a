//! Names with values in a text: parameters of queries, connection strings, JSON, `Debug` of structs, lines of headers.

use super::text::{self, Finding, Looked, is_prose, step};
use super::values::{SLASHES, list, quoted, unquoted};
use super::{REDACTED, Rules};

/// The longest end of a name that is looked at.
const NAME: usize = 64;

/// How many spaces and tabs may stand on either side of a separator.
const SPACES: usize = 16;

/// How far back the brace or the comma may be that makes a name that of a field.
const INDENT: usize = 32;

/// The name in front of a separator.
struct Name<'a> {
    text: &'a str,
    /// `"name"`, perhaps in a text that is itself quoted.
    is_quoted: bool,
    /// How many backslashes are before the quote.
    slashes: usize,
    /// The first on its line, or behind what separates fields; in prose there is a word before it.
    is_field: bool,
    /// Behind `?`, `&` or `#`.
    is_in_query: bool,
}

/// The separator at `at`, if a name of a secret is before it and a value behind.
pub(super) fn pair(rules: &Rules, text: &str, at: usize, looked: &mut Looked) -> Option<Finding> {
    let name = Name::before(text, at, looked)?;
    let mut decoded = [0; NAME];
    let key = decode(name.text, &mut decoded);
    let is_secret = if name.is_in_query { rules.is_secret_in_query(key) } else { rules.names_a_secret(key) };
    match is_secret {
        true => value(text.as_bytes(), at, &name),
        false if text.as_bytes()[at] == b'=' => encoded(rules, text, at + 1, name.is_in_query, looked),
        false => None,
    }
}

impl<'a> Name<'a> {
    fn before(text: &'a str, at: usize, looked: &mut Looked) -> Option<Self> {
        let bytes = text.as_bytes();
        let mut end = at;
        let mut skip = |these: &[u8], most: usize| {
            let count = bytes[..end].iter().rev().take(most).take_while(|byte| these.contains(byte)).count();
            step(count as u64);
            end -= count;
            count
        };
        let is_spaced = skip(b" \t", SPACES) > 0;
        let is_quoted = skip(b"\"'`", 1) > 0;
        let slashes = if is_quoted { skip(b"\\", SLASHES) } else { 0 };
        if !is_quoted {
            skip(b"]", 1);
        }
        let near = &bytes[end.saturating_sub(NAME)..end];
        let is_part =
            |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'%' | b'[' | b'$');
        let length = near.iter().rev().take_while(|byte| is_part(byte)).count();
        step(length as u64);
        let start = end - length;
        let text = text.get(start..end).filter(|text| !text.is_empty())?;
        let is_behind = match start.checked_sub(1) {
            Some(before) => match bytes[before] {
                b'?' | b'&' | b'#' => true,
                // As some separate parameters; mostly it is a connection string.
                b';' => looked.is_in_query(bytes, before),
                _ => false,
            },
            None => looked.is_query,
        };
        let is_in_query = is_behind && bytes[at] == b'=' && !is_spaced && !is_quoted;
        Some(Self { text, is_quoted, slashes, is_field: is_field(&bytes[..start]), is_in_query })
    }
}

/// Whether what follows `before` is the name of a field: of a struct, a list of settings, or a line of its own.
fn is_field(before: &[u8]) -> bool {
    let near = &before[before.len().saturating_sub(INDENT)..];
    match near.iter().rev().find(|byte| !matches!(byte, b' ' | b'\t')) {
        Some(byte) => matches!(byte, b'{' | b'(' | b',' | b';' | b'\n'),
        None => near.len() == before.len(),
    }
}

/// The value at `from`, if it is a URL or a query in which something is secret, encoded to be a parameter itself.
fn encoded(rules: &Rules, text: &str, from: usize, is_in_query: bool, looked: &mut Looked) -> Option<Finding> {
    if looked.levels == 0 || from < looked.decoded_to {
        return None;
    }
    let to = from + unquoted(text.as_bytes(), from, is_in_query);
    // What begins within this value was a part of it.
    looked.decoded_to = to;
    let value = text.get(from..to).filter(|value| value.contains('%'))?;
    let decoded = percent_encoding::percent_decode_str(value).decode_utf8_lossy();
    let is_query = decoded.contains('&') && decoded.contains('=');
    text::finds(rules, &decoded, is_query, looked.levels - 1).then_some(Finding { from, to, with: REDACTED })
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
        let near = bytes.get(from..).unwrap_or_default();
        let spaces = near.iter().take(SPACES).take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        step(spaces as u64);
        from += spaces;
        is_assigned &= spaces == 0;
        // `name: value` behind a word, which may be prose even if the value is quoted.
        let mut is_sure = bytes[at] != b':' || is_assigned || name.is_quoted || name.is_field && next(from) != b'`';
        if near[spaces..].starts_with(b"Some(") {
            from += "Some(".len();
            is_sure = true;
        }
        match quoted(bytes, from) {
            Some(Ok(found)) if !is_sure && may_be_prose(&bytes[found.from..found.to]) => return None,
            Some(quoted) => return quoted.ok(),
            None if next(from) == b'[' => {
                return list(bytes, from, is_sure).map(|found| Finding { with: in_place(at, bytes, name), ..found });
            }
            None => {}
        }
    }
    if next(from) == b'{' {
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
    } else if !is_assigned && !name.is_quoted && may_be_prose(&bytes[from..to]) {
        return None;
    }
    (to > from).then_some(Finding { from, to, with: in_place(at, bytes, name) })
}

/// What takes the place of a value without quotes: in JSON a number or a list becomes a text.
fn in_place(at: usize, bytes: &[u8], name: &Name<'_>) -> &'static str {
    match name.slashes {
        _ if !name.is_quoted || bytes[at] != b':' => REDACTED,
        0 => r#""REDACTED""#,
        1 => r#"\"REDACTED\""#,
        2 | 3 => r#"\\\"REDACTED\\\""#,
        _ => r#"\\\\\\\"REDACTED\\\\\\\""#,
    }
}

/// Too short for a secret, words, or a type.
fn may_be_prose(value: &[u8]) -> bool {
    let is_function = [b"fn(".as_slice(), b"Fn(", b"FnMut(", b"FnOnce("].iter().any(|begin| value.starts_with(begin));
    value.len() < 6 || is_prose(value) || is_function
}

fn is_scheme(word: &[u8]) -> bool {
    ["bearer", "basic", "dpop", "digest", "token", "negotiate", "apikey"]
        .iter()
        .any(|scheme| word.eq_ignore_ascii_case(scheme.as_bytes()))
}

fn is_cookie(name: &str) -> bool {
    name.len().checked_sub(6).and_then(|start| name.get(start..)).is_some_and(|end| end.eq_ignore_ascii_case("cookie"))
}
