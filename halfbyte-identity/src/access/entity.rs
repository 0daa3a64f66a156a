use std::any::Any;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;

use halfbyte_core::TenantId;

/// The type of tenants in policies.
pub(super) const TENANT: &str = "HalfByte::Tenant";

/// Names one thing that policies speak of: its type, as the schema has it, and its id.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntityRef {
    kind: Cow<'static, str>,
    id: Box<str>,
}

impl EntityRef {
    /// The thing of type `kind`, such as `Label` or `Parcel::Label`, with that id.
    pub fn new(kind: impl Into<Cow<'static, str>>, id: impl Into<Box<str>>) -> Self {
        Self { kind: kind.into(), id: id.into() }
    }

    /// A tenant as a whole.
    pub fn tenant(tenant: &TenantId) -> Self {
        Self::new(TENANT, tenant.as_str())
    }

    /// Its type.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.id
    }
}

/// As policies write it: `Label::"l-1"`.
impl fmt::Display for EntityRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}::\"{}\"", self.kind, self.id.escape_debug())
    }
}

impl fmt::Debug for EntityRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What an attribute is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Value {
    /// `Bool`
    Bool(bool),
    /// `Long`
    Long(i64),
    /// `String`
    String(Box<str>),
    /// `Set<...>`
    Set(Vec<Value>),
    /// `{ ... }`
    Record(BTreeMap<Box<str>, Value>),
    /// Another thing.
    Entity(EntityRef),
    /// `ipaddr`
    Ip(IpAddr),
    /// `datetime`
    Time(jiff::Timestamp),
}

impl Value {
    /// Calls `each` with all things that are named in it, at any depth.
    pub(super) fn names<'v>(&'v self, each: &mut dyn FnMut(&'v EntityRef)) {
        match self {
            Self::Entity(name) => each(name),
            Self::Set(items) => items.iter().for_each(|item| item.names(each)),
            Self::Record(fields) => fields.values().for_each(|value| value.names(each)),
            _ => {}
        }
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Long(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::String(value.into())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::String(value.into())
    }
}

impl From<EntityRef> for Value {
    fn from(value: EntityRef) -> Self {
        Self::Entity(value)
    }
}

impl From<IpAddr> for Value {
    fn from(value: IpAddr) -> Self {
        Self::Ip(value)
    }
}

impl From<jiff::Timestamp> for Value {
    fn from(value: jiff::Timestamp) -> Self {
        Self::Time(value)
    }
}

impl<T: Into<Value>> FromIterator<T> for Value {
    /// A set.
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        Self::Set(items.into_iter().map(Into::into).collect())
    }
}

/// A thing with what policies may look at: its attributes, and what it stands in. Built by the product from what it has anyway.
///
/// ```
/// # use halfbyte_core::TenantId;
/// use halfbyte_identity::access::{Entity, EntityRef};
///
/// # fn example(acme: &TenantId) {
/// let label = Entity::new("Label", "l-1")
///     .of_tenant(acme)
///     .attribute("sealed", true)
///     .parent(EntityRef::new("Folder", "f-7"));
/// # }
/// ```
///
/// `Debug` shows names of attributes, and no value: they may be personal.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Entity {
    name: EntityRef,
    attributes: BTreeMap<Cow<'static, str>, Value>,
    parents: Vec<EntityRef>,
    value: Attached,
}

/// The product's own value of a thing. No part of what the thing is: any is as good as any other.
#[derive(Clone, Default)]
struct Attached(Option<Arc<dyn Any + Send + Sync>>);

impl PartialEq for Attached {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Attached {}

impl Hash for Attached {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

impl Entity {
    /// The thing of type `kind` with that id; with no attributes, and in nothing.
    pub fn new(kind: impl Into<Cow<'static, str>>, id: impl Into<Box<str>>) -> Self {
        Self::named(EntityRef::new(kind, id))
    }

    /// The same, by its name.
    pub fn named(name: EntityRef) -> Self {
        Self { name, attributes: BTreeMap::new(), parents: Vec::new(), value: Attached::default() }
    }

    /// Says whose it is: its attribute `tenant`, which everything that is asked for has.
    #[must_use]
    pub fn of_tenant(self, tenant: &TenantId) -> Self {
        self.attribute("tenant", EntityRef::tenant(tenant))
    }

    /// Sets an attribute.
    #[must_use]
    pub fn attribute(mut self, name: impl Into<Cow<'static, str>>, value: impl Into<Value>) -> Self {
        self.attributes.insert(name.into(), value.into());
        self
    }

    /// Puts it in another thing: `resource in Folder::"f-7"`.
    #[must_use]
    pub fn parent(mut self, parent: EntityRef) -> Self {
        self.parents.push(parent);
        self
    }

    /// Sends along what the product has loaded, so that a handler need not load it again: see
    /// [`Authorized`](super::Authorized). Policies do not see it.
    #[must_use]
    pub fn with<T: Send + Sync + 'static>(mut self, value: Arc<T>) -> Self {
        self.value = Attached(Some(value));
        self
    }

    /// What was sent along, if it is a `T`.
    pub fn value<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        self.value.0.clone()?.downcast().ok()
    }

    /// What names it.
    pub fn name(&self) -> &EntityRef {
        &self.name
    }

    /// Its attributes, by name.
    pub fn attributes(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.attributes.iter().map(|(name, value)| (name.as_ref(), value))
    }

    /// Its attribute of that name, if it has one.
    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.attributes.get(name)
    }

    /// What it stands in directly.
    pub fn parents(&self) -> &[EntityRef] {
        &self.parents
    }
}

impl fmt::Debug for Entity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entity")
            .field("name", &self.name)
            .field("attributes", &self.attributes.keys())
            .field("parents", &self.parents)
            .finish()
    }
}

/// What is asked for: a type of the product's that says what policies may look at.
pub trait Resource {
    /// The thing as policies see it, which counts before what an [`EntityProvider`](super::EntityProvider) says of one of that name. What
    /// bears the name of the principal is the principal, as its token and the provider have it; it is denied if it says that it belongs to
    /// another tenant than that one does.
    fn entity(&self) -> Entity;
}

impl Resource for Entity {
    fn entity(&self) -> Entity {
        self.clone()
    }
}

/// The tenant as a whole, for what is not there yet: `CreateLabel`, `ListLabels`.
impl Resource for TenantId {
    fn entity(&self) -> Entity {
        // Only of another tenant than the caller's is this what policies see, and there nothing depends on whether it is suspended.
        Entity::named(EntityRef::tenant(self)).of_tenant(self).attribute("suspended", false)
    }
}
