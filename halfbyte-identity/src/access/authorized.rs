use std::any::Any;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use halfbyte_core::Principal;
use http::Extensions;

use super::action::Action;
use super::checks::is_same;
use super::entity::Entity;

/// What a layer of [`Access::authorize`](super::Access::authorize) has loaded and permitted, for the handler: nothing is loaded
/// twice.
///
/// `Authorized<Entity>` is what policies saw. `Authorized<Label>` is the product's own value, which the provider sent along
/// by [`Entity::with`]; where a route asks for its tenant as a whole, `Authorized<TenantId>` is there. Of several layers around a
/// route it is the innermost one's that has a `T`.
pub struct Authorized<T = Entity> {
    value: Arc<T>,
    granted: Granted,
}

/// What one layer has permitted.
#[derive(Clone)]
pub(super) struct Granted {
    pub(super) principal: Principal,
    pub(super) action: Action,
    pub(super) thing: Arc<Entity>,
}

/// What the layers around a route have permitted, the innermost last.
#[derive(Clone, Default)]
pub(super) struct AllGranted(Vec<Granted>);

impl AllGranted {
    pub(super) fn add(extensions: &mut Extensions, granted: Granted) {
        extensions.get_or_insert_default::<Self>().0.push(granted);
    }
}

impl<T: Send + Sync + 'static> Authorized<T> {
    /// What a layer has put into a request; `None` if there was no layer, or nothing that is a `T`, or if somebody else is the
    /// request's [`Principal`] by now: what one may do is not what another may.
    pub fn of(extensions: &Extensions) -> Option<Self> {
        let (all, principal): (&AllGranted, _) = (extensions.get()?, extensions.get()?);
        let mut his = all.0.iter().rev().filter(|granted| is_same(&granted.principal, principal));
        his.find_map(|granted| {
            let itself: Arc<dyn Any + Send + Sync> = granted.thing.clone();
            let value = itself.downcast().ok().or_else(|| granted.thing.value())?;
            Some(Self { value, granted: granted.clone() })
        })
    }
}

impl<T> Authorized<T> {
    /// What may be done to it.
    pub fn action(&self) -> Action {
        self.granted.action
    }

    /// As policies saw it.
    pub fn entity(&self) -> &Entity {
        &self.granted.thing
    }

    /// The value itself, to keep.
    pub fn into_inner(self) -> Arc<T> {
        self.value
    }
}

impl<T> Deref for Authorized<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> Clone for Authorized<T> {
    fn clone(&self) -> Self {
        Self { value: self.value.clone(), granted: self.granted.clone() }
    }
}

/// Shows what may be done to which thing, and not the value.
impl<T> fmt::Debug for Authorized<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Granted { action, thing, .. } = &self.granted;
        f.debug_struct("Authorized").field("action", action).field("resource", thing.name()).finish_non_exhaustive()
    }
}
