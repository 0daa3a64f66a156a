//! HB-USE: what may be used, and what limits it.

use std::time::Duration;

use halfbyte_billing::{Decision, Operation, Reservation, Reserved, Standing};
use halfbyte_core::error_chain;
use halfbyte_core::problem::Kind;
use tokio::time::{Instant, sleep};

use super::bench::{Bench, PLENTY, fresh};
use super::check::{Check, Found, Holds, ensure};
use super::client::{Answer, Ask};
use super::product::Product;
use super::provoke::operate;
use super::refusals::is_refusal;
use super::usage::{Metered, ONCE, is_good, used};

pub(super) const CHECKS: &[Check] = &[
    Check {
        clause: "HB-USE-003",
        what: "a burst gets what is left of a hard limit and no more, and what was counted goes on being answered",
        run: |bench| Box::pin(hard_limit(bench)),
    },
    Check {
        clause: "HB-USE-010",
        what: "what is granted can be used on top of the plan, and no more",
        run: |bench| Box::pin(grants(bench)),
    },
    Check {
        clause: "HB-USE-011",
        what: "who is past due has to pay, who has paused has nothing, and both go on once that is over",
        run: |bench| Box::pin(standing(bench)),
    },
    Check {
        clause: "HB-USE-012",
        what: "a change of a customer shows at once where it is made, and a little later in other processes",
        run: |bench| Box::pin(changes(bench)),
    },
    Check {
        clause: "HB-USE-014",
        what: "two processes on one store share a limit, and what one of them held is free after it",
        run: |bench| Box::pin(two_processes(bench)),
    },
];

const NO_LIMIT: &str = "no metered route has a hard limit in the plan";
const NO_PLAN: &str = "no route with a sample asks for a feature, or the suite was told of no plan";

/// How many calls are left of the limit.
const LEFT: u64 = 5;

/// How long another process may take to see a change: ten times what is promised.
const SOON: Duration = Duration::from_secs(10);

/// A metered route of whose hard limit a few calls are left. The rest is held, as by a job that has reserved it.
pub(super) struct Scarce {
    pub metered: Metered,
    /// How many are left.
    pub calls: u64,
    /// What the plan includes, in units.
    pub included: u64,
    held: Option<Reserved>,
}

impl Scarce {
    /// Each of them, with [`LEFT`] calls left: where the plan has less, the rest is granted.
    async fn all(bench: &mut Bench<'_>) -> Result<Vec<Self>, String> {
        let mut all = Vec::new();
        for metered in Metered::as_planned(bench).await? {
            all.extend(Self::of(bench, metered, true).await?);
        }
        Ok(all)
    }

    /// Each of which the plan has something, with at most [`LEFT`] calls left and nothing granted.
    pub async fn of_plan(bench: &mut Bench<'_>) -> Result<Vec<Self>, String> {
        let mut all = Vec::new();
        for metered in Metered::as_planned(bench).await? {
            let scarce = Self::of(bench, metered, false).await?;
            all.extend(scarce.filter(|scarce| scarce.calls > 0));
        }
        Ok(all)
    }

    /// `None` where nothing limits it. Where the plan has less than [`LEFT`] calls, it `is_granted` the rest, or what is left of less than a
    /// call is held too.
    async fn of(bench: &Bench<'_>, metered: Metered, is_granted: bool) -> Result<Option<Self>, String> {
        let billing = bench.product.platform.billing();
        let reserve = async |units| {
            let reserved = billing.reserve(&metered.tenant, &metered.feature, units, Duration::from_secs(600)).await;
            reserved.map_err(|error| error_chain(&error).to_string())
        };
        // As good as everything: what there is, the refusal says.
        let left = match reserve(i64::MAX as u64 / 4).await? {
            Reservation::Held(all) => {
                billing.release_reserved(&all).await.map_err(|error| error_chain(&error).to_string())?;
                return Ok(None);
            }
            Reservation::Refused(Decision::QuotaExhausted(quota)) => quota.remaining,
            Reservation::Refused(Decision::PaymentRequired) => 0,
            Reservation::Refused(refused) => return Err(format!("{} cannot be used: {refused:?}", metered.feature)),
            _ => return Err("a reservation of another kind".to_owned()),
        };
        let included = left + used(bench.product, &metered.tenant, &metered.meter).await?;
        let wanted = LEFT * metered.units + metered.spare;
        if is_granted && left < wanted {
            metered.grant_units(bench, wanted - left).await?;
            return Ok(Some(Self { metered, calls: LEFT, included, held: None }));
        }
        // The last one needs room for what it does not use.
        let calls = LEFT.min(left.saturating_sub(metered.spare) / metered.units.max(1));
        let held = match left.saturating_sub(calls * metered.units + metered.spare) {
            0 => None,
            rest => match reserve(rest).await? {
                Reservation::Held(held) => Some(held),
                refused => return Err(format!("{left} units are left, and {rest} cannot be reserved: {refused:?}")),
            },
        };
        Ok(Some(Self { metered, calls, included, held }))
    }

    pub async fn give_back(self, bench: &Bench<'_>) -> Result<(), String> {
        let Some(held) = self.held else { return Ok(()) };
        let released = bench.product.platform.billing().release_reserved(&held).await;
        released.map_err(|error| error_chain(&error).to_string())
    }

    /// `calls` at once, each with a key of its own, to each of `products` in turn; how many succeeded, and with which key. What did not is
    /// the row of the table.
    async fn burst(&self, bench: &mut Bench<'_>, products: &[&Product], calls: usize) -> Result<Vec<Ask>, String> {
        let ask = |number: usize| {
            let ask = self.metered.good.clone().key(&fresh());
            (products[number % products.len()], if (number / 2).is_multiple_of(2) { ask } else { ask.http2() })
        };
        let asks: Vec<_> = (0..calls).map(ask).collect();
        let sent: Vec<Ask> = asks.iter().map(|(_, ask)| ask.clone()).collect();
        let mut good = Vec::new();
        for (ask, answer) in sent.into_iter().zip(bench.send_all(asks).await) {
            let answer = answer?;
            if answer.is_success() {
                good.push(ask);
            } else {
                self.is_exhausted(&answer)?;
            }
        }
        Ok(good)
    }

    /// As [`burst`](Self::burst), and then one after the other until no more succeeds: where calls reserve more than they use, not all that
    /// is left can be had at once.
    async fn use_up(&self, bench: &mut Bench<'_>, products: &[&Product], calls: usize) -> Result<Vec<Ask>, String> {
        let mut good = self.burst(bench, products, calls).await?;
        while self.metered.spare > 0 && good.len() <= calls {
            // That nothing was left is believed for a moment: `EXHAUSTED_FOR` in `halfbyte-billing`.
            sleep(Duration::from_millis(300)).await;
            let more = self.burst(bench, &products[..1], 1).await?;
            if more.is_empty() {
                break;
            }
            good.extend(more);
        }
        Ok(good)
    }

    /// Whether it is the refusal of a used-up limit, with all of its headers.
    fn is_exhausted(&self, answer: &Answer) -> Result<(), String> {
        // Who has only what was granted has paid for it in advance.
        if answer.problem() == Kind::PaymentRequired.slug() {
            return is_refusal(answer, Kind::PaymentRequired);
        }
        is_refusal(answer, Kind::QuotaExhausted)?;
        let pause = answer.header("retry-after").and_then(|value| value.parse::<u64>().ok());
        ensure(pause.is_some_and(|pause| pause >= 1), || "there is no Retry-After of whole seconds".to_owned())?;
        for (name, members) in [("ratelimit-policy", ["q", "w"]), ("ratelimit", ["r", "t"])] {
            let value = answer.header(name).ok_or_else(|| format!("there is no {name}"))?;
            let expected = format!("\"{}\"", self.metered.feature);
            let mut parts = value.split(';');
            let is_named = parts.next() == Some(&expected);
            let numbers = parts.map(|part| part.split_once('=').filter(|(_, number)| number.parse::<u64>().is_ok()));
            let names: Vec<_> = numbers.map(|part| part.map_or("", |(name, _)| name)).collect();
            ensure(is_named && names == members, || format!("{name} is {value:?}"))?;
        }
        Ok(())
    }
}

async fn hard_limit(bench: &mut Bench<'_>) -> Found {
    let routes = Scarce::all(bench).await?;
    if routes.is_empty() {
        return Ok(Holds::NotHere(NO_LIMIT));
    }
    for scarce in routes {
        let product = bench.product;
        let good = scarce.use_up(bench, &[product], 24).await?;
        ensure(good.len() as u64 == LEFT, || format!("{LEFT} calls were left, and {} got through", good.len()))?;
        scarce.metered.counted(bench, LEFT, "24 calls at once with 5 left").await?;
        scarce.is_exhausted(&bench.send(scarce.metered.good.clone().key(&fresh())).await?)?;
        for retry in good {
            is_good(&bench.send(retry).await?)?;
        }
        scarce.metered.counted(bench, LEFT, "retries of what was counted").await?;
        scarce.give_back(bench).await?;
    }
    Ok(Holds::Yes)
}

async fn grants(bench: &mut Bench<'_>) -> Found {
    let routes = Scarce::all(bench).await?;
    if routes.is_empty() {
        return Ok(Holds::NotHere(NO_LIMIT));
    }
    for scarce in routes {
        let product = bench.product;
        scarce.use_up(bench, &[product], 8).await?;
        let before = bench.send(scarce.metered.good.clone().key(&fresh())).await?;
        scarce.is_exhausted(&before)?;
        scarce.metered.grant(bench, 3).await?;
        let good = scarce.use_up(bench, &[product], 8).await?.len();
        ensure(good == 3, || format!("3 calls were granted, and {good} got through"))?;
        scarce.metered.counted(bench, LEFT + 3, "the limit and 3 calls that were granted").await?;
        let after = bench.send(scarce.metered.good.clone().key(&fresh())).await?;
        scarce.is_exhausted(&after)?;
        let policies = [&before, &after].map(|answer| answer.header("ratelimit-policy"));
        ensure(policies[0] == policies[1], || format!("a grant changes what the plan includes: {policies:?}"))?;
        scarce.give_back(bench).await?;
    }
    Ok(Holds::Yes)
}

/// Each route that asks for a feature, with a customer who has it and a call that succeeds; none where no plan is known.
async fn entitled(bench: &mut Bench<'_>) -> Result<Vec<Entitled>, String> {
    let mut all = Vec::new();
    if bench.suite.conformance.plan.is_none() {
        return Ok(all);
    }
    for route in bench.routes(false) {
        if route.asks.feature.is_some() && bench.is_once(&route) {
            bench.leave_out(&route, ONCE);
        } else if route.asks.feature.is_some() {
            let tenant = bench.customer().await?;
            if let Some(good) = bench.good(&route, &tenant).await? {
                if let (Some(feature), true) = (&route.asks.feature, route.asks.meter.is_some()) {
                    bench.grant(&tenant, feature, PLENTY).await?;
                }
                all.push(Entitled { asks_policies: route.asks.action.is_some(), tenant, good });
            }
        }
    }
    Ok(all)
}

struct Entitled {
    asks_policies: bool,
    tenant: halfbyte_core::TenantId,
    good: Ask,
}

impl Entitled {
    async fn call(&self, bench: &mut Bench<'_>) -> Result<Answer, String> {
        bench.send(self.good.clone().key(&fresh())).await
    }
}

fn owes(standing: Standing) -> Operation {
    Operation::SetStanding { standing }
}

async fn standing(bench: &mut Bench<'_>) -> Found {
    let routes = entitled(bench).await?;
    if routes.is_empty() {
        return Ok(Holds::NotHere(NO_PLAN));
    }
    for route in routes {
        is_good(&route.call(bench).await?)?;
        operate(bench, &route.tenant, owes(Standing::PastDue)).await?;
        is_refusal(&route.call(bench).await?, Kind::PaymentRequired)?;
        operate(bench, &route.tenant, owes(Standing::Good)).await?;
        is_good(&route.call(bench).await?)?;
        operate(bench, &route.tenant, Operation::Pause).await?;
        let paused = route.call(bench).await?;
        // Policies are asked first, and let a suspended tenant do nothing but read.
        let forbidden = if route.asks_policies { is_refusal(&paused, Kind::Forbidden) } else { Err(String::new()) };
        forbidden.or_else(|_| is_refusal(&paused, Kind::NotEntitled))?;
        operate(bench, &route.tenant, Operation::Resume).await?;
        is_good(&route.call(bench).await?)?;
    }
    Ok(Holds::Yes)
}

async fn changes(bench: &mut Bench<'_>) -> Found {
    let routes = entitled(bench).await?;
    let Some(plan) = bench.suite.conformance.plan.clone().filter(|_| !routes.is_empty()) else {
        return Ok(Holds::NotHere(NO_PLAN));
    };
    let other = bench.suite.start(&[]).await?;
    let seen = see_changes(bench, routes, &plan, &other).await;
    other.stop().await?;
    seen.map(|()| Holds::Yes)
}

async fn see_changes(bench: &mut Bench<'_>, routes: Vec<Entitled>, plan: &str, other: &Product) -> Result<(), String> {
    for route in routes {
        let customers = bench.product.platform.billing().customers();
        is_good(&route.call(bench).await?)?;
        is_good(&bench.send_to(other, route.good.clone().key(&fresh())).await?)?;
        // What a customer has without the plan is the product's own affair; that it changes at once is not.
        customers.end(&route.tenant).await.map_err(|error| error_chain(&error).to_string())?;
        route.call(bench).await?;
        customers.subscribe(&route.tenant, plan).await.map_err(|error| error_chain(&error).to_string())?;
        is_good(&route.call(bench).await?)?;
        until(bench, other, &route, Answer::is_success).await?;
        operate(bench, &route.tenant, owes(Standing::PastDue)).await?;
        is_refusal(&route.call(bench).await?, Kind::PaymentRequired)?;
        until(bench, other, &route, |answer| is_refusal(answer, Kind::PaymentRequired).is_ok()).await?;
        operate(bench, &route.tenant, owes(Standing::Good)).await?;
        is_good(&route.call(bench).await?)?;
        until(bench, other, &route, Answer::is_success).await?;
    }
    Ok(())
}

/// Waits until `other` answers `route` so.
async fn until(
    bench: &mut Bench<'_>,
    other: &Product,
    route: &Entitled,
    so: impl Fn(&Answer) -> bool,
) -> Result<(), String> {
    let deadline = Instant::now() + SOON;
    while !so(&bench.send_to(other, route.good.clone().key(&fresh())).await?) {
        ensure(Instant::now() < deadline, || "another process on the store does not see a change".to_owned())?;
        sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

async fn two_processes(bench: &mut Bench<'_>) -> Found {
    let routes = Scarce::all(bench).await?;
    if routes.is_empty() {
        return Ok(Holds::NotHere(NO_LIMIT));
    }
    for scarce in routes {
        let product = bench.product;
        let other = bench.suite.start(&[]).await?;
        let good = scarce.burst(bench, &[product, &other], 24).await;
        other.stop().await?;
        let good = good?.len() as u64;
        ensure(good <= LEFT, || format!("{LEFT} calls were left, and two processes let {good} through"))?;
        scarce.metered.counted(bench, good, "a burst over two processes").await?;
        let rest = scarce.use_up(bench, &[product], 8).await?.len() as u64;
        ensure(good + rest == LEFT, || {
            format!("{LEFT} calls were left: {good} got through, and {rest} once the other process had ended")
        })?;
        scarce.metered.counted(bench, LEFT, "all that was left").await?;
        scarce.give_back(bench).await?;
    }
    Ok(Holds::Yes)
}
