//! The checks themselves, each with a secret and a provider of its own.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::{JoinSet, yield_now};
use tokio::time::timeout;

use super::conformance::Backend;
use super::trial::{Stop, Trial, failed, same};
use crate::{Ask, ErrorKind, Name, Provider, Stage, Version};

type Outcome = Result<(), Stop>;

const READERS: u32 = 8;
const ROTATIONS: usize = 30;

pub(super) async fn missing<B: Backend>(trial: Arc<Trial<B>>) -> Outcome {
    let (_, _, provider) = trial.secret().await?;
    let name = trial.name()?;
    for _ in 0..2 {
        trial.expect_error(&provider, Ask::current(&name), &[ErrorKind::NotFound]).await?;
    }
    // Not even for who says to know one.
    let known = Version::new("1");
    trial.expect_error(&provider, Ask::current(&name).knowing(Some(&known)), &[ErrorKind::NotFound]).await
}

pub(super) async fn verbatim<B: Backend>(trial: Arc<Trial<B>>) -> Outcome {
    let odd = [
        "",
        "\n{\"a\": [\"b\"]}",
        " two\nlines\r\nand\ttabs ",
        "quotes \" ' and \\ \\n \\u0041",
        "ü \u{1f512}",
        "%2e%2e$(x)",
    ];
    for odd in odd {
        let (name, mut value) = (trial.name()?, trial.value(32));
        value.extend_from_slice(odd.as_bytes());
        trial.backend.put(&name, &value).await?;
        trial.expect(&trial.backend.provider(), &name, &value).await?;
    }
    Ok(())
}

pub(super) async fn not_text<B: Backend>(trial: Arc<Trial<B>>) -> Outcome {
    let name = trial.name()?;
    let value: Vec<u8> = (0..=255).chain([0, 0xff, 0xfe]).collect();
    trial.backend.put(&name, &value).await?;
    trial.expect(&trial.backend.provider(), &name, &value).await
}

pub(super) async fn sizes<B: Backend>(trial: Arc<Trial<B>>) -> Outcome {
    for length in [1, 100, 4095, 4096, 4097, 16 * 1024, 64 * 1024 - 1, 64 * 1024] {
        let (name, value) = (trial.name()?, trial.value(length));
        trial.backend.put(&name, &value).await?;
        trial.expect(&trial.backend.provider(), &name, &value).await?;
    }
    Ok(())
}

/// A name is that of its secret alone: it leads to no neighbour, and out of nothing.
pub(super) async fn names<B: Backend>(trial: Arc<Trial<B>>) -> Outcome {
    let (name, value, _) = trial.secret().await?;
    let longest = trial.name_like(&"x".repeat(111))?;
    trial.backend.put(&longest, &value).await?;
    let provider = trial.backend.provider();
    trial.expect(&provider, &longest, &value).await?;
    for out in [format!("../{name}"), format!("..%2f{name}"), format!("x/{name}"), format!("/{name}"), "..".to_owned()]
    {
        if Name::new(&out).is_ok() {
            return failed("a name can be made that leads out of where it belongs");
        }
    }
    let (short, odd) = (&name.as_str()[..name.as_str().len() - 1], trial.name()?);
    let neighbours = [
        format!("{name}.."),
        format!("{name}."),
        format!("{name}-"),
        format!("-{name}"),
        format!("--{odd}"),
        short.into(),
    ];
    for neighbour in neighbours {
        let neighbour = Name::new(&neighbour).map_err(|error| Stop::Failed(error.to_string()))?;
        let asked = trial.expect_error(&provider, Ask::current(&neighbour), &[ErrorKind::NotFound]).await;
        asked.map_err(|stop| about("a name next to one that is there", stop))?;
    }
    trial.expect(&provider, &name, &value).await
}

pub(super) async fn first_answer<B: Backend>(trial: Arc<Trial<B>>) -> Outcome {
    let (name, value, provider) = trial.secret().await?;
    trial.expect(&provider, &name, &value).await?;
    for foreign in ["", "1", "another"] {
        let foreign = Version::new(foreign);
        let ask = Ask::current(&name).knowing(Some(&foreign));
        // There are backends that name their first version "1", or read nothing twice: they need not give it.
        if trial
            .read(&provider, Ask::current(&name))
            .await?
            .is_ok_and(|reading| reading.version == Some(foreign.clone()))
        {
            continue;
        }
        let (read, _) =
            trial.read_value(&provider, ask).await.map_err(|stop| about("a version that it never named", stop))?;
        same(&read, &value)?;
    }
    // Who has read before, with another provider, has nothing to do with this one.
    trial.expect(&provider, &name, &value).await?;
    trial.expect(&trial.backend.provider(), &name, &value).await
}

pub(super) async fn unchanged<B: Backend>(trial: Arc<Trial<B>>) -> Outcome {
    let (name, _, provider) = trial.secret().await?;
    let Some(known) = trial.version(&provider, &name).await? else {
        return Err(Stop::NotRun("it names no versions".to_owned()));
    };
    match trial.read(&provider, Ask::current(&name).knowing(Some(&known))).await? {
        Ok(reading) if reading.value().is_none() => Ok(()),
        Ok(_) => failed("the version that is known was answered with its value, and not with \"unchanged\""),
        Err(error) => failed(format!("the version that is known was answered with {:?}: {error}", error.kind())),
    }
}

pub(super) async fn rotation<B: Backend>(trial: Arc<Trial<B>>) -> Outcome {
    let (name, first, provider) = trial.secret().await?;
    let second = trial.value(48);
    let (read, mut known) = trial.read_value(&provider, Ask::current(&name)).await?;
    same(&read, &first)?;
    for round in 0..6 {
        // Back and forth: a value that was there before is news all the same.
        let value = if round % 2 == 0 { &second } else { &first };
        trial.backend.rotate(&name, value).await?;
        let asked = trial.read_value(&provider, Ask::current(&name).knowing(known.as_ref())).await;
        let (read, version) = asked.map_err(|stop| about("after a rotation", stop))?;
        same(&read, value).map_err(|stop| about("after a rotation", stop))?;
        if version.is_some() && version == known {
            return failed("another value has the version of the one before");
        }
        known = version;
    }
    // Once more with a version that it took a while to be sure of.
    let known = trial.version(&provider, &name).await?;
    trial.backend.rotate(&name, &second).await?;
    let asked = trial.read_value(&provider, Ask::current(&name).knowing(known.as_ref())).await;
    same(&asked.map_err(|stop| about("after a rotation", stop))?.0, &second)
}

/// What a reader may be answered: what was current when it asked, or since, whole, and each under one version alone.
pub(super) async fn rotation_under_readers<B: Backend>(trial: Arc<Trial<B>>) -> Outcome {
    let values: Vec<Vec<u8>> = (0..=ROTATIONS).map(|number| trial.value(32 + 97 * (number % 7))).collect();
    let (name, values) = (trial.name()?, Arc::new(values));
    trial.backend.put(&name, &values[0]).await?;
    let provider = Arc::new(trial.backend.provider());
    let (done, is_over) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let reads = Arc::new(Semaphore::new(0));
    let mut readers = JoinSet::new();
    for _ in 0..READERS {
        let (trial, provider, name, values) = (trial.clone(), provider.clone(), name.clone(), values.clone());
        let (done, reads, is_over) = (done.clone(), reads.clone(), is_over.clone());
        readers.spawn(async move {
            let (mut versions, mut nothing_but) = (HashMap::new(), Some("silence".to_owned()));
            while !is_over.load(Ordering::Acquire) {
                let oldest = done.load(Ordering::Acquire);
                let reading = match trial.read(&provider, Ask::current(&name)).await? {
                    Ok(reading) => reading,
                    // It was in the middle of being changed, and said so.
                    Err(error) if error.is_temporary() => {
                        nothing_but = nothing_but.map(|_| error.to_string());
                        yield_now().await;
                        continue;
                    }
                    Err(error) => return failed(format!("a reader was answered {:?}: {error}", error.kind())),
                };
                let Some(number) = values.iter().position(|value| Some(value.as_slice()) == reading.value()) else {
                    return failed("a reader was answered what was never put");
                };
                if number < oldest {
                    return failed("a reader was answered a value that was replaced before it asked");
                }
                if let Some(version) = &reading.version
                    && *versions.entry(version.clone()).or_insert(number) != number
                {
                    return failed("two values have one version");
                }
                nothing_but = None;
                reads.add_permits(1);
                yield_now().await;
            }
            nothing_but
                .map_or(Ok(()), |what| failed(format!("a reader was answered nothing all the while but: {what}")))
        });
    }
    let mut outcome = Ok(());
    for (number, value) in values.iter().enumerate().skip(1) {
        outcome = trial.backend.rotate(&name, value).await;
        if outcome.is_err() {
            break;
        }
        done.store(number, Ordering::Release);
        // So that readers are in the middle of something when the next one comes.
        if let Ok(Ok(permits)) = timeout(Duration::from_secs(2), reads.acquire_many(READERS)).await {
            permits.forget();
        }
        reads.forget_permits(usize::MAX);
        // Not each time at the same point of it.
        for _ in 0..number % 7 {
            yield_now().await;
        }
    }
    is_over.store(true, Ordering::Release);
    let readers = readers.join_all().await;
    outcome?;
    readers.into_iter().collect::<Outcome>()?;
    trial.expect(&provider, &name, &values[ROTATIONS]).await
}

pub(super) async fn many_readers<B: Backend>(trial: Arc<Trial<B>>) -> Outcome {
    let mut secrets = Vec::new();
    for _ in 0..READERS {
        let (name, value, _) = trial.secret().await?;
        secrets.push((name, value));
    }
    let provider = Arc::new(trial.backend.provider());
    let mut readers = JoinSet::new();
    for number in 0..READERS as usize * 8 {
        let (trial, provider, (name, value)) =
            (trial.clone(), provider.clone(), secrets[number % secrets.len()].clone());
        readers.spawn(async move { trial.expect(&provider, &name, &value).await });
    }
    readers.join_all().await.into_iter().collect::<Outcome>().map_err(|stop| about("one of many at once", stop))
}

/// A secret that was never rotated has a current value, and nothing else that could be taken for one.
pub(super) async fn no_other_stages<B: Backend>(trial: Arc<Trial<B>>) -> Outcome {
    let (name, value, provider) = trial.secret().await?;
    for stage in [Stage::Pending, Stage::Previous] {
        let ask = Ask::current(&name).stage_of(stage);
        let asked = trial.expect_error(&provider, ask, &[ErrorKind::NotFound]).await;
        asked.map_err(|stop| about("a stage that no value is in", stop))?;
    }
    trial.expect(&provider, &name, &value).await
}

pub(super) async fn previous<B: Backend>(trial: Arc<Trial<B>>) -> Outcome {
    if !trial.backend.keeps_previous() {
        return Err(Stop::NotRun("it keeps no previous values".to_owned()));
    }
    let (name, mut before, provider) = trial.secret().await?;
    for _ in 0..3 {
        let value = trial.value(48);
        trial.backend.rotate(&name, &value).await?;
        trial.expect(&provider, &name, &value).await?;
        let (read, _) = trial.read_value(&provider, Ask::current(&name).stage_of(Stage::Previous)).await?;
        same(&read, &before).map_err(|stop| about("the previous value", stop))?;
        before = value;
    }
    Ok(())
}

pub(super) async fn pending<B: Backend>(trial: Arc<Trial<B>>) -> Outcome {
    let (name, current, provider) = trial.secret().await?;
    let next = trial.value(48);
    trial.backend.pend(&name, &next).await?;
    trial.expect(&provider, &name, &current).await.map_err(|stop| about("the current value in mid-rotation", stop))?;
    let (read, _) = trial.read_value(&provider, Ask::current(&name).stage_of(Stage::Pending)).await?;
    same(&read, &next).map_err(|stop| about("the pending value", stop))?;
    trial.backend.promote(&name).await?;
    trial.expect(&provider, &name, &next).await.map_err(|stop| about("after the promotion", stop))?;
    let (read, _) = trial.read_value(&provider, Ask::current(&name).stage_of(Stage::Previous)).await?;
    same(&read, &current).map_err(|stop| about("the previous value", stop))
}

/// A read that is dropped at any time does no harm to those after it.
pub(super) async fn dropped_reads<B: Backend>(trial: Arc<Trial<B>>) -> Outcome {
    let (name, value, provider) = trial.secret().await?;
    for micros in [0, 1, 10, 50, 100, 200, 400, 800, 1600, 3200, 6400] {
        let dropped = (0..4).map(|_| timeout(Duration::from_micros(micros), provider.read(Ask::current(&name))));
        for dropped in dropped {
            let _given_up = dropped.await;
        }
        trial.expect(&provider, &name, &value).await?;
    }
    Ok(())
}

pub(super) async fn denied<B: Backend>(trial: Arc<Trial<B>>) -> Outcome {
    let (name, value, provider) = trial.secret().await?;
    trial.expect(&provider, &name, &value).await?;
    trial.backend.deny(&name).await?;
    trial.expect_error(&provider, Ask::current(&name), &[ErrorKind::Denied]).await?;
    trial.backend.restore().await?;
    trial.expect_soon(&provider, &name, &value).await
}

pub(super) async fn outage<B: Backend>(trial: Arc<Trial<B>>) -> Outcome {
    let (name, value, provider) = trial.secret().await?;
    trial.expect(&provider, &name, &value).await?;
    trial.backend.outage().await?;
    let missing = trial.name()?;
    for name in [&name, &missing] {
        trial.expect_error(&provider, Ask::current(name), &[ErrorKind::Unavailable]).await?;
    }
    // Who starts now is told the same.
    trial.expect_error(&trial.backend.provider(), Ask::current(&name), &[ErrorKind::Unavailable]).await?;
    trial.backend.restore().await?;
    trial.expect_soon(&provider, &name, &value).await
}

pub(super) async fn slow<B: Backend>(trial: Arc<Trial<B>>) -> Outcome {
    let (name, value, provider) = trial.secret().await?;
    trial.backend.slow().await?;
    for millis in [0, 1, 5, 20, 50, 100] {
        let answer = timeout(Duration::from_millis(millis), trial.read(&provider, Ask::current(&name))).await;
        if matches!(answer, Ok(Ok(Ok(_)))) {
            return failed("a value was answered by a backend that does not answer");
        }
    }
    trial.backend.restore().await?;
    trial.expect_soon(&provider, &name, &value).await
}

pub(super) async fn malformed<B: Backend>(trial: Arc<Trial<B>>) -> Outcome {
    let (name, value, provider) = trial.secret().await?;
    trial.backend.malform(&name).await?;
    trial.expect_error(&provider, Ask::current(&name), &[ErrorKind::Malformed, ErrorKind::Unavailable]).await?;
    trial.backend.restore().await?;
    trial.expect_soon(&provider, &name, &value).await
}

fn about(what: &str, stop: Stop) -> Stop {
    match stop {
        Stop::Failed(why) => Stop::Failed(format!("{what}: {why}")),
        other => other,
    }
}
