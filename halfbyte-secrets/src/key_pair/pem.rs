//! Keys and certificates as they lie in a secret: as PEM (RFC 7468), alone or in the fields of a JSON object.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::zeroize::Zeroizing;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::ParseError;
use crate::from_secret::not_json;

const BEGIN: &[u8] = b"-----BEGIN ";
const END: &[u8] = b"-----END ";
const DASHES: &[u8] = b"-----";

/// How `openssl` says in front of the body that it is encrypted, where the label does not (RFC 1421, 4.6.1.1).
const ENCRYPTED: &[u8] = b"Proc-Type: 4,ENCRYPTED";

/// What stands between a line that begins it and the one that ends it.
#[derive(Clone, Copy)]
pub(super) struct Block<'a> {
    pub(super) label: &'a [u8],
    pub(super) body: &'a [u8],
    /// With both lines.
    pub(super) whole: &'a [u8],
}

impl Block<'_> {
    pub(super) fn is_private_key(&self) -> bool {
        self.label.ends_with(b"PRIVATE KEY")
    }

    pub(super) fn is_encrypted(&self) -> bool {
        self.label == b"ENCRYPTED PRIVATE KEY" || find(self.body, ENCRYPTED).is_some()
    }

    /// What it holds; `None` if that is not base64, or nothing.
    pub(super) fn der(&self) -> Option<Zeroizing<Vec<u8>>> {
        // Both of full size from the start: one that grows leaves copies behind.
        let mut packed = Zeroizing::new(Vec::with_capacity(self.body.len()));
        packed.extend(self.body.iter().copied().filter(|byte| !byte.is_ascii_whitespace()));
        let mut der = Zeroizing::new(vec![0; base64::decoded_len_estimate(packed.len())]);
        let length = STANDARD.decode_slice(&*packed, &mut der).ok().filter(|length| *length > 0)?;
        der.truncate(length);
        Some(der)
    }
}

/// Hands over each block in `secret`, which is PEM or has it in its fields; not what is between them.
///
/// Stops at the first error of `found`.
pub(super) fn blocks(
    secret: &[u8],
    mut found: impl FnMut(Block<'_>) -> Result<(), ParseError>,
) -> Result<(), ParseError> {
    if secret.trim_ascii_start().first() != Some(&b'{') {
        return blocks_of(secret, &mut found);
    }
    let fields: Fields<'_> = serde_json::from_slice(secret).map_err(|error| not_json(&error))?;
    let single = [fields.private_key, fields.certificate];
    for text in single.into_iter().flatten().chain(fields.issuers()?) {
        blocks_of(&unescaped(text), &mut found)?;
    }
    Ok(())
}

/// What `pki/issue` of OpenBao and Vault answered, or a Kubernetes secret of the type `kubernetes.io/tls` with its fields together.
#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow, default, alias = "tls.key")]
    private_key: Option<&'a RawValue>,
    #[serde(borrow, default, alias = "tls.crt")]
    certificate: Option<&'a RawValue>,
    #[serde(borrow, default)]
    ca_chain: Option<&'a RawValue>,
    #[serde(borrow, default)]
    issuing_ca: Option<&'a RawValue>,
}

impl<'a> Fields<'a> {
    /// The certificates behind the first one: a list of them, one behind the other in a text, or the issuer alone.
    fn issuers(&self) -> Result<Vec<&'a RawValue>, ParseError> {
        let chain = match self.ca_chain {
            Some(list) if list.get().starts_with('[') => {
                serde_json::from_str(list.get()).map_err(|error| not_json(&error))?
            }
            other => other.into_iter().collect::<Vec<_>>(),
        };
        Ok(chain.into_iter().chain(self.issuing_ca).collect())
    }
}

/// The text of a JSON string, read here since a buffer of the parser would grow, and keep copies. What is not ASCII is no PEM,
/// and becomes a question mark.
fn unescaped(raw: &RawValue) -> Zeroizing<Vec<u8>> {
    let mut text = Zeroizing::new(Vec::with_capacity(raw.get().len()));
    let mut rest = raw.get().as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'\\' {
            text.push(*first);
            continue;
        }
        let Some((escape, after)) = rest.split_first() else { break };
        rest = after;
        text.push(match escape {
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                let (digits, after) = rest.split_at(rest.len().min(4));
                rest = after;
                let code = str::from_utf8(digits).ok().and_then(|digits| u8::from_str_radix(digits, 16).ok());
                code.filter(u8::is_ascii).unwrap_or(b'?')
            }
            other => *other,
        });
    }
    text
}

fn blocks_of(mut text: &[u8], found: &mut impl FnMut(Block<'_>) -> Result<(), ParseError>) -> Result<(), ParseError> {
    const CUT: &str = "a block of the PEM has no end: is all of it there?";
    while let Some(begin) = find(text, BEGIN) {
        text = &text[begin..];
        let cut = || ParseError::new(CUT);
        let label = &text[BEGIN.len()..];
        let label = &label[..find(label, DASHES).ok_or_else(cut)?];
        let body = &text[BEGIN.len() + label.len() + DASHES.len()..];
        let body = &body[..find(body, END).ok_or_else(cut)?];
        let length = BEGIN.len() + label.len() + DASHES.len() + body.len() + END.len();
        let after = text[length..].strip_prefix(label).and_then(|after| after.strip_prefix(DASHES)).ok_or_else(cut)?;
        let whole = &text[..text.len() - after.len()];
        found(Block { label, body, whole })?;
        text = after;
    }
    Ok(())
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(secret: &str) -> Result<Vec<String>, ParseError> {
        let mut labels = Vec::new();
        blocks(secret.as_bytes(), |block| {
            labels.push(String::from_utf8_lossy(block.label).into_owned());
            Ok(())
        })?;
        Ok(labels)
    }

    fn block(label: &str) -> String {
        format!("-----BEGIN {label}-----\nAAAA\n-----END {label}-----\n")
    }

    #[test]
    fn blocks_are_found_in_their_order_between_other_text() {
        let text = format!("Bag Attributes\r\n{}subject=x\n{} {}", block("A"), block("B C"), block("A"));
        assert_eq!(labels(&text).expect("PEM"), ["A", "B C", "A"]);
        assert_eq!(labels("nothing of the kind").expect("nothing"), [""; 0]);
    }

    #[test]
    fn a_block_that_is_cut_off_is_refused() {
        let whole = block("A");
        for end in "-----BEGIN ".len()..whole.len() - 1 {
            assert!(labels(&whole[..end]).is_err(), "{}", &whole[..end]);
        }
        assert!(labels("-----BEGIN A-----\nAAAA\n-----END B-----\n").is_err());
    }

    #[test]
    fn the_fields_of_json_are_read_in_the_order_of_a_chain() {
        let json = serde_json::json!({
            "issuing_ca": block("FOURTH"),
            "ca_chain": [block("SECOND"), block("THIRD")],
            "certificate": block("FIRST"),
            "private_key": block("KEY"),
            "serial_number": block("NONE"),
        });
        assert_eq!(labels(&json.to_string()).expect("JSON"), ["KEY", "FIRST", "SECOND", "THIRD", "FOURTH"]);
        let joined = serde_json::json!({"ca_chain": block("A") + &block("B"), "tls.key": block("C"), "tls.crt": null});
        assert_eq!(labels(&format!(" \n{joined}")).expect("JSON"), ["C", "A", "B"]);
        for other in [r#"{"ca_chain":[1}"#, "{", r#"{"private_key":"a","private_key":"b"}"#] {
            assert!(labels(other).is_err(), "{other}");
        }
    }

    #[test]
    fn each_escape_of_json_is_read() {
        for (json, text) in [
            (r#""a\r\n\tb\/\\\"\u003d\u002B""#, "\"a\r\n\tb/\\\"=+\""),
            (r#""\u00e9\ud83d\ude00""#, "\"???\""),
            ("17", "17"),
        ] {
            let raw: &RawValue = serde_json::from_str(json).expect("JSON");
            assert_eq!(String::from_utf8_lossy(&unescaped(raw)), text);
        }
    }

    #[test]
    fn what_a_block_holds_is_read_whatever_its_lines() {
        let held = |body: &str| {
            let block = Block { label: b"", body: body.as_bytes(), whole: b"" };
            block.der().map(|der| der.to_vec())
        };
        assert_eq!(held("\r\nAAEC\r\nAw==\r\n"), Some(vec![0, 1, 2, 3]));
        assert_eq!(held(" AA\tECAw =="), Some(vec![0, 1, 2, 3]));
        for body in ["", "\n", "AAE", "A-_A", "x: y\n\nAAAA"] {
            assert_eq!(held(body), None, "{body}");
        }
    }
}
