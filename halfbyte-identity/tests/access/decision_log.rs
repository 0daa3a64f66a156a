use std::io::{self, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Once};

use halfbyte_core::{Clock, Principal};
use halfbyte_identity::access::{
    Access, DecisionLog, Entity, EntityProvider, EntityRef, Membership, Record, Recorder, Value, name_of,
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

/// The same, on a clock that stands still.
fn logged_in_order(work: impl Future<Output = ()>) -> String {
    logged(async {
        tokio::time::pause();
        work.await;
    })
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
            let access = access().log(DecisionLog::new().sample_allowed(n).denials_per_second(u32::MAX));
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

fn count(log: &str, what: &str) -> usize {
    log.lines().filter(|line| line.contains(what)).count()
}

#[test]
fn of_a_flood_of_denials_some_a_second_are_logged_in_full_and_the_rest_is_counted_and_told() {
    let (ann, bob, eve) = (user("ann", "acme", &["clerk"]), user("bob", "acme", &[]), user("eve", "globex", &[]));
    let told = Arc::new(AtomicUsize::new(0));
    let heard = told.clone();
    let log = logged_in_order(async {
        let log = DecisionLog::new()
            .listen(move |record| _ = heard.fetch_add(usize::from(!record.is_allowed), Ordering::Relaxed));
        let access = access().log(log.sample_allowed(0));
        let flood = async |times: usize| {
            for _ in 0..times {
                access.check(&bob, CREATE, &tenant("acme")).await.expect_err("no clerk");
            }
        };
        flood(500).await;
        // A colleague, another tenant, another action, and what is worse are not hidden behind it.
        access.check(&user("cat", "acme", &[]), CREATE, &tenant("acme")).await.expect_err("no clerk");
        access.check(&eve, CREATE, &tenant("globex")).await.expect_err("no clerk");
        access.check(&bob, READ, &label("acme", &ann)).await.expect_err("not his");
        access.check(&bob, CREATE, &tenant("globex")).await.expect_err("another tenant");
        // Lists count too.
        for _ in 0..15 {
            access.filter(&bob, READ, vec![label("acme", &ann)]).await.expect("a list");
        }
        tokio::time::advance(std::time::Duration::from_millis(999)).await;
        flood(1).await;
        tokio::time::advance(std::time::Duration::from_millis(2)).await;
        // Told with whatever comes next.
        access.check(&ann, CREATE, &tenant("acme")).await.expect("a clerk");
        flood(12).await;
    });
    assert_eq!(told.load(Ordering::Relaxed), 500 + 4 + 15 + 1 + 12, "listeners are told of each");
    assert_eq!(
        (count(&log, "outcome=\"denied\""), count(&log, "outcome=\"listed\""), count(&log, "suppressed=")),
        (10 + 4 + 10, 9, 3),
        "{log}"
    );
    assert!(
        log.contains("INFO")
            && count(&log, "suppressed=491") == 1
            && count(&log, "suppressed=6") == 1
            && count(&log, "suppressed=2") == 1,
        "{log}"
    );
    let of_bob = r#"principal=HalfByte::User::"acme/bob" tenant="acme" action="CreateLabel" suppressed"#;
    assert_eq!(count(&log, of_bob), 2, "{log}");
    assert!(log.lines().last().is_some_and(|line| line.contains("suppressed=2")), "with the end of the log: {log}");
}

#[test]
fn a_list_that_hides_rows_is_one_event_and_its_rows_are_for_who_looks_closer() {
    let (ann, bob) = (user("ann", "acme", &[]), user("bob", "acme", &[]));
    let labels = |of: &str, owner: &Principal, count: usize| (0..count).map(|_| label(of, owner)).collect::<Vec<_>>();
    let told = Arc::new(AtomicUsize::new(0));
    let heard = told.clone();
    let log = logged(async {
        let log = DecisionLog::new().sample_allowed(0).listen(move |_| _ = heard.fetch_add(1, Ordering::Relaxed));
        let access = access().log(log);
        let rows = [labels("acme", &ann, 3), labels("acme", &bob, 40)].concat();
        assert_eq!(access.filter(&ann, READ, rows).await.expect("a list").len(), 3);
        let all_shown = access.check_all(&ann, READ, &labels("acme", &ann, 2)).await.expect("a list");
        assert!(all_shown.iter().all(|decision| decision.is_allowed));
        let mixed = [labels("globex", &ann, 7), labels("acme", &bob, 1)].concat();
        let _decisions = access.check_all(&ann, READ, &mixed).await.expect("a list");
        assert!(access.filter(&ann, READ, Vec::<Entity>::new()).await.expect("a list").is_empty());
        let heavy = labels("acme", &ann, 1).pop().expect("one").attribute("weight", "much");
        let _decisions = access.check_all(&ann, READ, &[heavy]).await.expect("a list of one");
    });
    assert_eq!(told.load(Ordering::Relaxed), 43 + 2 + 8 + 1, "listeners are told of each");
    let lines: Vec<_> = log.lines().collect();
    assert_eq!(lines.len(), 3, "{log}");
    assert!(lines[0].contains(" INFO ") && lines[0].contains("listed: ReadLabel, 40 of 43 hidden"), "{log}");
    assert!(lines[0].contains("rows=43 hidden=40 policies=\"\" errors=\"\""), "{log}");
    assert!(
        lines[1].contains(" WARN ") && lines[1].contains("hidden=8 policies=\"halfbyte.tenant-isolation\""),
        "{log}"
    );
    assert!(lines[2].contains(" WARN ") && lines[2].contains("is not of the type that the schema says"), "{log}");
}

#[tokio::test]
async fn who_looks_closer_sees_the_rows_that_a_list_hides() {
    let (ann, bob) = (user("ann", "acme", &[]), user("bob", "acme", &[]));
    let access = access().log(DecisionLog::new().sample_allowed(0));
    let rows = || vec![label("acme", &ann), label("acme", &bob), label("acme", &bob)];
    access.filter(&ann, READ, rows()).await.expect("a list");
    let log = crate::log::Log::capture().await;
    access.filter(&ann, READ, rows()).await.expect("a list");
    assert_eq!(log.count("DEBUG", "hidden: ReadLabel on Label::"), 2);
    assert_eq!(log.count("INFO", "listed: ReadLabel, 2 of 3 hidden"), 1);
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
async fn a_listener_that_panics_robs_neither_the_other_listeners_nor_the_recorder() {
    let (written, told) = (Written::default(), Arc::new(AtomicUsize::new(0)));
    let count = told.clone();
    let log = DecisionLog::new()
        .listen(|_| panic!("a listener's own mistake"))
        .listen(move |_| _ = count.fetch_add(1, Ordering::Relaxed))
        .record(Recorder::new(written.clone(), u64::MAX).expect("a thread"));
    let (access, ann) = (access().log(log), user("ann", "acme", &["clerk"]));
    access.check(&ann, CREATE, &tenant("acme")).await.expect("a clerk");
    let _decisions = access.check_all(&ann, READ, &[label("acme", &ann), label("acme", &ann)]).await.expect("a list");
    drop(access);
    assert_eq!((told.load(Ordering::Relaxed), written.text().lines().count()), (3, 3));
}

/// Writes nothing before it is told to.
struct Stuck(std::sync::mpsc::Receiver<()>);

impl Write for Stuck {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _told = self.0.recv();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn what_a_recorder_has_no_room_for_is_told_of_as_seldom_as_it_doubles() {
    let ann = user("ann", "acme", &["clerk"]);
    let log = logged(async {
        let (release, stuck) = std::sync::mpsc::channel();
        let recorder = Recorder::new(Stuck(stuck), u64::MAX).expect("a thread");
        let access = access().log(DecisionLog::new().sample_allowed(0).record(recorder.clone()));
        let large = label("acme", &ann).attribute("note", "x".repeat(1 << 20));
        for _ in 0..100 {
            access.check(&ann, READ, &large).await.expect("hers");
        }
        assert!((65..=70).contains(&recorder.missed()), "{recorder:?}");
        drop(release);
    });
    assert_eq!((count(&log, "decisions are not recorded"), log.lines().count()), (7, 7), "{log}");
    assert!(log.lines().last().is_some_and(|line| line.contains("missed=64")), "{log}");
}

/// Each label of a list is in a folder of its own, which the provider knows.
struct Folders;

impl EntityProvider for Folders {
    async fn entity(&self, name: &EntityRef) -> Result<Option<Entity>, halfbyte_core::BoxError> {
        Ok(Some(Entity::named(name.clone()).of_tenant(&crate::parcel::tenant("acme"))))
    }
}

#[tokio::test]
async fn of_a_list_each_decision_is_recorded_with_what_it_is_about_alone() {
    let written = Written::default();
    let recorder = Recorder::new(written.clone(), u64::MAX).expect("a thread");
    let rules = halfbyte_core::Live::fixed("access", crate::parcel::rules());
    let access = Access::new(rules, Folders).log(DecisionLog::new().record(recorder));
    let ann = user("ann", "acme", &[]);
    let labels: Vec<_> = (0..50)
        .map(|n| crate::parcel::label("acme", &n.to_string(), &ann).parent(EntityRef::new("Folder", n.to_string())))
        .collect();
    let _decisions = access.check_all(&ann, READ, &labels).await.expect("a list");
    drop(access);
    let text = written.text();
    for (n, line) in text.lines().enumerate() {
        let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
        let names: Vec<_> = line["entities"]
            .as_array()
            .expect("entities")
            .iter()
            .map(|thing| format!("{}", thing["uid"]["id"]))
            .collect();
        let n = format!("\"{n}\"");
        assert_eq!(names, ["\"acme/ann\"", "\"acme\"", &n, &n], "{line}");
    }
    let replay = crate::parcel::rules().replay(text.as_bytes(), 5).expect("it reads");
    assert_eq!((replay.decisions, replay.same), (50, 50), "{replay}");
}

#[cfg(unix)]
#[test]
fn a_recorder_adds_to_a_file_of_its_owner_alone_and_touches_no_other() {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let mode = |name: &str, mode: u32| {
        std::fs::set_permissions(at(name), std::fs::Permissions::from_mode(mode)).expect("set");
    };
    let refused = |name: &str| Recorder::create(at(name), 1 << 20).expect_err(name).to_string();
    std::fs::write(at("open"), "what was there\n").expect("written");
    mode("open", 0o644);
    assert!(
        refused("open").contains("open: it is open to other users (mode 644); run: chmod 600"),
        "{}",
        refused("open")
    );
    assert_eq!(std::fs::read_to_string(at("open")).expect("read"), "what was there\n");
    for bits in [0o640, 0o606, 0o620, 0o601] {
        mode("open", bits);
        assert!(refused("open").contains("open to other users"), "{bits:o}");
    }
    mode("open", 0o600);
    symlink(at("open"), at("link")).expect("linked");
    assert!(!refused("link").is_empty());
    symlink(at("nowhere"), at("dangling")).expect("linked");
    assert!(!refused("dangling").is_empty() && !at("nowhere").exists());
    std::fs::hard_link(at("open"), at("second")).expect("linked");
    assert!(refused("second").contains("no plain file with one name"), "{}", refused("second"));
    std::fs::remove_file(at("second")).expect("removed");
    assert!(Recorder::create(folder.path(), 1).is_err());
    let made = std::process::Command::new("mkfifo").arg("-m").arg("600").arg(at("pipe")).status().expect("mkfifo");
    assert!(made.success());
    assert!(!refused("pipe").is_empty(), "and nobody waits for a reader");

    // It is added to, after the half line that a process left that died; and what was there counts.
    std::fs::write(at("open"), "half a li").expect("written");
    let runtime = runtime();
    let add = |bytes: u64| {
        let recorder = Recorder::create(at("open"), bytes).expect("its owner's alone");
        let access = access().log(DecisionLog::new().record(recorder.clone()));
        let ann = user("ann", "acme", &["clerk"]);
        runtime.block_on(async { access.check(&ann, CREATE, &tenant("acme")).await.expect("a clerk") });
        recorder.flush();
        (recorder.written(), recorder.missed())
    };
    assert_eq!(add(1 << 20), (1, 0));
    let text = std::fs::read_to_string(at("open")).expect("read");
    assert_eq!(text.lines().next(), Some("half a li"));
    let replay = rules().replay(text.as_bytes(), 5).expect("it reads");
    assert_eq!((replay.decisions, replay.unreadable), (1, 1), "{text}");
    assert_eq!(add(text.len() as u64 + 10), (0, 1));
    assert_eq!((add(1 << 20), std::fs::read_to_string(at("open")).expect("read").lines().count()), ((1, 0), 3));
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
