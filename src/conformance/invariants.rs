//! HB-INV: what holds across the systems, of everything that the suite did.

use std::collections::BTreeMap;
use std::time::Duration;

use halfbyte_core::error_chain;
use halfbyte_core::problem::Kind;
use halfbyte_observe::testing::Span;
use secrecy::SecretString;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::bench::Bench;
use super::check::{Check, Found, Holds, ensure};
use super::client::{Ask, PATIENCE};
use super::refusals::is_refusal;
use super::telemetry::shows_nothing;
use super::usage::{Metered, NO_METER, ONCE, fresh, is_good, used};

pub(super) const CHECKS: &[Check] = &[
    Check {
        clause: "HB-INV-004",
        what: "new secrets and new signing keys under load fail no request",
        run: |bench| Box::pin(rotation(bench)),
    },
    Check {
        clause: "HB-INV-001",
        what: "all that was counted in this run has a verified principal and a trace",
        run: |bench| Box::pin(principals(bench)),
    },
    Check {
        clause: "HB-INV-002",
        what: "none who was only refused in this run was billed",
        run: |bench| Box::pin(refusals(bench)),
    },
    Check {
        clause: "HB-INV-003",
        what: "no secret and no credential of this run is in a signal, an answer or what operators see",
        run: |bench| Box::pin(secrets(bench)),
    },
];

async fn rotation(bench: &mut Bench<'_>) -> Found {
    let names = bench.suite.secrets.clone();
    let product = bench.product;
    let mut calls = Vec::new();
    for metered in Metered::all(bench).await? {
        calls.push((metered.route, metered.tenant, metered.good));
    }
    for route in bench.routes(false).into_iter().filter(|route| route.asks.meter.is_none()) {
        if bench.is_once_for_all(&route) {
            bench.leave_out(&route, ONCE);
            continue;
        }
        let tenant = bench.customer().await?;
        if let Some(good) = bench.good(&route, &tenant).await? {
            bench.stock(&route, &tenant).await?;
            calls.push((route, tenant, good));
        }
    }
    if calls.is_empty() {
        return Ok(Holds::NotHere("no guarded route has a sample"));
    }
    let (ended, mut has_ended) = watch::channel(false);
    let (begun, mut round) = watch::channel(0);
    let suite = bench.suite;
    let rotate = async {
        let rotated = async {
            for name in &names {
                let Some(value) = suite.next_secret(name)? else { continue };
                let secret = product.platform.secrets().get::<SecretString>(name);
                secret.ready().await.map_err(|error| error_chain(&error).to_string())?;
                let before = secret.generation();
                let stored = product.platform.store_local_secret(name, Some(value.into())).await;
                stored.map_err(|error| format!("{error:?}"))?;
                let deadline = Instant::now() + PATIENCE;
                while secret.generation() == before {
                    ensure(Instant::now() < deadline, || format!("a new {name} is not taken up"))?;
                    sleep(Duration::from_millis(50)).await;
                }
            }
            suite.issuer.rotate();
            Ok::<_, String>(())
        };
        let rotated = rotated.await;
        // What is under way now may be of before; after it there is one whole round under what is new.
        let now = *round.borrow_and_update();
        _ = round.wait_for(|round| *round >= now + 2).await;
        _ = ended.send(true);
        rotated
    };
    let load = async {
        let mut seen = Vec::new();
        while !*has_ended.borrow_and_update() {
            begun.send_modify(|round| *round += 1);
            for (route, tenant, good) in &calls {
                let mut fresher = good.clone();
                // By whatever keys the issuer has now.
                fresher.headers.remove(http::header::AUTHORIZATION);
                let fresher = fresher.bearer(&bench.token(&bench.persona(route, tenant)));
                for ask in [good, &fresher] {
                    let ask = match bench.again(route, tenant, ask).await {
                        Ok(ask) => ask.key(&fresh()),
                        Err(how) => {
                            seen.push((good.clone(), Err(how)));
                            continue;
                        }
                    };
                    let answer = ask.send(product.platform.address()).await;
                    seen.push((ask, answer));
                }
            }
            sleep(Duration::from_millis(20)).await;
        }
        seen
    };
    let (seen, rotated) = tokio::join!(load, rotate);
    for (ask, answer) in seen {
        bench.keep(&ask, &answer);
        let answer = answer?;
        is_good(&answer)?;
    }
    rotated?;
    Ok(Holds::Yes)
}

/// A good call and a refused one of each metered route, so that there is something to look at.
async fn some(bench: &mut Bench<'_>) -> Result<Vec<Metered>, String> {
    let all = Metered::all(bench).await?;
    for metered in &all {
        let ids = [fresh(), fresh()];
        is_good(&bench.send(metered.good.clone().key(&fresh()).named(&ids[0])).await?)?;
        let bare: Ask = bench.ask(&metered.route, metered.tenant.as_str());
        is_refusal(&bench.send(bare.named(&ids[1])).await?, Kind::Unauthenticated)?;
        bench.suite.spans_of(&ids).await?;
    }
    Ok(all)
}

/// Whether it is of a request that may have been counted.
fn may_count(span: &Span) -> bool {
    let says = |name| span.attributes.get(name).map(|value| value.as_str());
    let is_good = says("http.response.status_code").is_some_and(|status| status < "400");
    let is_good = is_good || says("rpc.response.status_code") == Some("OK");
    !span.attributes.contains_key("halfbyte.refusal") && is_good
}

/// Whether it is of a request of what is metered.
fn is_of(span: &Span, metered: &Metered) -> bool {
    let says = |name| span.attributes.get(name).map(|value| value.as_str());
    if metered.good.is_grpc() {
        return says("rpc.method").is_some() && says("rpc.method") == metered.good.path.strip_prefix('/');
    }
    let (path, method) = (&*metered.route.path, &*metered.route.method);
    says("http.route") == Some(path) && says("http.request.method") == Some(method)
}

async fn principals(bench: &mut Bench<'_>) -> Found {
    let metered = some(bench).await?;
    if metered.is_empty() {
        return Ok(Holds::NotHere(NO_METER));
    }
    let received = bench.suite.received().await?;
    let servers = || received.spans.iter().filter(|span| span.kind == "server");
    let mut calls: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for span in servers().filter(|span| may_count(span)) {
        let says = |name| span.attributes.get(name).map(|value| value.as_str());
        let Some(of) = metered.iter().find(|metered| is_of(span, metered)) else { continue };
        let known = says("halfbyte.tenant").filter(|_| says("halfbyte.principal.kind").is_some());
        let tenant = known.ok_or_else(|| format!("a request of {} was answered without a principal", of.route.path))?;
        *calls.entry((tenant, &of.meter)).or_default() += of.units;
    }
    for tenant in bench.suite.witness.customers() {
        for meter in metered.iter().map(|metered| &metered.meter) {
            let used = used(bench.product, &tenant, meter).await?;
            let called = calls.get(&(tenant.as_str(), meter.as_str())).copied().unwrap_or_default();
            ensure(used <= called, || {
                format!("{tenant} has used {used} of {meter}, and only {called} were in a request with a trace")
            })?;
        }
    }
    Ok(Holds::Yes)
}

async fn refusals(bench: &mut Bench<'_>) -> Found {
    let metered = some(bench).await?;
    if metered.is_empty() {
        return Ok(Holds::NotHere(NO_METER));
    }
    for one in &metered {
        let tenant = bench.customer().await?;
        if !one.route.asks.scopes.is_empty() {
            let token = bench.token(&bench.persona(&one.route, &tenant).scopes([]));
            let id = fresh();
            let ask = bench.ask(&one.route, tenant.as_str()).bearer(&token).key(&fresh()).named(&id);
            is_refusal(&bench.send(ask).await?, Kind::InsufficientScope)?;
            bench.suite.spans_of(&[id]).await?;
        }
    }
    let received = bench.suite.received().await?;
    let mut refused = 0;
    for tenant in bench.suite.witness.customers() {
        let its = |span: &&Span| span.attributes.get("halfbyte.tenant").is_some_and(|name| *name == *tenant.as_str());
        let spans: Vec<&Span> = received.spans.iter().filter(|span| span.kind == "server").filter(its).collect();
        if spans.is_empty() || spans.iter().any(|span| may_count(span)) {
            continue;
        }
        refused += 1;
        for meter in metered.iter().map(|metered| &metered.meter) {
            let used = used(bench.product, &tenant, meter).await?;
            ensure(used == 0, || format!("{tenant} was refused {} times, and billed {used} of {meter}", spans.len()))?;
        }
    }
    let can_be = metered.iter().any(|metered| !metered.route.asks.scopes.is_empty());
    ensure(refused > 0 || !can_be, || "nobody in this run was refused".to_owned())?;
    Ok(Holds::Yes)
}

async fn secrets(bench: &mut Bench<'_>) -> Found {
    some(bench).await?;
    for path in ["/livez", "/readyz", "/startupz", "/metrics", "/manifest"] {
        bench.admin(bench.product, path).await?;
    }
    shows_nothing(bench, &bench.suite.received().await?)?;
    let (answers, leaks) = bench.suite.witness.answers();
    ensure(answers > 0, || "there was no answer to look at".to_owned())?;
    ensure(leaks.is_empty(), || leaks.join("; "))?;
    Ok(Holds::Yes)
}
