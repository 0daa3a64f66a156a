//! That what is fast says the same as what is plain: the index as the whole set, a list as its single decisions, what is loaded as all
//! there is, and the check of things as Cedar's own; over random policies, things and questions.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use cedar_policy::{Context, Entities, EntityUid, Request};
use futures_util::FutureExt as _;
use halfbyte_core::{BoxError, Live, Principal, PrincipalKind, TenantId};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::action::Action;
use super::check::Access;
use super::decide::{Row, by_all, many, one};
use super::decision::Decision;
use super::entity::{Entity, EntityRef, TENANT, Value};
use super::provider::{EntityProvider, Membership};
use super::question::{Question, entity_of_tenant, to_cedar, uid};
use super::rules::Rules;
use super::source::SourceFile;

const SCHEMA: &str = r#"
namespace HalfByte { type Profile = { favourite?: Doc }; }
type Address = { street: String, floors?: Set<Long> };
entity Folder in [Folder] = { tenant: HalfByte::Tenant };
entity Colour enum ["red", "blue"];
entity Doc in [Folder] = {
    tenant: HalfByte::Tenant, owner: HalfByte::User, n: Long, note?: String, buddy: Doc, readers: Set<HalfByte::User>,
    address?: Address, colour?: Colour, from?: ipaddr, at?: __cedar::datetime,
};
entity Box in [Folder] = {
    tenant: HalfByte::Tenant, owner: HalfByte::User, n: Long, note?: String, buddy: Doc, readers: Set<HalfByte::User>,
};
action Root, Other;
action Top in [Root];
action A in [Top] appliesTo { principal: [HalfByte::User, HalfByte::Service], resource: [Doc, Box] };
action B in [Top, Other] appliesTo { principal: [HalfByte::User, HalfByte::Service], resource: [Doc, Box] };
@scope("c")
action C in [Other] appliesTo { principal: [HalfByte::User, HalfByte::Service], resource: [Doc, Box] };
"#;

const ACTIONS: [Action; 3] = [Action::new("A"), Action::new("B"), Action::new("C")];

const PRINCIPALS: &[&str] = &[
    "principal",
    "principal",
    r#"principal == HalfByte::User::"acme/0""#,
    r#"principal == HalfByte::User::"acme/1""#,
    r#"principal == HalfByte::Service::"acme/0""#,
    r#"principal in HalfByte::User::"acme/0""#,
    r#"principal in HalfByte::Group::"0""#,
    r#"principal in HalfByte::Group::"2""#,
    r#"principal in HalfByte::Group::"3""#,
    "principal is HalfByte::User",
    "principal is HalfByte::Service",
    r#"principal is HalfByte::User in HalfByte::Group::"3""#,
    r#"principal is HalfByte::Service in HalfByte::Group::"2""#,
];
const ACTION_SCOPES: &[&str] = &[
    "action",
    r#"action == Action::"A""#,
    r#"action == Action::"B""#,
    r#"action in Action::"C""#,
    r#"action in Action::"Root""#,
    r#"action in Action::"Other""#,
    r#"action in [Action::"A", Action::"B"]"#,
    r#"action in [Action::"Top", Action::"Other", Action::"C"]"#,
    r#"action == Action::"Root""#,
];
const RESOURCES: &[&str] = &[
    "resource",
    "resource",
    r#"resource == Doc::"0""#,
    r#"resource == Box::"1""#,
    r#"resource in Doc::"1""#,
    r#"resource in Folder::"0""#,
    r#"resource in Folder::"2""#,
    r#"resource in Folder::"3""#,
    "resource is Doc",
    "resource is Box",
    r#"resource is Doc in Folder::"3""#,
    r#"resource is Box in Folder::"2""#,
];
/// Some are true, some false, and some err: by what is too large, and by attributes of what is not there.
const CONDITIONS: &[&str] = &[
    "",
    "when { true }",
    "when { false }",
    "when { resource.n > 1 }",
    "when { resource.n + 9223372036854775806 > 0 }",
    "when { resource.owner == principal }",
    "unless { resource.readers.contains(resource.owner) }",
    r#"when { resource.owner.subject == "1" }"#,
    r#"when { resource.owner == HalfByte::User::"acme/2" }"#,
    r#"when { resource has note && resource.note == "x" }"#,
    "when { resource is Doc && resource == resource.buddy }",
    "when { resource.buddy.n > 1 }",
    "when { resource.buddy.buddy.n > 1 }",
    r#"when { resource is Doc && [resource].contains(Doc::"2") }"#,
    "when { (if principal is HalfByte::User then resource else resource).n > 0 }",
    r#"when { resource in Folder::"1" }"#,
    r#"when { Folder::"1" in Folder::"2" }"#,
    "when { principal.profile has favourite && principal.profile.favourite.n > 1 }",
    "when { resource is Doc && principal.profile has favourite && principal.profile.favourite == resource }",
    r#"when { Doc::"3".n > 1 }"#,
    r#"when { resource.owner in HalfByte::Group::"2" }"#,
    r#"when { resource.buddy in Folder::"2" }"#,
    r#"when { resource.buddy.owner in HalfByte::Group::"3" }"#,
    "when { resource.buddy has note }",
    r#"unless { resource has buddy.buddy.note && resource.buddy.buddy.note == "x" }"#,
    "when { principal.profile has favourite && principal.profile.favourite.buddy.owner == principal }",
    r#"when { (if resource.n > 1 then resource.buddy else Doc::"1").n > 1 }"#,
    r#"when { Doc::"1" in Folder::"3" }"#,
    r#"when { Action::"B" in Action::"Root" }"#,
    "when { resource.tenant.suspended }",
    r#"when { principal.scopes.contains("c") } unless { action in Action::"Root" }"#,
];

fn policies() -> impl Strategy<Value = String> {
    let policy = (any::<bool>(), select(PRINCIPALS), select(ACTION_SCOPES), select(RESOURCES), select(CONDITIONS));
    let policy = policy.prop_map(|(permits, principal, action, resource, condition)| {
        let effect = if permits { "permit" } else { "forbid" };
        format!("{effect} ({principal}, {action}, {resource}) {condition};\n")
    });
    // One that always permits, so that the rest decide more often.
    (vec(policy, 0..25), any::<bool>()).prop_map(|(mut policies, is_open)| {
        policies.extend(is_open.then(|| "permit (principal, action, resource);\n".to_owned()));
        policies.concat()
    })
}

fn reference(kind: &'static str, number: usize) -> EntityRef {
    match kind {
        "HalfByte::User" | "HalfByte::Service" => EntityRef::new(kind, format!("acme/{number}")),
        _ => EntityRef::new(kind, number.to_string()),
    }
}

fn in_all(entity: Entity, kind: &'static str, parents: &[usize]) -> Entity {
    parents.iter().fold(entity, |entity, parent| entity.parent(reference(kind, *parent)))
}

fn of_tenant(entity: Entity, tenant: &'static str) -> Entity {
    entity.attribute("tenant", EntityRef::new("HalfByte::Tenant", tenant))
}

/// Four things, each in some of those after it, and some of them not there.
fn tree(kind: &'static str, share: f64) -> impl Strategy<Value = Vec<Entity>> {
    let edges =
        (0..4_usize).map(|from| subsequence((from + 1..4).collect::<Vec<_>>(), 0..=3 - from)).collect::<Vec<_>>();
    (edges, vec(prop::bool::weighted(share), 4)).prop_map(move |(edges, is_there)| {
        let all = edges.iter().enumerate().map(|(from, to)| in_all(Entity::named(reference(kind, from)), kind, to));
        let all = all.map(|entity| if kind == "Folder" { of_tenant(entity, "acme") } else { entity });
        all.zip(is_there).filter_map(|(entity, is_there)| is_there.then_some(entity)).collect()
    })
}

fn numbers() -> impl Strategy<Value = Vec<usize>> {
    subsequence((0..4).collect::<Vec<_>>(), 0..=3)
}

fn principal() -> impl Strategy<Value = Entity> {
    let kind = select(vec!["HalfByte::User", "HalfByte::User", "HalfByte::Service"]);
    principal_of(kind, 0..3_usize)
}

fn principal_of(
    kind: impl Strategy<Value = &'static str>,
    number: impl Strategy<Value = usize>,
) -> impl Strategy<Value = Entity> {
    (kind, number, numbers(), any::<bool>(), option::of(0..4_usize)).prop_map(
        |(kind, number, groups, has_scope, favourite)| {
            let scopes: Value = has_scope.then_some("c").into_iter().collect();
            let favourite = favourite.map(|number| ("favourite".into(), reference("Doc", number).into()));
            let entity = of_tenant(Entity::named(reference(kind, number)), "acme")
                .attribute("subject", number.to_string())
                .attribute("issuer", "")
                .attribute("scopes", scopes)
                .attribute("profile", Value::Record(favourite.into_iter().collect()));
            in_all(entity, "HalfByte::Group", &groups)
        },
    )
}

fn resource() -> impl Strategy<Value = Entity> {
    resource_of(select(vec!["Doc", "Doc", "Box"]), 0..6_usize)
}

fn resource_of(
    kind: impl Strategy<Value = &'static str>,
    number: impl Strategy<Value = usize>,
) -> impl Strategy<Value = Entity> {
    let tenant = select(vec!["acme", "acme", "acme", "acme", "globex"]);
    (kind, number, tenant, 0..6_usize, 0..4_i64, option::of(select(vec!["x", "y"])), 0..6_usize, numbers(), numbers())
        .prop_map(|(kind, number, tenant, owner, n, note, buddy, readers, folders)| {
            let entity = of_tenant(Entity::named(reference(kind, number)), tenant)
                .attribute("owner", reference("HalfByte::User", owner))
                .attribute("n", n)
                .attribute("buddy", reference("Doc", buddy))
                .attribute(
                    "readers",
                    readers.into_iter().map(|reader| reference("HalfByte::User", reader)).collect::<Value>(),
                );
            let entity = note.into_iter().fold(entity, |entity, note| entity.attribute("note", note));
            in_all(entity, "Folder", &folders)
        })
}

/// What principal and resources refer to: some of it, and never one name twice.
fn others() -> impl Strategy<Value = Vec<Entity>> {
    let others = (
        tree("HalfByte::Group", 0.8),
        tree("Folder", 0.8),
        any::<bool>(),
        vec(principal(), 0..2),
        vec(resource(), 0..3),
    );
    others.prop_map(|(groups, folders, is_suspended, principals, resources)| {
        let acme = entity_of_tenant(EntityRef::new("HalfByte::Tenant", "acme"), is_suspended);
        let mut all: Vec<_> = [groups, folders, principals, resources].concat();
        all.push(acme);
        all.sort_by(|one, other| one.name().cmp(other.name()));
        all.dedup_by(|one, other| one.name() == other.name());
        all
    })
}

fn rules(policies: &str) -> Rules {
    let files = [SourceFile::new("a.cedarschema", SCHEMA), SourceFile::new("a.cedar", policies)];
    Rules::compile(&files).unwrap_or_else(|invalid| panic!("{invalid}"))
}

/// By Cedar alone: the whole set, and its own check of request and things.
fn plainly(rules: &Rules, principal: &Entity, action: Action, resource: &Entity, others: &[&Entity]) -> Decision {
    let action: EntityUid = format!("Action::\"{action}\"").parse().expect("an action");
    let others = others.iter().copied().filter(|other| other.name() != resource.name());
    let entities: Vec<_> = [principal, resource].into_iter().chain(others).collect();
    let [who, what] = [principal, resource].map(|entity| uid(rules, entity.name()).expect("a type of the schema"));
    let request = Request::new(who, action, what, Context::empty(), Some(&rules.schema)).expect("a request that fits");
    let entities = entities.iter().map(|entity| to_cedar(rules, entity).expect("an entity"));
    let entities = Entities::from_entities(entities, Some(&rules.schema)).expect("entities that fit");
    let mut decision = by_all(rules, &Question { request, entities });
    if resource.get("tenant") != principal.get("tenant") {
        decision.by_base(rules);
    }
    decision
}

/// One caller and what he asks, of things in one world.
fn question() -> impl Strategy<Value = (Entity, Action, Vec<Entity>, Vec<Entity>)> {
    (principal(), select(&ACTIONS), vec(resource(), 1..8), others())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn candidates_and_lists_decide_as_the_whole_set_does(policies in policies(), questions in vec(question(), 6)) {
        let rules = rules(&policies);
        for (principal, action, resources, others) in questions {
            let others: Vec<_> = others.iter().filter(|other| other.name() != principal.name()).collect();
            let row = |resource, around| Row { resource, around: Ok(around) };
            let rows: Vec<_> = resources.iter().map(|resource| row(resource, Vec::new())).collect();
            let all = many(&rules, &principal, action, &rows, &others);
            // The same where each brings along what is not the principal's.
            let of_who = |it: &&Entity| ["HalfByte::Group", TENANT].contains(&it.name().kind());
            let (of_who, of_rows): (Vec<_>, Vec<_>) = others.iter().copied().partition(of_who);
            let rows: Vec<_> = resources.iter().map(|resource| row(resource, of_rows.clone())).collect();
            prop_assert_eq!(&many(&rules, &principal, action, &rows, &of_who), &all);
            prop_assert_eq!(all.len(), resources.len());
            for (resource, of_list) in resources.iter().zip(all) {
                let plain = plainly(&rules, &principal, action, resource, &others);
                prop_assert_eq!(&one(&rules, &principal, action, resource, &others), &plain, "{:?}", resource);
                prop_assert_eq!(of_list, plain, "in a list: {:?}", resource);
                // With the tenant alone around him a principal is kept for his next question.
                let tenant: Vec<_> = others.iter().copied().filter(|other| other.name().kind() == TENANT).collect();
                let plain = plainly(&rules, &principal, action, resource, &tenant);
                prop_assert_eq!(&one(&rules, &principal, action, resource, &tenant), &plain, "kept: {:?}", resource);
            }
        }
    }
}

/// All that anything may lead to, of which that share is there.
fn world(share: f64) -> impl Strategy<Value = BTreeMap<EntityRef, Entity>> {
    let docs: Vec<_> = (0..6_usize).map(|number| resource_of(Just("Doc"), Just(number))).collect();
    let users: Vec<_> = (0..6_usize).map(|number| principal_of(Just("HalfByte::User"), Just(number))).collect();
    let things = (docs, users).prop_flat_map(move |(docs, users)| {
        let mut all = [docs, users].concat();
        if share >= 1.0 {
            // What is another tenant's is not there.
            all = all.into_iter().map(|thing| of_tenant(thing, "acme")).collect();
        }
        let is_there = vec(prop::bool::weighted(share), all.len());
        is_there.prop_map(move |is_there| {
            all.iter().cloned().zip(is_there).filter(|(_, it)| *it).map(|(it, _)| it).collect()
        })
    });
    (things, tree("Folder", share), tree("HalfByte::Group", 0.8)).prop_map(
        |(things, folders, groups): (Vec<_>, _, _)| {
            let all = [things, folders, groups].concat().into_iter();
            all.map(|entity| (entity.name().clone(), entity)).collect()
        },
    )
}

/// A product that knows a world and one principal.
struct Product {
    world: BTreeMap<EntityRef, Entity>,
    membership: Membership,
    is_suspended: bool,
}

impl EntityProvider for Product {
    async fn principal(&self, _: &Principal) -> Result<Membership, BoxError> {
        Ok(self.membership.clone())
    }

    async fn is_suspended(&self, _: &TenantId) -> Result<bool, BoxError> {
        Ok(self.is_suspended)
    }

    async fn entity(&self, name: &EntityRef) -> Result<Option<Entity>, BoxError> {
        assert!(name.kind() != "HalfByte::Tenant" && name.kind() != "HalfByte::Role", "{name}");
        Ok(self.world.get(name).cloned())
    }
}

/// One as a request has it, with what the product knows of him.
fn signed_in(entity: &Entity) -> (Principal, Membership) {
    let kind = match entity.name().kind() {
        "HalfByte::Service" => PrincipalKind::Service,
        _ => PrincipalKind::User,
    };
    let Some(Value::String(subject)) = entity.get("subject") else { panic!("a subject") };
    let has_scope = entity.get("scopes") != Some(&Value::Set(Vec::new()));
    let principal = Principal::builder(&**subject, "acme".parse().expect("a tenant"), jiff::Timestamp::MAX);
    let favourite = match entity.get("profile") {
        Some(Value::Record(profile)) => profile.get("favourite").cloned(),
        _ => None,
    };
    let profile = favourite.map(|favourite| ("favourite", favourite)).into_iter().collect();
    let membership = Membership { profile, groups: entity.parents().to_vec() };
    (principal.kind(kind).scopes(has_scope.then_some("c")).build(), membership)
}

fn answer<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("nothing waits")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_loaded_is_enough_or_it_is_denied(
        policies in policies(),
        (is_all, world) in any::<bool>().prop_flat_map(|all| (Just(all), world(if all { 1.0 } else { 0.8 }))),
        questions in vec((principal(), select(&ACTIONS), vec(resource(), 1..6), any::<bool>()), 4),
    ) {
        let rules = Live::fixed("access", rules(&format!("{policies}permit (principal, action, resource) when {{ false }};")));
        for (principal, action, resources, is_suspended) in questions {
            let (caller, membership) = signed_in(&principal);
            let access = Access::new(rules.clone(), Product { world: world.clone(), membership, is_suspended });
            let rules = rules.load().expect("there are rules");
            let tenant = entity_of_tenant(EntityRef::tenant(caller.tenant()), is_suspended);
            let others = world.values().filter(|other| other.name() != principal.name());
            let others: Vec<_> = others.chain([&tenant]).collect();
            let all = answer(access.check_all(&caller, action, &resources)).expect("decisions");
            for (resource, of_list) in resources.iter().zip(all) {
                let alone = answer(access.decide(&caller, action, resource)).expect("a decision");
                prop_assert_eq!(&of_list, &alone, "in a list: {:?}", resource);
                if alone.errors.iter().any(|error| error.policy.is_none()) {
                    prop_assert!(!is_all && !alone.is_allowed, "{:?} {:?}", resource, alone);
                    continue;
                }
                let plain = plainly(&rules, &principal, action, resource, &others);
                prop_assert_eq!(&alone, &plain, "{:?}", resource);
            }
        }
    }
}

/// A value of one of the schema's types, or of none.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        select(vec!["x", "red"]).prop_map(Value::from),
        name().prop_map(Value::from),
        any::<std::net::IpAddr>().prop_map(Value::from),
        (0..4_000_000_000_i64).prop_map(|second| Value::Time(jiff::Timestamp::from_second(second).expect("a time"))),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        let names = select(vec!["street", "floors", "favourite", "other"]).prop_map(Box::from);
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(Value::Set),
            prop::collection::btree_map(names, inner, 0..3).prop_map(Value::Record),
        ]
    })
}

fn name() -> impl Strategy<Value = EntityRef> {
    let kinds = ["Doc", "Folder", "Colour", "HalfByte::User", "HalfByte::Tenant", "HalfByte::Group", "HalfByte::Role"];
    (select(kinds.to_vec()), select(&["red", "1"])).prop_map(|(kind, id)| EntityRef::new(kind, id))
}

/// Something that fits the schema, and then at most two changes to it.
fn changed() -> impl Strategy<Value = Entity> {
    let address = vec(any::<i64>(), 0..2).prop_map(|floors| {
        Value::Record([("street".into(), "x".into()), ("floors".into(), floors.into_iter().collect())].into())
    });
    let fits = prop_oneof![
        resource(),
        principal(),
        name().prop_map(Entity::named),
        (resource(), address).prop_map(|(doc, address)| doc.attribute("address", address)),
    ];
    let attributes = [
        "tenant", "owner", "n", "note", "buddy", "readers", "address", "colour", "from", "at", "profile", "scopes",
        "other",
    ];
    let parents = option::weighted(0.2, name());
    (
        fits,
        vec((select(attributes.to_vec()), value()), 0..=2),
        option::weighted(0.2, select(attributes.to_vec())),
        parents,
    )
        .prop_map(|(entity, set, unset, parent)| {
            let kept = Entity::named(entity.name().clone());
            let kept = entity.parents().iter().cloned().fold(kept, Entity::parent);
            let attributes = entity.attributes().filter(|(name, _)| unset.is_none_or(|unset| unset != *name));
            let kept = attributes.fold(kept, |kept, (name, value)| kept.attribute(name.to_owned(), value.clone()));
            let kept = set.into_iter().fold(kept, |kept, (name, value)| kept.attribute(name, value));
            parent.into_iter().fold(kept, Entity::parent)
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_fits_the_schema_is_what_cedar_says_fits(entity in changed()) {
        static RULES: LazyLock<Rules> = LazyLock::new(|| rules(""));
        // What stands in itself is refused where things are put together.
        prop_assume!(!entity.parents().contains(entity.name()));
        let theirs = to_cedar(&RULES, &entity).expect("an entity");
        let theirs = Entities::from_entities([theirs], Some(&RULES.schema));
        let ours = RULES.shapes.check(&entity);
        prop_assert_eq!(ours.is_ok(), theirs.is_ok(), "{:?}, and Cedar {:?}", ours, theirs.err());
    }
}
