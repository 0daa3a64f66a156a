//! Reads a payload once, from end to end, and keeps what is asked for.

use std::borrow::Cow;
use std::fmt;

use halfbyte_core::Actor;
use halfbyte_core::config::Preset;
use jiff::Timestamp;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor};

use super::actor::ActorForm;
use super::claim::Claim;
use super::confirmation::{Confirmation, ConfirmationForm};
use super::form::{Audience, Loose, LooseForm, Scopes, ScopesForm, Seconds, Strings, Text};
use super::roles::{Keys, ProjectRole, ProjectRoles, RolesAt, RolesOf};
use crate::jose::{Name, Names, Unique};

/// Whose claims are read, and for whom.
pub(super) struct Reading<'a> {
    pub(super) preset: Preset,
    pub(super) audience: &'a str,
    /// The claim that holds the roles which Zitadel granted for this audience.
    pub(super) audience_roles: &'a str,
}

/// What a payload says, of the right forms and otherwise unjudged.
#[derive(Default)]
pub(super) struct Claims<'de> {
    pub(super) iss: Option<Cow<'de, str>>,
    pub(super) sub: Option<Cow<'de, str>>,
    /// Whether it names the audience.
    pub(super) aud: Option<bool>,
    pub(super) exp: Option<Timestamp>,
    pub(super) nbf: Option<Timestamp>,
    pub(super) iat: Option<Timestamp>,
    pub(super) auth_time: Option<Timestamp>,
    pub(super) jti: Option<Cow<'de, str>>,
    pub(super) sid: Option<Cow<'de, str>>,
    pub(super) acr: Option<Cow<'de, str>>,
    pub(super) amr: Vec<Cow<'de, str>>,
    /// `act`, the one who calls first.
    pub(super) actors: Vec<Actor>,
    pub(super) cnf: Confirmation,
    pub(super) scope: Option<Cow<'de, str>>,
    pub(super) client_id: Option<Cow<'de, str>>,
    pub(super) azp: Option<Cow<'de, str>>,
    pub(super) nonce: bool,
    /// Whether there is a claim that stands in ID tokens and security events only.
    pub(super) of_another_token: bool,
    pub(super) typ: Loose<'de>,
    pub(super) token_use: Loose<'de>,
    pub(super) token_type: Loose<'de>,
    pub(super) active: Loose<'de>,
    /// Whether a person is named.
    pub(super) username: bool,
    pub(super) tenant: Option<Cow<'de, str>>,
    pub(super) organizations: Vec<Cow<'de, str>>,
    pub(super) roles: Vec<Cow<'de, str>>,
    pub(super) project_roles: Vec<ProjectRole<'de>>,
    pub(super) scp: Scopes<'de>,
    pub(super) own_client: Option<Cow<'de, str>>,
    pub(super) own_id: Option<Cow<'de, str>>,
    pub(super) own_session: Option<Cow<'de, str>>,
    pub(super) nature: Loose<'de>,
    pub(super) object: Option<Cow<'de, str>>,
    pub(super) client_address: bool,
}

impl<'de> Claims<'de> {
    /// `None` unless `payload` is one JSON object from end to end, no name stands twice at any depth, and each claim that
    /// is read has its form.
    pub(super) fn read(payload: &'de [u8], reading: &Reading<'_>) -> Option<Self> {
        // Checked once and whole, instead of each string for itself.
        let payload = str::from_utf8(payload).ok()?;
        let mut claims = Self::default();
        let mut deserializer = serde_json::Deserializer::from_str(payload);
        Object { reading, claims: &mut claims }.deserialize(&mut deserializer).ok()?;
        deserializer.end().ok()?;
        Some(claims)
    }

    fn take<A: MapAccess<'de>>(&mut self, claim: Claim, entries: &mut A, of: &Reading<'_>) -> Result<(), A::Error> {
        match claim {
            Claim::Issuer => self.iss = Some(entries.next_value_seed(Text)?),
            Claim::Subject => self.sub = Some(entries.next_value_seed(Text)?),
            Claim::Audience => self.aud = Some(entries.next_value_seed(Audience(of.audience))?),
            Claim::Expiry => self.exp = Some(entries.next_value_seed(Seconds)?),
            Claim::NotBefore => self.nbf = Some(entries.next_value_seed(Seconds)?),
            Claim::IssuedAt => self.iat = Some(entries.next_value_seed(Seconds)?),
            Claim::AuthTime => self.auth_time = Some(entries.next_value_seed(Seconds)?),
            Claim::Id => self.jti = Some(entries.next_value_seed(Text)?),
            Claim::Session => self.sid = Some(entries.next_value_seed(Text)?),
            Claim::Acr => self.acr = Some(entries.next_value_seed(Text)?),
            Claim::Amr => entries.next_value_seed(Strings(&mut self.amr))?,
            Claim::Actor => entries.next_value_seed(ActorForm(&mut self.actors))?,
            Claim::Confirmation => self.cnf = entries.next_value_seed(ConfirmationForm)?,
            Claim::Scope => self.scope = Some(entries.next_value_seed(Text)?),
            Claim::ClientId => self.client_id = Some(entries.next_value_seed(Text)?),
            Claim::AuthorizedParty => self.azp = Some(entries.next_value_seed(Text)?),
            Claim::Nonce => self.nonce = present(entries)?,
            Claim::AccessTokenHash | Claim::CodeHash | Claim::StateHash | Claim::Events => {
                self.of_another_token = present(entries)?;
            }
            Claim::Type => self.typ = entries.next_value_seed(LooseForm)?,
            Claim::TokenUse => self.token_use = entries.next_value_seed(LooseForm)?,
            Claim::TokenType => self.token_type = entries.next_value_seed(LooseForm)?,
            Claim::Active => self.active = entries.next_value_seed(LooseForm)?,
            Claim::Username => self.username = present(entries)?,
            Claim::Tenant => self.tenant = Some(entries.next_value_seed(Text)?),
            Claim::Organization => entries.next_value_seed(Keys(&mut self.organizations))?,
            Claim::Roles => entries.next_value_seed(Strings(&mut self.roles))?,
            Claim::RealmAccess => entries.next_value_seed(RolesOf(&mut self.roles))?,
            Claim::ResourceAccess => {
                entries.next_value_seed(RolesAt { client: of.audience, roles: &mut self.roles })?;
            }
            Claim::ProjectRoles => entries.next_value_seed(ProjectRoles(&mut self.project_roles))?,
            Claim::Scp => self.scp = entries.next_value_seed(ScopesForm)?,
            Claim::OwnClient => self.own_client = Some(entries.next_value_seed(Text)?),
            Claim::OwnId => self.own_id = Some(entries.next_value_seed(Text)?),
            Claim::OwnSession => self.own_session = Some(entries.next_value_seed(Text)?),
            Claim::Nature => self.nature = entries.next_value_seed(LooseForm)?,
            Claim::ObjectId => self.object = Some(entries.next_value_seed(Text)?),
            Claim::ClientAddress => self.client_address = present(entries)?,
        }
        Ok(())
    }
}

fn present<'de, A: MapAccess<'de>>(entries: &mut A) -> Result<bool, A::Error> {
    entries.next_value().map(|Unique| true)
}

struct Object<'a, 'c, 'de> {
    reading: &'a Reading<'a>,
    claims: &'c mut Claims<'de>,
}

impl<'de> DeserializeSeed<'de> for Object<'_, '_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Object<'_, '_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("claims")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        // A name that is known costs one bit to see twice; only the others have to be kept.
        let mut seen = 0_u64;
        let mut others = Names::default();
        while let Some(Name(name)) = entries.next_key()? {
            let Reading { preset, audience_roles, .. } = *self.reading;
            let is_new = match Claim::named(&name, preset, audience_roles) {
                Some(claim) => {
                    let is_new = seen & claim.bit() == 0;
                    seen |= claim.bit();
                    self.claims.take(claim, &mut entries, self.reading)?;
                    is_new
                }
                None => {
                    entries.next_value().map(|Unique| ())?;
                    others.insert(name)
                }
            };
            if !is_new {
                return Err(A::Error::custom("a name stands twice"));
            }
        }
        Ok(())
    }
}

/// `iss` of a payload that nobody has verified: only to choose whose keys to verify with. What comes after it is not looked
/// at; a payload that is not well formed is refused when it is read in full.
pub(crate) fn unverified_issuer(payload: &[u8]) -> Option<Cow<'_, str>> {
    let mut found = None;
    let mut deserializer = serde_json::Deserializer::from_slice(payload);
    // Having left the object in its middle is an error to the parser, and none here.
    let _ = OnlyIssuer(&mut found).deserialize(&mut deserializer);
    found
}

struct OnlyIssuer<'c, 'de>(&'c mut Option<Cow<'de, str>>);

impl<'de> DeserializeSeed<'de> for OnlyIssuer<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for OnlyIssuer<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("claims")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        while let Some(Name(name)) = entries.next_key()? {
            if name == "iss" {
                *self.0 = Some(entries.next_value_seed(Text)?);
                return Ok(());
            }
            entries.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }
}
