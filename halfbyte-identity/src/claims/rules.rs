//! What one issuer's claims must be like, and whom they then speak of.

use std::borrow::Cow;

use halfbyte_core::config::Preset;
use halfbyte_core::{Principal, PrincipalKind, TenantId};
use jiff::{SignedDuration, Timestamp};

use super::confirmation::Confirmation;
use super::form::{MAX_NAME, MAX_SUBJECT, Scopes};
use super::issuer::IssuerId;
use super::reader::{Claims, Reading};
use super::{Accepted, Fault, LEEWAY};
use crate::jose::Header;

/// What one issuer's claims must be like. Made once per issuer.
pub(crate) struct Rules {
    issuer: IssuerId,
    audience: Box<str>,
    preset: Preset,
    /// The claim in which Zitadel lists the roles of the project that is the audience.
    audience_roles: Box<str>,
}

/// How long the word of an introspection endpoint counts that does not say how long.
const INTROSPECTED_FOR: SignedDuration = SignedDuration::from_secs(60);

/// How Keycloak marks tokens that are not access tokens. Others copy it, so that it counts for all.
const OTHER_KINDS: [&str; 4] = ["ID", "Refresh", "Offline", "Logout"];

impl Rules {
    pub(crate) fn new(issuer: &str, audience: &str, preset: Preset) -> Self {
        Self {
            issuer: IssuerId::new(issuer, preset),
            audience: audience.into(),
            preset,
            audience_roles: format!("urn:zitadel:iam:org:project:{audience}:roles").into(),
        }
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
        self.require_type(header.media_type.as_deref())?;
        let claims = self.read(payload)?;
        self.require_access_token(&claims)?;
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
    /// missing: `iss`, `exp`, `sub`, which is then the client, and `aud` where it says that it is an access token.
    pub(crate) fn accept_introspected(&self, answer: &[u8], now: Timestamp) -> Result<Accepted, Fault> {
        let claims = self.read(answer)?;
        if !claims.active.is_true() || is_of_another_kind(&claims) {
            return Err(Fault::NotAnAccessToken);
        }
        let iss = match (&claims.iss, self.issuer.only()) {
            (Some(iss), _) => iss,
            (None, Some(only)) => only,
            (None, None) => return Err(Fault::Issuer),
        };
        match claims.aud {
            Some(true) => {}
            Some(false) => return Err(Fault::Audience),
            // A refresh token is active as well, and some issuers tell it apart only by what they leave out.
            None if is_said_to_be_access_token(&claims) => {}
            None => return Err(Fault::NotAnAccessToken),
        }
        let expires_at = claims.exp.or_else(|| now.checked_add(INTROSPECTED_FOR).ok()).ok_or(Fault::Malformed)?;
        let subject = claims.sub.as_deref().or(claims.client_id.as_deref()).ok_or(Fault::Malformed)?;
        self.principal(&claims, iss, subject, expires_at, answer, now)
    }

    fn read<'a>(&self, payload: &'a [u8]) -> Result<Claims<'a>, Fault> {
        let reading = Reading { preset: self.preset, audience: &self.audience, audience_roles: &self.audience_roles };
        Claims::read(payload, &reading).ok_or(Fault::Malformed)
    }

    /// RFC 9068 asks for at+jwt; issuers that are older than it say JWT or nothing.
    fn require_type(&self, media_type: Option<&str>) -> Result<(), Fault> {
        match (media_type, self.preset) {
            (Some("at+jwt"), _) => Ok(()),
            (None | Some("jwt"), preset) if preset != Preset::Rfc9068 => Ok(()),
            _ => Err(Fault::NotAnAccessToken),
        }
    }

    /// By the mark of the issuer's make where it has one; by what stands in other kinds of tokens only where it has not.
    fn require_access_token(&self, claims: &Claims<'_>) -> Result<(), Fault> {
        let marked = match self.preset {
            Preset::Keycloak => matches!(claims.typ.as_str(), Some("Bearer" | "DPoP")),
            Preset::Cognito => claims.token_use.as_str() == Some("access"),
            // ID tokens of Entra name no client that they were issued to, and those of Okta none by `cid`.
            Preset::Entra => !claims.scp.is_none() || claims.azp.is_some() || claims.own_client.is_some(),
            Preset::Okta => claims.own_client.is_some(),
            _ => true,
        };
        // Keycloak before version 24 copied the nonce of the sign-in into access tokens.
        let nonce = claims.nonce && self.preset != Preset::Keycloak;
        if !marked || nonce || claims.of_another_token || is_of_another_kind(claims) {
            return Err(Fault::NotAnAccessToken);
        }
        Ok(())
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
        let tenant = self.tenant(claims, iss, subject)?;
        let project_roles = self.project_roles(claims, &tenant);
        let roles = claims.roles.iter().map(|role| &**role).chain(project_roles);
        let principal = Principal::builder(subject, tenant.clone(), expires_at)
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
        let nature = claims.nature.as_str();
        let is_service = match self.preset {
            // Anybody may have such a user name where people choose theirs; that it is the client's own they cannot choose.
            Preset::Keycloak => {
                client
                    .is_some_and(|client| nature.and_then(|name| name.strip_prefix("service-account-")) == Some(client))
                    && (claims.client_address || claims.client_id.is_some())
            }
            Preset::Entra => nature == Some("app") || (nature.is_none() && claims.scp.is_none()),
            Preset::Auth0 => {
                nature == Some("client-credentials")
                    && subject.strip_suffix("@clients").is_some_and(|id| client == Some(id))
            }
            Preset::Okta => nature.is_none() && client == Some(subject),
            Preset::Cognito => nature.is_none() && client == Some(subject),
            _ => claims.client_id.as_deref().or(claims.own_client.as_deref()) == Some(subject),
        };
        if is_service { PrincipalKind::Service } else { PrincipalKind::User }
    }

    /// Who pays. A subject without a tenant is its own, named together with its issuer: another issuer may have a subject of
    /// the same name, and no issuer has a `#`.
    fn tenant(&self, claims: &Claims<'_>, iss: &str, subject: &str) -> Result<TenantId, Fault> {
        let named = match (self.preset, &claims.tenant, &*claims.organizations) {
            (Preset::Entra, tid, _) => {
                let tid = tid.as_deref().ok_or(Fault::Malformed)?;
                if !self.issuer.is_of_tenant(iss, tid) {
                    return Err(Fault::Issuer);
                }
                Some(tid)
            }
            (_, Some(tenant), _) => Some(&**tenant),
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

    /// The roles that Zitadel granted in the tenant's organization: those of another one are of no use there.
    fn project_roles<'c>(&self, claims: &'c Claims<'_>, tenant: &TenantId) -> impl Iterator<Item = &'c str> {
        let roles = claims.audience_project_roles.as_ref().unwrap_or(&claims.project_roles);
        let tenant = tenant.clone();
        roles
            .iter()
            .filter(move |granted| granted.organizations.iter().any(|organization| *organization == tenant.as_str()))
            .map(|granted| &*granted.role)
    }
}

fn is_of_another_kind(claims: &Claims<'_>) -> bool {
    let typ = claims.typ.as_str().is_some_and(|typ| OTHER_KINDS.contains(&typ));
    let token_use = claims.token_use.as_str().is_some_and(|used| used == "id" || used.starts_with("refresh"));
    let token_type = claims.token_type.as_str().is_some_and(|kind| kind.eq_ignore_ascii_case("refresh_token"));
    typ || token_use || token_type
}

/// By RFC 7662 or as Keycloak, Cognito and Hydra say it.
fn is_said_to_be_access_token(claims: &Claims<'_>) -> bool {
    let is_used = |kind: &str| kind.eq_ignore_ascii_case("bearer") || kind.eq_ignore_ascii_case("dpop");
    let by_use = matches!(claims.token_use.as_str(), Some("access" | "access_token"));
    by_use || [&claims.token_type, &claims.typ].iter().any(|kind| kind.as_str().is_some_and(is_used))
}

fn require_in_time(claims: &Claims<'_>, expires_at: Timestamp, now: Timestamp) -> Result<(), Fault> {
    let now = now.as_second();
    if now >= expires_at.as_second().saturating_add(LEEWAY) {
        return Err(Fault::Expired);
    }
    let is_to_come = |time: Timestamp| time.as_second() > now.saturating_add(LEEWAY);
    if claims.nbf.is_some_and(is_to_come) || claims.iat.is_some_and(is_to_come) {
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
