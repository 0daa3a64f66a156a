//! What the base set forbids stays forbidden, whatever a product permits: random policies, random questions.

use futures_util::FutureExt as _;
use halfbyte_core::{BoxError, Live, Principal, PrincipalKind, TenantId};
use halfbyte_identity::access::{
    Access, Action, Decision, Entity, EntityProvider, EntityRef, Membership, Rules, SourceFile, Value, name_of,
};
use jiff::Timestamp;
use proptest::prelude::*;

const SCHEMA: &str = r#"
namespace HalfByte { type Profile = { level: Long, home: Tenant }; }
entity Folder in [Folder, HalfByte::Tenant] = { tenant: HalfByte::Tenant, owner: HalfByte::User };
entity Label in [Folder] = { tenant: HalfByte::Tenant, owner: HalfByte::User, shared: Set<HalfByte::Tenant> };
@scope("labels:read")
action ReadLabel in [HalfByte::Action::"Read"] appliesTo { principal: [HalfByte::User, HalfByte::Service], resource: [Label, Folder, HalfByte::Tenant] };
@scope("labels:write")
action WriteLabel appliesTo { principal: [HalfByte::User, HalfByte::Service], resource: [Label, Folder, HalfByte::Tenant] };
action Purge appliesTo { principal: [HalfByte::User, HalfByte::Service], resource: [Label, Folder] };
action Adopt appliesTo { principal: [HalfByte::User, HalfByte::Service], resource: [HalfByte::User, HalfByte::Service] };
"#;

const TENANTS: [&str; 3] = ["acme", "globex", "initech"];
const ACTIONS: [(Action, Option<&str>); 4] = [
    (Action::new("ReadLabel"), Some("labels:read")),
    (Action::new("WriteLabel"), Some("labels:write")),
    (Action::new("Purge"), None),
    (Action::new("Adopt"), None),
];

/// A condition that fits every question.
fn condition() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec![
        "true",
        "false",
        "principal.tenant != resource.tenant",
        "principal.tenant == HalfByte::Tenant::\"acme\"",
        "resource.tenant == HalfByte::Tenant::\"globex\"",
        "principal.profile.home == resource.tenant",
        "principal.profile.level > 1",
        "principal.scopes.contains(\"labels:read\")",
        "principal in HalfByte::Role::\"root\"",
        "principal in HalfByte::Group::\"all\"",
        "resource is Label && resource.shared.contains(principal.tenant)",
        "resource has owner && resource.owner == principal",
        "resource.tenant.suspended",
        "principal is HalfByte::Service",
    ]);
    leaf.prop_map(ToOwned::to_owned).prop_recursive(3, 8, 2, |inner| {
        (inner.clone(), prop::sample::select(vec!["&&", "||"]), inner, any::<bool>())
            .prop_map(|(one, and, other, not)| format!("{}({one} {and} {other})", if not { "!" } else { "" }))
    })
}

fn policy() -> impl Strategy<Value = String> {
    let principal = prop::sample::select(vec![
        "principal",
        "principal is HalfByte::User",
        "principal is HalfByte::Service",
        "principal in HalfByte::Role::\"root\"",
        "principal == HalfByte::User::\"acme/ann\"",
    ]);
    let action = prop::sample::select(vec![
        "action",
        "action == Action::\"WriteLabel\"",
        "action in [Action::\"ReadLabel\", Action::\"Purge\", Action::\"Adopt\"]",
        "action in HalfByte::Action::\"Read\"",
    ]);
    let resource = prop::sample::select(vec!["resource", "resource is Label", "resource in Folder::\"f\""]);
    let guard = prop::option::of(condition())
        .prop_map(|guard| guard.map_or(String::new(), |guard| format!(" when {{ {guard} }}")));
    // Many more permit than forbid: the more is permitted, the more the base set has to hold.
    let effect = prop::sample::select(vec!["permit", "permit", "permit", "permit", "forbid"]);
    (effect, principal, action, resource, guard).prop_map(|(effect, principal, action, resource, guard)| {
        format!("{effect} ({principal}, {action}, {resource}){guard};\n")
    })
}

/// Strict validation refuses some of these: those are not of interest.
fn rules() -> impl Strategy<Value = Rules> {
    (prop::collection::vec(policy(), 1..6), any::<bool>()).prop_filter_map(
        "refused",
        |(policies, permits_everything)| {
            let everything = if permits_everything { "permit (principal, action, resource);\n" } else { "" };
            let text = [everything.to_owned(), policies.concat()].concat();
            Rules::compile(&[SourceFile::new("p.cedarschema", SCHEMA), SourceFile::new("p.cedar", text)]).ok()
        },
    )
}

#[derive(Clone, Debug)]
struct Asked {
    tenant: usize,
    is_service: bool,
    is_root: bool,
    scopes: Vec<&'static str>,
    is_suspended: bool,
    action: usize,
    resource: usize,
    of: usize,
    shared: bool,
}

fn asked() -> impl Strategy<Value = Asked> {
    let scopes = prop::sample::subsequence(vec!["labels:read", "labels:write", "*", ""], 0..=4);
    // Of the same tenant as often as not.
    let of = prop_oneof![Just(None), (0..TENANTS.len()).prop_map(Some)];
    (
        0..TENANTS.len(),
        any::<bool>(),
        any::<bool>(),
        scopes,
        any::<bool>(),
        0..ACTIONS.len(),
        0..5usize,
        of,
        any::<bool>(),
    )
        .prop_map(|(tenant, is_service, is_root, scopes, is_suspended, action, resource, of, shared)| {
            let of = of.unwrap_or(tenant);
            Asked { tenant, is_service, is_root, scopes, is_suspended, action, resource, of, shared }
        })
}

fn tenant(index: usize) -> TenantId {
    TENANTS[index].parse().expect("a tenant")
}

struct Product(Asked);

impl EntityProvider for Product {
    async fn principal(&self, _principal: &Principal) -> Result<Membership, BoxError> {
        // The group and the profile say that he is everywhere.
        let home = Value::Entity(EntityRef::tenant(&tenant(self.0.of)));
        let groups = vec![EntityRef::new("HalfByte::Group", "all")];
        Ok(Membership { profile: vec![("level", Value::Long(9)), ("home", home)], groups })
    }

    async fn is_suspended(&self, _tenant: &TenantId) -> Result<bool, BoxError> {
        Ok(self.0.is_suspended)
    }

    /// Everything is in a folder of the caller's.
    async fn entity(&self, name: &EntityRef) -> Result<Option<Entity>, BoxError> {
        let owner = EntityRef::new("HalfByte::User", "acme/ann");
        let folder = Entity::named(name.clone()).of_tenant(&tenant(self.0.tenant)).attribute("owner", owner);
        Ok((name.kind() == "Folder").then_some(folder))
    }
}

impl Asked {
    fn principal_of(&self, subject: &str, index: usize) -> Principal {
        let kind = if self.is_service { PrincipalKind::Service } else { PrincipalKind::User };
        Principal::builder(subject, tenant(index), Timestamp::MAX)
            .kind(kind)
            .roles(self.is_root.then_some("root"))
            .scopes(self.scopes.iter().copied().filter(|scope| !scope.is_empty()))
            .build()
    }

    fn resource(&self, principal: &Principal) -> Entity {
        let of = tenant(self.of);
        let owner = EntityRef::new("HalfByte::User", name_of(principal).id());
        match self.resource {
            0 => Entity::new("Label", "l")
                .of_tenant(&of)
                .attribute("owner", owner)
                .attribute(
                    "shared",
                    Value::Set(
                        self.shared.then(|| Value::Entity(EntityRef::tenant(principal.tenant()))).into_iter().collect(),
                    ),
                )
                .parent(EntityRef::new("Folder", "f")),
            1 => Entity::new("Folder", "f").of_tenant(&of).attribute("owner", owner),
            2 => Entity::named(EntityRef::tenant(&of)),
            _ => {
                let other = self.principal_of("bob", self.of);
                let home = Value::Record(
                    [("level".into(), Value::Long(1)), ("home".into(), Value::Entity(EntityRef::tenant(&of)))].into(),
                );
                Entity::named(name_of(&other))
                    .of_tenant(&of)
                    .attribute("subject", "bob")
                    .attribute("issuer", "")
                    .attribute("scopes", Value::Set(Vec::new()))
                    .attribute("profile", home)
            }
        }
    }

    fn decide(&self, rules: &Live<Rules>) -> Decision {
        let principal = self.principal_of("ann", self.tenant);
        let access = Access::new(rules.clone(), Product(self.clone()));
        let (action, _) = ACTIONS[self.action];
        let resource = self.resource(&principal);
        let decision = access.decide(&principal, action, &resource).now_or_never();
        decision.expect("nothing waits").expect("there are policies")
    }

    /// Why the base set forbids it, as the issue says it and not as the policies do.
    fn forbidden(&self) -> Option<&'static str> {
        let (action, scope) = ACTIONS[self.action];
        match () {
            () if self.of != self.tenant => Some("another tenant"),
            () if self.is_suspended && action.name() != "ReadLabel" => Some("suspended"),
            () if self.is_service && scope.is_none_or(|scope| !self.scopes.contains(&scope)) => Some("not granted"),
            () => None,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_allowed_that_the_base_set_forbids(rules in rules(), questions in prop::collection::vec(asked(), 30)) {
        let rules = Live::fixed("access", rules);
        for asked in questions {
            let decision = asked.decide(&rules);
            if let Some(why) = asked.forbidden() {
                prop_assert!(!decision.is_allowed, "{why}: {asked:?} {decision:?}");
            }
        }
    }

    /// The invariant would hold of one who denies everything too.
    #[test]
    fn what_the_base_set_does_not_forbid_a_product_can_permit(asked in asked()) {
        let files = [SourceFile::new("p.cedarschema", SCHEMA), SourceFile::new("p.cedar", "permit(principal, action, resource);")];
        let rules = Live::fixed("access", Rules::compile(&files).expect("good"));
        let decision = asked.decide(&rules);
        // An action that does not apply to the resource cannot be asked for.
        let fits = match asked.action { 0 | 1 => asked.resource <= 2, 2 => asked.resource <= 1, _ => asked.resource > 2 };
        prop_assert_eq!(decision.is_allowed, fits && asked.forbidden().is_none(), "{:?}", decision);
    }
}
