//! HB-VER: what a version pins, and what a product departs from.

use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::bench::Bench;
use super::check::{Check, Found, Holds, ensure};

pub(super) const CHECKS: &[Check] = &[
    Check {
        clause: "HB-VER-001",
        what: "layers and limits are those that the version pins, but for what is said to deviate",
        run: |bench| Box::pin(async move { pinned(bench) }),
    },
    Check {
        clause: "HB-VER-002",
        what: "each deviation is from a limit that may be departed from, has a reason, and has not expired",
        run: |bench| Box::pin(async move { deviations(bench) }),
    },
];

fn pinned(bench: &Bench<'_>) -> Found {
    let (manifest, contract) = (bench.manifest(), bench.product.platform.contract());
    let pinned = contract.pinned();
    let says = &manifest.contract;
    ensure(*says == contract.as_str(), || format!("it says that it is on {says:?}, not {:?}", contract.as_str()))?;
    let of =
        |what: &str| -> Vec<_> { pinned.lines().filter_map(|line| line.strip_prefix(what)?.split_once(' ')).collect() };
    let layers: Vec<_> = of("layer ").into_iter().map(|(_, layer)| layer).collect();
    ensure(manifest.layers == layers, || format!("the layers are {:?}, not {layers:?}", manifest.layers))?;
    for (name, value) in of("limit ") {
        let is_departed_from = manifest.deviations.iter().any(|deviation| deviation.limit == name);
        let limit = manifest.limits.get(name).map(ToString::to_string);
        let holds = is_departed_from || limit.as_deref() == Some(value);
        ensure(holds, || format!("{name} is {limit:?} and not {value}, which no deviation says"))?;
    }
    Ok(Holds::Yes)
}

fn deviations(bench: &Bench<'_>) -> Found {
    const CLAUSES: [&str; 4] = ["HB-REQ-004", "HB-REQ-005", "HB-REQ-006", "HB-LIFE-002"];
    let (manifest, pinned) = (bench.manifest(), bench.product.platform.contract().pinned());
    let today = halfbyte_core::Clock::system().now().to_zoned(TimeZone::UTC).date();
    for deviation in &manifest.deviations {
        let name = &deviation.limit;
        let (clause, reason, until) = (&deviation.clause, &deviation.reason, &deviation.until);
        ensure(CLAUSES.contains(&clause.as_str()), || format!("{name}: {clause} cannot be departed from"))?;
        ensure(!reason.trim().is_empty(), || format!("{name}: no reason is given"))?;
        let last: Date = until.parse().map_err(|_| format!("{name}: {until:?} is no day"))?;
        ensure(today <= last, || format!("the deviation of {name} has expired on {until}: {reason}"))?;
        let promised = format!("limit {name} {}\n", deviation.contract);
        ensure(pinned.contains(&promised), || format!("{name}: the contract does not say {}", deviation.contract))?;
        let limit = manifest.limits.get(name);
        ensure(limit == Some(&deviation.value), || format!("{name} is {limit:?} and not {}", deviation.value))?;
    }
    Ok(if manifest.deviations.is_empty() { Holds::NotHere("the product does not deviate") } else { Holds::Yes })
}
