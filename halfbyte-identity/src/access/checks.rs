use std::fmt;
use std::sync::Arc;

use halfbyte_core::Principal;
use http::Extensions;

use super::action::Action;
use super::around::Known;
use super::check::{Access, Asking, allowed, permitted};
use super::decision::Decision;
use super::denied::Denied;
use super::entity::{Entity, EntityRef, Resource};
use super::explain::Explanation;
use super::target::Target;

/// What one request of one principal asks of [`Access`]. What the provider answers, of the principal, of his tenant and of
/// things by their names, is kept until the request ends, and not asked for again; so it is for one request, and not longer.
///
/// A layer of [`Access::authorize`] puts it into the request. With the feature `axum` a handler takes it as an argument:
///
/// ```
/// # use halfbyte_identity::access::{Action, Checks, Denied, Entity};
/// # const READ_LABEL: Action = Action::new("ReadLabel");
/// async fn visible(checks: &Checks, labels: Vec<Entity>) -> Result<Vec<Entity>, Denied> {
///     checks.filter(READ_LABEL, labels).await
/// }
/// ```
#[derive(Clone)]
pub struct Checks(Arc<Inner>);

struct Inner {
    access: Access,
    principal: Principal,
    known: Known,
}

impl Checks {
    pub(super) fn new(access: &Access, principal: &Principal) -> Self {
        Self(Arc::new(Inner { access: access.clone(), principal: principal.clone(), known: Known::default() }))
    }

    /// Those that a layer has put into a request; `None` also if somebody else is its [`Principal`] by now.
    pub fn of(extensions: &Extensions) -> Option<&Self> {
        let principal = extensions.get()?;
        extensions.get().filter(|checks: &&Self| is_same(&checks.0.principal, principal))
    }

    /// Those that are in `extensions` already, of a layer further out, or new ones.
    pub(super) fn at(extensions: &mut Extensions, access: &Access, principal: &Principal) -> Self {
        // A layer between may have put in somebody else.
        let fits = |known: &&Self| known.0.access.is_same(access) && is_same(&known.0.principal, principal);
        if let Some(known) = extensions.get().filter(fits) {
            return known.clone();
        }
        let checks = Self::new(access, principal);
        extensions.insert(checks.clone());
        checks
    }

    /// Who asks.
    pub fn principal(&self) -> &Principal {
        &self.0.principal
    }

    /// Whether the principal may do `action` to `resource`; `Ok` if so.
    ///
    /// # Errors
    ///
    /// As [`Access::check`].
    pub async fn check(&self, action: Action, resource: &(impl Resource + Sync)) -> Result<(), Denied> {
        allowed(self.decide(action, resource).await?)
    }

    /// The same, with the decision whichever it is.
    ///
    /// # Errors
    ///
    /// [`Denied::Unavailable`].
    pub async fn decide(&self, action: Action, resource: &(impl Resource + Sync)) -> Result<Decision, Denied> {
        let resource = resource.entity();
        self.asking().decide(action, resource).await
    }

    /// The decision on each of `resources`, in their order.
    ///
    /// # Errors
    ///
    /// [`Denied::Unavailable`].
    pub async fn check_all(&self, action: Action, resources: &[impl Resource + Sync]) -> Result<Vec<Decision>, Denied> {
        let resources = resources.iter().map(Resource::entity).collect();
        self.asking().decide_all(action, resources).await
    }

    /// Those of `resources` that the principal may do `action` to, in their order.
    ///
    /// # Errors
    ///
    /// [`Denied::Unavailable`].
    pub async fn filter<R: Resource>(&self, action: Action, resources: Vec<R>) -> Result<Vec<R>, Denied> {
        let entities = resources.iter().map(Resource::entity).collect();
        Ok(permitted(resources, self.asking().decide_all(action, entities).await?))
    }

    /// The thing of that name from the provider, if the principal may do `action` to it. With
    /// [`Entity::value`] the product's own value of it.
    ///
    /// # Errors
    ///
    /// As [`Access::check`]; [`Denied::Forbidden`] also if there is no such thing, so that nobody learns what other tenants have.
    pub async fn find(&self, action: Action, name: &EntityRef) -> Result<Arc<Entity>, Denied> {
        self.asking().find(action, name).await
    }

    /// Why the principal may do `action` to `resource`, or may not, with what is known of the request already: as [`Access::explain`].
    ///
    /// # Errors
    ///
    /// [`Denied::Unavailable`].
    pub async fn explain(&self, action: Action, resource: &(impl Resource + Sync)) -> Result<Explanation, Denied> {
        let resource = resource.entity();
        self.asking().explain(action, resource, false).await
    }

    pub(super) async fn reach(&self, action: Action, target: Target) -> Result<Arc<Entity>, Denied> {
        match target {
            Target::Named(name) => self.asking().find(action, &name).await,
            Target::Given(thing) => self.asking().given(action, thing).await,
        }
    }

    fn asking(&self) -> Asking<'_> {
        self.0.access.asking(&self.0.principal, &self.0.known)
    }
}

/// Whether one is a clone of the other: both are alive, so that the address of a part tells.
pub(super) fn is_same(one: &Principal, other: &Principal) -> bool {
    std::ptr::eq(one.tenant(), other.tenant())
}

/// Shows who asks, and nothing of what is known.
impl fmt::Debug for Checks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checks").field("principal", &self.0.principal).finish_non_exhaustive()
    }
}
