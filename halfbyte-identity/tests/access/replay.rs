use halfbyte_core::Principal;
use halfbyte_identity::access::{
    Access, Action, DecisionLog, Entity, EntityRef, Recorder, Replay, Rules, Value, name_of,
};
use jiff::Timestamp;
use proptest::prelude::*;

use crate::decision_log::Written;
use crate::office::{
    CREATE, EDIT, POLICIES, READ, SHIP, access, in_folder, label, rules, rules_with, service, tenant, user,
};

/// What a recorder writes of these questions.
fn recorded(access: Access, questions: &[(Principal, Action, Entity)]) -> String {
    let written = Written::default();
    let recorder = Recorder::new(written.clone(), u64::MAX).expect("a thread");
    let access = access.log(DecisionLog::new().sample_allowed(0).record(recorder));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(async {
        for (principal, action, resource) in questions {
            let _recorded = access.decide(principal, *action, resource).await.expect("a decision");
        }
    });
    drop(access);
    written.text()
}

fn replayed(rules: &Rules, log: &str) -> Replay {
    rules.replay(log.as_bytes(), 10).expect("it reads")
}

fn office() -> Vec<(Principal, Action, Entity)> {
    let (ann, bob) = (user("ann", "acme", &["clerk"]), user("bob", "acme", &["driver"]));
    let whole = || Entity::named(EntityRef::tenant(&tenant("acme")));
    vec![
        (ann.clone(), CREATE, whole()),
        (bob.clone(), CREATE, whole()),
        (ann.clone(), READ, label("acme", &ann)),
        (bob.clone(), READ, label("acme", &ann)),
        (ann.clone(), EDIT, label("acme", &ann).attribute("sealed", true)),
        (bob, SHIP, in_folder(label("acme", &ann))),
        (ann.clone(), READ, label("globex", &ann)),
        (service(&["labels:write"]), CREATE, whole()),
    ]
}

#[test]
fn a_dry_run_finds_exactly_what_would_change_with_the_policies_before_and_after() {
    let log = recorded(access(), &office());
    // Drivers create, clerks no longer do; sealed labels may be edited; services are permitted by another id.
    let policies = POLICIES
        .replace(r#"principal in HalfByte::Role::"clerk""#, r#"principal in HalfByte::Role::"driver""#)
        .replace("when { resource.sealed };", "when { false };")
        .replace("permit (principal is HalfByte::Service", "@id(\"programs\") permit (principal is HalfByte::Service");
    let replay = replayed(&rules_with(&policies), &log);
    assert_eq!(
        replay.to_string(),
        r#"8 recorded decisions
         1  allowed, and would be denied
         2  denied, and would be allowed
         1  the same, by other policies
         4  the same

line 1: User "acme/ann", CreateLabel Tenant "acme"
  was       allowed by clerks-create
  would be  denied: no policy permits it

line 2: User "acme/bob", CreateLabel Tenant "acme"
  was       denied: no policy permits it
  would be  allowed by clerks-create

line 5: User "acme/ann", EditLabel Label "l-1"
  was       denied by sealed
  would be  allowed by owners
"#
    );
}

#[test]
fn only_the_first_changes_are_kept_and_all_are_counted() {
    let log = recorded(access(), &office()).repeat(50);
    let replay = rules_with("").replay(log.as_bytes(), 3).expect("it reads");
    assert_eq!((replay.decisions, replay.newly_denied, replay.changes.len()), (400, 200, 3));
    assert!(replay.to_string().ends_with("\nand 197 more that would change\n"), "{replay}");
}

#[test]
fn lines_that_are_no_recorded_decisions_are_counted_and_never_quoted() {
    let log = recorded(access(), &office());
    let first = log.lines().next().expect("a line");
    let mut without: serde_json::Value = serde_json::from_str(first).expect("JSON");
    without.as_object_mut().expect("an object").remove("entities");
    let long = format!("{{\"canary\":\"{}\"}}", "x".repeat(5 << 20));
    let text = format!("{{\"canary\n\n{without}\n{long}\n{first}\n{}", &first[..100]);
    let replay = replayed(&rules(), &text);
    assert_eq!((replay.decisions, replay.same, replay.unreadable), (1, 1, 4), "{replay}");
    assert_eq!(replay.first_unreadable.as_ref().map(|(line, _)| *line), Some(1));
    assert!(!replay.to_string().contains("canary"), "{replay}");
    let replay = replayed(&rules(), &format!("{without}\n"));
    assert!(replay.to_string().contains("line 1: it does not hold what policies saw"), "{replay}");
}

#[test]
fn however_many_policies_decided_a_handful_is_named() {
    let log = recorded(access(), &office()[2..3]);
    let mut line: serde_json::Value = serde_json::from_str(&log).expect("JSON");
    line["policies"] = (0..30).map(|n| serde_json::json!(format!("p-{n}"))).collect();
    line["action"] = "EditLabel".into();
    line["allowed"] = false.into();
    let replay = replayed(&rules(), &format!("{line}\n"));
    assert!(
        replay.to_string().contains("denied by p-0, p-1, ") && replay.to_string().contains("p-19, and 10 more\n"),
        "{replay}"
    );
    line["action"] = "Edit".repeat(10_000).into();
    line["allowed"] = true.into();
    let text = replayed(&rules(), &format!("{line}\n")).to_string();
    assert!(text.contains("would be  denied: cannot be evaluated") && text.len() < 4000, "{} bytes", text.len());
}

#[test]
fn a_line_that_is_nested_without_end_is_unreadable_or_does_not_fit_and_harms_nobody() {
    let log = recorded(access(), &office()[2..3]);
    for depth in [50, 100, 5000] {
        let note = format!("\"note\":{}1{},", "[".repeat(depth), "]".repeat(depth));
        let line = log.replace("\"attrs\":{\"owner\"", &format!("\"attrs\":{{{note}\"owner\""));
        assert_ne!(line, log);
        let replay = replayed(&rules(), &line);
        assert_eq!(replay.newly_denied + replay.unreadable, 1, "{depth}: {replay}");
    }
}

#[test]
fn a_set_whose_schema_no_longer_has_the_action_denies_it() {
    let log = recorded(access(), &office()).replace("\"CreateLabel\"", "\"MakeLabel\"");
    let replay = replayed(&rules(), &log);
    assert_eq!((replay.newly_denied, replay.decisions), (2, 8), "{replay}");
    assert!(replay.to_string().contains("would be  denied: cannot be evaluated: the schema has no action"), "{replay}");
}

fn any_value() -> impl Strategy<Value = Value> {
    let time = (0_i64..4_000_000_000).prop_map(|at| Value::Time(Timestamp::from_second(at).expect("in range")));
    let leaf = prop_oneof![
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Long),
        any::<String>().prop_map(Value::from),
        any::<std::net::IpAddr>().prop_map(Value::Ip),
        any::<String>().prop_map(|id| Value::Entity(EntityRef::new("Folder", id))),
        time,
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::Set),
            proptest::collection::btree_map("[a-z]{1,3}".prop_map(Box::from), inner, 0..3).prop_map(Value::Record),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn replaying_the_same_set_changes_nothing(
        subject in any::<String>(),
        id in any::<String>(),
        roles in proptest::sample::subsequence(vec!["clerk", "driver"], 0..=2),
        action in proptest::sample::select(vec![CREATE, READ, EDIT, SHIP]),
        of in prop_oneof![Just("acme"), Just("globex")],
        is_owner in any::<bool>(),
        sealed in any::<bool>(),
        weight in prop_oneof![0_i64..200, any::<i64>()],
        odd in proptest::option::weighted(0.3, any_value()),
    ) {
        let (ann, bob) = (user(&subject, "acme", &roles), user("bob", "acme", &[]));
        let mut resource = in_folder(Entity::new("Label", id))
            .of_tenant(&tenant(of))
            .attribute("owner", name_of(if is_owner { &ann } else { &bob }))
            .attribute("sealed", sealed)
            .attribute("weight", Value::Long(weight));
        // What does not fit the schema is denied, and again.
        if let Some(odd) = odd {
            resource = resource.attribute("note", odd);
        }
        let log = recorded(access(), &[(ann, action, resource)]);
        let replay = replayed(&rules(), &log);
        prop_assert_eq!((replay.decisions, replay.same, replay.unreadable), (1, 1, 0), "{}{}", replay, log);
    }
}
