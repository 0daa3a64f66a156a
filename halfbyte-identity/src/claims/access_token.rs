//! Whether a token is an access token and no ID, refresh or logout token of the same issuer.

use halfbyte_core::config::Preset;

use super::Fault;
use super::form::Loose;
use super::reader::Claims;

/// How Keycloak marks tokens that are not access tokens. Others copy it, so that it counts for all.
const OTHER_KINDS: [&str; 4] = ["ID", "Refresh", "Offline", "Logout"];

/// What introspection answers call access tokens: the types of RFC 6750 and RFC 9449, and what some makes say instead.
const ACCESS_TOKEN_TYPES: [&str; 3] = ["bearer", "dpop", "access_token"];

/// Asks of a signed token for the mark that access tokens of its make have and its ID tokens have not.
pub(super) fn require_signed(preset: Preset, media_type: Option<&str>, claims: &Claims<'_>) -> Result<(), Fault> {
    // RFC 9068 asks for at+jwt; issuers that are older than it say JWT or nothing.
    let is_typed = match media_type {
        Some("at+jwt") => true,
        None | Some("jwt") if !matches!(preset, Preset::Rfc9068 | Preset::Kanidm) => false,
        _ => return Err(Fault::NotAnAccessToken),
    };
    let is_marked = match preset {
        Preset::Keycloak => is_of_keycloak(claims),
        Preset::Cognito => claims.token_use.as_str() == Some("access"),
        // ID tokens of Entra name no client that they were issued to, and those of Okta none by `cid`.
        Preset::Entra => claims.azp.is_some() || claims.own_client.is_some(),
        Preset::Okta => claims.own_client.is_some(),
        Preset::Auth0 => claims.azp.is_some() || claims.client_id.is_some(),
        // Zitadel's ID tokens have the same audiences, and only they say when somebody signed in.
        Preset::Zitadel => claims.jti.is_some() && claims.auth_time.is_none(),
        Preset::Kanidm => claims.client_id.is_some() && claims.own_session.is_some(),
        Preset::Rfc9068 => true,
        // OpenID Connect has neither in ID tokens.
        _ => is_typed || claims.scope.is_some() || claims.client_id.is_some(),
    };
    if is_marked && !is_of_another_kind(preset, claims) { Ok(()) } else { Err(Fault::NotAnAccessToken) }
}

/// Asks of an introspection answer that it is of an active token, and says that this is an access token: by its type, or
/// by naming this service as its audience. Some issuers answer for refresh tokens as well, and say neither.
pub(super) fn require_introspected(preset: Preset, claims: &Claims<'_>) -> Result<(), Fault> {
    let is_typed = match &claims.token_type {
        Loose::Absent => claims.aud == Some(true),
        Loose::Text(kind) => ACCESS_TOKEN_TYPES.iter().any(|known| kind.eq_ignore_ascii_case(known)),
        Loose::True | Loose::Other => false,
    };
    let is_marked = preset != Preset::Keycloak || claims.typ == Loose::Absent || is_of_keycloak(claims);
    if claims.active.is_true() && is_typed && is_marked && !is_of_another_kind(preset, claims) {
        Ok(())
    } else {
        Err(Fault::NotAnAccessToken)
    }
}

fn is_of_keycloak(claims: &Claims<'_>) -> bool {
    matches!(claims.typ.as_str(), Some("Bearer" | "DPoP"))
}

/// By what stands in tokens of other kinds only.
fn is_of_another_kind(preset: Preset, claims: &Claims<'_>) -> bool {
    let typ = claims.typ.as_str().is_some_and(|typ| OTHER_KINDS.contains(&typ));
    let token_use = claims.token_use.as_str().is_some_and(|used| used == "id" || is_refresh(used));
    let token_type = claims.token_type.as_str().is_some_and(is_refresh);
    // Keycloak before version 24 and Kanidm copy the nonce of the sign-in into access tokens.
    let nonce = claims.nonce && !matches!(preset, Preset::Keycloak | Preset::Kanidm);
    typ || token_use || token_type || nonce || claims.of_another_token
}

fn is_refresh(kind: &str) -> bool {
    kind.get(..7).is_some_and(|start| start.eq_ignore_ascii_case("refresh"))
}
