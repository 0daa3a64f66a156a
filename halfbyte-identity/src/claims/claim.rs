//! Which claims are read, and under which name they stand.

use halfbyte_core::config::Preset;

/// A claim that is read. Within one preset each has exactly one name, so that one bit tells whether it was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    Issuer,
    Subject,
    Audience,
    Expiry,
    NotBefore,
    IssuedAt,
    Id,
    Session,
    AuthTime,
    Acr,
    Amr,
    Actor,
    Confirmation,
    Scope,
    ClientId,
    AuthorizedParty,
    /// What only a sign-in asks for; some makes copy it into access tokens.
    Nonce,
    /// One of the claims of ID tokens and security events alone (OpenID Connect Core; RFC 8417).
    AccessTokenHash,
    CodeHash,
    StateHash,
    Events,
    /// What kind of token it is, as Keycloak says it.
    Type,
    /// What kind of token it is, as Cognito and Hydra say it.
    TokenUse,
    /// Members of an introspection answer (RFC 7662).
    TokenType,
    Active,
    Username,
    /// From here on: what a preset has names of its own for.
    Tenant,
    Organization,
    Roles,
    RealmAccess,
    ResourceAccess,
    ProjectRoles,
    Scp,
    OwnClient,
    OwnId,
    OwnSession,
    /// What tells a person from a program.
    Nature,
    ObjectId,
    ClientAddress,
}

impl Claim {
    /// The claim that `name` is for `preset`. `audience_roles` is the one name that depends on the audience.
    pub(super) fn named(name: &str, preset: Preset, audience_roles: &str) -> Option<Self> {
        Some(match name.as_bytes() {
            b"iss" => Self::Issuer,
            b"sub" => Self::Subject,
            b"aud" => Self::Audience,
            b"exp" => Self::Expiry,
            b"nbf" => Self::NotBefore,
            b"iat" => Self::IssuedAt,
            b"jti" => Self::Id,
            b"sid" => Self::Session,
            b"auth_time" => Self::AuthTime,
            b"acr" => Self::Acr,
            b"amr" => Self::Amr,
            b"act" => Self::Actor,
            b"cnf" => Self::Confirmation,
            b"scope" => Self::Scope,
            b"client_id" => Self::ClientId,
            b"azp" => Self::AuthorizedParty,
            b"nonce" => Self::Nonce,
            b"at_hash" => Self::AccessTokenHash,
            b"c_hash" => Self::CodeHash,
            b"s_hash" => Self::StateHash,
            b"events" => Self::Events,
            b"typ" => Self::Type,
            b"token_use" => Self::TokenUse,
            b"token_type" => Self::TokenType,
            b"active" => Self::Active,
            b"username" => Self::Username,
            _ => return Self::of_preset(name, preset, audience_roles),
        })
    }

    fn of_preset(name: &str, preset: Preset, audience_roles: &str) -> Option<Self> {
        Some(match (preset, name) {
            (Preset::Keycloak, "tenant") => Self::Tenant,
            (Preset::Keycloak, "organization") => Self::Organization,
            (Preset::Keycloak, "realm_access") => Self::RealmAccess,
            (Preset::Keycloak, "resource_access") => Self::ResourceAccess,
            (Preset::Keycloak, "preferred_username") => Self::Nature,
            (Preset::Keycloak, "clientAddress") => Self::ClientAddress,
            (Preset::Entra, "tid") => Self::Tenant,
            (Preset::Entra, "roles") => Self::Roles,
            (Preset::Entra, "scp") => Self::Scp,
            (Preset::Entra, "appid") => Self::OwnClient,
            (Preset::Entra, "uti") => Self::OwnId,
            (Preset::Entra, "idtyp") => Self::Nature,
            (Preset::Entra, "oid") => Self::ObjectId,
            (Preset::Auth0, "org_id") => Self::Tenant,
            (Preset::Auth0, "permissions") => Self::Roles,
            (Preset::Cognito, "custom:tenant") => Self::Tenant,
            (Preset::Cognito, "cognito:groups") => Self::Roles,
            (Preset::Cognito, "origin_jti") => Self::OwnSession,
            (Preset::Okta, "tenant") => Self::Tenant,
            (Preset::Okta, "groups") => Self::Roles,
            (Preset::Okta, "scp") => Self::Scp,
            (Preset::Okta, "cid") => Self::OwnClient,
            (Preset::Okta, "uid") => Self::Nature,
            (Preset::Zitadel, "urn:zitadel:iam:user:resourceowner:id") => Self::Tenant,
            // `urn:zitadel:iam:org:project:roles` has those of the client's project, which may be anybody's.
            (Preset::Zitadel, name) if name == audience_roles => Self::ProjectRoles,
            (Preset::Kanidm, "tenant") => Self::Tenant,
            (Preset::Kanidm, "session_id") => Self::OwnSession,
            (Preset::Generic | Preset::Rfc9068, "tenant") => Self::Tenant,
            (Preset::Generic | Preset::Rfc9068, "roles") => Self::Roles,
            _ => return None,
        })
    }

    pub(super) fn bit(self) -> u64 {
        1 << self as u32
    }
}
