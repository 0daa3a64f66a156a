//! HB-USE: what is counted, and how often.

use halfbyte_core::problem::Kind;
use halfbyte_core::{TenantId, error_chain};
use http::HeaderValue;
use http::header::CONTENT_TYPE;

use super::bench::Bench;
pub(super) use super::bench::fresh;
use super::check::{Check, Found, Holds, ensure};
use super::client::{Answer, Ask};
use super::connection::{HangUp, hang_up};
use super::product::Product;
use super::refusals::is_refusal;
use crate::manifest::Route;

pub(super) const CHECKS: &[Check] = &[
    Check {
        clause: "HB-AUTH-005",
        what: "who has no tenant is billed as a tenant of its own",
        run: |bench| Box::pin(without_tenant(bench)),
    },
    Check {
        clause: "HB-USE-001",
        what: "what succeeds is counted once, and what fails is not",
        run: |bench| Box::pin(success_and_failure(bench)),
    },
    Check {
        clause: "HB-USE-001",
        what: "who hangs up is billed if the response had begun, and else not, and once after a retry",
        run: |bench| Box::pin(hung_up(bench)),
    },
    Check {
        clause: "HB-USE-002",
        what: "an Idempotency-Key counts once, in a row and at once, over HTTP/1 and HTTP/2; no key counts each time",
        run: |bench| Box::pin(keys(bench)),
    },
    Check {
        clause: "HB-USE-004",
        what: "usage and its keys outlive the process, and show in the others on the store",
        run: |bench| Box::pin(restart(bench)),
    },
    Check { clause: "HB-USE-005", what: "a refusal is not counted", run: |bench| Box::pin(refusals(bench)) },
];

pub(super) const NO_METER: &str = "no route is metered, or none that can be called again and again";

/// Why a route is left out of what takes several calls of it.
pub(super) const ONCE: &str = "a second call of it fails, as its sample says";
pub(super) const IN_BODY: &str =
    "what it uses is counted in its body, as its sample says: how much of it who hangs up has used is not known";
pub(super) const KEYED: &str = "each call of it needs an idempotency key, as its sample says";
const STREAMS: &str = "its answers do not end, as its sample says: what they use is not known";

/// A metered route, and somebody who may use it.
#[derive(Clone)]
pub(super) struct Metered {
    pub route: Route,
    pub feature: String,
    pub meter: String,
    pub tenant: TenantId,
    /// A call that succeeds.
    pub good: Ask,
    /// What a call uses.
    pub units: u64,
    /// What is reserved for it beyond that.
    pub spare: u64,
    /// Whether who hangs up has used a part.
    pub is_counted_in_body: bool,
    /// What was used before any call of a check: by what the sample is made of.
    before: u64,
}

impl Metered {
    /// Each metered route, each with a customer of its own who has plenty.
    pub async fn all(bench: &mut Bench<'_>) -> Result<Vec<Self>, String> {
        let all = Self::as_planned(bench).await?;
        for metered in &all {
            metered.grant_units(bench, 10_000 * (metered.units + metered.spare)).await?;
        }
        Ok(all)
    }

    /// Each metered route, each with a customer of its own who has what the plan gives.
    pub async fn as_planned(bench: &mut Bench<'_>) -> Result<Vec<Self>, String> {
        let mut all = Vec::new();
        for route in bench.routes(false) {
            let (Some(feature), Some(meter)) = (route.asks.feature.clone(), route.asks.meter.clone()) else { continue };
            if !bench.ends(&route) || bench.is_once(&route) {
                bench.leave_out(&route, if bench.ends(&route) { ONCE } else { STREAMS });
                continue;
            }
            let tenant = bench.customer().await?;
            let Some(good) = bench.good(&route, &tenant).await? else {
                return Err(format!("{} {} is metered and has no sample: give it one", route.method, route.path));
            };
            let sample = bench.sample(&route);
            let (units, spare) = sample.map_or((1, 0), |sample| (sample.units, sample.spare()));
            let is_counted_in_body = sample.is_some_and(|sample| sample.is_counted_in_body);
            let metered = Self { route, feature, meter, tenant, good, units, spare, is_counted_in_body, before: 0 };
            let before = metered.used(bench).await?;
            all.push(Self { before, ..metered });
        }
        Ok(all)
    }

    /// Gives its customer so many calls more.
    pub async fn grant(&self, bench: &Bench<'_>, calls: u64) -> Result<(), String> {
        self.grant_units(bench, calls * self.units).await
    }

    /// Gives its customer so many units more.
    pub async fn grant_units(&self, bench: &Bench<'_>, units: u64) -> Result<(), String> {
        bench.grant(&self.tenant, &self.feature, units).await
    }

    /// What was used since then, as the product says.
    pub async fn used(&self, bench: &Bench<'_>) -> Result<u64, String> {
        Ok(used(bench.product, &self.tenant, &self.meter).await?.saturating_sub(self.before))
    }

    /// Fails unless `calls` were counted since then.
    pub async fn counted(&self, bench: &Bench<'_>, calls: u64, after: &str) -> Result<(), String> {
        let (used, expected) = (self.used(bench).await?, calls * self.units);
        let Route { method, path, .. } = &self.route;
        ensure(used == expected, || format!("after {after}, {method} {path} has used {used} units and not {expected}"))
    }
}

/// What `tenant` has used of `meter` in the current period.
pub(super) async fn used(product: &Product, tenant: &TenantId, meter: &str) -> Result<u64, String> {
    let usage = product.platform.billing().usage_of(tenant).await;
    let usage = usage.map_err(|error| error_chain(&error).to_string())?;
    let row = usage.iter().find(|usage| &*usage.meter == meter);
    let row = row.ok_or_else(|| format!("the product shows no usage of {meter}"))?;
    u64::try_from(row.used).map_err(|_| format!("{} of {meter} are used, which is no number of units", row.used))
}

pub(super) fn is_good(answer: &Answer) -> Result<(), String> {
    ensure(answer.is_success(), || format!("a good request is answered with {} {}", answer.status, answer.problem()))
}

async fn without_tenant(bench: &mut Bench<'_>) -> Found {
    let is_simple = |route: &Route| {
        let asks = &route.asks;
        let who = asks.roles.is_empty() && asks.acr.is_empty() && asks.max_age_seconds.is_none();
        who && asks.meter.is_some() && !route.path.contains('{')
    };
    let routes: Vec<_> = bench.routes(false).into_iter().filter(is_simple).collect();
    if routes.is_empty() || bench.suite.conformance.plan.is_none() {
        return Ok(Holds::NotHere("no metered route is for everybody, or the suite was told of no plan"));
    }
    let mut asked = 0;
    for route in routes {
        let (Some(meter), Some(sample)) = (&route.asks.meter, bench.sample(&route)) else { continue };
        asked += 1;
        let subject = fresh();
        let issuer = bench.suite.issuer.id();
        let issuer = issuer.split_once("://").map_or(issuer, |(_, rest)| rest);
        let tenant = format!("subject:{issuer}#{subject}");
        let tenant = bench.suite.customer(bench.product, &tenant).await?;
        let persona = bench.caller(&route, &subject);
        let persona = persona.scopes(route.asks.scopes.iter().map(String::as_str));
        let ask = bench.ask(&route, tenant.as_str()).key(&fresh());
        is_good(&bench.send(ask.clone().bearer(&bench.token(&persona))).await?)?;
        // Nobody is that tenant by saying so.
        let said = bench.token(&persona.tenant(tenant.as_str()));
        is_refusal(&bench.send(ask.bearer(&said)).await?, Kind::InvalidToken)?;
        let (used, expected) = (used(bench.product, &tenant, meter).await?, sample.units);
        ensure(used == expected, || format!("{tenant} has used {used} of {meter} in a call of {expected}"))?;
    }
    Ok(Holds::if_any(asked, "no metered route that is for everybody has a sample that succeeds"))
}

async fn success_and_failure(bench: &mut Bench<'_>) -> Found {
    let routes = Metered::all(bench).await?;
    if routes.is_empty() {
        return Ok(Holds::NotHere(NO_METER));
    }
    for metered in routes {
        is_good(&bench.send(metered.good.clone().key(&fresh())).await?)?;
        metered.counted(bench, 1, "a call").await?;
        is_good(&bench.send(metered.good.clone().key(&fresh()).http2()).await?)?;
        metered.counted(bench, 2, "two calls, one of them over HTTP/2").await?;
        // What no handler can read fails in it, if it reads anything.
        let mut broken = metered.good.clone().key(&fresh());
        broken.body = b"\x00".to_vec();
        broken.headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
        let answer = bench.send(broken).await?;
        let calls = if answer.is_success() { 3 } else { 2 };
        metered.counted(bench, calls, &format!("two calls and one that was answered with {}", answer.status)).await?;
    }
    Ok(Holds::Yes)
}

async fn hung_up(bench: &mut Bench<'_>) -> Found {
    // What is handed to the connection of a call of gRPC that is reset cannot be known from outside (HB-USE-009).
    let is_http = |metered: &Metered| !metered.good.is_grpc();
    let routes: Vec<_> = Metered::all(bench).await?.into_iter().filter(is_http).collect();
    if routes.is_empty() {
        return Ok(Holds::NotHere("no route is metered that is called by HTTP"));
    }
    let mut asked = 0;
    for metered in routes {
        let mut calls = 0;
        if metered.is_counted_in_body {
            bench.leave_out(&metered.route, IN_BODY);
            continue;
        }
        for when in [HangUp::BeforeTheHead, HangUp::AfterTheHead] {
            for good in [metered.good.clone(), metered.good.clone().http2()] {
                if matches!(when, HangUp::BeforeTheHead) && good.body.len() < 2 {
                    // There is no half of it.
                    continue;
                }
                asked += 1;
                let (key, id) = (fresh(), fresh());
                let ask = good.key(&key);
                hang_up(&ask.clone().named(&id), bench.product.platform.address(), when).await?;
                // What became of it there, the product's own telemetry says.
                let spans = bench.suite.spans_of(&[id]).await?.concat();
                let status = spans.iter().find_map(|span| span.attributes.get("http.response.status_code"));
                let had_begun = status.is_some_and(|status| status.as_str() < "400");
                let after = format!("a client that hangs up {when:?} over {:?}", ask.version);
                metered.counted(bench, calls + u64::from(had_begun), &after).await?;
                is_good(&bench.send(ask).await?)?;
                calls += 1;
                metered.counted(bench, calls, &format!("{after}, and its retry")).await?;
            }
        }
    }
    Ok(Holds::if_any(asked, "no metered route is counted by the call"))
}

async fn keys(bench: &mut Bench<'_>) -> Found {
    let routes = Metered::all(bench).await?;
    if routes.is_empty() {
        return Ok(Holds::NotHere(NO_METER));
    }
    for metered in routes {
        let key = fresh();
        let (one, two) = (metered.good.clone().key(&key), metered.good.clone().key(&key).http2());
        for ask in [&one, &one, &two, &one, &two] {
            is_good(&bench.send(ask.clone()).await?)?;
        }
        metered.counted(bench, 1, "five calls in a row with one Idempotency-Key").await?;
        let key = fresh();
        let (one, two) = (metered.good.clone().key(&key), metered.good.clone().key(&key).http2());
        let asks = (0..16).map(|number| (bench.product, if number % 2 == 0 { one.clone() } else { two.clone() }));
        for answer in bench.send_all(asks.collect()).await {
            is_good(&answer?)?;
        }
        metered.counted(bench, 2, "16 calls at once with another Idempotency-Key").await?;
        let is_keyed = bench.is_keyed(&metered.route);
        if is_keyed {
            bench.leave_out(&metered.route, KEYED);
        }
        for ask in [metered.good.clone(), metered.good.clone().http2()] {
            let ask = if is_keyed { ask.key(&fresh()) } else { ask };
            is_good(&bench.send(ask).await?)?;
        }
        metered.counted(bench, 4, "two calls without one, or each with its own").await?;
        // It is the tenant's: another one's is another.
        let other = bench.customer().await?;
        let others = Metered { tenant: other.clone(), ..metered.clone() };
        others.grant_units(bench, 10 * (metered.units + metered.spare)).await?;
        if let Some(good) = bench.good(&metered.route, &other).await? {
            let before = used(bench.product, &other, &metered.meter).await?;
            is_good(&bench.send(good.key(&key)).await?)?;
            let used = used(bench.product, &other, &metered.meter).await? - before;
            ensure(used == metered.units, || format!("another tenant's call with the same key has used {used}"))?;
        }
    }
    Ok(Holds::Yes)
}

async fn restart(bench: &mut Bench<'_>) -> Found {
    let routes = Metered::all(bench).await?;
    if routes.is_empty() {
        return Ok(Holds::NotHere(NO_METER));
    }
    let keys: Vec<String> = routes.iter().map(|_| fresh()).collect();
    for (calls, when) in [(1, "before a restart"), (1, "after it, with the same keys")] {
        let product = bench.suite.start(&[]).await?;
        for (metered, key) in routes.iter().zip(&keys) {
            is_good(&bench.send_to(&product, metered.good.clone().key(key)).await?)?;
        }
        product.stop().await?;
        for metered in &routes {
            metered.counted(bench, calls, &format!("a call {when}")).await?;
        }
    }
    Ok(Holds::Yes)
}

async fn refusals(bench: &mut Bench<'_>) -> Found {
    let routes = Metered::all(bench).await?;
    if routes.is_empty() {
        return Ok(Holds::NotHere(NO_METER));
    }
    for metered in routes {
        let bare = bench.ask(&metered.route, metered.tenant.as_str()).key(&fresh());
        is_refusal(&bench.send(bare.clone()).await?, Kind::Unauthenticated)?;
        is_refusal(&bench.send(bare.clone().bearer("not.a.token")).await?, Kind::InvalidToken)?;
        let persona = bench.persona(&metered.route, &metered.tenant);
        if !metered.route.asks.scopes.is_empty() {
            let token = bench.token(&persona.clone().scopes([]));
            is_refusal(&bench.send(bare.clone().bearer(&token)).await?, Kind::InsufficientScope)?;
        }
        let token = bench.token(&persona.claim("exp", 1));
        is_refusal(&bench.send(bare.bearer(&token)).await?, Kind::InvalidToken)?;
        metered.counted(bench, 0, "refusals alone").await?;
        let stranger = bench.suite.stranger(bench.product).await?;
        let mut foreign = bench.ask(&metered.route, stranger.as_str()).key(&fresh());
        foreign = foreign.bearer(&bench.token(&bench.persona(&metered.route, &stranger)));
        let answer = bench.send(foreign).await?;
        if !answer.is_success() {
            let used = used(bench.product, &stranger, &metered.meter).await?;
            ensure(used == 0, || format!("who was refused with {} has used {used}", answer.status))?;
        }
    }
    Ok(Holds::Yes)
}
