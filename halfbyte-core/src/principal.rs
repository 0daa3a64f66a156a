use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;

use crate::TenantId;

/// Who makes a request, as identity verified it: the authenticate layer puts it into `http::Extensions`, and
/// authorization, billing, telemetry and handlers read it there.
///
/// Cloning is a reference count. `Debug` shows who, never a credential: a principal holds none.
#[derive(Clone)]
pub struct Principal(Arc<Fields>);

struct Fields {
    subject: Box<str>,
    tenant: TenantId,
    kind: PrincipalKind,
    scopes: Box<[Box<str>]>,
    issuer: Box<str>,
    expires_at: Timestamp,
}

/// What kind of thing a principal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PrincipalKind {
    /// A person who signed in.
    User,
    /// A program that acts for itself: client credentials.
    Service,
}

impl PrincipalKind {
    /// The kind in lower case, as telemetry shows it.
    pub fn as_str(self) -> &'static str {
        match self {
            PrincipalKind::User => "user",
            PrincipalKind::Service => "service",
        }
    }
}

impl Principal {
    /// Starts a principal from what every one must have.
    pub fn builder(subject: impl Into<Box<str>>, tenant: TenantId, expires_at: Timestamp) -> PrincipalBuilder {
        PrincipalBuilder(Fields {
            subject: subject.into(),
            tenant,
            kind: PrincipalKind::User,
            scopes: Box::default(),
            issuer: Box::default(),
            expires_at,
        })
    }

    /// The subject as its issuer names it; unique only together with the [issuer](Self::issuer).
    pub fn subject(&self) -> &str {
        &self.0.subject
    }

    /// The tenant on whose behalf the subject acts, and who pays.
    pub fn tenant(&self) -> &TenantId {
        &self.0.tenant
    }

    /// A person or a program.
    pub fn kind(&self) -> PrincipalKind {
        self.0.kind
    }

    /// The scopes that were granted.
    pub fn scopes(&self) -> impl Iterator<Item = &str> {
        self.0.scopes.iter().map(AsRef::as_ref)
    }

    /// Whether `scope` was granted, compared byte for byte.
    pub fn has_scope(&self, scope: &str) -> bool {
        self.scopes().any(|granted| granted == scope)
    }

    /// Who vouches for the subject.
    pub fn issuer(&self) -> &str {
        &self.0.issuer
    }

    /// From when on the credential is no longer good.
    pub fn expires_at(&self) -> Timestamp {
        self.0.expires_at
    }
}

impl fmt::Debug for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Principal")
            .field("subject", &self.subject())
            .field("tenant", self.tenant())
            .field("kind", &self.kind())
            .field("scopes", &self.0.scopes)
            .field("issuer", &self.issuer())
            .field("expires_at", &self.expires_at())
            .finish()
    }
}

/// Builds a [`Principal`].
pub struct PrincipalBuilder(Fields);

impl PrincipalBuilder {
    /// What kind of thing it is; a [user](PrincipalKind::User) unless said.
    #[must_use]
    pub fn kind(mut self, kind: PrincipalKind) -> Self {
        self.0.kind = kind;
        self
    }

    /// The granted scopes.
    #[must_use]
    pub fn scopes<'a>(mut self, scopes: impl IntoIterator<Item = &'a str>) -> Self {
        self.0.scopes = scopes.into_iter().map(Box::from).collect();
        self
    }

    /// Who vouches for the subject.
    #[must_use]
    pub fn issuer(mut self, issuer: impl Into<Box<str>>) -> Self {
        self.0.issuer = issuer.into();
        self
    }

    /// The principal.
    pub fn build(self) -> Principal {
        Principal(Arc::new(self.0))
    }
}
