//! What looks like a secret by itself. Each rule is asked at the byte that could begin it.

use super::REDACTED;
use super::text::{Finding, is_prose, run, step};

/// What the shapes that [`word`] knows begin with.
pub(super) const INITIALS: [u8; 15] = *b"bBdDeEhAgGxsrRp";

/// Keys with a prefix that says whose they are, and how many characters have to follow.
const PREFIXED: [(&[u8], usize); 20] = [
    (b"AIza", 30),
    (b"github_pat_", 20),
    (b"ghp_", 20),
    (b"gho_", 20),
    (b"ghu_", 20),
    (b"ghs_", 20),
    (b"ghr_", 20),
    (b"glpat-", 16),
    (b"pypi-", 40),
    (b"rk_live_", 16),
    (b"rk_test_", 16),
    (b"sk_live_", 16),
    (b"sk_test_", 16),
    (b"sk-ant-", 20),
    (b"sk-proj-", 20),
    (b"xoxa-", 10),
    (b"xoxb-", 10),
    (b"xoxp-", 10),
    (b"xoxr-", 10),
    (b"xoxs-", 10),
];

/// What begins with a letter that follows no letter: schemes of `Authorization`, JSON web tokens, API keys.
pub(super) fn word(bytes: &[u8], at: usize, no_jwt_before: &mut usize) -> Option<Finding> {
    let rest = &bytes[at..];
    match rest[0] {
        b'b' | b'B' => scheme(bytes, at, b"bearer", 1).or_else(|| scheme(bytes, at, b"basic", 8)),
        b'd' | b'D' => scheme(bytes, at, b"dpop", 1),
        b'e' => jwt(bytes, at, no_jwt_before),
        b'h' => halfbyte(bytes, at),
        b'A' if rest.starts_with(b"AKIA") || rest.starts_with(b"ASIA") => {
            let length = run(bytes, at, |byte| byte.is_ascii_alphanumeric());
            (length == 20).then_some(Finding { from: at, to: at + length, with: REDACTED })
        }
        _ => prefixed(bytes, at),
    }
}

/// `Bearer`, spaces, and `least` characters or more that are no prose.
fn scheme(bytes: &[u8], at: usize, name: &[u8], least: usize) -> Option<Finding> {
    let end = at + name.len();
    if !bytes.get(at..end)?.eq_ignore_ascii_case(name) {
        return None;
    }
    let from = end + run(bytes, end, |byte| matches!(byte, b' ' | b'\t' | b'+')).min(8);
    if from == end {
        return None;
    }
    let to = from + run(bytes, from, is_token68);
    (to - from >= least && !is_prose(&bytes[from..to])).then_some(Finding { from, to, with: REDACTED })
}

/// RFC 9110, 11.2.
fn is_token68(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/' | b'=')
}

/// Two parts or more, separated by dots: signed, encrypted, or cut off behind the claims.
fn jwt(bytes: &[u8], at: usize, no_jwt_before: &mut usize) -> Option<Finding> {
    if at < *no_jwt_before || !bytes[at..].starts_with(b"eyJ") {
        return None;
    }
    let part = |from| run(bytes, from, |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    let header = at + part(at);
    // All that begin in the same run end with it.
    *no_jwt_before = header;
    let mut to = header;
    let mut parts = 1;
    while parts < 5 && bytes.get(to) == Some(&b'.') {
        to = to + 1 + part(to + 1);
        parts += 1;
    }
    let claims = bytes.get(header + 1..).unwrap_or_default();
    let is_one = header - at >= 8 && (parts >= 3 && to - header > 8 || claims.starts_with(b"eyJ"));
    is_one.then_some(Finding { from: at, to, with: REDACTED })
}

/// `hb_ENV_ID_SECRET`, also when it is cut off or misspelt.
fn halfbyte(bytes: &[u8], at: usize) -> Option<Finding> {
    let rest = &bytes[at..];
    let prefix = [b"hb_dev_".as_slice(), b"hb_stg_", b"hb_live_"].into_iter().find(|name| rest.starts_with(name))?;
    let from = at + prefix.len();
    let length = run(bytes, from, |byte| byte.is_ascii_alphanumeric() || byte == b'_');
    (length >= 12).then_some(Finding { from, to: from + length, with: REDACTED })
}

fn prefixed(bytes: &[u8], at: usize) -> Option<Finding> {
    let (prefix, least) = PREFIXED.into_iter().find(|(prefix, _)| bytes[at..].starts_with(prefix))?;
    let from = at + prefix.len();
    let length = run(bytes, from, |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    (length >= least).then_some(Finding { from: at, to: from + length, with: REDACTED })
}

/// `-----BEGIN … PRIVATE KEY-----` up to its end, or that of the text.
pub(super) fn private_key(bytes: &[u8], at: usize) -> Option<Finding> {
    const BEGIN: &[u8] = b"-----BEGIN ";
    const KEY: &[u8] = b"PRIVATE KEY";
    let label = bytes[at..].strip_prefix(BEGIN)?;
    let label = &label[..run(label, 0, |byte| byte.is_ascii_uppercase() || byte == b' ').min(64)];
    let label = label.strip_suffix(b" BLOCK").unwrap_or(label);
    if !label.ends_with(KEY) {
        return None;
    }
    let mut to = at + BEGIN.len() + label.len();
    while let Some(rest) = bytes.get(to..).filter(|rest| !rest.is_empty()) {
        step(1);
        if rest.starts_with(b"-----END ") {
            to += "-----END ".len();
            to += run(bytes, to, |byte| byte != b'-' && byte != b'\n').min(64);
            to += run(bytes, to, |byte| byte == b'-').min(5);
            break;
        }
        to += 1;
    }
    // The end mark's label may have anything in it, if it is not one.
    while !is_boundary(bytes, to) {
        to += 1;
    }
    Some(Finding { from: at, to, with: REDACTED })
}

fn is_boundary(bytes: &[u8], at: usize) -> bool {
    bytes.get(at).is_none_or(|byte| byte & 0xC0 != 0x80)
}

/// `://user:password@`, where the colon is at `at`.
pub(super) fn user_info(bytes: &[u8], at: usize) -> Option<Finding> {
    let rest = &bytes[at..];
    let from = [b"://".as_slice(), b":\\/\\/"].into_iter().find(|mark| rest.starts_with(mark))?.len() + at;
    let authority = run(bytes, from, |byte| !matches!(byte, b'/' | b'?' | b'#') && is_url(byte));
    let authority = &bytes[from..from + authority];
    let length = authority.iter().rposition(|byte| *byte == b'@')?;
    replaced_user(bytes, from, from + length)
}

fn is_url(byte: u8) -> bool {
    byte > b' ' && !matches!(byte, b'"' | b'\'' | b'<' | b'>' | b'`')
}

/// `user:password@tcp(host)/name`, as Go's database drivers have it, where the `@` is at `at`.
pub(super) fn data_source(bytes: &[u8], at: usize, not_before: usize) -> Option<Finding> {
    let rest = &bytes[at + 1..];
    if !rest.starts_with(b"tcp(") && !rest.starts_with(b"unix(") {
        return None;
    }
    let near = &bytes[not_before.max(at.saturating_sub(128))..at];
    step(near.len() as u64);
    let start = near.iter().rposition(|byte| !is_url(*byte)).map_or(0, |before| before + 1);
    let near = &near[start..];
    let colon = near.iter().position(|byte| *byte == b':')?;
    let user = near[..colon].iter().rposition(|byte| *byte == b'=').map_or(0, |before| before + 1);
    let mut from = at - near.len() + user;
    while !is_boundary(bytes, from) {
        from += 1;
    }
    replaced_user(bytes, from, at)
}

fn replaced_user(bytes: &[u8], from: usize, to: usize) -> Option<Finding> {
    let with = match &bytes[from..to] {
        b"" | b"REDACTED" | b"REDACTED:REDACTED" => return None,
        info if info.contains(&b':') => "REDACTED:REDACTED",
        _ => REDACTED,
    };
    Some(Finding { from, to, with })
}
