use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// Where in a path something stands: `/tenants/{tenant}`. It fits that path and all below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PathPattern(Box<[Segment]>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Text(Box<str>),
    /// `{region}`, of which nothing is asked.
    Any,
    Wanted,
}

impl PathPattern {
    /// What is wanted is the one segment `{wanted}`.
    ///
    /// # Panics
    ///
    /// `pattern` does not begin with `/`, or has not exactly one such segment.
    pub(crate) fn new(pattern: &str, wanted: &str) -> Self {
        let rest = pattern.strip_prefix('/').unwrap_or_else(|| panic!("{pattern:?} does not begin with /"));
        let segment = |text: &str| match text.strip_prefix('{').and_then(|text| text.strip_suffix('}')) {
            Some(name) if name == wanted => Segment::Wanted,
            Some(_) => Segment::Any,
            None => Segment::Text(text.into()),
        };
        let segments: Box<[_]> = rest.split('/').map(segment).collect();
        let found = segments.iter().filter(|segment| **segment == Segment::Wanted).count();
        assert!(found == 1, "{pattern:?} has not exactly one segment {{{wanted}}}");
        Self(segments)
    }

    /// What is wanted, decoded, as a handler sees it; `None` if `path` does not fit.
    pub(crate) fn find<'a>(&self, path: &'a str) -> Option<Cow<'a, str>> {
        let rest = path.strip_prefix('/')?;
        // What is further in may go up by them, to something else.
        if rest.split('/').any(has_steps) {
            return None;
        }
        let (mut segments, mut found) = (rest.split('/'), None);
        for expected in &self.0 {
            let segment = segments.next()?;
            match expected {
                Segment::Text(text) if **text != *segment => return None,
                Segment::Any | Segment::Wanted if segment.is_empty() => return None,
                Segment::Text(_) | Segment::Any => {}
                Segment::Wanted => found = Some(percent_decode_str(segment).decode_utf8().ok()?),
            }
        }
        found
    }
}

/// Whether what `segment` stands for goes up or stays, also where it is a path in turn once it is decoded.
fn has_steps(segment: &str) -> bool {
    let decoded: Cow<'_, [u8]> = percent_decode_str(segment).into();
    let mut parts = decoded.split(|byte| matches!(byte, b'/' | b'\\'));
    parts.any(|part| !part.is_empty() && part.iter().all(|byte| *byte == b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(pattern: &str, path: &str) -> bool {
        PathPattern::new(pattern, "tenant").find(path).is_some_and(|found| found == "acme:eu")
    }

    #[test]
    fn only_the_tenants_own_paths_fit() {
        for path in [
            "/t/acme:eu",
            "/t/acme:eu/",
            "/t/acme:eu/labels/7",
            "/t/acme%3Aeu/labels",
            "/t/acme%3aeu",
            "/t/acme:eu//a%2Fb..c%2F.d",
        ] {
            assert!(fits("/t/{tenant}", path), "{path}");
        }
        for path in [
            "",
            "*",
            "/",
            "/t",
            "/t/",
            "/t/acme",
            "/t/acme:eux",
            "/t/globex/acme:eu",
            "/T/acme:eu",
            "/v1/t/acme:eu",
            "//t/acme:eu",
            "/t/acme:eu/../globex",
            "/t/acme:eu/%2e%2E/globex",
            "/t/acme:eu/..%2Fglobex",
            "/t/acme:eu/%2e%2e%2fglobex",
            "/t/acme:eu/x%2F..%2F..%2Fglobex",
            "/t/acme:eu/..%5Cglobex",
            "/t//acme:eu",
            "/t/acme%253Aeu",
            "/t/%FF",
            "/t/../t/acme:eu",
            "/t/acme:eu%2F..%2Fglobex",
        ] {
            assert!(!fits("/t/{tenant}", path), "{path}");
        }
        assert!(fits("/v1/{tenant}/labels", "/v1/acme:eu/labels/7"));
        assert!(!fits("/v1/{tenant}/labels", "/v1/acme:eu/orders"));
        assert!(fits("/v1/{region}/{tenant}", "/v1/north/acme:eu/labels"));
        assert!(!fits("/v1/{region}/{tenant}", "/v1//acme:eu"));
        assert!(!fits("/v1/{region}/{tenant}", "/v1/acme:eu"));
    }

    #[test]
    fn what_is_found_is_decoded_once() {
        let pattern = PathPattern::new("/labels/{id}", "id");
        for (path, found) in [
            ("/labels/7", Some("7")),
            ("/labels/a%2Fb", Some("a/b")),
            ("/labels/%25%32%65", Some("%2e")),
            ("/labels/%C3%BC", Some("ü")),
            ("/labels/7/print", Some("7")),
            ("/labels/", None),
            ("/labels", None),
            ("/labels/%FF", None),
            ("/labels/7/..", None),
        ] {
            assert_eq!(pattern.find(path).as_deref(), found, "{path}");
        }
    }

    #[test]
    fn a_pattern_that_would_guard_nothing_is_a_defect() {
        for pattern in ["", "tenants/{tenant}", "/tenants", "/{tenant}/{tenant}", "/t-{tenant}"] {
            assert!(std::panic::catch_unwind(|| PathPattern::new(pattern, "tenant")).is_err(), "{pattern}");
        }
    }
}
