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

/// An image with a digest, or with a tag other than `latest`, which is there to be moved. A registry may move any tag: what must
/// be the same tomorrow is named by its digest.
pub(super) fn is_pinned_image(text: &str) -> bool {
    let is_image = all(text, 255, |byte| byte.is_ascii_alphanumeric() || b"./:@_-".contains(&byte))
        && has_ends(text, |byte| byte.is_ascii_alphanumeric());
    let last = text.rsplit('/').next().unwrap_or_default();
    let (named, digest) = last.split_once('@').map_or((last, None), |(named, digest)| (named, Some(digest)));
    let tag = named.split_once(':').map(|(_, tag)| tag);
    is_image
        && match digest {
            Some(digest) => digest.strip_prefix("sha256:").is_some_and(is_fingerprint),
            None => tag.is_some_and(|tag| tag != "latest"),
        }
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
    // How it ends, with or without a word before it.
    const ENDS: [&str; 9] = [
        "TOKEN",
        "SECRET",
        "PASSWORD",
        "PASSWD",
        "PASSPHRASE",
        "CREDENTIAL",
        "APIKEY",
        "CONNECTION_STRING",
        "_HEADERS",
    ];
    // Its last word.
    const WORDS: [&str; 8] = ["PASS", "PWD", "KEY", "CREDS", "DSN", "PAT", "COOKIE", "SALT"];
    // What says in which form it is.
    const FORMS: [&str; 6] = ["PEM", "BASE64", "B64", "HEX", "JSON", "JWK"];
    if variable.starts_with("OTEL_") && variable.ends_with("_CLIENT_KEY") {
        // By the specification of OpenTelemetry a path.
        return false;
    }
    let form = variable.rsplit_once('_').filter(|(_, last)| FORMS.contains(last));
    let name = form.map_or(variable, |(name, _)| name);
    let one = name.strip_suffix('S').filter(|one| !one.ends_with("PAS")).unwrap_or(name);
    if one.ends_with("PUBLIC_KEY") {
        return false;
    }
    ENDS.iter().any(|end| name.ends_with(end) || one.ends_with(end))
        || WORDS.iter().any(|word| [name, one].iter().any(|name| name.rsplit('_').next() == Some(word)))
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
        let digest = format!("@sha256:{}", "0123abcd".repeat(8));
        let by_digest = [format!("parcel{digest}"), format!("registry:5000/parcel:latest{digest}")];
        for pinned in ["parcel:0.1.0", "registry.example.com:5000/team/parcel:1", &by_digest[0], &by_digest[1]] {
            assert!(is_pinned_image(pinned), "{pinned}");
        }
        for loose in [
            "parcel",
            "parcel:latest",
            "registry:5000/parcel",
            "parcel:",
            "parcel@latest",
            "parcel@1",
            "parcel@sha256:0123abcd",
            "a b:1",
            "p:1\nRUN x",
            "",
        ] {
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
    fn a_secret_is_known_by_what_it_is_called() {
        for secret in [
            "BAO_TOKEN",
            "GITHUB_TOKENS",
            "CLIENT_SECRET",
            "PGPASSWORD",
            "SMTP_PASS",
            "DB_PWD",
            "KEY_PASSPHRASE",
            "SIGNING_KEY",
            "SENTRY_DSN",
            "GOOGLE_CREDENTIALS",
            "AWS_CREDS",
            "STRIPE_API_KEY",
            "STRIPE_APIKEY",
            "AZURE_CONNECTION_STRING",
            "GITHUB_PAT",
            "TLS_PRIVATE_KEY_PEM",
            "SERVICE_ACCOUNT_KEY_JSON",
            "HASH_SALT",
            "OTEL_EXPORTER_OTLP_HEADERS",
            "SESSION_KEYS",
            "KEY",
            "PASS",
        ] {
            assert!(is_secret_by_name(secret), "{secret}");
        }
        for open in [
            "PARCEL_URL",
            "LOG_LEVEL",
            "SIGNING_PUBLIC_KEY",
            "JWT_PUBLIC_KEYS",
            "TOKEN_LIFETIME",
            "SMTP_PASSWORD_FILE",
            "COMPASS",
            "BYPASS",
            "MONKEY",
            "OTEL_EXPORTER_OTLP_CLIENT_KEY",
            "AWS_REGION",
            "PATH",
        ] {
            assert!(!is_secret_by_name(open), "{open}");
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
