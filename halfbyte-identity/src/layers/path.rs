use std::borrow::Cow;

use halfbyte_core::TenantId;
use percent_encoding::percent_decode_str;

/// Where in a path the tenant stands: `/tenants/{tenant}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TenantPath {
    /// `None` is the tenant.
    segments: Box<[Option<Box<str>>]>,
}

impl TenantPath {
    pub(super) fn new(pattern: &str) -> Self {
        let rest = pattern.strip_prefix('/').unwrap_or_else(|| panic!("{pattern:?} does not begin with /"));
        let segment = |text: &str| (text != "{tenant}").then(|| Box::from(text));
        let segments: Box<[_]> = rest.split('/').map(segment).collect();
        let tenants = segments.iter().filter(|segment| segment.is_none()).count();
        assert!(tenants == 1, "{pattern:?} has not exactly one segment {{tenant}}");
        Self { segments }
    }

    /// Whether `path` fits and names `tenant`.
    pub(super) fn names(&self, path: &str, tenant: &TenantId) -> bool {
        let Some(rest) = path.strip_prefix('/') else { return false };
        // What is further in may go up by them, to another tenant.
        if rest.split('/').any(has_steps) {
            return false;
        }
        let mut segments = rest.split('/');
        self.segments.iter().all(|expected| {
            segments.next().is_some_and(|segment| match expected {
                Some(text) => **text == *segment,
                // Decoded, as a handler sees it.
                None => percent_decode_str(segment).decode_utf8().is_ok_and(|named| named == tenant.as_str()),
            })
        })
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
        TenantPath::new(pattern).names(path, &"acme:eu".parse().expect("a tenant"))
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
    }

    #[test]
    fn a_pattern_that_would_guard_nothing_is_a_defect() {
        for pattern in ["", "tenants/{tenant}", "/tenants", "/{tenant}/{tenant}", "/t-{tenant}"] {
            assert!(std::panic::catch_unwind(|| TenantPath::new(pattern)).is_err(), "{pattern}");
        }
    }
}
