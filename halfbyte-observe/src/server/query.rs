//! `url.query` without what must not be in it.

/// What the conventions name; compared as they are written.
const EXACT: [&str; 5] = ["X-Amz-Signature", "X-Amz-Credential", "X-Amz-Security-Token", "sig", "X-Goog-Signature"];

/// Wherever a key has one of these in it, however it is written.
const WITHIN: [&str; 9] = ["token", "passw", "secret", "key", "signature", "credential", "auth", "session", "code"];

/// The query with the values of keys that sound secret replaced by `REDACTED`.
pub(super) fn redacted(query: &str) -> String {
    let mut out = String::with_capacity(query.len());
    for (index, pair) in query.split('&').enumerate() {
        if index > 0 {
            out.push('&');
        }
        match pair.split_once('=') {
            Some((key, _)) if is_secret(key) => {
                out.push_str(key);
                out.push_str("=REDACTED");
            }
            _ => out.push_str(pair),
        }
    }
    out
}

fn is_secret(key: &str) -> bool {
    // An escape could spell any of them.
    if EXACT.contains(&key) || key.contains('%') {
        return true;
    }
    let lower = key.to_ascii_lowercase();
    WITHIN.iter().any(|part| lower.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_keys_that_sound_secret_are_replaced() {
        for (query, expected) in [
            ("q=OpenTelemetry&sig=abc", "q=OpenTelemetry&sig=REDACTED"),
            ("SIG=abc", "SIG=abc"),
            ("X-Amz-Signature=a&X-Amz-Credential=b", "X-Amz-Signature=REDACTED&X-Amz-Credential=REDACTED"),
            ("X-Amz-Security-Token=a&X-Goog-Signature=b", "X-Amz-Security-Token=REDACTED&X-Goog-Signature=REDACTED"),
            ("access_token=a&page=2", "access_token=REDACTED&page=2"),
            ("API_KEY=a", "API_KEY=REDACTED"),
            ("Password=a=b", "Password=REDACTED"),
            ("pass%77ord=a", "pass%77ord=REDACTED"),
            ("client_secret=", "client_secret=REDACTED"),
            ("flag&page=2&&", "flag&page=2&&"),
            ("", ""),
        ] {
            assert_eq!(redacted(query), expected);
        }
    }
}
