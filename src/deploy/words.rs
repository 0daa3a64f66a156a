//! Which words may stand in a file of a deployment, by what takes them.

/// The longest value of a variable, in bytes.
const LONGEST_VALUE: usize = 4096;

fn all(text: &str, longest: usize, allowed: impl Fn(u8) -> bool) -> bool {
    (1..=longest).contains(&text.len()) && text.bytes().all(allowed)
}

fn has_ends(text: &str, is_end: impl Fn(u8) -> bool) -> bool {
    let bytes = text.as_bytes();
    bytes.first().copied().is_some_and(&is_end) && bytes.last().copied().is_some_and(is_end)
}

fn is_lower(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

/// A label of RFC 1123, as Kubernetes wants names to be.
pub(super) fn is_name(text: &str) -> bool {
    all(text, 63, |byte| is_lower(byte) || byte == b'-') && has_ends(text, is_lower)
}

/// A label that begins with a letter, as the name of a Service does.
pub(super) fn is_service_name(text: &str) -> bool {
    is_name(text) && !text.starts_with(|first: char| first.is_ascii_digit())
}

/// A host name.
pub(super) fn is_host(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_name)
}

/// The name of an annotation, with or without a domain before it.
pub(super) fn is_annotation(text: &str) -> bool {
    let (domain, name) = text.rsplit_once('/').unwrap_or(("annotation", text));
    is_host(domain)
        && all(name, 63, |byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        && has_ends(name, |byte| byte.is_ascii_alphanumeric())
}

/// A version by semver.org, as far as its alphabet goes.
pub(super) fn is_version(text: &str) -> bool {
    all(text, 63, |byte| byte.is_ascii_alphanumeric() || b".+-".contains(&byte))
        && has_ends(text, |byte| byte.is_ascii_alphanumeric())
}

/// Words of plain text: the version of a contract.
pub(super) fn is_plain(text: &str) -> bool {
    all(text, 64, |byte| byte.is_ascii_alphanumeric() || b" .()_-".contains(&byte))
}

pub(super) fn is_fingerprint(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// A package, program or feature of cargo.
pub(super) fn is_of_cargo(text: &str) -> bool {
    all(text, 64, |byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)) && !text.starts_with('-')
}

/// An image with a tag other than `latest`, or a digest: what is built tomorrow is then what was built today.
pub(super) fn is_pinned_image(text: &str) -> bool {
    let is_image = all(text, 255, |byte| byte.is_ascii_alphanumeric() || b"./:@_-".contains(&byte))
        && has_ends(text, |byte| byte.is_ascii_alphanumeric());
    let last = text.rsplit('/').next().unwrap_or_default();
    let tag = last.split_once([':', '@']).map(|(_, tag)| tag);
    is_image && tag.is_some_and(|tag| tag != "latest")
}

/// A quantity as Kubernetes writes it.
pub(super) fn is_quantity(text: &str) -> bool {
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = &text[number.len()..];
    let is_number = all(number, 16, |byte| byte.is_ascii_digit() || byte == b'.') && number.parse::<f64>().is_ok();
    is_number && ["", "m", "k", "M", "G", "Ki", "Mi", "Gi"].contains(&unit)
}

/// The name of a variable of the environment.
pub(super) fn is_variable(text: &str) -> bool {
    all(text, 160, |byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
        && !text.starts_with(|first: char| first.is_ascii_digit())
}

/// A variable whose value is secret by what it is called.
pub(super) fn is_secret_by_name(variable: &str) -> bool {
    const MARKS: [&str; 8] =
        ["TOKEN", "SECRET", "PASSWORD", "PASSWD", "PRIVATE_KEY", "API_KEY", "ACCESS_KEY", "_HEADERS"];
    MARKS.iter().any(|mark| variable.ends_with(mark))
}

/// A value that stays in its line and looks to people as it does to programs.
pub(super) fn is_value(text: &str) -> bool {
    let hides = |c: char| matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    text.len() <= LONGEST_VALUE && !text.chars().any(|c| c.is_control() || hides(c))
}

/// An absolute path without anything that a mount or a unit would read otherwise.
pub(super) fn is_folder(text: &str) -> bool {
    let part = |part: &str| {
        all(part, 255, |byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)) && part != "." && part != ".."
    };
    text.len() <= 1024 && text.strip_prefix('/').is_some_and(|rest| rest.split('/').all(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_that_may_be_another_tomorrow_is_refused() {
        for pinned in ["parcel:0.1.0", "registry.example.com:5000/team/parcel:1", "parcel@sha256:0123abcd"] {
            assert!(is_pinned_image(pinned), "{pinned}");
        }
        for loose in ["parcel", "parcel:latest", "registry:5000/parcel", "parcel:", "a b:1", "p:1\nRUN x", ""] {
            assert!(!is_pinned_image(loose), "{loose:?}");
        }
    }

    #[test]
    fn names_are_as_kubernetes_wants_them() {
        for good in ["parcel", "a", "p-1"] {
            assert!(is_service_name(good), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a.b", "a b", "1a", "a\n"] {
            assert!(!is_service_name(bad), "{bad:?}");
        }
        assert!(is_host("parcel.example.com") && !is_host("parcel..com") && !is_host("*.example.com"));
        assert!(is_annotation("eks.amazonaws.com/role-arn") && !is_annotation("a b/c") && !is_annotation("a/b/"));
    }

    #[test]
    fn quantities_are_as_kubernetes_writes_them() {
        for good in ["250m", "1", "0.5", "512Mi", "2Gi"] {
            assert!(is_quantity(good), "{good}");
        }
        for bad in ["", "m", "1 Gi", "1.2.3", "1Q", "-1"] {
            assert!(!is_quantity(bad), "{bad:?}");
        }
    }

    #[test]
    fn a_value_stays_in_its_line() {
        assert!(is_value("") && is_value("a: b # c, $(d) %n \"e\" ü"));
        for bad in ["a\nb", "a\rb", "\0", "\u{85}", "\u{2028}", "\u{202e}", "\u{feff}"] {
            assert!(!is_value(bad), "{bad:?}");
        }
        assert!(!is_value(&"x".repeat(LONGEST_VALUE + 1)));
    }

    #[test]
    fn a_folder_is_absolute_and_goes_nowhere_else() {
        assert!(is_folder("/run/secrets/parcel_1.d"));
        for bad in ["run", "/", "//", "/a/", "/a/../b", "/a b", "/a:ro", "/a%n", ""] {
            assert!(!is_folder(bad), "{bad:?}");
        }
    }
}
