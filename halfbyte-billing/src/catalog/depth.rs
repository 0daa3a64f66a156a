//! How deep the keys of a TOML text go, found out before it is parsed.

/// Parts of a key such as `plans.pro.versions.1`; a catalogue has use for eight.
const PARTS_MAX: usize = 32;

/// Where the first key begins that has more parts than any catalogue needs.
///
/// The parser bounds how deep brackets go and not how many parts a key has. Each part is a table in a table, and these
/// are dropped one inside the other: a key of a million parts would use up the stack, which ends the process.
pub(super) fn too_deep(text: &str) -> Option<usize> {
    let text = text.as_bytes();
    let (mut at, mut key, mut parts) = (0, 0, 1);
    while at < text.len() {
        match text[at] {
            b'.' => {
                parts += 1;
                if parts > PARTS_MAX {
                    return Some(key);
                }
                at += 1;
            }
            b'=' | b',' | b'[' | b']' | b'{' | b'}' | b'\n' => {
                at += 1;
                (key, parts) = (at, 1);
            }
            b'"' | b'\'' => at = after_quoted(text, at),
            b'#' => at = find(text, at, b"\n").unwrap_or(text.len()),
            b' ' | b'\t' | b'\r' => at += 1,
            _ => at = after_bare(text, at),
        }
    }
    None
}

/// Where the quoted text ends that begins at `start`. One that is not closed ends as the parser lets it end.
fn after_quoted(text: &[u8], start: usize) -> usize {
    let quote = text[start];
    let long = text[start..].starts_with(&[quote; 3]);
    let mut at = start + if long { 3 } else { 1 };
    while at < text.len() {
        match text[at] {
            b'\\' if quote == b'"' => at += if matches!(text.get(at + 1), Some(b'\\' | b'"')) { 2 } else { 1 },
            b'\n' if !long => return at,
            byte if byte == quote && !long => return at + 1,
            byte if byte == quote && text[at..].starts_with(&[quote; 3]) => {
                // Up to two more quotes belong to the text.
                at += 3;
                return at + text[at..].iter().take(2).take_while(|byte| **byte == quote).count();
            }
            _ => at += 1,
        }
    }
    text.len()
}

/// A quote inside a bare word opens nothing.
fn after_bare(text: &[u8], start: usize) -> usize {
    let ends = |byte: &u8| b".=,[]{} \t#\r\n".contains(byte);
    text[start..].iter().position(ends).map_or(text.len(), |length| start + length)
}

fn find(text: &[u8], start: usize, wanted: &[u8]) -> Option<usize> {
    text[start..].iter().position(|byte| wanted.contains(byte)).map(|length| start + length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(parts: usize) -> String {
        vec!["a"; parts].join(".")
    }

    #[test]
    fn a_key_may_have_as_many_parts_as_the_bound_and_no_more() {
        assert_eq!(too_deep(&format!("x = 1\n{} = 1", key(PARTS_MAX))), None);
        assert_eq!(too_deep(&format!("x = 1\n{} = 1", key(PARTS_MAX + 1))), Some(6));
        assert_eq!(too_deep(&format!("x = {{ y = 1, {} = 1 }}", key(PARTS_MAX + 1))), Some(12));
        assert_eq!(too_deep(&format!("[{}]", key(PARTS_MAX + 1))), Some(1));
    }

    #[test]
    fn dots_in_texts_and_comments_are_not_of_a_key() {
        let dots = ".".repeat(PARTS_MAX + 1);
        for text in [
            format!("# {dots}\n"),
            format!("x = \"{dots}\""),
            format!("x = '{dots}'"),
            format!("x = \"\\\"{dots}\""),
            format!("x = \"\"\"\n\"{dots}\n\\\"{dots}\"\"\"\"\n"),
            format!("x = '''\n{dots}'''\n"),
            format!("x = [{}]", vec!["1.5"; PARTS_MAX + 1].join(", ")),
        ] {
            assert_eq!(too_deep(&text), None, "{text}");
        }
    }

    #[test]
    fn quoted_parts_and_texts_that_are_not_closed_hide_nothing() {
        let deep = key(PARTS_MAX + 1);
        for text in [
            vec!["\"=\""; PARTS_MAX + 1].join("."),
            vec!["'#'"; PARTS_MAX + 1].join(" . "),
            format!("x = \"open\n{deep} = 1"),
            format!("x = 'open\n{deep} = 1"),
            format!("x = '\\'\n{deep} = 1"),
            format!("x = a\"b\n{deep} = 1"),
            format!("x = \"\"\"\"\"\"\n{deep} = 1"),
        ] {
            assert!(too_deep(&text).is_some(), "{text}");
        }
    }
}
