use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use halfbyte_core::{BoxError, Principal, TenantId};

use super::entity::{Entity, EntityRef, Value};

/// What the product knows of principals, tenants and resources that neither the token nor the caller of a check says: from the
/// product's own database, say. What is answered is kept for the one request. Of up to 512 principals, what it says of them stays in
/// memory, to be compared with its next answer: of use for a minute, and gone with the first question after two.
///
/// Only what is needed need be there; dropping a future gives up. An error denies the request with `unavailable`.
pub trait EntityProvider: Send + Sync + 'static {
    /// What the schema's `HalfByte::Profile` has of a principal, and the groups that he is in.
    fn principal(&self, principal: &Principal) -> impl Future<Output = Result<Membership, BoxError>> + Send {
        let _ = principal;
        async { Ok(Membership::default()) }
    }

    /// Whether the tenant is suspended: it may only read then.
    fn is_suspended(&self, tenant: &TenantId) -> impl Future<Output = Result<bool, BoxError>> + Send {
        let _ = tenant;
        async { Ok(false) }
    }

    /// The thing of that name: for what is asked for by its name alone, for what things stand in, and for what policies look at through
    /// attributes or by name, such as the project in `resource.project.frozen` or the user in `resource.owner in Group::"x"`. It has all
    /// that the schema says of its type. Not asked for: types that the schema gives neither attributes nor anything to stand in (such as
    /// `HalfByte::Role`), tenants, and the principal itself.
    ///
    /// `None` if there is none. What is asked for by name is denied then; and so is what stands in or leads to it, as policies that
    /// forbid by what is not there would not apply. A `HalfByte::Group` alone may be unknown: it stands in no other.
    /// Where something else is answered, one of another case say, it is denied too. What has an attribute `tenant` that is another tenant
    /// than the principal's counts as not there where things stand in it or lead to it; what has none, a catalogue say, is everybody's.
    fn entity(&self, name: &EntityRef) -> impl Future<Output = Result<Option<Entity>, BoxError>> + Send {
        let _ = name;
        async { Ok(None) }
    }

    /// Those of `names` that are there, in any order: what things stand in and lead to is asked for level by level, and one query is
    /// better than many. By default they are asked for one by one.
    fn entities(&self, names: &[EntityRef]) -> impl Future<Output = Result<Vec<Entity>, BoxError>> + Send {
        async move {
            let mut found = Vec::new();
            for name in names {
                found.extend(self.entity(name).await?);
            }
            Ok(found)
        }
    }
}

/// What a product knows of a principal. `Debug` shows names, and no value: they may be personal.
#[derive(Clone, Default)]
pub struct Membership {
    /// The fields of the schema's `HalfByte::Profile`.
    pub profile: Vec<(&'static str, Value)>,
    /// `HalfByte::Group`s: all that he is in directly, with what those stand in at most 1,024. Flat groups are the rule, and so one that
    /// [`EntityProvider::entity`] does not know stands in no other; those that do have to be known.
    pub groups: Vec<EntityRef>,
}

impl fmt::Debug for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let profile: Vec<_> = self.profile.iter().map(|(name, _)| name).collect();
        f.debug_struct("Membership").field("profile", &profile).field("groups", &self.groups).finish()
    }
}

/// Shared.
impl<P: EntityProvider> EntityProvider for Arc<P> {
    fn principal(&self, principal: &Principal) -> impl Future<Output = Result<Membership, BoxError>> + Send {
        P::principal(self, principal)
    }

    fn is_suspended(&self, tenant: &TenantId) -> impl Future<Output = Result<bool, BoxError>> + Send {
        P::is_suspended(self, tenant)
    }

    fn entity(&self, name: &EntityRef) -> impl Future<Output = Result<Option<Entity>, BoxError>> + Send {
        P::entity(self, name)
    }

    fn entities(&self, names: &[EntityRef]) -> impl Future<Output = Result<Vec<Entity>, BoxError>> + Send {
        P::entities(self, names)
    }
}

/// For a product that has nothing to add.
impl EntityProvider for () {}

/// A provider, whatever its type.
pub(super) trait Erased: Send + Sync {
    fn principal<'a>(&'a self, principal: &'a Principal) -> Boxed<'a, Membership>;
    fn is_suspended<'a>(&'a self, tenant: &'a TenantId) -> Boxed<'a, bool>;
    fn entity<'a>(&'a self, name: &'a EntityRef) -> Boxed<'a, Option<Entity>>;
    fn entities<'a>(&'a self, names: &'a [EntityRef]) -> Boxed<'a, Vec<Entity>>;
}

pub(super) type Boxed<'a, T> = Pin<Box<dyn Future<Output = Result<T, BoxError>> + Send + 'a>>;

impl<P: EntityProvider> Erased for P {
    fn principal<'a>(&'a self, principal: &'a Principal) -> Boxed<'a, Membership> {
        Box::pin(EntityProvider::principal(self, principal))
    }

    fn is_suspended<'a>(&'a self, tenant: &'a TenantId) -> Boxed<'a, bool> {
        Box::pin(EntityProvider::is_suspended(self, tenant))
    }

    fn entity<'a>(&'a self, name: &'a EntityRef) -> Boxed<'a, Option<Entity>> {
        Box::pin(EntityProvider::entity(self, name))
    }

    fn entities<'a>(&'a self, names: &'a [EntityRef]) -> Boxed<'a, Vec<Entity>> {
        Box::pin(EntityProvider::entities(self, names))
    }
}
