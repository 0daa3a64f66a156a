//! Policies that change while they decide.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use halfbyte_core::live::{Fetched, Policy};
use halfbyte_identity::access::{Access, Decision};
use tempfile::TempDir;
use tokio::task::JoinSet;

use super::*;

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

/// How often the set is swapped.
const SWAPS: u64 = 2_500;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_sets_that_are_swapped_without_pause_each_decision_and_each_list_is_that_of_one() {
    // Compiled before, as that takes longer than all that follows.
    let sets: Vec<_> = (0..7i64)
        .map(|most| {
            let hole = format!("forbid (principal, action, resource) when {{ resource.size == {} }};", most - 1);
            Rules::compile(&set(&[up_to(most), hole].concat())).expect("good")
        })
        .collect();
    let known: HashMap<_, _> = sets.iter().map(|rules| rules.version().clone()).zip(0..).collect();
    let next = AtomicUsize::new(0);
    let source = move || {
        let rules = sets[next.fetch_add(1, Ordering::Relaxed) % sets.len()].clone();
        async { Ok(Fetched::new(rules)) }
    };
    let policy = Policy { demand_gap: Duration::ZERO, ..Policy::default() };
    let life = life();
    let rules = Live::start("rules", policy, source, &life);
    rules.ready().await.expect("good");

    let right = move |decision: &Decision, size: i64| {
        let most: i64 = *known.get(&decision.version).expect("no set but those that were made");
        let expected = size <= most && size != most - 1;
        assert_eq!(decision.is_allowed, expected, "{size} of {most}: {decision:?}");
    };
    let (stop, torn) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut tasks = JoinSet::new();
    for _ in 0..3 {
        let (access, stop, torn, right) = (Access::new(rules.clone(), ()), stop.clone(), torn.clone(), right.clone());
        tasks.spawn(async move {
            let (ann, labels) = (ann(), (0..8).map(label).collect::<Vec<_>>());
            while !stop.load(Ordering::Relaxed) {
                // What one request has kept is of no use to it once the set is another one.
                let checks = access.checks(&ann);
                let mut versions = HashSet::new();
                for size in 0..8 {
                    let decision = checks.decide(READ, &labels[size as usize]).await.expect("there is always a set");
                    right(&decision, size);
                    versions.insert(decision.version);
                    tokio::task::yield_now().await;
                }
                let list = checks.check_all(READ, &labels).await.expect("there is always a set");
                list.iter().zip(0..).for_each(|(decision, size)| right(decision, size));
                assert!(list.iter().all(|decision| decision.version == list[0].version), "half a list: {list:?}");
                torn.fetch_add(usize::from(versions.len() > 1), Ordering::Relaxed);
            }
        });
    }
    let mut generation = 0;
    while generation < SWAPS {
        generation = rules.refetch(generation).await.expect("good").generation();
    }
    stop.store(true, Ordering::Relaxed);
    while let Some(task) = tasks.join_next().await {
        task.expect("every decision was right");
    }
    let torn = torn.load(Ordering::Relaxed);
    assert!(torn > 20, "the set was swapped within only {torn} requests");
}
