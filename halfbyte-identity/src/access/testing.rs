#![doc = include_str!("../docs/access_policies.md")]

use std::collections::{HashMap, HashSet};
use std::fmt::{self, Write as _};
use std::path::Path;

use cedar_policy::PolicyId;
use futures_util::FutureExt as _;
use halfbyte_core::{BoxError, Live, Principal, PrincipalKind, TenantId};
use jiff::Timestamp;

use super::action::Action;
use super::around::Known;
use super::check::Access;
use super::decision::Decision;
use super::entity::{Entity, EntityRef, Resource, Value};
use super::explain::{Explanation, Near};
use super::policies::{self, Bounds};
use super::provider::{EntityProvider, Membership};
use super::question::{entity_of, name_of};
use super::rules::{Origin, Rules};
use super::source::SourceFile;

/// Policies under test. Its assertions decide as a running product does, and say why where they fail.
///
/// Every function panics where something is wrong, and names the line of the test.
#[derive(Clone)]
pub struct Kit {
    rules: Live<Rules>,
    suspended: HashSet<TenantId>,
    things: HashMap<EntityRef, Entity>,
}

impl Kit {
    /// The policies of a folder: its `*.cedar` and `*.cedarschema` files. `concat!(env!("CARGO_MANIFEST_DIR"), "/policies")` is one
    /// next to the product's `Cargo.toml`, wherever the test runs.
    #[track_caller]
    pub fn folder(path: impl AsRef<Path>) -> Self {
        Self::folder_within(path, &Bounds::default())
    }

    /// The same, for a product that takes [more or less](super::Policies::bounds) than others.
    #[track_caller]
    pub fn folder_within(path: impl AsRef<Path>, bounds: &Bounds) -> Self {
        let path = path.as_ref();
        match SourceFile::folder_within(path, bounds) {
            Ok(files) => Self::files_within(&files, bounds),
            Err(invalid) => panic!("{}: {invalid}", path.display()),
        }
    }

    /// The policies of these files: they are judged as a running product judges them before it puts them in force.
    #[track_caller]
    pub fn files(files: &[SourceFile]) -> Self {
        Self::files_within(files, &Bounds::default())
    }

    /// The same, for a product that takes [more or less](super::Policies::bounds) than others.
    #[track_caller]
    pub fn files_within(files: &[SourceFile], bounds: &Bounds) -> Self {
        let findings = bounds.exceeded(files);
        match policies::check(if findings.is_empty() { Ok(files.to_vec()) } else { Err(findings) }) {
            Ok(rules) => {
                Self { rules: Live::fixed("access.policies", rules), suspended: HashSet::new(), things: HashMap::new() }
            }
            Err(invalid) => panic!("{invalid}"),
        }
    }

    /// With these tenants suspended.
    #[must_use]
    #[track_caller]
    pub fn suspended<'a>(mut self, tenants: impl IntoIterator<Item = &'a str>) -> Self {
        self.suspended.extend(tenants.into_iter().map(tenant));
        self
    }

    /// With a thing that others stand in, or that an attribute names, as the product's own database would have it: a folder, a
    /// [group], [somebody](Who::entity) else.
    #[must_use]
    pub fn with(self, thing: Entity) -> Self {
        self.with_all([thing])
    }

    /// With all of these.
    #[must_use]
    pub fn with_all(mut self, things: impl IntoIterator<Item = Entity>) -> Self {
        self.things.extend(things.into_iter().map(|thing| (thing.name().clone(), thing)));
        self
    }

    /// Asserts that schema and policies go with `actions`, all that the product asks for: see [`Rules::check_actions`].
    #[track_caller]
    pub fn actions(&self, actions: &[Action]) {
        let findings = self.rules().check_actions(actions);
        assert!(
            findings.is_empty(),
            "the actions of the product and its policies do not go together:{}",
            listed(&findings)
        );
    }

    /// Asserts that nothing about the policies is odd: see [`Rules::warnings`].
    #[track_caller]
    pub fn no_warnings(&self) {
        let rules = self.rules();
        assert!(rules.warnings().is_empty(), "the policies have warnings:{}", listed(rules.warnings()));
    }

    /// Asserts that `who` may do it.
    #[track_caller]
    pub fn allow(&self, who: &Who, action: Action, resource: &(impl Resource + Sync)) {
        let decision = self.decide(who, action, resource);
        assert!(decision.is_allowed, "{}", self.explained("should be allowed", who, action, resource, &decision));
    }

    /// Asserts that `who` may not do it, whyever.
    #[track_caller]
    pub fn deny(&self, who: &Who, action: Action, resource: &(impl Resource + Sync)) {
        let decision = self.decide(who, action, resource);
        assert!(!decision.is_allowed, "{}", self.explained("should be denied", who, action, resource, &decision));
        // A question that cannot be asked is a mistake in the test, and would pass as a denial for ever.
        assert!(decision.errors.is_empty(), "{}", self.explained("should be denied", who, action, resource, &decision));
    }

    /// Asserts that `who` may not do it because the policy of that id forbids it.
    #[track_caller]
    pub fn deny_by(&self, who: &Who, action: Action, resource: &(impl Resource + Sync), policy: &str) {
        let decision = self.decide(who, action, resource);
        let is_so =
            !decision.is_allowed && decision.errors.is_empty() && decision.policies.iter().any(|id| **id == *policy);
        let should = format!("should be denied by {policy}");
        assert!(is_so, "{}", self.explained(&should, who, action, resource, &decision));
    }

    /// The decision, for what the assertions do not say.
    #[track_caller]
    pub fn decide(&self, who: &Who, action: Action, resource: &(impl Resource + Sync)) -> Decision {
        let decision = self.access(who).decide(&who.principal(), action, resource).now_or_never();
        match decision.expect("nothing that the kit knows has to be waited for") {
            Ok(decision) => decision,
            Err(denied) => panic!("{denied}"),
        }
    }

    /// Why, with the values of attributes that decide.
    #[track_caller]
    pub fn explain(&self, who: &Who, action: Action, resource: &impl Resource) -> Explanation {
        let (access, principal, known) = (self.access(who), who.principal(), Known::default());
        let explanation = access.asking(&principal, &known).explain(action, resource.entity(), true).now_or_never();
        match explanation.expect("nothing that the kit knows has to be waited for") {
            Ok(explanation) => explanation,
            Err(denied) => panic!("{denied}"),
        }
    }

    fn access(&self, who: &Who) -> Access {
        Access::new(self.rules.clone(), Database { kit: self.clone(), membership: who.membership.clone() })
    }

    fn rules(&self) -> halfbyte_core::live::Snapshot<Rules> {
        self.rules.load().expect("fixed rules are always there")
    }

    #[track_caller]
    fn explained(
        &self,
        should: &str,
        who: &Who,
        action: Action,
        resource: &impl Resource,
        decision: &Decision,
    ) -> String {
        let (rules, resource_name) = (self.rules(), resource.entity().name().clone());
        let why = self.explain(who, action, resource);
        let name = name_of(&who.principal());
        let mut text = format!("{name} {should} {action} on {resource_name}, and is ");
        match (decision.is_allowed, decision.policies.is_empty()) {
            (true, _) => text.push_str("allowed by"),
            (false, false) => text.push_str("forbidden by"),
            (false, true) if !decision.errors.is_empty() => text.push_str("denied because of an error:"),
            (false, true) => text.push_str("not: no policy permits it."),
        }
        for policy in &why.decided {
            show(&mut text, &rules, &PolicyId::new(&*policy.policy.id));
        }
        for (error, said) in decision.errors.iter().zip(&why.errors) {
            let _infallible = write!(text, "\n  {said}");
            if let Some(id) = &error.policy {
                show(&mut text, &rules, &PolicyId::new(&**id));
            }
        }
        if decision.is_allowed || !decision.errors.is_empty() {
            return text;
        }
        if !why.outweighed.is_empty() {
            text.push_str("\nBut for that, it would be permitted by:");
            why.outweighed.iter().for_each(|policy| _ = write!(text, "\n  {policy}"));
        } else if why.nearest.is_empty() {
            let (principal, resource) = (name.kind(), resource_name.kind());
            let _infallible = write!(text, " No policy is about {action} by a {principal} on a {resource}.");
        } else {
            text.push_str(if decision.policies.is_empty() { " " } else { "\nNor does any policy permit it. " });
            text.push_str("These could, nearest first:");
            for Near { policy, lacks, .. } in &why.nearest {
                let _infallible = write!(text, "\n  {policy}");
                lacks.iter().for_each(|lack| _ = write!(text, "\n    - {}", lack.replace('\n', "\n    ")));
            }
            if why.further > 0 {
                let _infallible = write!(text, "\n  and {} more", why.further);
            }
        }
        text
    }
}

/// A policy with its place, its reason and its text.
fn show(text: &mut String, rules: &Rules, id: &PolicyId) {
    let (Some(policy), Some(Origin { id, file, line, .. })) = (rules.policies.policy(id), rules.origins.get(id)) else {
        let _infallible = write!(text, "\n  {id}");
        return;
    };
    let _infallible = write!(text, "\n  {id} ({file}:{line})");
    if let Some(reason) = policy.annotation("reason") {
        let _infallible = write!(text, ": {reason}");
    }
    for line in policy.to_string().lines() {
        let _infallible = write!(text, "\n      {line}");
    }
}

fn listed(findings: &[super::source::Finding]) -> String {
    findings.iter().map(|finding| format!("\n  {finding}")).collect()
}

/// Somebody who asks, in a line of a test: `Who::user("ann").of("acme").role("clerk")`.
///
/// `Debug` shows names, and no value of an attribute.
#[derive(Clone)]
pub struct Who {
    subject: Box<str>,
    tenant: TenantId,
    kind: PrincipalKind,
    roles: Vec<Box<str>>,
    scopes: Vec<Box<str>>,
    issuer: Box<str>,
    membership: Membership,
}

impl Who {
    /// A person, of the tenant `acme` unless [`of`](Self::of) says otherwise.
    #[track_caller]
    pub fn user(subject: &str) -> Self {
        Self {
            subject: subject.into(),
            tenant: tenant("acme"),
            kind: PrincipalKind::User,
            roles: Vec::new(),
            scopes: Vec::new(),
            issuer: "https://issuer.example.com".into(),
            membership: Membership::default(),
        }
    }

    /// A program that acts for itself; what it was granted are its [scopes](Self::scope).
    #[track_caller]
    pub fn service(subject: &str) -> Self {
        Self { kind: PrincipalKind::Service, ..Self::user(subject) }
    }

    /// Of that tenant.
    #[must_use]
    #[track_caller]
    pub fn of(mut self, name: &str) -> Self {
        self.tenant = tenant(name);
        self
    }

    /// With that role, as the issuer names it.
    #[must_use]
    pub fn role(mut self, role: &str) -> Self {
        self.roles.push(role.into());
        self
    }

    /// With that scope.
    #[must_use]
    pub fn scope(mut self, scope: &str) -> Self {
        self.scopes.push(scope.into());
        self
    }

    /// By that issuer.
    #[must_use]
    pub fn issuer(mut self, issuer: &str) -> Self {
        self.issuer = issuer.into();
        self
    }

    /// In that `HalfByte::Group`. One that stands in another is made known by [`Kit::with`].
    #[must_use]
    pub fn group(mut self, id: &str) -> Self {
        self.membership.groups.push(EntityRef::new("HalfByte::Group", id));
        self
    }

    /// With that field of `HalfByte::Profile`.
    #[must_use]
    pub fn profile(mut self, field: &'static str, value: impl Into<Value>) -> Self {
        self.membership.profile.push((field, value.into()));
        self
    }

    /// As a request has it.
    pub fn principal(&self) -> Principal {
        Principal::builder(&*self.subject, self.tenant.clone(), Timestamp::MAX)
            .kind(self.kind)
            .roles(self.roles.iter().map(|role| &**role))
            .scopes(self.scopes.iter().map(|scope| &**scope))
            .issuer(&*self.issuer)
            .build()
    }

    /// What names it in policies and in attributes: `.attribute("owner", ann.name())`.
    pub fn name(&self) -> EntityRef {
        name_of(&self.principal())
    }

    /// As the product's database would have it: for [`Kit::with`], where policies look at somebody whom an attribute names, as in
    /// `resource.owner.profile.department`. Whoever asks is known already.
    pub fn entity(&self) -> Entity {
        let Membership { profile, groups } = self.membership.clone();
        let profile = profile.into_iter().map(|(name, value)| (name.into(), value)).collect();
        let entity = entity_of(&self.principal()).attribute("profile", Value::Record(profile));
        groups.into_iter().fold(entity, Entity::parent)
    }
}

impl fmt::Debug for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Who")
            .field("name", &self.name())
            .field("roles", &self.roles)
            .field("groups", &self.membership.groups)
            .field("profile", &self.membership.profile.iter().map(|(field, _)| field).collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

/// A thing of a tenant, to which attributes are added: `thing("Label", "l-1", "acme").attribute("sealed", true)`.
#[track_caller]
pub fn thing(kind: &'static str, id: &str, of: &str) -> Entity {
    Entity::new(kind, id).of_tenant(&tenant(of))
}

/// A `HalfByte::Group`, for [`Kit::with`] if it stands in another: `group("juniors").parent(group("packers").name().clone())`.
pub fn group(id: &str) -> Entity {
    Entity::new("HalfByte::Group", id)
}

/// A tenant as a whole, for what is not there yet.
#[track_caller]
pub fn tenant(name: &str) -> TenantId {
    match TenantId::new(name) {
        Ok(tenant) => tenant,
        Err(error) => panic!("{name:?} cannot name a tenant: {error}"),
    }
}

/// What the product would know.
struct Database {
    kit: Kit,
    membership: Membership,
}

impl EntityProvider for Database {
    async fn principal(&self, _principal: &Principal) -> Result<Membership, BoxError> {
        Ok(self.membership.clone())
    }

    async fn is_suspended(&self, tenant: &TenantId) -> Result<bool, BoxError> {
        Ok(self.kit.suspended.contains(tenant))
    }

    async fn entity(&self, name: &EntityRef) -> Result<Option<Entity>, BoxError> {
        Ok(self.kit.things.get(name).cloned())
    }
}
