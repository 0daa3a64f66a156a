//! Policies that change while the program runs: in a folder, and at a URL.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use halfbyte_core::client::{Client, Limits};
use halfbyte_core::live::State as LiveState;
use halfbyte_core::{Clock, Lifecycle, Live, Principal, TenantId};
use halfbyte_identity::access::{Access, Action, Bounds, Denied, Entity, EntityRef, Policies, Rules, SourceFile};
use jiff::Timestamp;
use tempfile::TempDir;
use tokio::task::JoinSet;
use url::Url;

use super::log::Log;

const READ: Action = Action::new("ReadLabel");
const SCHEMA: &str = "entity Label = { tenant: HalfByte::Tenant, size: Long };\n\
    action ReadLabel in [HalfByte::Action::\"Read\"] appliesTo { principal: HalfByte::User, resource: Label };\n";

/// Labels up to that size may be read.
fn up_to(size: i64) -> String {
    format!("@id(\"up-to-{size}\")\npermit (principal, action, resource) when {{ resource.size <= {size} }};\n")
}

fn set(policies: &str) -> Vec<SourceFile> {
    vec![SourceFile::new("p.cedar", policies), SourceFile::new("p.cedarschema", SCHEMA)]
}

fn version(files: &[SourceFile]) -> Arc<str> {
    Rules::compile(files).expect("good").version().clone()
}

fn life() -> Lifecycle {
    Lifecycle::new(Clock::system())
}

fn ann() -> Principal {
    let acme: TenantId = "acme".parse().expect("a tenant");
    Principal::builder("ann", acme, Timestamp::MAX).build()
}

fn label(size: i64) -> Entity {
    let acme = "acme".parse().expect("a tenant");
    Entity::named(EntityRef::new("Label", "l")).of_tenant(&acme).attribute("size", size)
}

fn write(folder: &Path, files: &[SourceFile]) {
    for SourceFile { name, text } in files {
        // Each file whole, as an editor does: a look between the two steps of writing in place would find it empty.
        let draft = folder.join(".draft");
        fs::write(&draft, &**text).expect("written");
        fs::rename(draft, folder.join(&**name)).expect("moved");
    }
}

/// Looks every few milliseconds.
fn watch(folder: &Path) -> Policies {
    Policies::folder(folder).every(Duration::from_millis(5))
}

/// Waits until a set is in force.
async fn in_force(rules: &Live<Rules>, expected: &str) {
    let wait = async {
        while rules.load().map(|rules| rules.version().clone()).ok().as_deref() != Some(expected) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(30), wait).await;
    waited.unwrap_or_else(|_| panic!("{expected} is not in force: {:?}", rules.status()));
}

/// Waits until the status tells of something.
async fn told(rules: &Live<Rules>, expected: &str) -> String {
    let wait = async {
        loop {
            match rules.status().last_error() {
                Some(error) if error.contains(expected) => return error,
                _ => tokio::time::sleep(Duration::from_millis(2)).await,
            }
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(30), wait).await;
    waited.unwrap_or_else(|_| panic!("{expected} is not told: {:?}", rules.status()))
}

#[tokio::test]
async fn files_in_the_program_are_in_force_and_bad_ones_never_are() {
    let life = life();
    let rules = Policies::files(set(&up_to(1))).start(&life);
    rules.ready().await.expect("good");
    Access::new(rules, ()).check(&ann(), READ, &label(1)).await.expect("permitted");

    let rules = Policies::files(set("permit(")).start(&life);
    let error = rules.ready().await.expect_err("bad");
    assert!(halfbyte_core::error_chain(&error).contains("p.cedar:1: "), "{error:?}");
    let denied = Access::new(rules, ()).check(&ann(), READ, &label(1)).await.expect_err("there are no policies");
    assert!(matches!(denied, Denied::Unavailable { .. }) && denied.problem().kind().status() == 503, "{denied:?}");
    let report = life.health().report();
    let ready: Vec<_> = report.iter().map(|check| check.ready).collect();
    assert_eq!(ready, [false], "the first is forgotten, the second is not ready: {report:?}");
}

#[tokio::test]
async fn a_set_without_a_policy_is_none() {
    let life = life();
    for files in [vec![], vec![SourceFile::new("p.cedarschema", SCHEMA)], set("// none\n")] {
        let rules = Policies::files(files).start(&life);
        let error = rules.ready().await.expect_err("empty");
        assert!(halfbyte_core::error_chain(&error).contains("there is no policy"), "{error:?}");
    }
}

#[tokio::test]
async fn what_is_over_the_bounds_is_refused() {
    let policies = Policies::files(set(&up_to(1))).bounds(Bounds { policies: 0, ..Bounds::default() });
    let error = policies.start(&life()).ready().await.expect_err("too many");
    assert!(
        halfbyte_core::error_chain(&error).contains("there are 1 policies, more than the 0 that are taken"),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_folder_that_changes_is_put_in_force_and_a_bad_set_leaves_the_last_good_one() {
    let log = Log::capture().await;
    let folder = tempfile::tempdir().expect("a folder");
    let (one, two) = (set(&up_to(1)), set(&up_to(2)));
    write(folder.path(), &one);
    let life = life();
    // A place that can be read is not away, however long what it holds is bad.
    let rules = watch(folder.path()).max_stale(Duration::from_millis(100)).start(&life);
    in_force(&rules, &version(&one)).await;
    write(folder.path(), &two);
    in_force(&rules, &version(&two)).await;

    write(folder.path(), &set("permit (principal, action, resource)\nwhen { resource.weight };"));
    let error = told(&rules, "p.cedar:2: attribute `weight` on entity type `Label` not found").await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(rules.load().expect("the last good one").version(), &version(&two));
    assert_eq!((rules.status().last_error(), rules.status().failures), (Some(error.clone()), 0));
    let check = life.health().report().into_iter().find(|check| &*check.name == "access.policies").expect("a check");
    assert!(check.ready && check.detail.as_ref() == Some(&error), "{check:?}");
    assert_eq!(log.count("ERROR", "p.cedar:2: attribute `weight`"), 1, "once per set, however often it is looked at");

    write(folder.path(), &set("forbid("));
    told(&rules, "p.cedar:1: ").await;
    assert_eq!(log.count("ERROR", "the policies are not put in force"), 2);

    write(folder.path(), &two);
    let back = async {
        while rules.status().last_error().is_some() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), back).await.expect("it is good again");
    assert_eq!(rules.load().expect("there").generation(), 2, "what was in force is not put in force again");
}

#[tokio::test]
async fn a_folder_that_is_away_leaves_the_last_good_set_unless_told_otherwise() {
    for max_stale in [None, Some(Duration::from_millis(50))] {
        let folder = tempfile::tempdir().expect("a folder");
        let there = folder.path().join("policies");
        fs::create_dir(&there).expect("made");
        write(&there, &set(&up_to(1)));
        let policies = watch(&there);
        let rules = max_stale.into_iter().fold(policies, Policies::max_stale).start(&life());
        rules.ready().await.expect("good");
        fs::remove_dir_all(&there).expect("removed");
        told(&rules, "policies: ").await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        let expected = if max_stale.is_none() { LiveState::Stale } else { LiveState::Expired };
        assert_eq!((rules.load().is_ok(), rules.status().state()), (max_stale.is_none(), expected));
        fs::create_dir(&there).expect("made");
        write(&there, &set(&up_to(3)));
        in_force(&rules, &version(&set(&up_to(3)))).await;
    }
}

#[tokio::test]
async fn an_emptied_folder_leaves_the_last_good_set() {
    let folder = tempfile::tempdir().expect("a folder");
    let one = set(&up_to(1));
    write(folder.path(), &one);
    let rules = watch(folder.path()).start(&life());
    in_force(&rules, &version(&one)).await;
    for file in &one {
        fs::remove_file(folder.path().join(&*file.name)).expect("removed");
    }
    told(&rules, "there is no policy").await;
    assert_eq!(rules.load().expect("the last good one").version(), &version(&one));
}

#[tokio::test]
async fn a_schema_and_the_policies_on_it_change_as_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let one = set(&up_to(1));
    write(folder.path(), &one);
    let rules = watch(folder.path()).start(&life());
    in_force(&rules, &version(&one)).await;

    // The schema alone: what the policies say no longer fits, and all of it is refused.
    let schema = SourceFile::new("p.cedarschema", SCHEMA.replace("size: Long", "grams: Long"));
    write(folder.path(), std::slice::from_ref(&schema));
    told(&rules, "attribute `size` on entity type `Label` not found").await;
    assert_eq!(rules.load().expect("the old one").version(), &version(&one));
    let access = Access::new(rules.clone(), ());
    access.check(&ann(), READ, &label(1)).await.expect("by the old schema");

    let policies = SourceFile::new("p.cedar", "permit (principal, action, resource) when { resource.grams <= 7 };");
    write(folder.path(), std::slice::from_ref(&policies));
    in_force(&rules, &version(&[schema, policies])).await;
    let acme = "acme".parse().expect("a tenant");
    let label = Entity::new("Label", "l").of_tenant(&acme).attribute("grams", 7);
    access.check(&ann(), READ, &label).await.expect("by the new schema");
}

/// A folder of sets, and a link to the one that is meant.
struct Linked(TempDir);

impl Linked {
    fn new(sets: &[Vec<SourceFile>]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        for (index, files) in sets.iter().enumerate() {
            let path = folder.path().join(index.to_string());
            fs::create_dir(&path).expect("made");
            write(&path, files);
        }
        Self(folder)
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("current")
    }

    fn point_at(&self, index: usize) {
        let link = self.0.path().join("next");
        std::os::unix::fs::symlink(self.0.path().join(index.to_string()), &link).expect("linked");
        fs::rename(link, self.path()).expect("moved");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn while_policies_are_changed_each_decision_is_that_of_the_set_it_names() {
    // Each set is two files: half of one with half of another would decide what none of them does.
    let sets: Vec<_> = (1..=4i64)
        .map(|size| {
            let hole = format!("forbid (principal, action, resource) when {{ resource.size == {} }};", size - 1);
            [set(&up_to(size)), vec![SourceFile::new("q.cedar", hole)]].concat()
        })
        .collect();
    let sizes: HashMap<Arc<str>, i64> = sets.iter().map(|files| version(files)).zip(1..).collect();
    let linked = Linked::new(&sets);
    linked.point_at(0);
    let rules = watch(&linked.path()).start(&life());
    rules.ready().await.expect("good");

    let (stop, decided) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut tasks = JoinSet::new();
    for _ in 0..4 {
        let (access, stop, decided, sizes) =
            (Access::new(rules.clone(), ()), stop.clone(), decided.clone(), sizes.clone());
        tasks.spawn(async move {
            let ann = ann();
            while !stop.load(Ordering::Relaxed) {
                for size in 0..=5 {
                    let decision = access.decide(&ann, READ, &label(size)).await.expect("there is always a set");
                    let most = sizes.get(&decision.version).expect("no set but those that were written");
                    assert_eq!(
                        decision.is_allowed,
                        size <= *most && size != most - 1,
                        "{size} of {most}: {decision:?}"
                    );
                    decided.fetch_add(1, Ordering::Relaxed);
                    tokio::task::yield_now().await;
                }
            }
        });
    }
    for round in 1..=24 {
        let index = round % sets.len();
        linked.point_at(index);
        in_force(&rules, &version(&sets[index])).await;
    }
    stop.store(true, Ordering::Relaxed);
    while let Some(task) = tasks.join_next().await {
        task.expect("every decision was right");
    }
    assert!(decided.load(Ordering::Relaxed) > 100 && rules.load().expect("there").generation() >= 20);
}

/// A server of one document, with a tag.
#[derive(Clone, Default)]
struct Server(Arc<Mutex<Served>>);

#[derive(Default)]
struct Served {
    document: String,
    tag: Option<String>,
    status: StatusCode,
    /// The tag of each request, and the status of its answer.
    seen: Vec<(Option<String>, u16)>,
}

impl Server {
    async fn start(&self, tasks: &mut JoinSet<()>) -> Url {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}/parcel?secret=hush", listener.local_addr().expect("an address"));
        let router = Router::new().route("/parcel", get(answer)).with_state(self.clone());
        tasks.spawn(async move { axum::serve(listener, router).await.expect("served") });
        url.parse().expect("a URL")
    }

    fn serve(&self, files: &[SourceFile], tag: Option<&str>) {
        let files: serde_json::Map<_, _> =
            files.iter().map(|file| (file.name.to_string(), file.text.to_string().into())).collect();
        let mut served = self.0.lock().expect("unpoisoned");
        served.document = serde_json::json!({ "files": files }).to_string();
        served.tag = tag.map(ToOwned::to_owned);
        served.status = StatusCode::OK;
    }

    fn with<T>(&self, look: impl FnOnce(&mut Served) -> T) -> T {
        look(&mut self.0.lock().expect("unpoisoned"))
    }

    /// Waits until `count` more requests were answered, and tells them.
    async fn after(&self, count: usize) -> Vec<(Option<String>, u16)> {
        let before = self.with(|served| served.seen.len());
        let wait = async {
            while self.with(|served| served.seen.len()) < before + count {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), wait).await.expect("it is asked again");
        self.with(|served| served.seen[before..].to_vec())
    }
}

async fn answer(State(server): State<Server>, headers: HeaderMap) -> Response {
    server.with(|served| {
        let asked = headers.get(header::IF_NONE_MATCH).map(|tag| tag.to_str().expect("ASCII").to_owned());
        let status = if served.status.is_success() && asked.is_some() && asked == served.tag {
            StatusCode::NOT_MODIFIED
        } else {
            served.status
        };
        served.seen.push((asked, status.as_u16()));
        let tag = served.tag.iter().map(|tag| (header::ETAG, tag.clone())).collect::<Vec<_>>();
        let body = if status.is_success() { served.document.clone() } else { String::new() };
        let mut response = (status, body).into_response();
        response.headers_mut().extend(tag.into_iter().map(|(name, tag)| (name, tag.parse().expect("a tag"))));
        response
    })
}

fn client() -> Client {
    Client::with_limits(Limits { attempts: 1, ..Limits::default() }).expect("a client")
}

#[tokio::test]
async fn a_url_is_asked_with_the_tag_of_what_was_taken_and_an_unchanged_one_is_not_sent_again() {
    let log = Log::capture().await;
    let (server, mut tasks) = (Server::default(), JoinSet::new());
    let (one, two) = (set(&up_to(1)), set(&up_to(2)));
    server.serve(&one, Some("\"v1\""));
    let url = server.start(&mut tasks).await;
    let rules = Policies::url(url, client()).every(Duration::from_millis(5)).start(&life());
    in_force(&rules, &version(&one)).await;
    server.after(3).await;
    let v1 = (Some("\"v1\"".to_owned()), 304);
    let seen = server.with(|served| served.seen.clone());
    assert!(seen[0] == (None, 200) && seen[1..].iter().all(|seen| *seen == v1), "{seen:?}");

    server.serve(&two, Some("\"v2\""));
    in_force(&rules, &version(&two)).await;
    assert_eq!(rules.load().expect("there").generation(), 2);

    // What is refused is not fetched again and again either, and stays refused.
    server.serve(&set("permit("), Some("\"v3\""));
    told(&rules, "p.cedar:1: ").await;
    server.after(2).await;
    let v3 = (Some("\"v3\"".to_owned()), 304);
    assert!(server.after(3).await.iter().all(|seen| *seen == v3));
    assert!(rules.status().last_error().is_some_and(|error| error.contains("p.cedar:1: ")), "{:?}", rules.status());
    assert_eq!(rules.load().expect("the last good one").version(), &version(&two));
    assert_eq!(log.count("ERROR", "the policies are not put in force"), 1);
    assert_eq!(log.count("", "hush"), 0, "no query of a URL is logged");

    // Back to what is in force, by another tag.
    server.serve(&two, Some("\"v4\""));
    let back = async {
        while rules.status().last_error().is_some() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), back).await.expect("it is good again");
    assert_eq!(rules.load().expect("there").generation(), 2);
}

#[tokio::test]
async fn a_url_without_tags_is_compared_by_what_it_answers() {
    let (server, mut tasks) = (Server::default(), JoinSet::new());
    server.serve(&set(&up_to(1)), None);
    let url = server.start(&mut tasks).await;
    let rules = Policies::url(url, client()).every(Duration::from_millis(5)).start(&life());
    rules.ready().await.expect("good");
    assert!(server.after(4).await.iter().all(|seen| *seen == (None, 200)));
    assert_eq!(rules.load().expect("there").generation(), 1);
}

#[tokio::test]
async fn a_server_that_is_in_trouble_leaves_the_last_good_set() {
    let (server, mut tasks) = (Server::default(), JoinSet::new());
    let one = set(&up_to(1));
    server.serve(&one, Some("\"v1\""));
    let url = server.start(&mut tasks).await;
    let rules = Policies::url(url, client()).every(Duration::from_millis(5)).start(&life());
    in_force(&rules, &version(&one)).await;
    server.with(|served| served.status = StatusCode::INTERNAL_SERVER_ERROR);
    told(&rules, "500").await;
    assert_eq!(rules.load().expect("the last good one").version(), &version(&one));
    server.with(|served| {
        (served.status, served.tag, served.document) = (StatusCode::OK, None, "<title>Welcome</title>".to_owned());
    });
    told(&rules, "JSON").await;
    assert_eq!(rules.load().expect("the last good one").version(), &version(&one));
    server.serve(&set(&up_to(2)), None);
    in_force(&rules, &version(&set(&up_to(2)))).await;
}

#[tokio::test]
async fn actions_that_do_not_go_with_a_new_set_are_logged() {
    const ACTIONS: &[Action] = &[READ, Action::new("Purge")];
    let log = Log::capture().await;
    let rules = Policies::files(set(&up_to(1))).actions(ACTIONS).start(&life());
    rules.ready().await.expect("good");
    assert_eq!(log.count("WARN", "the product asks for the action Purge"), 1);
}
