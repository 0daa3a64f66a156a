//! Questions that are written by hand or were recorded: what they lack is missed as a running product misses it.

use halfbyte_core::{BoxError, Live};
use halfbyte_identity::access::{
    Access, Action, Asked, DecisionLog, Entity, EntityProvider, EntityRef, Membership, Recorder, Rules, SourceFile,
};

use crate::decision_log::Written;
use crate::parcel::{tenant, user};

const EDIT: Action = Action::new("EditTask");

const SCHEMA: &str = "
entity Folder in [Folder] = { tenant: HalfByte::Tenant };
entity Project = { tenant: HalfByte::Tenant, frozen: Bool };
entity Task in [Folder] = { tenant: HalfByte::Tenant, project: Project };
action EditTask appliesTo { principal: HalfByte::User, resource: Task };
";

const ALL: &str = "@id(\"all\") permit (principal, action, resource);";
const FROZEN: &str = "@id(\"frozen\") forbid (principal, action, resource) when { resource.project.frozen };";
const MAIN: &str = "@id(\"main\") forbid (principal, action, resource) when { Project::\"main\".frozen };";

fn rules(policies: &[&str]) -> Rules {
    let files = [SourceFile::new("p.cedarschema", SCHEMA), SourceFile::new("p.cedar", policies.concat())];
    Rules::compile(&files).unwrap_or_else(|invalid| panic!("{invalid}"))
}

/// All that a product knows.
#[derive(Clone)]
struct Things(Vec<Entity>);

impl EntityProvider for Things {
    async fn principal(&self, _: &halfbyte_core::Principal) -> Result<Membership, BoxError> {
        let groups = vec![EntityRef::new("HalfByte::Group", "unknown")];
        Ok(Membership { groups, ..Membership::default() })
    }

    async fn entity(&self, name: &EntityRef) -> Result<Option<Entity>, BoxError> {
        Ok(self.0.iter().find(|thing| thing.name() == name).cloned())
    }
}

fn task(of: &str) -> Entity {
    Entity::new("Task", "t-1").of_tenant(&tenant(of)).attribute("project", EntityRef::new("Project", "x"))
}

fn project(id: &str, frozen: bool) -> Entity {
    Entity::new("Project", id).of_tenant(&tenant("acme")).attribute("frozen", frozen)
}

fn folder(id: u8) -> Entity {
    Entity::new("Folder", id.to_string()).of_tenant(&tenant("acme"))
}

fn at(id: u8) -> EntityRef {
    EntityRef::new("Folder", id.to_string())
}

/// What it is about, the policies, what is asked for, what is known, and the policy that permits or what is said.
type Case<'a> = (&'a str, &'a [&'a str], Entity, Vec<Entity>, Result<&'a str, String>);

#[tokio::test]
async fn what_is_missing_denies_in_the_words_of_a_decision_asked_by_hand_and_replayed() {
    let stairs = |steps: u8| (1..=steps).map(|step| folder(step).parent(at(step + 1))).chain([folder(steps + 1)]);
    let (x, main) = (project("x", false), project("main", false));
    let missing = |name: &str| format!("{name} is not there");
    let table: [Case<'_>; 12] = [
        ("all there", &[ALL, FROZEN], task("acme"), vec![x.clone()], Ok("all")),
        ("frozen", &[ALL, FROZEN], task("acme"), vec![project("x", true)], Err("frozen".into())),
        ("no project", &[ALL, FROZEN], task("acme"), vec![], Err(missing("Project::\"x\""))),
        ("nothing looks", &[ALL], task("acme"), vec![], Ok("all")),
        ("no parent", &[ALL], task("acme").parent(at(1)), vec![], Err(missing("Folder::\"1\""))),
        (
            "no parent's parent",
            &[ALL],
            task("acme").parent(at(1)),
            vec![folder(1).parent(at(2))],
            Err(missing("Folder::\"2\"")),
        ),
        ("not the named one", &[ALL, MAIN], task("acme"), vec![x.clone()], Err(missing("Project::\"main\""))),
        ("the named one", &[ALL, MAIN], task("acme"), vec![main], Ok("all")),
        ("far", &[ALL], task("acme").parent(at(1)), stairs(20).collect(), Err("more than 16 steps away".into())),
        ("not so far", &[ALL], task("acme").parent(at(1)), stairs(15).collect(), Ok("all")),
        ("another's", &[ALL, FROZEN], task("globex"), vec![], Err("halfbyte.tenant-isolation".into())),
        // The provider is not asked for what another tenant's leads to.
        (
            "another's, known",
            &[ALL, FROZEN],
            task("globex"),
            vec![project("x", true)],
            Err("halfbyte.tenant-isolation".into()),
        ),
    ];
    let ann = user("ann", "acme", &[]);
    for (what, policies, resource, things, expected) in table {
        let (written, rules) = (Written::default(), rules(policies));
        let recorder = Recorder::new(written.clone(), u64::MAX).expect("a thread");
        let access = Access::new(Live::fixed("access", rules.clone()), Things(things.clone()));
        let access = access.log(DecisionLog::new().record(recorder));
        let decision = access.decide(&ann, EDIT, &resource).await.expect("it is decided");
        drop(access);

        let known = Things(things.clone()).principal(&ann).await.expect("a membership");
        let asked = Asked::new(&ann, "EditTask", &resource).member(known);
        let why = rules.explain(&things.into_iter().fold(asked, Asked::entity));
        assert_eq!(why.decision, decision, "{what}: {why}");
        let errors = decision.errors.iter().map(ToString::to_string);
        let said: Vec<_> = errors.chain(decision.policies.iter().map(ToString::to_string)).collect();
        match expected {
            Ok(policy) => assert!(decision.is_allowed && said == [policy], "{what}: {said:?}"),
            Err(reason) => assert!(!decision.is_allowed && said.concat().contains(&reason), "{what}: {said:?}"),
        }
        assert_eq!(said.len(), 1, "{what}: {said:?}");

        let replay = rules.replay(written.text().as_bytes(), 1).expect("it reads");
        assert_eq!((replay.decisions, replay.same), (1, 1), "{what}: {replay}");
    }
}

#[tokio::test]
async fn a_set_that_looks_further_than_the_one_that_was_recorded_denies_what_it_does_not_find() {
    let written = Written::default();
    let recorder = Recorder::new(written.clone(), u64::MAX).expect("a thread");
    let access = Access::new(Live::fixed("access", rules(&[ALL])), Things(vec![project("x", false)]));
    let access = access.log(DecisionLog::new().record(recorder));
    access.check(&user("ann", "acme", &[]), EDIT, &task("acme")).await.expect("allowed");
    drop(access);
    let careful = "@id(\"careful\") forbid (principal, action, resource) when { resource.project has frozen && resource.project.frozen };";
    let replay = rules(&[ALL, careful]).replay(written.text().as_bytes(), 1).expect("it reads");
    assert_eq!((replay.decisions, replay.newly_denied), (1, 1), "{replay}");
    assert!(replay.to_string().contains("denied: cannot be evaluated: Project::\"x\" is not there"), "{replay}");
}

#[test]
fn what_is_missing_what_is_too_much_and_what_does_not_fit_are_told_apart_with_what_helps() {
    let ann = user("ann", "acme", &[]);
    let rules = rules(&[ALL, FROZEN]);
    let far = (1..=20).map(|step| folder(step).parent(at(step + 1)));
    let asked = |resource: &Entity| Asked::new(&ann, "EditTask", resource);
    for (question, advice) in [
        (
            asked(&task("acme")),
            "where no provider is asked, give that thing with the question: by Asked::entity, or in a test by Kit::with",
        ),
        (
            far.fold(asked(&task("acme").parent(at(1))).entity(project("x", false)), Asked::entity),
            "put things in fewer others",
        ),
        (asked(&task("acme").attribute("project", true)), "it does not fit the schema"),
        (asked(&Entity::new("Task", "t-1").of_tenant(&tenant("acme"))), "it does not fit the schema"),
        (Asked::new(&ann, "Fly", &task("acme")), "it does not fit the schema"),
        (Asked::new(&ann, "EditTask", &tenant("acme")), "it does not fit the schema"),
    ] {
        let why = rules.explain(&question);
        let line = why.errors.first().unwrap_or_else(|| panic!("no error: {why}"));
        let (said, helps) = line.split_once("\n    ").unwrap_or_else(|| panic!("no advice: {why}"));
        assert!(said.starts_with("what is asked cannot be decided: ") && helps.starts_with(advice), "{line}");
        assert!(!why.decision.is_allowed && why.nearest.is_empty() && why.errors.len() == 1, "{why}");
    }
}
