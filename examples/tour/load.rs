//! Customers that do not stop calling, and what a crash does to what they used.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;
use tokio::task::JoinSet;

use crate::Outcome;
use crate::company::Company;
use crate::http::Caller;
use crate::screen::Screen;

/// What a worker has seen: the keys that were answered with 201, and those that were sent and were not.
#[derive(Default)]
pub struct Seen {
    pub made: BTreeSet<String>,
    pub unanswered: BTreeSet<String>,
    /// Answers other than 201.
    pub refused: Vec<String>,
}

/// Workers that each make one label after the other, until they are stopped.
pub struct Workers {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    tasks: JoinSet<Seen>,
}

impl Workers {
    pub fn start(count: usize, caller: &Caller, url: &str, run: &str) -> Self {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let mut tasks = JoinSet::new();
        for worker in 0..count {
            let (stop, answered, caller) = (stop.clone(), answered.clone(), caller.clone());
            let (url, run) = (url.to_owned(), run.to_owned());
            tasks.spawn(async move {
                let mut seen = Seen::default();
                for number in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let key = format!("{run}-{worker}-{number}");
                    match caller.post(&url, &key, &json!({ "to": "1 Main Street" })).await {
                        Ok(answer) if answer.status == 201 => drop(seen.made.insert(key)),
                        Ok(answer) => seen.refused.push(format!("{} {}", answer.status, answer.body)),
                        Err(_) => {
                            seen.unanswered.insert(key);
                            tokio::time::sleep(Duration::from_millis(20)).await;
                        }
                    }
                    answered.fetch_add(1, Ordering::Relaxed);
                }
                seen
            });
        }
        Self { stop, answered, tasks }
    }

    /// Waits until the workers have had `more` answers.
    pub async fn progress(&self, more: usize) -> Outcome {
        let target = self.answered.load(Ordering::Relaxed) + more;
        for _ in 0..1000 {
            if self.answered.load(Ordering::Relaxed) >= target {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Err("the workers get no answers".into())
    }

    pub async fn stop(mut self) -> Outcome<Seen> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Seen::default();
        while let Some(seen) = self.tasks.join_next().await {
            let seen = seen?;
            all.made.extend(seen.made);
            all.unanswered.extend(seen.unanswered);
            all.refused.extend(seen.refused);
        }
        Ok(all)
    }
}

pub async fn show_crash(screen: &mut Screen, company: &mut Company) -> Outcome {
    screen.step(
        "A crash",
        "Parcel is killed with SIGKILL while 8 workers make labels, and started again. Requests that got no answer are\n\
         sent again under their keys, as a good client does.",
    );
    let globex = company.sign_in("globex-app", "labels:read labels:write").await?;
    let before = company.labels_used("globex").await?;
    let url = company.parcel.url("/labels");
    let workers = Workers::start(8, &globex, &url, "crash");
    workers.progress(200).await?;
    company.parcel.kill()?;
    screen.say("SIGKILL in the middle of it");
    let took = company.parcel.restart().await?;
    screen.say(&format!("started again, ready after {} ms", took.as_millis()));
    workers.progress(200).await?;
    let seen = workers.stop().await?;
    if let Some(refusal) = seen.refused.first() {
        return Err(format!("{} requests were refused, such as: {refusal}", seen.refused.len()).into());
    }
    for key in &seen.unanswered {
        globex.post(&url, key, &json!({ "to": "1 Main Street" })).await?.expect(201)?;
    }
    let labels = seen.made.len() + seen.unanswered.len();
    screen.say(&format!("{} answered at once, {} sent again", seen.made.len(), seen.unanswered.len()));

    let expected = before + labels as u64;
    let used = company.labels_used_once("globex", expected).await?;
    let shown = globex.get(&company.parcel.url("/usage")).await?.expect(200)?;
    if used != expected {
        return Err(format!("{labels} labels were made, and {} are counted", used - before).into());
    }
    screen.say(&format!("GET /usage → {}", shown.body));
    if shown.body[0]["used"] != used {
        return Err("the product shows another number than the store".into());
    }
    screen.seen(&format!("{labels} labels made, {} counted: none lost, none doubled", used - before));
    Ok(())
}
