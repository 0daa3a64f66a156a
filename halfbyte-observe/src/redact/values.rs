//! How far a value reaches: between quotes, between brackets, or up to what ends a word.

use super::REDACTED;
use super::text::{Finding, is_prose, run, step};

/// How much of a list is looked at to tell whether it is a secret.
const NEAR: usize = 64;

/// How often a text may be escaped: `\"`, `\\\"` and `\\\\\\\"` have 1, 3 and 7 backslashes.
pub(super) const SLASHES: usize = 7;

/// What is between quotes from `from` on; an error is one that has nothing to remove.
pub(super) fn quoted(bytes: &[u8], from: usize) -> Option<Result<Finding, ()>> {
    let rest = bytes.get(from..)?;
    let rest = rest.strip_prefix(b"b").unwrap_or(rest);
    let slashes = rest.iter().take(SLASHES + 1).take_while(|byte| **byte == b'\\').count();
    let open = match rest.get(slashes)? {
        b'`' if slashes > 0 => return None,
        quote @ (b'"' | b'\'' | b'`') if slashes <= SLASHES => *quote,
        _ => return None,
    };
    let from = bytes.len() - rest.len() + slashes + 1;
    let to = closing_quote(bytes, from, open, slashes);
    Some(match &bytes[from..to] {
        b"" | b"REDACTED" | b"[redacted]" => Err(()),
        _ => Ok(Finding { from, to, with: REDACTED }),
    })
}

/// Where what a quote with `slashes` before it has opened ends.
fn closing_quote(bytes: &[u8], from: usize, open: u8, slashes: usize) -> usize {
    // Escaped once more, each backslash is two.
    let unit = (slashes + 1).next_power_of_two();
    let mut seen = 0;
    for (at, byte) in bytes.iter().enumerate().skip(from) {
        step(1);
        match *byte {
            b'\\' => seen += 1,
            byte if byte == open && (seen / unit).is_multiple_of(2) => return at - seen % unit,
            _ => seen = 0,
        }
    }
    bytes.len()
}

/// The list that begins with the `[` at `from`, up to its end or that of the text. `is_sure` says that it is a value, which in
/// prose it need not be.
pub(super) fn list(bytes: &[u8], from: usize, is_sure: bool) -> Option<Finding> {
    let content = &bytes[from + 1..];
    let near = &content[..content.len().min(NEAR)];
    step(near.len() as u64);
    let end = near.iter().position(|byte| *byte == b']');
    let near = &near[..end.unwrap_or(near.len())];
    let is_number = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b',' | b' ' | b'\n');
    let first = near.iter().find(|byte| !byte.is_ascii_whitespace());
    let goes = match first {
        None => end.is_none() && is_sure,
        _ if matches!(near, b"redacted" | b"REDACTED") || end.is_some() && is_type(near) => false,
        _ if is_sure => true,
        Some(b'"' | b'\'' | b'\\') => near.len() >= 6,
        Some(_) if near.iter().all(is_number) => near.len() >= 6,
        Some(_) => end.is_some() && near.len() >= 6 && !near.split(|byte| *byte == b' ').all(is_prose),
    };
    goes.then(|| Finding { from, to: closing_bracket(bytes, from), with: REDACTED })
}

/// `u8; 32`, of an array.
fn is_type(content: &[u8]) -> bool {
    let word = run(content, 0, |byte| byte.is_ascii_alphanumeric());
    let length = content[word..].strip_prefix(b"; ").unwrap_or_default();
    !length.is_empty() && length.iter().all(u8::is_ascii_alphanumeric)
}

fn closing_bracket(bytes: &[u8], from: usize) -> usize {
    let (mut at, mut deep) = (from, 0_usize);
    while let Some(byte) = bytes.get(at) {
        step(1);
        match byte {
            b'[' => deep += 1,
            b']' => deep -= 1,
            b'"' | b'\'' => {
                let slashes = bytes[from..at].iter().rev().take(SLASHES).take_while(|byte| **byte == b'\\').count();
                at = closing_quote(bytes, at + 1, *byte, slashes);
                at += run(bytes, at, |byte| byte == b'\\');
            }
            _ => {}
        }
        at += 1;
        if deep == 0 {
            break;
        }
    }
    at.min(bytes.len())
}

/// How long the value is that begins at `from`; what closes the sentence around it is no part of it.
pub(super) fn unquoted(bytes: &[u8], from: usize, is_in_query: bool) -> usize {
    let is_part = |byte| match byte {
        ..=b' ' | b'"' | b'&' => false,
        b'#' | b'<' | b'>' => !is_in_query,
        b';' => is_in_query,
        _ => true,
    };
    let mut length = run(bytes, from, is_part);
    if bytes.get(from + length) == Some(&b'"') {
        let slashes = bytes[from..from + length].iter().rev().take(SLASHES).take_while(|byte| **byte == b'\\').count();
        length -= slashes;
    }
    if !is_in_query {
        let closing = |byte: &&u8| matches!(byte, b',' | b')' | b']' | b'}' | b'.' | b'>' | b'\'');
        length -= bytes[from..from + length].iter().rev().take_while(closing).count();
    }
    length
}
