//! Why a running product decides as it does: with all that its provider knows.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

use halfbyte_core::{BoxError, Live, Principal, TenantId};
use halfbyte_identity::access::{
    Access, Action, DecisionLog, Denied, Entity, EntityProvider, EntityRef, Membership, Rules, SourceFile, Value,
    name_of,
};
use proptest::prelude::*;

use crate::office::{self, CREATE, EDIT, READ, SHIP, in_folder, tenant, user};
use crate::parcel::{self, Desk, folder};

fn inside(of: &str) -> Entity {
    parcel::label("acme", "l-9", &user("bob", "acme", &[])).parent(EntityRef::new("Folder", of.to_owned()))
}

#[tokio::test]
async fn the_provider_is_asked_for_what_is_not_known_as_by_a_decision() {
    let desk = Desk::default();
    let (access, ann) = (desk.access(), user("ann", "acme", &["clerk"]));
    desk.put(folder("a", &["b"]));
    desk.put(folder("b", &[]));
    let why = access.explain(&ann, READ, &inside("a")).await.expect("it is decided").to_string();
    assert_eq!(
        why,
        r#"DENIED: User "acme/ann" may not ReadLabel Label "l-9"

No policy permits it. Those that could, nearest first:
  auditors-read (parcel.cedar:11)
    - the principal is not in the group "auditors"; it is in: none
  open-folders (parcel.cedar:8)
    - the resource is not in Folder "open"
  owners-read (parcel.cedar:5)
    - this does not hold: when { resource.owner == principal }
"#
    );
    assert_eq!(desk.calls(), ["ann", "acme", r#"Folder::"a""#, r#"Folder::"b""#]);
    ["open", "c"].into_iter().for_each(|id| desk.put(folder(id, &[])));
    desk.put(folder("b", &["open"]));
    let why = access.explain(&ann, READ, &inside("a")).await.expect("it is decided");
    assert!(why.decision.is_allowed && why.to_string().contains("Permitted by:\n  open-folders"), "{why}");
    desk.group("ann", "auditors");
    desk.suspend();
    let why = access.explain(&ann, parcel::COUNT, &inside("c")).await.expect("it is decided");
    assert!(why.to_string().contains("lift the suspension of tenant \"acme\""), "{why}");
    assert!(why.to_string().contains("But for that, it would be permitted by:\n  all-count"), "{why}");
}

#[tokio::test]
async fn what_holds_by_what_the_provider_knows_is_no_lack() {
    let schema = "entity Folder in [Folder] = { tenant: HalfByte::Tenant };
        entity Label in [Folder] = { tenant: HalfByte::Tenant, owner: HalfByte::User, count: Long };
        action ReadLabel appliesTo { principal: HalfByte::User, resource: Label };";
    let policies = r#"
        @id("cooks") permit (principal in HalfByte::Role::"cook", action, resource in Folder::"open");
        @id("drivers") permit (principal in HalfByte::Role::"driver", action, resource in Folder::"shut");
        @id("never") forbid (principal in HalfByte::Role::"cook", action, resource) when { resource.count > 7 };
    "#;
    let files = [SourceFile::new("p.cedarschema", schema), SourceFile::new("p.cedar", policies)];
    let rules = Rules::compile(&files).unwrap_or_else(|invalid| panic!("{invalid}"));
    let desk = Desk::default();
    desk.put(folder("a", &["open"]));
    desk.put(folder("open", &[]));
    let access = Access::new(Live::fixed("access", rules), desk);
    let why = access.explain(&user("ann", "acme", &[]), READ, &inside("a")).await.expect("it is decided");
    let lacks: Vec<_> = why.nearest.iter().map(|near| (&*near.policy.id, near.lacks.len())).collect();
    assert_eq!(lacks, [("cooks", 1), ("drivers", 2)], "{why}");
    let many = inside("a").attribute("count", Value::Long(8));
    let why = access.explain(&user("ann", "acme", &["cook"]), READ, &many).await.expect("it is decided");
    assert_eq!((why.decided.len(), why.outweighed.len()), (1, 1), "{why}");
}

/// A handler of axum's has to be sent from thread to thread.
#[test]
fn an_explanation_can_be_waited_for_in_a_handler() {
    fn sent<T: Send>(_: &T) {}
    let (access, ann) = (office::access(), user("ann", "acme", &[]));
    let (checks, tenant) = (access.checks(&ann), tenant("acme"));
    sent(&access.explain(&ann, CREATE, &tenant));
    sent(&checks.explain(CREATE, &tenant));
}

#[tokio::test]
async fn what_a_request_knows_already_is_not_asked_for_again() {
    let desk = Desk::default();
    let (access, ann) = (desk.access(), user("ann", "acme", &["clerk"]));
    desk.put(folder("open", &[]));
    let checks = access.checks(&ann);
    checks.check(READ, &inside("open")).await.expect("in an open folder");
    desk.calls();
    let why = checks.explain(READ, &inside("open")).await.expect("it is decided");
    assert!(why.decision.is_allowed, "{why}");
    assert_eq!(desk.calls(), [""; 0]);
}

#[tokio::test]
async fn an_explanation_is_no_decision_that_anybody_is_told_of() {
    let told = Arc::new(AtomicUsize::new(0));
    let count = told.clone();
    let log = DecisionLog::new().listen(move |_| _ = count.fetch_add(1, Ordering::Relaxed));
    let (access, ann) = (office::access().log(log), user("ann", "acme", &[]));
    let _why = access.explain(&ann, CREATE, &tenant("acme")).await.expect("it is decided");
    assert_eq!(told.load(Ordering::Relaxed), 0);
    access.check(&ann, CREATE, &tenant("acme")).await.expect_err("no clerk");
    assert_eq!(told.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn what_cannot_be_surveyed_is_said_and_no_policy_is_held_against_it() {
    let desk = Desk::default();
    let (access, ann) = (desk.access(), user("ann", "acme", &[]));
    for step in 1..40 {
        desk.put(folder(&step.to_string(), &[&(step + 1).to_string()]));
    }
    let why = access.explain(&ann, READ, &inside("1")).await.expect("it is decided");
    assert!(why.nearest.is_empty() && !why.decision.is_allowed, "{why}");
    let reason = "cannot be decided: what Label::\"l-9\" stands in or leads to is more than 16 steps away";
    assert!(why.to_string().contains(reason), "{why}");
    desk.go_down();
    let denied = access.explain(&ann, READ, &inside("1")).await.expect_err("the database is away");
    assert!(matches!(denied, Denied::Unavailable { .. }), "{denied:?}");
}

#[tokio::test]
async fn who_asks_for_himself_and_for_his_tenant_is_explained_too() {
    let schema = "action Rename in [HalfByte::Action::\"Read\"] appliesTo { principal: HalfByte::User, resource: [HalfByte::User, HalfByte::Tenant] };";
    let policies = "@id(\"own\") permit (principal, action, resource) when { resource == principal };";
    let files = [SourceFile::new("p.cedarschema", schema), SourceFile::new("p.cedar", policies)];
    let rules = Rules::compile(&files).unwrap_or_else(|invalid| panic!("{invalid}"));
    let (ann, rename) = (user("ann", "acme", &[]), Action::new("Rename"));
    let herself = || Entity::named(name_of(&ann)).of_tenant(ann.tenant());
    let asked = halfbyte_identity::access::Asked::new(&ann, "Rename", &herself()).entity(herself());
    let why = rules.explain(&asked);
    assert!(why.decision.is_allowed, "{why}");
    let of_tenant = halfbyte_identity::access::Asked::new(&ann, "Rename", ann.tenant());
    let of_tenant = of_tenant.entity(Entity::named(EntityRef::tenant(ann.tenant())));
    let why = rules.explain(&of_tenant);
    assert!(why.decision.errors.is_empty() && why.nearest.len() == 1, "{why}");

    let access = Access::fixed(rules);
    access.check(&ann, rename, &herself()).await.expect("herself");
    let why = access.explain(&ann, rename, &herself()).await.expect("it is decided");
    assert!(why.to_string().contains("Permitted by:\n  own"), "{why}");
    let why = access.explain(&ann, rename, ann.tenant()).await.expect("it is decided");
    assert!(why.decision.errors.is_empty() && why.nearest.len() == 1, "{why}");
}

/// Knows of everybody what it was made with.
#[derive(Clone)]
struct Knows {
    membership: Membership,
    is_suspended: bool,
}

impl EntityProvider for Knows {
    async fn principal(&self, _: &Principal) -> Result<Membership, BoxError> {
        Ok(self.membership.clone())
    }

    async fn is_suspended(&self, _: &TenantId) -> Result<bool, BoxError> {
        Ok(self.is_suspended)
    }
}

static RULES: LazyLock<Live<Rules>> = LazyLock::new(office::live);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn an_explanation_is_of_the_very_decision(
        roles in proptest::sample::subsequence(vec!["clerk", "driver"], 0..=2),
        is_of_desk in any::<bool>(),
        department in proptest::option::of(prop_oneof![Just("sales"), Just("law")]),
        is_suspended in proptest::bool::weighted(0.2),
        action in proptest::sample::select(vec![CREATE, READ, EDIT, SHIP, Action::new("Fly")]),
        of in prop_oneof![3 => Just("acme"), 1 => Just("globex")],
        (is_owner, is_open, sealed) in any::<(bool, bool, bool)>(),
        weight in prop_oneof![0_i64..200, any::<i64>()],
        is_odd in proptest::bool::weighted(0.1),
    ) {
        let (ann, bob) = (user("ann", "acme", &roles), user("bob", "acme", &[]));
        let membership = Membership {
            profile: department.into_iter().map(|department| ("department", Value::from(department))).collect(),
            groups: is_of_desk.then(|| EntityRef::new("HalfByte::Group", "desk")).into_iter().collect(),
        };
        let label = office::label(of, if is_owner { &ann } else { &bob })
            .attribute("sealed", sealed)
            .attribute("weight", Value::Long(weight));
        let label = if is_open { in_folder(label) } else { label };
        let label = if is_odd { label.attribute("note", 7) } else { label };
        let access = Access::new(RULES.clone(), Knows { membership, is_suspended });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let (decision, why) = runtime.block_on(async {
            (access.decide(&ann, action, &label).await.expect("decided"), access.explain(&ann, action, &label).await.expect("explained"))
        });
        prop_assert_eq!(&why.decision, &decision, "{}", why);
        let text = why.to_string();
        prop_assert_eq!(text.starts_with("ALLOWED"), decision.is_allowed, "{}", text);
        prop_assert_eq!(why.decided.len(), decision.policies.len(), "{}", text);
        prop_assert_eq!(why.errors.len(), decision.errors.len(), "{}", text);
        for near in &why.nearest {
            prop_assert!(!near.lacks.is_empty(), "{}", text);
        }
        if !decision.is_allowed && decision.errors.is_empty() {
            prop_assert!(!decision.policies.is_empty() || why.outweighed.is_empty(), "{}", text);
        }
    }
}
