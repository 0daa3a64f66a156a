//! A product to ask: labels in folders, with a database that counts what it is asked.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use halfbyte_core::{BoxError, Live, Principal, TenantId};
use halfbyte_identity::access::{
    Access, Action, Entity, EntityProvider, EntityRef, Membership, Rules, SourceFile, name_of,
};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::BodyExt as _;
use jiff::Timestamp;
use tower::{Service, ServiceExt as _};

pub const CREATE: Action = Action::new("CreateLabel");
pub const READ: Action = Action::new("ReadLabel");
pub const COUNT: Action = Action::new("CountLabel");

const SCHEMA: &str = r#"
entity Folder in [Folder] = { tenant: HalfByte::Tenant };
entity Label in [Folder] = { tenant: HalfByte::Tenant, owner: HalfByte::User, count: Long };
action CreateLabel appliesTo { principal: [HalfByte::User], resource: HalfByte::Tenant };
action ReadLabel in [HalfByte::Action::"Read"] appliesTo { principal: [HalfByte::User], resource: Label };
action CountLabel appliesTo { principal: [HalfByte::User], resource: Label };
"#;

const POLICIES: &str = r#"
@id("clerks-create")
permit (principal in HalfByte::Role::"clerk", action == Action::"CreateLabel", resource);

@id("owners-read")
permit (principal, action == Action::"ReadLabel", resource) when { resource.owner == principal };

@id("open-folders")
permit (principal, action == Action::"ReadLabel", resource in Folder::"open");

@id("auditors-read")
permit (principal in HalfByte::Group::"auditors", action == Action::"ReadLabel", resource);

@id("all-count")
permit (principal, action == Action::"CountLabel", resource);

@id("not-too-many")
forbid (principal, action == Action::"CountLabel", resource) when { resource.count + 9223372036854775807 < 0 };
"#;

/// The product's own type of a label.
#[derive(Debug, PartialEq, Eq)]
pub struct Label {
    pub id: String,
}

/// The product's database. It has the open folder from the start.
#[derive(Clone)]
pub struct Desk(Arc<State>);

impl Default for Desk {
    fn default() -> Self {
        let desk = Self(Arc::default());
        desk.put(folder("open", &[]));
        desk
    }
}

#[derive(Default)]
struct State {
    things: Mutex<HashMap<EntityRef, Entity>>,
    groups: Mutex<HashMap<String, Vec<EntityRef>>>,
    calls: Mutex<Vec<String>>,
    is_suspended: AtomicBool,
    is_lax: AtomicBool,
    is_down: AtomicBool,
}

impl Desk {
    /// With `l-1` and `l-2` of acme, and `g-1` of globex, all of them ann's.
    pub fn with_labels() -> Self {
        let desk = Self::default();
        let ann = user("ann", "acme", &[]);
        for (of, id) in [("acme", "l-1"), ("acme", "l-2"), ("globex", "g-1")] {
            desk.put(label(of, id, &ann));
        }
        desk.put(label("acme", "b-1", &user("bob", "acme", &[])));
        desk
    }

    pub fn put(&self, thing: Entity) {
        self.0.things.lock().expect("not poisoned").insert(thing.name().clone(), thing);
    }

    pub fn group(&self, subject: &str, group: &str) {
        let mut groups = self.0.groups.lock().expect("not poisoned");
        groups.entry(subject.to_owned()).or_default().push(EntityRef::new("HalfByte::Group", group));
    }

    pub fn suspend(&self) {
        self.0.is_suspended.store(true, Ordering::Relaxed);
    }

    /// It finds things by ids of another case.
    pub fn be_lax(&self) {
        self.0.is_lax.store(true, Ordering::Relaxed);
    }

    pub fn go_down(&self) {
        self.0.is_down.store(true, Ordering::Relaxed);
    }

    /// What it was asked since the last time.
    pub fn calls(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.calls.lock().expect("not poisoned"))
    }

    pub fn access(&self) -> Access {
        Access::new(Live::fixed("access", rules()), self.clone())
    }

    fn asked(&self, what: impl ToString) -> Result<(), BoxError> {
        self.0.calls.lock().expect("not poisoned").push(what.to_string());
        if self.0.is_down.load(Ordering::Relaxed) { Err("the database is away".into()) } else { Ok(()) }
    }

    fn find(&self, name: &EntityRef) -> Option<Entity> {
        let is_lax = self.0.is_lax.load(Ordering::Relaxed);
        let name = if is_lax { EntityRef::new(name.kind().to_owned(), name.id().to_lowercase()) } else { name.clone() };
        self.0.things.lock().expect("not poisoned").get(&name).cloned()
    }
}

impl EntityProvider for Desk {
    async fn principal(&self, principal: &Principal) -> Result<Membership, BoxError> {
        self.asked(principal.subject())?;
        // It takes a while.
        tokio::task::yield_now().await;
        let groups = self.0.groups.lock().expect("not poisoned");
        let groups = groups.get(principal.subject()).cloned().unwrap_or_default();
        Ok(Membership { groups, ..Membership::default() })
    }

    async fn is_suspended(&self, tenant: &TenantId) -> Result<bool, BoxError> {
        self.asked(tenant)?;
        Ok(self.0.is_suspended.load(Ordering::Relaxed))
    }

    async fn entity(&self, name: &EntityRef) -> Result<Option<Entity>, BoxError> {
        self.asked(name)?;
        Ok(self.find(name))
    }

    async fn entities(&self, names: &[EntityRef]) -> Result<Vec<Entity>, BoxError> {
        let mut sorted: Vec<_> = names.iter().map(ToString::to_string).collect();
        sorted.sort_unstable();
        self.asked(sorted.join(" "))?;
        Ok(names.iter().rev().filter_map(|name| self.find(name)).collect())
    }
}

pub fn rules() -> Rules {
    let files = [SourceFile::new("parcel.cedarschema", SCHEMA), SourceFile::new("parcel.cedar", POLICIES)];
    Rules::compile(&files).unwrap_or_else(|invalid| panic!("{invalid}"))
}

pub fn tenant(name: &str) -> TenantId {
    name.parse().expect("a tenant")
}

pub fn user(subject: &str, of: &str, roles: &[&str]) -> Principal {
    Principal::builder(subject, tenant(of), Timestamp::MAX).roles(roles.iter().copied()).build()
}

pub fn label(of: &str, id: &str, owner: &Principal) -> Entity {
    Entity::new("Label", id)
        .of_tenant(&tenant(of))
        .attribute("owner", name_of(owner))
        .attribute("count", 0)
        .with(Arc::new(Label { id: id.to_owned() }))
}

pub fn named(id: &str) -> EntityRef {
    EntityRef::new("Label", id.to_owned())
}

/// A folder of acme's.
pub fn folder(id: &str, inside: &[&str]) -> Entity {
    let folder = Entity::new("Folder", id).of_tenant(&tenant("acme"));
    inside.iter().fold(folder, |folder, id| folder.parent(EntityRef::new("Folder", *id)))
}

/// A response as its client sees it.
#[derive(Debug)]
pub struct Seen {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: String,
}

impl Seen {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("text"))
    }

    /// The last part of the problem's type.
    pub fn problem(&self) -> String {
        let json: serde_json::Value = serde_json::from_str(&self.body).expect("JSON");
        json["type"].as_str().expect("a type").rsplit(':').next().expect("a part").to_owned()
    }
}

pub fn get(path: &str, principal: Option<&Principal>) -> Request<axum::body::Body> {
    let mut request = Request::builder().uri(path).body(axum::body::Body::empty()).expect("a request");
    if let Some(principal) = principal {
        request.extensions_mut().insert(principal.clone());
    }
    request
}

pub async fn send<S, B, R>(service: &S, request: Request<B>) -> Seen
where
    S: Service<Request<B>, Response = Response<R>, Error: std::fmt::Debug> + Clone,
    R: Body<Data = Bytes, Error: std::fmt::Debug>,
{
    let response = service.clone().oneshot(request).await.expect("the service does not fail");
    let (parts, body) = response.into_parts();
    let body = body.collect().await.expect("a whole body").to_bytes();
    Seen { status: parts.status, headers: parts.headers, body: String::from_utf8(body.into()).expect("text") }
}
