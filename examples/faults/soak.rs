//! Minutes of load with faults at random, and what becomes of memory meanwhile.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::Outcome;
use crate::fault::{Fault, Random, System};
use crate::judge::Seen;
use crate::load::{Load, Product};
use crate::matrix::{close, recover};
use crate::proxy;
use crate::world::{KNOWN, World};

/// What a product may grow by in all from the first minute to the last: buffers, pools and caches on their way to their bounds.
const MAY_GROW: u64 = 48 << 20;
/// The same from the start, when none of them is there yet.
const MAY_GROW_AT_FIRST: u64 = 128 << 20;
/// What it may grow by for each label or appointment, since both keep all that they made in memory, twice: by id and by key.
const OF_EACH: u64 = 1536;
const TENANTS: [&str; 2] = [KNOWN, "clinic"];

/// For so long a fault goes on at the most until the products meet it: the longest that they may do without the system.
const UNMET: Duration = Duration::from_secs(20);

/// One minute.
struct Minute {
    seen: Seen,
    /// Resident memory of each product at its end, in bytes.
    memory: [u64; 2],
    faults: Vec<String>,
}

/// Asks for so many minutes; answers whether every promise was kept.
pub async fn run(folder: &Path, minutes: u32, seed: u64, rate: u32) -> Outcome<bool> {
    println!("{minutes} minutes of {rate} requests a second to each product; --seed {seed} has the same faults again");
    let mut world = World::start(folder, "faults_soak", &[], None).await?;
    let mut random = Random(seed);
    let at_start = memory(&world)?;
    println!("{:>6}  {:>8}  {:>7}  {:>9}  {:>9}  faults", "minute", "requests", "refused", "parcel", "clinic");
    println!("{:>6}  {:>8}  {:>7}  {:>9}  {:>9}", "start", "", "", mib(at_start[0]), mib(at_start[1]));
    let (mut kept, mut made, mut made_since, mut warm) = (true, [0; 2], [0; 2], at_start);
    let mut end = at_start;
    for number in 1..=minutes {
        let mut minute = one(&mut world, &mut random, &format!("soak-{number}"), rate).await?;
        if number == minutes {
            for product in Product::ALL {
                world.stop(product).await?;
            }
            world.telemetry.read(&world.systems.collector).await;
            minute.seen.measured = (world.telemetry.spans, world.telemetry.measured());
            minute.seen.incidents.append(&mut world.incidents);
        }
        let [parcel, clinic] = minute.seen.good;
        // Parcel also makes what Clinic orders.
        made = [made[0] + parcel + clinic, made[1] + clinic];
        if number == 1 {
            (warm, made_since) = (minute.memory, made);
        }
        let refused: u64 = minute.seen.refused.values().sum();
        let [parcel, clinic] = minute.memory.map(mib);
        let requests = minute.seen.requests();
        println!("{number:>6}  {requests:>8}  {refused:>7}  {parcel:>9}  {clinic:>9}  {}", minute.faults.join(", "));
        for product in Product::ALL {
            let of = product as usize;
            let now = minute.memory[of];
            let first = too_much(product, now.saturating_sub(at_start[of]), MAY_GROW_AT_FIRST, made[of]);
            let then = too_much(product, now.saturating_sub(warm[of]), MAY_GROW, made[of] - made_since[of]);
            minute.seen.incidents.extend(first.into_iter().chain(then));
        }
        if number == minutes {
            end = minute.memory;
        }
        for why in minute.seen.verdict() {
            kept = false;
            println!("        BROKEN: {why}");
        }
        // Nothing is asked, so nothing but what is known already can be missed.
        world.telemetry.forget(&world.systems.collector).await;
        world.known = world.customer(KNOWN).await?;
    }
    if !kept {
        world.show_logs();
    }
    for product in Product::ALL {
        let (start, end) = (at_start[product as usize], end[product as usize]);
        println!("{}: {} at the start, {} at the end", product.name(), mib(start), mib(end));
    }
    println!("{}", if kept { "every promise was kept" } else { "promises were broken" });
    Ok(kept)
}

/// Why a growth is more than is allowed, after so many things were made.
fn too_much(product: Product, grown: u64, allowed: u64, made: u64) -> Option<String> {
    let allowed = allowed + made * OF_EACH;
    (grown > allowed).then(|| format!("{} has grown by {}, of {} allowed", product.name(), mib(grown), mib(allowed)))
}

/// Three quarters with faults, and the rest for all to be well again.
async fn one(world: &mut World, random: &mut Random, name: &str, rate: u32) -> Outcome<Minute> {
    let begun = Instant::now();
    let before = world.counted(&TENANTS).await?;
    world.telemetry.again = 0;
    let load = Load::start(&world.asker, name, &world.known, rate);
    let (mut seen, mut faults) = (Seen::default(), Vec::new());
    while begun.elapsed() < Duration::from_secs(45) {
        sleep(Duration::from_millis(500 + below(random, 3_000))).await;
        let system = System::ALL[below(random, 4) as usize];
        let (what, fault) = fault(random, system);
        if system == System::Issuer {
            // A token names a key that the products have not seen.
            world.systems.issuer.rotate().await?;
            load.newcomer(world.customer(KNOWN).await?);
        }
        let is_seen = fault != proxy::Fault::Refuse;
        world.systems.between(system, Some(fault));
        let begun = Instant::now();
        sleep(Duration::from_millis(1_000 + below(random, 7_000))).await;
        while is_seen && world.systems.met(system) == 0 && begun.elapsed() < UNMET {
            sleep(Duration::from_millis(50)).await;
        }
        // Nobody sees who finds nobody.
        let met = is_seen.then(|| world.systems.met(system));
        world.systems.between(system, None);
        faults.push(met_or_not(&mut seen, system, what, met));
    }
    recover(world, &load, &before, &TENANTS, &mut seen).await?;
    let customers = [world.known.clone()];
    close(world, load, &customers, &before, &TENANTS, &mut seen).await?;
    world.note_panics();
    seen.incidents.append(&mut world.incidents);
    Ok(Minute { seen, memory: memory(world)?, faults })
}

/// Takes note of a fault that was; one that nobody met has shown nothing. Answers what it is called.
fn met_or_not(seen: &mut Seen, system: System, what: &str, met: Option<u64>) -> String {
    if met == Some(0) {
        seen.incidents.push(format!("the products did not meet it: {system} {what}"));
    }
    // Whatever it is, a collector may have taken what it could not say that it took.
    seen.may_come_again += Fault::Down.may_send_again(system);
    format!("{system} {what}")
}

/// A number below another one.
fn below(random: &mut Random, end: u64) -> u64 {
    random.next().unwrap_or_default() % end
}

/// One of all that the proxy can do.
fn fault(random: &mut Random, system: System) -> (&'static str, proxy::Fault) {
    let of = |fault: Fault| fault.between(system).unwrap_or(proxy::Fault::Refuse);
    match below(random, 7) {
        0 => ("down", of(Fault::Down)),
        1 => ("slow", proxy::Fault::Slow(Duration::from_millis(50 + below(random, 3_000)))),
        2 => ("hanging", of(Fault::Hanging)),
        3 => ("errors", of(Fault::Errors)),
        4 => ("cut", proxy::Fault::Cut(below(random, 600) as usize)),
        5 => ("half-closed", proxy::Fault::HalfClose),
        _ => {
            let noise: Vec<u8> = Random(random.next().unwrap_or_default()).take(300).map(|byte| byte as u8).collect();
            let fixed = of(Fault::Garbage);
            let proxy::Fault::Answers(fixed) = &fixed else { return ("garbage", fixed) };
            let all: Arc<[Vec<u8>]> = fixed.iter().cloned().chain([noise]).collect();
            ("garbage", proxy::Fault::Answers(all))
        }
    }
}

/// Resident memory of the products.
fn memory(world: &World) -> Outcome<[u64; 2]> {
    let of = |product: Product| -> Outcome<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", world.products[product as usize].id()))?;
        Ok(resident(&status).ok_or("no VmRSS in /proc")?)
    };
    Ok([of(Product::Parcel)?, of(Product::Clinic)?])
}

fn resident(status: &str) -> Option<u64> {
    let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.trim().strip_suffix(" kB")?;
    Some(kilobytes.parse::<u64>().ok()? << 10)
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_as_linux_tells_it() {
        assert_eq!(resident("Name:\tparcel\nVmRSS:\t   58412 kB\nThreads:\t3\n"), Some(58_412 << 10));
        assert_eq!(resident("Name:\tparcel\n"), None);
    }

    #[test]
    fn more_growth_than_was_stated_is_told() {
        assert_eq!(too_much(Product::Parcel, MAY_GROW + 10 * OF_EACH, MAY_GROW, 10), None);
        let why = too_much(Product::Parcel, MAY_GROW + 10 * OF_EACH + 1, MAY_GROW, 10).expect("a byte too many");
        assert_eq!(why, "parcel has grown by 48.0 MiB, of 48.0 MiB allowed");
    }

    #[test]
    fn a_fault_that_nobody_met_ends_a_soak_in_failure() {
        let mut seen = Seen::default();
        assert_eq!(met_or_not(&mut seen, System::Issuer, "slow", Some(1)), "issuer slow");
        met_or_not(&mut seen, System::Issuer, "down", None);
        assert_eq!((seen.incidents.len(), seen.may_come_again), (0, 0));
        met_or_not(&mut seen, System::Collector, "slow", Some(0));
        assert!(seen.verdict().contains(&"the products did not meet it: collector slow".to_owned()));
        assert!(seen.may_come_again > 0);
    }

    #[test]
    fn a_seed_has_the_same_faults_again() {
        let drawn = |seed| {
            let mut random = Random(seed);
            (0..50).map(|_| fault(&mut random, System::Postgres).0).collect::<Vec<_>>()
        };
        assert_eq!(drawn(7), drawn(7));
        assert_ne!(drawn(7), drawn(8));
        let mut kinds = drawn(7);
        kinds.sort_unstable();
        kinds.dedup();
        assert_eq!(kinds.len(), 7, "each kind comes up: {kinds:?}");
    }
}
