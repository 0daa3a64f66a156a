//! What one issuer's claims must be like, and whom they then speak of.

use std::borrow::Cow;

use halfbyte_core::config::Preset;
use halfbyte_core::{Principal, PrincipalKind, TenantId};
use jiff::{SignedDuration, Timestamp};

use super::confirmation::Confirmation;
use super::form::{Loose, MAX_NAME, MAX_SUBJECT, Scopes};
use super::issuer::{IssuerId, PERSONAL_ACCOUNTS};
use super::reader::{Claims, Reading};
use super::{Accepted, Fault, LEEWAY, access_token};
use crate::jose::Header;

/// What one issuer's claims must be like. Made once per issuer.
pub(crate) struct Rules {
    issuer: IssuerId,
    audience: Box<str>,
    preset: Preset,
    /// The claim in which Zitadel lists the roles of the project that is the audience.
    audience_roles: Box<str>,
    /// Whether all subjects are programs, as those of the embedded issuer are: no person signs in there.
    programs_only: bool,
}

/// How long the word of an introspection endpoint counts that does not say how long.
const INTROSPECTED_FOR: SignedDuration = SignedDuration::from_secs(60);

impl Rules {
    pub(crate) fn new(issuer: &str, audience: &str, preset: Preset) -> Self {
        Self {
            issuer: IssuerId::new(issuer, preset),
            audience: audience.into(),
            preset,
            audience_roles: format!("urn:zitadel:iam:org:project:{audience}:roles").into(),
            programs_only: false,
        }
    }

    /// The same for an issuer at which no person signs in.
    pub(crate) fn of_programs(mut self) -> Self {
        self.programs_only = true;
        self
    }

    /// Whether tokens with that `iss` are this issuer's.
    pub(crate) fn is_issuer(&self, iss: &str) -> bool {
        self.issuer.is(iss)
    }

    /// Whether a key that its set `limits` to an issuer may sign this payload. Entra publishes the keys of all its tenants in
    /// one set; elsewhere the member means nothing.
    pub(crate) fn may_sign(&self, limits: Option<&str>, payload: &[u8]) -> bool {
        match (self.preset, limits) {
            (Preset::Entra, Some(limits)) => {
                super::unverified_issuer(payload).is_some_and(|iss| IssuerId::may_sign(limits, &iss))
            }
            _ => true,
        }
    }

    /// The issuer under whose address the metadata is found.
    pub(crate) fn metadata_of(&self) -> &str {
        self.issuer.metadata()
    }

    /// Whether metadata that name themselves so are this issuer's.
    pub(crate) fn metadata_issuer_fits(&self, issuer: &str) -> bool {
        self.issuer.fits_metadata(issuer)
    }

    /// The principal that a signed token speaks of, if it is good now. Whether it is signed is not asked here.
    pub(crate) fn accept(&self, header: &Header, payload: &[u8], now: Timestamp) -> Result<Accepted, Fault> {
        let claims = self.read(payload)?;
        access_token::require_signed(self.preset, header.media_type.as_deref(), &claims)?;
        let iss = claims.iss.as_deref().ok_or(Fault::Malformed)?;
        if !self.is_for_us(&claims) {
            return Err(Fault::Audience);
        }
        let expires_at = claims.exp.ok_or(Fault::Malformed)?;
        self.require_complete(&claims)?;
        let subject = claims.sub.as_deref().ok_or(Fault::Malformed)?;
        self.principal(&claims, iss, subject, expires_at, payload, now)
    }

    /// The principal that an introspection answer (RFC 7662) for an active token speaks of. What it may leave out may be
    /// missing: `iss`, `exp`, and `sub`, which is then the client, unless a user is named.
    pub(crate) fn accept_introspected(&self, answer: &[u8], now: Timestamp) -> Result<Accepted, Fault> {
        let claims = self.read(answer)?;
        access_token::require_introspected(self.preset, &claims)?;
        let iss = match (&claims.iss, self.issuer.only()) {
            (Some(iss), _) => iss,
            (None, Some(only)) => only,
            (None, None) => return Err(Fault::Issuer),
        };
        // RFC 7662 lets it be left out, and then whoever was sent the token could use it here.
        if claims.aud != Some(true) {
            return Err(Fault::Audience);
        }
        let expires_at = claims.exp.or_else(|| now.checked_add(INTROSPECTED_FOR).ok()).ok_or(Fault::Malformed)?;
        // Where a user is named, the subject that is missing is his and not the client's.
        let client = claims.client_id.as_deref().filter(|_| !claims.username);
        let subject = claims.sub.as_deref().or(client).ok_or(Fault::Malformed)?;
        self.principal(&claims, iss, subject, expires_at, answer, now)
    }

    fn read<'a>(&self, payload: &'a [u8]) -> Result<Claims<'a>, Fault> {
        let reading = Reading { preset: self.preset, audience: &self.audience, audience_roles: &self.audience_roles };
        Claims::read(payload, &reading).ok_or(Fault::Malformed)
    }

    /// Cognito names the client in place of an audience.
    fn is_for_us(&self, claims: &Claims<'_>) -> bool {
        match (self.preset, claims.aud) {
            (Preset::Cognito, None) => claims.client_id.as_deref() == Some(&*self.audience),
            (_, named) => named == Some(true),
        }
    }

    /// RFC 9068, 2.2.
    fn require_complete(&self, claims: &Claims<'_>) -> Result<(), Fault> {
        let complete = claims.client_id.is_some() && claims.iat.is_some() && claims.jti.is_some();
        if self.preset == Preset::Rfc9068 && !complete { Err(Fault::Malformed) } else { Ok(()) }
    }

    fn principal(
        &self,
        claims: &Claims<'_>,
        iss: &str,
        subject: &str,
        expires_at: Timestamp,
        json: &[u8],
        now: Timestamp,
    ) -> Result<Accepted, Fault> {
        if !self.is_issuer(iss) {
            return Err(Fault::Issuer);
        }
        require_in_time(claims, expires_at, now)?;
        let binding = match &claims.cnf {
            // Who issued it bound it, and left out to what.
            Confirmation::None if is_said_to_be_bound(claims) => return Err(Fault::Bound),
            Confirmation::None => None,
            Confirmation::To(binding) => Some(*binding),
            // RFC 7800: sent as a mere bearer token it may be a stolen one.
            Confirmation::Unknown => return Err(Fault::Bound),
        };
        if !(1..=MAX_SUBJECT).contains(&subject.len()) {
            return Err(Fault::Malformed);
        }
        let client = claims.client_id.as_deref().or(claims.own_client.as_deref()).or(claims.azp.as_deref());
        let credential = claims.jti.as_deref().or(claims.own_id.as_deref());
        let session = claims.sid.as_deref().or(claims.own_session.as_deref());
        let acr = claims.acr.as_deref();
        let mut short = [client, credential, session, acr].into_iter().flatten();
        let scope = claims.scope.as_deref().map_or(Scopes::None, |scope| Scopes::Text(Cow::Borrowed(scope)));
        if short.any(|text| text.len() > MAX_NAME) || !scope.are_bounded() || !claims.scp.are_bounded() {
            return Err(Fault::Malformed);
        }
        let roles = claims.roles.iter().map(|role| &**role).chain(project_roles(claims));
        let principal = Principal::builder(subject, self.tenant(claims, iss, subject)?, expires_at)
            .kind(self.kind(claims, subject, client))
            .scopes(scope.iter().chain(claims.scp.iter()))
            .roles(roles)
            .issuer(self.issuer.shared(iss))
            .issued_at(claims.iat)
            .authenticated_at(claims.auth_time)
            .acr(acr)
            .amr(claims.amr.iter().map(|means| &**means))
            .client_id(client)
            .credential_id(credential)
            .session(session)
            .actors(claims.actors.iter().cloned())
            .claims(json)
            .build();
        Ok(Accepted { principal, binding })
    }

    /// A program that acts for itself. Where an issuer does not say so beyond doubt, it is a person: a person's token opens
    /// nothing that is for programs alone.
    fn kind(&self, claims: &Claims<'_>, subject: &str, client: Option<&str>) -> PrincipalKind {
        let is_client = client == Some(subject);
        let is_service = match self.preset {
            // People may choose such a name (Keycloak keeps names in lower case); only a client that signs in for itself
            // has an address.
            Preset::Keycloak => {
                let name = claims.nature.as_str().and_then(|name| name.strip_prefix("service-account-"));
                claims.client_address
                    && name.zip(client).is_some_and(|(name, client)| name.eq_ignore_ascii_case(client))
            }
            // Scopes are what people delegate. The object of a program is its subject; people have a subject for each
            // application that they use.
            Preset::Entra => {
                let says_so = claims.nature.as_str() == Some("app");
                let is_object = claims.nature == Loose::Absent && claims.object.as_deref() == Some(subject);
                claims.scp.is_none() && (says_so || is_object)
            }
            // The names of people have a `|` in them, and those of clients have none.
            Preset::Auth0 => subject.strip_suffix("@clients").is_some_and(|id| client == Some(id)),
            Preset::Okta => claims.nature == Loose::Absent && is_client,
            Preset::Cognito => !claims.username && is_client,
            _ => claims.client_id.as_deref() == Some(subject),
        };
        if is_service || self.programs_only { PrincipalKind::Service } else { PrincipalKind::User }
    }

    /// Who pays. A subject without a tenant is its own, named together with its issuer: another issuer may have a subject of
    /// the same name, and no issuer has a `#`.
    fn tenant(&self, claims: &Claims<'_>, iss: &str, subject: &str) -> Result<TenantId, Fault> {
        let named = match (self.preset, claims.tenant.as_deref(), &*claims.organizations) {
            (Preset::Entra, tid, _) => {
                let tid = tid.ok_or(Fault::Malformed)?;
                if !self.issuer.is_of_tenant(iss, tid) {
                    return Err(Fault::Issuer);
                }
                // Everybody with a personal account would be of one tenant.
                Some(tid).filter(|tid| *tid != PERSONAL_ACCOUNTS)
            }
            (_, Some(tenant), _) => Some(tenant),
            (_, None, [organization]) => Some(&**organization),
            (_, None, _) => None,
        };
        match named {
            // The names of tenants that are subjects are made here and nowhere else.
            Some(tenant) if tenant.starts_with("subject:") => return Err(Fault::Malformed),
            Some(tenant) => TenantId::new(tenant),
            None => {
                let issuer = iss.split_once("://").map_or(iss, |(_, rest)| rest);
                TenantId::new(format!("subject:{issuer}#{subject}"))
            }
        }
        .map_err(|_| Fault::Malformed)
    }
}

/// The roles that Zitadel granted in the tenant's organization: those of another one are of no use there.
fn project_roles<'c>(claims: &'c Claims<'_>) -> impl Iterator<Item = &'c str> {
    let is_granted = |organization: &Cow<'_, str>| claims.tenant.as_ref() == Some(organization);
    let granted = claims.project_roles.iter().filter(move |role| role.organizations.iter().any(is_granted));
    granted.map(|granted| &*granted.role)
}

fn require_in_time(claims: &Claims<'_>, expires_at: Timestamp, now: Timestamp) -> Result<(), Fault> {
    let now = now.as_second();
    if now >= expires_at.as_second().saturating_add(LEEWAY) {
        return Err(Fault::Expired);
    }
    let is_to_come = |time: Timestamp| time.as_second() > now.saturating_add(LEEWAY);
    if [claims.nbf, claims.iat, claims.auth_time].into_iter().flatten().any(is_to_come) {
        return Err(Fault::NotYet);
    }
    Ok(())
}

/// By RFC 7662 or as Keycloak says it: the token is of the type that is bound to a key (RFC 9449, 5).
fn is_said_to_be_bound(claims: &Claims<'_>) -> bool {
    [&claims.token_type, &claims.typ]
        .iter()
        .any(|kind| kind.as_str().is_some_and(|kind| kind.eq_ignore_ascii_case("dpop")))
}
