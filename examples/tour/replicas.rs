//! One hard limit for two processes, which nothing but the store connects.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::task::JoinSet;

use crate::Outcome;
use crate::company::Company;
use crate::http::Caller;
use crate::screen::Screen;

/// What the catalogue says of hooli's plan.
const LIMIT: usize = 400;
const WORKERS: usize = 4;

/// What one replica answered.
#[derive(Default)]
struct Answers {
    made: usize,
    refused: usize,
}

pub async fn show(screen: &mut Screen, company: &Company) -> Outcome {
    screen.step(
        "A quota shared by two replicas",
        "hooli's plan has 400 labels a month. A second process of Parcel is started, and both are asked for labels at\n\
         once, for longer than there are any. Each leases parts of the quota and spends them without asking the other.",
    );
    let (mut second, took) = company.parcel.replica(&company.folder).await?;
    screen.say(&format!("a second parcel on {}, serving after {} ms", second.url(""), took.as_millis()));
    let hooli = company.sign_in("hooli-app", "labels:write").await?;
    let all = Arc::new(AtomicUsize::new(0));
    let began = Instant::now();
    let urls = [company.parcel.url("/labels"), second.url("/labels")];
    let (one, two) = tokio::try_join!(hammer(&hooli, &urls[0], &all), hammer(&hooli, &urls[1], &all))?;
    let took = began.elapsed().as_secs_f64();
    for (url, answers) in urls.iter().zip([&one, &two]) {
        screen.say(&format!("{url}: {} made, {} refused with 429", answers.made, answers.refused));
    }
    let (made, used) = (one.made + two.made, company.labels_used_once("hooli", LIMIT as u64).await?);
    if made != LIMIT || used != LIMIT as u64 {
        return Err(format!("{made} were made and {used} are counted, of {LIMIT}").into());
    }
    if one.made == 0 || two.made == 0 {
        return Err("one of them made nothing".into());
    }
    second.terminate()?;
    let code = second.ended(Duration::from_secs(10)).await?;
    if code != Some(0) {
        return Err(format!("the second parcel ended with {code:?}").into());
    }
    screen.seen(&format!(
        "{} + {} = {made} labels of {LIMIT} in {took:.1} s: all of them, and not one more",
        one.made, two.made
    ));
    Ok(())
}

/// Asks one replica for labels until it refuses although `all` are made.
async fn hammer(caller: &Caller, url: &str, all: &Arc<AtomicUsize>) -> Outcome<Answers> {
    let mut workers = JoinSet::new();
    for worker in 0..WORKERS {
        let (caller, url, all) = (caller.clone(), url.to_owned(), all.clone());
        workers.spawn(async move {
            let (mut answers, began) = (Answers::default(), Instant::now());
            for number in 0.. {
                let key = format!("{url}-{worker}-{number}");
                match caller.post(&url, &key, &json!({ "to": "1 Main Street" })).await?.status {
                    201 => {
                        answers.made += 1;
                        all.fetch_add(1, Ordering::Relaxed);
                    }
                    429 => {
                        answers.refused += 1;
                        if all.load(Ordering::Relaxed) >= LIMIT || began.elapsed() > Duration::from_secs(10) {
                            break;
                        }
                        // The other one holds what is left, and uses it or gives it back.
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                    other => return Err(format!("a request was answered with {other}").into()),
                }
            }
            Outcome::Ok(answers)
        });
    }
    let mut sum = Answers::default();
    while let Some(answers) = workers.join_next().await {
        let answers = answers??;
        sum.made += answers.made;
        sum.refused += answers.refused;
    }
    Ok(sum)
}
