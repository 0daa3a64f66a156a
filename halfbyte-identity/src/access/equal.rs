//! That what is fast says the same as what is plain: the index as the whole set, a list as its single decisions, and the check of
//! things as Cedar's own; over random policies, things and questions.

use std::sync::LazyLock;

use cedar_policy::{Context, Entities, EntityUid, Request};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::action::Action;
use super::decide::{by_all, many, one};
use super::decision::Decision;
use super::entity::{Entity, EntityRef, Value};
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
    r#"principal == HalfByte::User::"0""#,
    r#"principal == HalfByte::User::"1""#,
    r#"principal == HalfByte::Service::"0""#,
    r#"principal in HalfByte::User::"0""#,
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
    r#"when { resource.owner == HalfByte::User::"2" }"#,
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
    EntityRef::new(kind, number.to_string())
}

fn in_all(entity: Entity, kind: &'static str, parents: &[usize]) -> Entity {
    parents.iter().fold(entity, |entity, parent| entity.parent(reference(kind, *parent)))
}

fn of_tenant(entity: Entity, tenant: &'static str) -> Entity {
    entity.attribute("tenant", EntityRef::new("HalfByte::Tenant", tenant))
}

/// Four things, each in some of those after it, and some of them not there.
fn tree(kind: &'static str) -> impl Strategy<Value = Vec<Entity>> {
    let edges =
        (0..4_usize).map(|from| subsequence((from + 1..4).collect::<Vec<_>>(), 0..=3 - from)).collect::<Vec<_>>();
    (edges, vec(prop::bool::weighted(0.8), 4)).prop_map(move |(edges, is_there)| {
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
    (kind, 0..3_usize, numbers(), any::<bool>(), option::of(0..4_usize)).prop_map(
        |(kind, number, groups, has_scope, favourite)| {
            let scopes: Value = has_scope.then_some("c").into_iter().collect();
            let favourite = favourite.map(|number| ("favourite".into(), reference("Doc", number).into()));
            let entity = of_tenant(Entity::named(reference(kind, number)), "acme")
                .attribute("subject", number.to_string())
                .attribute("issuer", "i")
                .attribute("scopes", scopes)
                .attribute("profile", Value::Record(favourite.into_iter().collect()));
            in_all(entity, "HalfByte::Group", &groups)
        },
    )
}

fn resource() -> impl Strategy<Value = Entity> {
    let tenant = select(vec!["acme", "acme", "acme", "acme", "globex"]);
    let kind = select(vec!["Doc", "Doc", "Box"]);
    (
        kind,
        0..6_usize,
        tenant,
        0..6_usize,
        0..4_i64,
        option::of(select(vec!["x", "y"])),
        0..6_usize,
        numbers(),
        numbers(),
    )
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
    let others =
        (tree("HalfByte::Group"), tree("Folder"), any::<bool>(), vec(principal(), 0..2), vec(resource(), 0..3));
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
    let mut entities: Vec<_> = [&[principal], others].concat();
    if entities.iter().all(|entity| entity.name() != resource.name()) {
        entities.push(resource);
    }
    let [who, what] = [principal, resource].map(|entity| uid(rules, entity.name()).expect("a type of the schema"));
    let request = Request::new(who, action, what, Context::empty(), Some(&rules.schema)).expect("a request that fits");
    let entities = entities.iter().map(|entity| to_cedar(rules, entity).expect("an entity"));
    let entities = Entities::from_entities(entities, Some(&rules.schema)).expect("entities that fit");
    by_all(rules, &Question { request, entities })
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
            let all = many(&rules, &principal, action, &resources, &others);
            prop_assert_eq!(all.len(), resources.len());
            for (resource, of_list) in resources.iter().zip(all) {
                let plain = plainly(&rules, &principal, action, resource, &others);
                prop_assert_eq!(&one(&rules, &principal, action, resource, &others), &plain, "{:?}", resource);
                prop_assert_eq!(of_list, plain, "in a list: {:?}", resource);
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
