use std::io::{self, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Once};

use halfbyte_core::{Clock, Principal};
use halfbyte_identity::access::{
    Access, DecisionLog, Entity, EntityProvider, Membership, Record, Recorder, Value, name_of,
};
use jiff::Timestamp;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState};
use proptest::prelude::*;

use crate::office::{CREATE, EDIT, READ, SHIP, access, label, live, rules, tenant, user};

/// What is written, to look at.
#[derive(Clone, Default)]
pub struct Written(Arc<Mutex<Vec<u8>>>);

impl Written {
    pub fn text(&self) -> String {
        String::from_utf8(self.0.lock().expect("nobody panics").clone()).expect("UTF-8")
    }
}

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("nobody panics").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

thread_local! {
    static LOGGED: Written = Written::default();
}

/// What is logged on this thread meanwhile. One subscriber for all tests: those of single threads disturb one another.
fn logged(work: impl Future<Output = ()>) -> String {
    static ONE: Once = Once::new();
    ONE.call_once(|| {
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(|| LOGGED.with(Written::clone));
        subscriber.init();
    });
    LOGGED.with(|logged| logged.0.lock().expect("nobody panics").clear());
    runtime().block_on(work);
    LOGGED.with(Written::text)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime")
}

fn heard(access: Access) -> (Access, Arc<Mutex<Vec<Record>>>) {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let keep = heard.clone();
    let noon: Timestamp = "2030-01-01T12:00:00Z".parse().expect("a time");
    let log = DecisionLog::new().clock(Clock::manual(noon));
    (access.log(log.listen(move |record| keep.lock().expect("nobody panics").push(record.clone()))), heard)
}

#[tokio::test(start_paused = true)]
async fn listeners_are_told_of_each_decision_by_names_and_ids() {
    let (access, heard) = heard(access());
    let ann = user("ann", "acme", &["clerk"]);
    access.check(&ann, CREATE, &tenant("acme")).await.expect("a clerk");
    access.check(&ann, READ, &label("globex", &ann)).await.expect_err("another tenant");
    access.check(&ann, SHIP, &label("acme", &ann).attribute("weight", "much")).await.expect_err("unfit");

    let heard = heard.lock().expect("nobody panics");
    let shown: Vec<_> = heard.iter().map(|record| serde_json::to_value(record).expect("JSON")).collect();
    let version = rules().version().to_string();
    assert_eq!(
        shown[0],
        serde_json::json!({
            "time": "2030-01-01T12:00:00Z",
            "principal": { "type": "HalfByte::User", "id": "acme/ann" },
            "tenant": "acme",
            "action": "CreateLabel",
            "resource": { "type": "HalfByte::Tenant", "id": "acme" },
            "allowed": true,
            "policies": ["clerks-create"],
            "errors": [],
            "version": version,
            "took_ns": 0,
        })
    );
    assert_eq!((&shown[1]["allowed"], &shown[1]["policies"][0]), (&false.into(), &"halfbyte.tenant-isolation".into()));
    assert_eq!(
        (&shown[2]["policies"], &shown[2]["errors"]),
        (&serde_json::json!([]), &serde_json::json!(["question"]))
    );
    for (record, shown) in heard.iter().zip(shown) {
        assert_eq!(*record, serde_json::from_value::<Record>(shown).expect("what was written"));
    }
}

#[test]
fn denials_are_always_logged_and_of_what_is_allowed_each_nth() {
    let (ann, bob) = (user("ann", "acme", &["clerk"]), user("bob", "acme", &[]));
    let counts = |n: u32| {
        let log = logged(async {
            let access = access().log(DecisionLog::new().sample_allowed(n));
            for _ in 0..25 {
                access.check(&ann, CREATE, &tenant("acme")).await.expect("a clerk");
                access.check(&bob, CREATE, &tenant("acme")).await.expect_err("no clerk");
            }
        });
        let count = |what: &str| log.lines().filter(|line| line.contains(what)).count();
        (count("outcome=\"allowed\""), count("outcome=\"denied\""))
    };
    assert_eq!([counts(10), counts(1), counts(0), counts(100)], [(3, 25), (25, 25), (0, 25), (1, 25)]);
}

#[test]
fn within_a_trace_all_that_is_allowed_is_logged_or_nothing() {
    let ann = user("ann", "acme", &["clerk"]);
    let mut sampled = 0;
    for id in 1..=40 {
        let log = logged(async {
            let access = access().log(DecisionLog::new().sample_allowed(4));
            let id = TraceId::from(id);
            let span = SpanContext::new(id, SpanId::from(1), TraceFlags::SAMPLED, false, TraceState::default());
            let _here = opentelemetry::Context::new().with_remote_span_context(span).attach();
            for _ in 0..3 {
                access.check(&ann, CREATE, &tenant("acme")).await.expect("a clerk");
            }
        });
        assert!([0, 3].contains(&log.lines().count()), "{log}");
        sampled += log.lines().count() / 3;
    }
    assert_eq!(sampled, 10);
}

#[test]
fn who_reaches_for_another_tenants_is_warned_of_and_other_denials_inform() {
    let ann = user("ann", "acme", &[]);
    let log = logged(async {
        access().check(&ann, CREATE, &tenant("acme")).await.expect_err("no clerk");
        access().check(&ann, READ, &label("globex", &ann)).await.expect_err("another tenant");
        let heavy = label("acme", &ann).attribute("weight", Value::Long(i64::MAX));
        access().check(&user("dan", "acme", &["driver"]), SHIP, &heavy).await.expect_err("an overflow");
    });
    let levels: Vec<_> = log.lines().filter_map(|line| line.split_whitespace().nth(1)).collect();
    assert_eq!(levels, ["INFO", "WARN", "WARN"], "{log}");
    assert!(log.contains("halfbyte::decisions: denied: CreateLabel on HalfByte::Tenant::\"acme\""), "{log}");
}

#[tokio::test]
async fn a_listener_that_panics_does_no_harm_to_the_decision_nor_to_the_next() {
    let told = Arc::new(AtomicUsize::new(0));
    let count = told.clone();
    let log = DecisionLog::new().listen(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        panic!("a listener's own mistake");
    });
    let (access, ann) = (access().log(log), user("ann", "acme", &["clerk"]));
    access.check(&ann, CREATE, &tenant("acme")).await.expect("a clerk");
    access.check(&ann, CREATE, &tenant("acme")).await.expect("a clerk");
    assert_eq!(told.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_recorder_writes_within_its_room_for_its_owner_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("decisions.jsonl");
    let recorder = Recorder::create(&path, 1200).expect("a file");
    let access = access().log(DecisionLog::new().record(recorder.clone()));
    let ann = user("ann", "acme", &["clerk"]);
    for _ in 0..20 {
        access.check(&ann, CREATE, &tenant("acme")).await.expect("a clerk");
    }
    recorder.flush();
    let text = std::fs::read_to_string(&path).expect("a file");
    assert!(text.len() <= 1200 && text.ends_with('\n'), "{} bytes", text.len());
    let lines = text.lines().count() as u64;
    assert!(lines >= 1 && text.lines().all(|line| serde_json::from_str::<Record>(line).is_ok()), "{text}");
    assert_eq!((recorder.written(), recorder.missed()), (lines, 20 - lines));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(std::fs::metadata(&path).expect("a file").permissions().mode() & 0o777, 0o600);
    }
}

#[tokio::test]
async fn a_recorder_that_is_dropped_has_written_all() {
    let written = Written::default();
    let recorder = Recorder::new(written.clone(), u64::MAX).expect("a thread");
    let access = access().log(DecisionLog::new().record(recorder));
    let ann = user("ann", "acme", &["clerk"]);
    for _ in 0..100 {
        access.check(&ann, CREATE, &tenant("acme")).await.expect("a clerk");
    }
    drop(access);
    assert_eq!(written.text().lines().count(), 100);
}

/// Knows something personal of everybody.
struct Files(String);

impl EntityProvider for Files {
    async fn principal(&self, _: &Principal) -> Result<Membership, halfbyte_core::BoxError> {
        Ok(Membership { profile: vec![("department", Value::from(&*self.0))], groups: Vec::new() })
    }
}

fn any_value() -> impl Strategy<Value = (Value, String)> {
    // Long enough that no time and no digest holds it by chance.
    let text = "canary[a-z]{8}".prop_map(|text| (Value::from(&*text), text));
    let number = (i64::MAX - 1_000_000..i64::MAX).prop_map(|number| (Value::Long(number), number.to_string()));
    let owner = "canary[a-z]{8}".prop_map(|text| (Value::from(name_of(&user(&text, "acme", &[]))), text));
    let set = "canary[a-z]{8}".prop_map(|text| (Value::Set(vec![Value::from(&*text)]), text));
    prop_oneof![text, number, owner, set]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_log_never_holds_what_an_attribute_says(
        attribute in prop_oneof![Just("note"), Just("weight"), Just("owner"), Just("sealed"), Just("unknown")],
        (value, canary) in any_value(),
        department in "canary[a-z]{8}",
        roles in proptest::sample::subsequence(vec!["clerk", "driver"], 0..=2),
        action in proptest::sample::select(vec![READ, EDIT, SHIP]),
        of in prop_oneof![Just("acme"), Just("globex")],
    ) {
        let ann = user("ann", "acme", &roles);
        let label: Entity = label(of, &ann).attribute(attribute, value);
        let (access, heard) = heard(Access::new(live(), Files(department.clone())));
        let mut shown = String::new();
        let log = logged(async {
            let access = access.clone();
            let decision = access.decide(&ann, action, &label).await.expect("a decision");
            shown = format!("{decision:?}");
        });
        let heard = heard.lock().expect("nobody panics");
        prop_assert_eq!(heard.len(), 1);
        let all = format!("{log}{shown}{heard:?}{}{access:?}{label:?}", serde_json::to_string(&*heard).expect("JSON"));
        prop_assert!(!all.contains(&canary) && !all.contains(&department), "{all}");
        prop_assert!(all.contains("acme/ann"), "{all}");
    }
}
