/// The query of an address as telemetry may show it: which parameters it has, and of each value `REDACTED`. This is
/// stricter than the semantic conventions of OpenTelemetry, which name some that must not be shown: any other may be a
/// token, or somebody's name.
///
/// ```
/// # use halfbyte_core::client::redacted_query;
/// assert_eq!(redacted_query("color=blue&sig=aGkK&aGkK"), "color=REDACTED&sig=REDACTED&REDACTED");
/// ```
pub fn redacted_query(query: &str) -> String {
    let mut shown = String::with_capacity(query.len());
    for parameter in query.split('&') {
        if !shown.is_empty() {
            shown.push('&');
        }
        match parameter.split_once('=') {
            Some((key, _)) => shown.extend([key, "=REDACTED"]),
            // It may be a value without a name as well as a name without a value.
            None if !parameter.is_empty() => shown.push_str("REDACTED"),
            None => {}
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_query_only_the_names_are_shown() {
        for (query, shown) in [
            ("", ""),
            ("a=1", "a=REDACTED"),
            ("color=blue&sig=x", "color=REDACTED&sig=REDACTED"),
            ("a=1=2&b=", "a=REDACTED&b=REDACTED"),
            ("hunter2", "REDACTED"),
            ("=hunter2", "=REDACTED"),
            ("a=1&hunter2&b=2", "a=REDACTED&REDACTED&b=REDACTED"),
            ("a=hunter2;b=hunter2", "a=REDACTED"),
        ] {
            assert_eq!(redacted_query(query), shown, "{query}");
        }
    }
}
