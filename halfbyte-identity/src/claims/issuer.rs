//! Whether an `iss` is the configured one, which for Entra may be one of many.

use std::sync::Arc;

use halfbyte_core::config::Preset;

/// Microsoft's tenant of personal accounts: no organization.
pub(super) const PERSONAL_ACCOUNTS: &str = "9188040d-6c67-4c5b-b112-36a304b66dad";

const PLACEHOLDER: &str = "{tenantid}";

/// What `iss` must be.
pub(super) enum IssuerId {
    /// This, byte for byte.
    Exact(Arc<str>),
    /// The issuer of any tenant of Entra: this, with the tenant's id in the middle.
    OfTenants {
        before: Box<str>,
        after: Box<str>,
        /// Under which id the metadata of all of them is found.
        metadata: Box<str>,
        /// Whether personal accounts are left out.
        organizations_only: bool,
    },
}

impl IssuerId {
    pub(super) fn new(id: &str, preset: Preset) -> Self {
        match preset {
            Preset::Entra => Self::of_tenants(id).unwrap_or_else(|| Self::Exact(id.into())),
            _ => Self::Exact(id.into()),
        }
    }

    /// `https://HOST/{tenantid}/…`, its braces as they are or percent-encoded, or `https://HOST/organizations/…` or
    /// `https://HOST/common/…`.
    fn of_tenants(id: &str) -> Option<Self> {
        let host = id.find("://")? + 3;
        let first = host + id[host..].find('/')? + 1;
        let (before, rest) = id.split_at(first);
        let (segment, after) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let stands_for_all = segment == PLACEHOLDER || segment.eq_ignore_ascii_case("%7Btenantid%7D");
        if !stands_for_all && segment != "organizations" && segment != "common" {
            return None;
        }
        Some(Self::OfTenants {
            metadata: format!("{before}{}{after}", if stands_for_all { "common" } else { segment }).into(),
            before: before.into(),
            after: after.into(),
            organizations_only: segment == "organizations",
        })
    }

    pub(super) fn is(&self, iss: &str) -> bool {
        match self {
            Self::Exact(id) => **id == *iss,
            Self::OfTenants { .. } => self.tenant_in(iss).is_some(),
        }
    }

    /// The tenant whose issuer `iss` is, where there are many.
    fn tenant_in<'a>(&self, iss: &'a str) -> Option<&'a str> {
        let Self::OfTenants { before, after, organizations_only, .. } = self else { return None };
        let tenant = iss.strip_prefix(&**before)?.strip_suffix(&**after)?;
        (is_guid(tenant) && !(*organizations_only && tenant == PERSONAL_ACCOUNTS)).then_some(tenant)
    }

    /// Whether Entra's tenant `tid` may speak by `iss`, which is of this issuer.
    pub(super) fn is_of_tenant(&self, iss: &str, tid: &str) -> bool {
        is_guid(tid)
            && match self {
                Self::Exact(id) => id.split('/').filter(|segment| is_guid(segment)).all(|segment| segment == tid),
                Self::OfTenants { .. } => self.tenant_in(iss) == Some(tid),
            }
    }

    /// `iss` as a principal names it; without a copy where there is only one.
    pub(super) fn shared(&self, iss: &str) -> Arc<str> {
        match self {
            Self::Exact(id) => id.clone(),
            Self::OfTenants { .. } => iss.into(),
        }
    }

    /// Whether a key that is `limited` to an issuer, as Entra's are, may sign for `iss`.
    pub(super) fn may_sign(limited: &str, iss: &str) -> bool {
        Self::new(limited, Preset::Entra).is(iss)
    }

    /// The only one that `iss` may be, if there is only one.
    pub(super) fn only(&self) -> Option<&str> {
        match self {
            Self::Exact(id) => Some(id),
            Self::OfTenants { .. } => None,
        }
    }

    pub(super) fn metadata(&self) -> &str {
        match self {
            Self::Exact(id) => id,
            Self::OfTenants { metadata, .. } => metadata,
        }
    }

    pub(super) fn fits_metadata(&self, issuer: &str) -> bool {
        match self {
            Self::Exact(id) => **id == *issuer,
            Self::OfTenants { before, after, .. } => {
                issuer.strip_prefix(&**before).and_then(|rest| rest.strip_suffix(&**after)) == Some(PLACEHOLDER)
            }
        }
    }
}

/// The one spelling of a GUID in which Entra writes its ids: lower-case hex in groups of 8, 4, 4, 4 and 12.
fn is_guid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TENANT: &str = "5f1c2a3e-0b4d-4c6e-8f70-9a1b2c3d4e5f";

    fn entra(id: &str) -> IssuerId {
        IssuerId::new(id, Preset::Entra)
    }

    #[test]
    fn an_id_for_all_tenants_takes_each_tenants_issuer_and_nothing_around_it() {
        for id in [
            "https://login.microsoftonline.com/{tenantid}/v2.0",
            "https://login.microsoftonline.com/%7Btenantid%7D/v2.0",
            "https://login.microsoftonline.com/%7btenantid%7d/v2.0",
            "https://login.microsoftonline.com/common/v2.0",
            "https://login.microsoftonline.com/organizations/v2.0",
        ] {
            let issuer = entra(id);
            assert!(issuer.is(&format!("https://login.microsoftonline.com/{TENANT}/v2.0")), "{id}");
            for other in [
                format!("https://login.microsoftonline.com/{}/v2.0", TENANT.to_uppercase()),
                format!("https://login.microsoftonline.com/{TENANT}/v2.0/"),
                format!("https://login.microsoftonline.com/{TENANT}/v1.0"),
                format!("https://login.microsoftonline.com/{TENANT}"),
                format!("https://login.microsoftonline.com/x/{TENANT}/v2.0"),
                format!("https://login.microsoftonline.com/{TENANT}/x/v2.0"),
                format!("https://login.microsoftonline.com.evil.example/{TENANT}/v2.0"),
                format!("http://login.microsoftonline.com/{TENANT}/v2.0"),
                "https://login.microsoftonline.com//v2.0".into(),
                "https://login.microsoftonline.com/{tenantid}/v2.0".into(),
                "https://login.microsoftonline.com/common/v2.0".into(),
                id.into(),
            ] {
                assert!(!issuer.is(&other), "{id} {other}");
            }
            assert!(issuer.fits_metadata("https://login.microsoftonline.com/{tenantid}/v2.0"), "{id}");
            assert!(!issuer.fits_metadata(&format!("https://login.microsoftonline.com/{TENANT}/v2.0")), "{id}");
        }
    }

    #[test]
    fn a_key_of_one_tenant_signs_for_no_other_and_a_key_of_all_for_each() {
        let iss = |tenant: &str| format!("https://login.microsoftonline.com/{tenant}/v2.0");
        let of_all = "https://login.microsoftonline.com/{tenantid}/v2.0";
        assert!(IssuerId::may_sign(of_all, &iss(TENANT)) && IssuerId::may_sign(&iss(TENANT), &iss(TENANT)));
        // The keys of personal accounts stand in the same set, and anybody can have such an account.
        assert!(!IssuerId::may_sign(&iss(PERSONAL_ACCOUNTS), &iss(TENANT)));
        assert!(!IssuerId::may_sign("", &iss(TENANT)));
    }

    #[test]
    fn personal_accounts_are_no_organization() {
        let personal = format!("https://login.microsoftonline.com/{PERSONAL_ACCOUNTS}/v2.0");
        assert!(!entra("https://login.microsoftonline.com/organizations/v2.0").is(&personal));
        assert!(entra("https://login.microsoftonline.com/common/v2.0").is(&personal));
        assert!(entra("https://login.microsoftonline.com/{tenantid}/v2.0").is(&personal));
    }

    #[test]
    fn metadata_of_all_tenants_is_found_where_microsoft_answers() {
        for (id, metadata) in [
            ("https://login.microsoftonline.com/{tenantid}/v2.0", "https://login.microsoftonline.com/common/v2.0"),
            (
                "https://login.microsoftonline.com/organizations/v2.0",
                "https://login.microsoftonline.com/organizations/v2.0",
            ),
            ("https://sts.windows.net/{tenantid}/", "https://sts.windows.net/common/"),
        ] {
            assert_eq!(entra(id).metadata(), metadata);
        }
    }

    #[test]
    fn one_tenants_id_is_exact_and_only_that_tenant_speaks_by_it() {
        let id = format!("https://login.microsoftonline.com/{TENANT}/v2.0");
        let issuer = entra(&id);
        assert!(issuer.is(&id) && issuer.fits_metadata(&id) && issuer.is_of_tenant(&id, TENANT));
        assert!(!issuer.is_of_tenant(&id, PERSONAL_ACCOUNTS));
        assert!(!issuer.is(&format!("https://login.microsoftonline.com/{PERSONAL_ACCOUNTS}/v2.0")));
        assert!(!issuer.fits_metadata("https://login.microsoftonline.com/{tenantid}/v2.0"));
    }

    #[test]
    fn braces_mean_nothing_to_other_presets() {
        let id = "https://issuer.example/{tenantid}/v2.0";
        let issuer = IssuerId::new(id, Preset::Generic);
        assert!(issuer.is(id) && !issuer.is(&format!("https://issuer.example/{TENANT}/v2.0")));
    }
}
