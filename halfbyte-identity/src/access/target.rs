use std::fmt;
use std::sync::Arc;

use halfbyte_core::Principal;
use http::HeaderName;
use http::request::Parts;

use super::entity::{Entity, EntityRef};
use crate::layers::path::PathPattern;

/// The longest id that is taken from a request, in bytes.
const MAX_ID: usize = 1024;

/// What a request asks for.
#[derive(Clone, Debug)]
pub enum Target {
    /// The thing of that name: the provider is asked for it.
    Named(EntityRef),
    /// The thing itself.
    Given(Entity),
}

impl From<EntityRef> for Target {
    fn from(name: EntityRef) -> Self {
        Self::Named(name)
    }
}

impl From<Entity> for Target {
    fn from(thing: Entity) -> Self {
        Self::Given(thing)
    }
}

pub(super) type Find = dyn Fn(&Parts) -> Option<Target> + Send + Sync;

/// Where in a request stands what is asked for.
#[derive(Clone)]
pub(super) enum Place {
    Tenant,
    Path { kind: &'static str, pattern: PathPattern },
    Header { kind: &'static str, name: HeaderName },
    Function(Arc<Find>),
}

impl Place {
    /// What is asked for; `None` if the request does not say, or not clearly.
    pub(super) fn find(&self, parts: &Parts, principal: &Principal) -> Option<Target> {
        match self {
            Self::Tenant => {
                let tenant = Entity::named(EntityRef::tenant(principal.tenant()));
                Some(tenant.with(Arc::new(principal.tenant().clone())).into())
            }
            Self::Path { kind, pattern } => named(kind, &pattern.find(parts.uri.path())?),
            Self::Header { kind, name } => {
                let mut values = parts.headers.get_all(name).iter();
                match (values.next(), values.next()) {
                    (Some(value), None) => named(kind, value.to_str().ok()?),
                    _ => None,
                }
            }
            Self::Function(function) => function(parts),
        }
    }
}

fn named(kind: &'static str, id: &str) -> Option<Target> {
    (!id.is_empty() && id.len() <= MAX_ID).then(|| EntityRef::new(kind, id).into())
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tenant => f.write_str("Tenant"),
            Self::Path { kind, .. } => write!(f, "Path({kind})"),
            Self::Header { kind, name } => write!(f, "Header({kind}, {name})"),
            Self::Function(_) => f.write_str("Function"),
        }
    }
}
