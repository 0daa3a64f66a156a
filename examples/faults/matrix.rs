//! Every fault of every system, one after the other, under load.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, SystemTime};

use tokio::time::{Instant, sleep};

use crate::Outcome;
use crate::answer::Answer;
use crate::fault::{Fault, System};
use crate::judge::{Clock, RECOVERY, Seen, well_since};
use crate::load::{Customer, Load, Product, Record, ask_again, labels_made};
use crate::table::Row;
use crate::world::{KNOWN, World};

/// So long all is well before a fault.
const BEFORE: Duration = Duration::from_millis(500);
/// A fault in which products were started again goes on for that long after it.
const AT_LEAST: Duration = Duration::from_secs(1);
/// So long everything must have been well for a fault to be over.
const WELL: Duration = Duration::from_secs(1);
/// How long what is underway may take to arrive when nothing is asked any more.
const SETTLED: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(100);

/// All faults of one system, with products of their own. `tell` hears of each row as it comes.
pub async fn rows(folder: &Path, system: System, rate: u32, mut tell: impl FnMut(&Row)) -> Outcome<Vec<Row>> {
    let newcomers = Fault::ALL.map(|fault| newcomer_of(system, fault));
    let mut world = World::start(folder, &format!("faults_{}", system.name()), &newcomers, Some(system)).await?;
    let mut rows = Vec::new();
    for fault in Fault::ALL {
        let mut seen = cell(&mut world, system, fault, rate).await?;
        if fault == Fault::ALL[Fault::ALL.len() - 1] {
            end(&mut world, system, rate, &mut seen).await?;
        }
        let row = Row { system, fault, seen };
        tell(&row);
        rows.push(row);
    }
    if rows.iter().any(|row| !row.seen.verdict().is_empty()) {
        world.show_logs();
    }
    Ok(rows)
}

/// A customer who has been there all the time, and whom the products have not met before this fault.
fn newcomer_of(system: System, fault: Fault) -> String {
    format!("{}-{}", system.name(), fault as usize)
}

async fn cell(world: &mut World, system: System, fault: Fault, rate: u32) -> Outcome<Seen> {
    let name = newcomer_of(system, fault);
    let tenants = [KNOWN, "clinic", name.as_str()];
    let before = world.counted(&tenants).await?;
    world.telemetry.again = 0;
    let load = Load::start(&world.asker, &name, &world.known, rate);
    if fault != Fault::DownAtStart {
        sleep(BEFORE).await;
        world.systems.begin(system, fault)?;
    }
    let begun = Instant::now();
    let issued = provoke(world, &load, system, fault, &name).await?;
    sleep(fault.lasts().saturating_sub(begun.elapsed()).max(AT_LEAST)).await;
    let met = match fault {
        // Nobody sees who finds nobody.
        Fault::DownAtStart | Fault::Down | Fault::ClockAhead | Fault::ClockBehind => None,
        _ => Some(world.systems.met(system)),
    };
    let ended = Instant::now();
    world.systems.end(system)?;
    // Who was refused signs in again.
    let newcomer = world.customer(&name).await?;
    load.newcomer(newcomer.clone());
    let (excused, may_come_again) = (fault.excuses(system), fault.may_send_again(system));
    let mut seen = Seen { met, excused, may_come_again, ..Seen::default() };
    recover(world, &load, &before, &tenants, &mut seen).await?;
    let customers = [world.known.clone(), newcomer];
    let records = close(world, load, &customers, &before, &tenants, &mut seen).await?;
    if let Some(meant) = fault.clock() {
        // A product may go by what it knew of the time for a second.
        let during = begun + Duration::from_millis(1_500)..ended;
        seen.clocks =
            clocks(world, system, meant, issued, records.iter().filter(|record| during.contains(&record.sent)));
    }
    world.note_panics();
    seen.incidents.append(&mut world.incidents);
    Ok(seen)
}

/// Stops the load, asks again for what a good client would, and holds against each other what is there in the end.
pub async fn close(
    world: &mut World,
    load: Load,
    customers: &[Customer],
    before: &BTreeMap<String, u64>,
    tenants: &[&str],
    seen: &mut Seen,
) -> Outcome<Vec<Record>> {
    let (mut records, offered) = load.stop().await;
    seen.answers(&records);
    seen.offered += offered;
    let again = ask_again(&world.asker, &unmade_kits(&records), customers, RECOVERY).await;
    if again.last().is_some_and(|record| record.answer != Answer::Good) {
        seen.incidents.push("a label for a kit was asked for again in vain".to_owned());
    }
    records.extend(again);
    settle(world, &records, before, tenants, seen).await?;
    Ok(records)
}

/// By how much the clocks of the system were off: the issuer's by when it says that it issued a token, and against the
/// others the products', by when they say that requests began.
fn clocks<'a>(
    world: &World,
    system: System,
    meant: i64,
    issued: i64,
    asked: impl Iterator<Item = &'a Record>,
) -> Vec<Clock> {
    if system == System::Issuer {
        return vec![Clock { of: "issuer", meant, seen: Some(issued) }];
    }
    let (now, ours) = (Instant::now(), SystemTime::now());
    let asked: Vec<_> = asked.map(|record| (record.product, record.number, ours - (now - record.sent))).collect();
    let of = |product: Product| {
        let asked: Vec<_> = asked.iter().filter(|of| of.0 == product).map(|of| (of.1, of.2)).collect();
        Clock { of: product.name(), meant, seen: world.telemetry.skew(product, &asked) }
    };
    Product::ALL.map(of).into()
}

/// Makes the products need the system just now; answers how many seconds from now a token was issued, by its own account.
async fn provoke(world: &mut World, load: &Load, system: System, fault: Fault, name: &str) -> Outcome<i64> {
    if system == System::Issuer {
        // A token of his names a key that the products have not seen.
        world.systems.issuer.rotate().await?;
    }
    let newcomer = world.customer(name).await?;
    let issued = newcomer.issued()?;
    load.newcomer(newcomer);
    if system == System::OpenBao && fault != Fault::DownAtStart && fault.clock().is_none() {
        // What is in memory is good for a minute: who starts now needs it.
        world.systems.put_secret("label-seal", &format!("the seal of {name}")).await?;
        load.pause(Product::Clinic, true);
        world.restart(Product::Clinic).await?;
        load.moved(&world.asker);
        load.pause(Product::Clinic, false);
    }
    Ok(issued)
}

/// Waits until all is as it was before, and says when that was.
pub async fn recover(
    world: &mut World,
    load: &Load,
    before: &BTreeMap<String, u64>,
    tenants: &[&str],
    seen: &mut Seen,
) -> Outcome {
    let ended = Instant::now();
    let (answered, made) = load.look(|records| {
        let answered: Vec<_> = records.iter().map(|record| (record.number, record.product)).collect();
        (answered, labels_made(records, KNOWN).len() as u64)
    });
    // When each was first seen to be well, without interruption since.
    let mut well: BTreeMap<&'static str, Instant> = BTreeMap::new();
    loop {
        let now = Instant::now();
        let answering = load.look(|records| well_since(records, ended, now));
        let ailing = world.ailing().await;
        world.telemetry.read(&world.systems.collector).await;
        let untold = world.telemetry.told(answered.iter().copied()).never;
        let missing = (before[KNOWN] + made).saturating_sub(world.counted(&tenants[..1]).await?[KNOWN]);
        match answering {
            Some(since) => well.insert("answers", since),
            None => well.remove("answers"),
        };
        for (what, is_well) in [("readiness", ailing.is_empty()), ("usage", missing == 0), ("telemetry", untold == 0)] {
            if is_well {
                well.entry(what).or_insert(now);
            } else {
                well.remove(what);
            }
        }
        let last = well.iter().max_by_key(|(_, since)| **since).map(|(what, since)| (*what, *since));
        match last {
            Some((what, since)) if well.len() == 4 && now.saturating_duration_since(since.max(ended)) >= WELL => {
                seen.recovered = Some(since.saturating_duration_since(ended));
                seen.last = what.to_owned();
                return Ok(());
            }
            _ if ended.elapsed() > RECOVERY + WELL => {
                let lacking: Vec<_> = ["answers", "readiness", "usage", "telemetry"]
                    .into_iter()
                    .filter(|what| !well.contains_key(what))
                    .collect();
                seen.last = format!(
                    "{} ({missing} labels and {untold} traces are missing; {})",
                    if lacking.is_empty() { "answers".to_owned() } else { lacking.join(", ") },
                    if ailing.is_empty() { "all ready".to_owned() } else { ailing.join("; ") }
                );
                return Ok(());
            }
            _ => sleep(LOOK).await,
        }
    }
}

/// Kits that were asked for and not answered for, each once: whether a label was made of one is not known.
fn unmade_kits(records: &[Record]) -> Vec<Record> {
    let is_good = |record: &&Record| record.answer == Answer::Good;
    let good: BTreeSet<_> = records.iter().filter(is_good).map(|record| record.key.as_str()).collect();
    let unmade = records.iter().filter(|record| record.has_kit && !good.contains(record.key.as_str()));
    unmade.map(|record| (record.key.as_str(), record)).collect::<BTreeMap<_, _>>().into_values().cloned().collect()
}

/// Holds usage and telemetry against what was asked, once all has arrived or does not.
async fn settle(
    world: &mut World,
    records: &[Record],
    before: &BTreeMap<String, u64>,
    tenants: &[&str],
    seen: &mut Seen,
) -> Outcome {
    let begun = Instant::now();
    let kits: BTreeSet<_> = records.iter().filter(|record| record.has_kit).map(|record| record.key.as_str()).collect();
    loop {
        let counted = world.counted(tenants).await?;
        seen.usage.clear();
        for tenant in tenants {
            let expected = if *tenant == "clinic" { kits.len() } else { labels_made(records, tenant).len() };
            seen.usage.insert((*tenant).to_owned(), (expected as u64, counted[*tenant] - before[*tenant]));
        }
        world.telemetry.read(&world.systems.collector).await;
        seen.told = world.telemetry.told(records.iter().map(|record| (record.number, record.product)));
        seen.measured = (world.telemetry.spans, world.telemetry.measured());
        let is_settled = seen.usage.values().all(|(expected, counted)| expected == counted)
            && seen.told.never == 0
            && seen.measured.0 == seen.measured.1;
        if is_settled || begun.elapsed() > SETTLED {
            seen.again = world.telemetry.again;
            return Ok(());
        }
        sleep(LOOK).await;
    }
}

/// Ends the products, the ones of a collector while it is down: what they could not send, the next ones do.
async fn end(world: &mut World, system: System, rate: u32, seen: &mut Seen) -> Outcome {
    if system == System::Collector {
        world.systems.begin(system, Fault::Down)?;
        let load = Load::start(&world.asker, "drained", &world.known, rate);
        sleep(Duration::from_secs(1)).await;
        let (records, offered) = load.stop().await;
        seen.answers(&records);
        seen.offered += offered;
        seen.may_come_again += Fault::Down.may_send_again(system);
        for product in Product::ALL {
            world.restart(product).await?;
        }
        world.systems.end(system)?;
        let before = world.telemetry.told(std::iter::empty());
        debug_assert_eq!(before.once, 0);
        let begun = Instant::now();
        loop {
            world.telemetry.read(&world.systems.collector).await;
            let told = world.telemetry.told(records.iter().map(|record| (record.number, record.product)));
            if told.never == 0 || begun.elapsed() > SETTLED {
                seen.told.once += told.once;
                seen.told.never += told.never;
                seen.told.twice += told.twice;
                break;
            }
            sleep(LOOK).await;
        }
    }
    for product in Product::ALL {
        world.stop(product).await?;
    }
    world.telemetry.read(&world.systems.collector).await;
    seen.measured = (world.telemetry.spans, world.telemetry.measured());
    seen.again = world.telemetry.again;
    world.note_panics();
    seen.incidents.append(&mut world.incidents);
    Ok(())
}
