use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use serde::de::DeserializeOwned;

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
    /// Separated by single spaces, which no scope holds (RFC 6749, 3.3).
    scopes: Box<str>,
    roles: Box<[Box<str>]>,
    issuer: Arc<str>,
    expires_at: Timestamp,
    issued_at: Option<Timestamp>,
    authenticated_at: Option<Timestamp>,
    acr: Option<Box<str>>,
    amr: Box<[Box<str>]>,
    client_id: Option<Box<str>>,
    credential_id: Option<Box<str>>,
    session: Option<Box<str>>,
    actors: Box<[Actor]>,
    claims: Box<[u8]>,
}

/// Who acts for the subject (RFC 8693, 4.1), as the issuer names him.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Actor {
    /// The actor's subject.
    pub subject: Box<str>,
    /// Who vouches for him, where it is not the issuer of the credential.
    pub issuer: Option<Box<str>>,
}

impl Actor {
    /// An actor of the credential's own issuer.
    pub fn new(subject: impl Into<Box<str>>) -> Self {
        Self { subject: subject.into(), issuer: None }
    }

    /// The same, vouched for by `issuer`.
    #[must_use]
    pub fn of_issuer(mut self, issuer: impl Into<Box<str>>) -> Self {
        self.issuer = Some(issuer.into());
        self
    }
}

/// The claims of a principal are not what was asked for. Says where, and never what stands there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimsError(String);

impl fmt::Display for ClaimsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the claims are not of the form that was asked for: {}", self.0)
    }
}

impl std::error::Error for ClaimsError {}

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
        PrincipalBuilder(Arc::new(Fields {
            subject: subject.into(),
            tenant,
            kind: PrincipalKind::User,
            scopes: Box::default(),
            roles: Box::default(),
            issuer: Arc::default(),
            expires_at,
            issued_at: None,
            authenticated_at: None,
            acr: None,
            amr: Box::default(),
            client_id: None,
            credential_id: None,
            session: None,
            actors: Box::default(),
            claims: Box::default(),
        }))
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
        self.0.scopes.split(' ').filter(|scope| !scope.is_empty())
    }

    /// Whether `scope` was granted, compared byte for byte.
    pub fn has_scope(&self, scope: &str) -> bool {
        self.scopes().any(|granted| granted == scope)
    }

    /// The roles that the issuer says the subject has.
    pub fn roles(&self) -> impl Iterator<Item = &str> {
        self.0.roles.iter().map(AsRef::as_ref)
    }

    /// Whether the subject has `role`, compared byte for byte.
    pub fn has_role(&self, role: &str) -> bool {
        self.roles().any(|held| held == role)
    }

    /// Who vouches for the subject.
    pub fn issuer(&self) -> &str {
        &self.0.issuer
    }

    /// From when on the credential is no longer good.
    pub fn expires_at(&self) -> Timestamp {
        self.0.expires_at
    }

    /// When the credential was issued, where its issuer says so.
    pub fn issued_at(&self) -> Option<Timestamp> {
        self.0.issued_at
    }

    /// When the subject signed in (`auth_time`), where the issuer says so.
    pub fn authenticated_at(&self) -> Option<Timestamp> {
        self.0.authenticated_at
    }

    /// How strongly the subject signed in (`acr`), in the issuer's words.
    pub fn acr(&self) -> Option<&str> {
        self.0.acr.as_deref()
    }

    /// By what means the subject signed in (`amr`, RFC 8176).
    pub fn amr(&self) -> impl Iterator<Item = &str> {
        self.0.amr.iter().map(AsRef::as_ref)
    }

    /// The client that the credential was issued to.
    pub fn client_id(&self) -> Option<&str> {
        self.0.client_id.as_deref()
    }

    /// Names the one credential: the `jti` of a token, the id of an API key. Not a secret.
    pub fn credential_id(&self) -> Option<&str> {
        self.0.credential_id.as_deref()
    }

    /// The session at the issuer in which the subject signed in (`sid`).
    pub fn session(&self) -> Option<&str> {
        self.0.session.as_deref()
    }

    /// Who acts for the subject: the one who calls first, then those before him (RFC 8693, 4.1). Empty when the subject
    /// calls by himself. Decide by the first one only.
    pub fn actors(&self) -> &[Actor] {
        &self.0.actors
    }

    /// The verified claims as `T` reads them: any that the other methods do not show. An API key has none: `{}`.
    ///
    /// ```
    /// # use halfbyte_core::{Principal, TenantId};
    /// # fn example(caller: &Principal) -> Result<(), Box<dyn std::error::Error>> {
    /// #[derive(serde::Deserialize)]
    /// struct Claims { cost_center: Option<String> }
    /// let Claims { cost_center } = caller.claims()?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// They are not of the form that `T` asks for.
    pub fn claims<T: DeserializeOwned>(&self) -> Result<T, ClaimsError> {
        let claims: &[u8] = if self.0.claims.is_empty() { b"{}" } else { &self.0.claims };
        serde_json::from_slice(claims).map_err(|error| {
            let (what, line, column) = (error.classify(), error.line(), error.column());
            ClaimsError(format!("{what:?} error in the JSON at {line}:{column}"))
        })
    }
}

impl fmt::Debug for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Principal")
            .field("subject", &self.subject())
            .field("tenant", self.tenant())
            .field("kind", &self.kind())
            .field("scopes", &self.0.scopes)
            .field("roles", &self.0.roles)
            .field("issuer", &self.issuer())
            .field("expires_at", &self.expires_at())
            .finish()
    }
}

/// Builds a [`Principal`].
///
/// It is built where it will stay: what is handed from setter to setter is a pointer.
pub struct PrincipalBuilder(Arc<Fields>);

impl PrincipalBuilder {
    /// What kind of thing it is; a [user](PrincipalKind::User) unless said.
    #[must_use]
    pub fn kind(mut self, kind: PrincipalKind) -> Self {
        self.fields().kind = kind;
        self
    }

    /// The granted scopes; none of them holds a space.
    #[must_use]
    pub fn scopes<'a>(mut self, scopes: impl IntoIterator<Item = &'a str>) -> Self {
        // Few tokens have more; what is too much is given back.
        let mut joined = String::with_capacity(128);
        for scope in scopes {
            if !joined.is_empty() {
                joined.push(' ');
            }
            joined.push_str(scope);
        }
        self.fields().scopes = joined.into();
        self
    }

    /// The subject's roles.
    #[must_use]
    pub fn roles<'a>(mut self, roles: impl IntoIterator<Item = &'a str>) -> Self {
        self.fields().roles = roles.into_iter().map(Box::from).collect();
        self
    }

    /// Who vouches for the subject.
    #[must_use]
    pub fn issuer(mut self, issuer: impl Into<Arc<str>>) -> Self {
        self.fields().issuer = issuer.into();
        self
    }

    /// When the credential was issued.
    #[must_use]
    pub fn issued_at(mut self, at: Option<Timestamp>) -> Self {
        self.fields().issued_at = at;
        self
    }

    /// When the subject signed in.
    #[must_use]
    pub fn authenticated_at(mut self, at: Option<Timestamp>) -> Self {
        self.fields().authenticated_at = at;
        self
    }

    /// How strongly the subject signed in.
    #[must_use]
    pub fn acr(mut self, acr: Option<&str>) -> Self {
        self.fields().acr = acr.map(Box::from);
        self
    }

    /// By what means the subject signed in.
    #[must_use]
    pub fn amr<'a>(mut self, amr: impl IntoIterator<Item = &'a str>) -> Self {
        self.fields().amr = amr.into_iter().map(Box::from).collect();
        self
    }

    /// The client that the credential was issued to.
    #[must_use]
    pub fn client_id(mut self, id: Option<&str>) -> Self {
        self.fields().client_id = id.map(Box::from);
        self
    }

    /// Names the one credential.
    #[must_use]
    pub fn credential_id(mut self, id: Option<&str>) -> Self {
        self.fields().credential_id = id.map(Box::from);
        self
    }

    /// The session at the issuer.
    #[must_use]
    pub fn session(mut self, session: Option<&str>) -> Self {
        self.fields().session = session.map(Box::from);
        self
    }

    /// Who acts for the subject, the one who calls first.
    #[must_use]
    pub fn actors(mut self, actors: impl IntoIterator<Item = Actor>) -> Self {
        self.fields().actors = actors.into_iter().collect();
        self
    }

    /// The verified claims, as the JSON object that they came in.
    #[must_use]
    pub fn claims(mut self, json: impl Into<Box<[u8]>>) -> Self {
        self.fields().claims = json.into();
        self
    }

    fn fields(&mut self) -> &mut Fields {
        Arc::get_mut(&mut self.0).expect("nobody else has it before it is built")
    }

    /// The principal.
    pub fn build(self) -> Principal {
        Principal(self.0)
    }
}
