//! HB-LIFE: what operators see, and how a product starts and stops.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use halfbyte_core::lifecycle::Phase;
use halfbyte_core::problem::Kind;
use halfbyte_identity::testing::Outage;
use http::{StatusCode, Version};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::bench::Bench;
use super::check::{Check, Found, Holds, ensure};
use super::client::{Answer, Ask, PATIENCE};
use super::connection::{Connection, Half};
use super::product::Product;
use super::refusals::is_refusal;
use super::usage::{Metered, fresh, is_good};
use crate::manifest::Manifest;

pub(super) const CHECKS: &[Check] = &[
    Check {
        clause: "HB-LIFE-001",
        what: "/livez and /readyz say how it is, with each part by name",
        run: |bench| Box::pin(health(bench)),
    },
    Check {
        clause: "HB-LIFE-001",
        what: "in the lame duck it is not ready, and lives and accepts",
        run: |bench| Box::pin(lame_duck(bench)),
    },
    Check {
        clause: "HB-LIFE-002",
        what: "a drain under load over HTTP/1 and HTTP/2 loses no request and bills none twice",
        run: |bench| Box::pin(drain_under_load(bench)),
    },
    Check {
        clause: "HB-LIFE-002",
        what: "what comes on an old connection of HTTP/1 is refused with draining",
        run: |bench| Box::pin(draining(bench)),
    },
    Check {
        clause: "HB-LIFE-004",
        what: "a clean drain is a success, and one with a task that does not end is exit code 70",
        run: |bench| Box::pin(endings(bench)),
    },
    Check {
        clause: "HB-LIFE-006",
        what: "/manifest names what the product is made of and asks for, and no secret",
        run: |bench| Box::pin(manifest(bench)),
    },
    Check {
        clause: "HB-LIFE-007",
        what: "it starts while its issuer is away, answers tokens with unavailable, and takes them once it is back",
        run: |bench| Box::pin(start_without_issuer(bench)),
    },
    Check {
        clause: "HB-LIFE-009",
        what: "who cannot know of a drain is answered, and HTTP/1 is told to come back on another connection",
        run: |bench| Box::pin(told_to_go(bench)),
    },
];

fn parts(answer: &Answer) -> Result<BTreeSet<String>, String> {
    let body = answer.json()?;
    let checks = body["checks"].as_array().ok_or("/readyz has no checks")?;
    let mut names = BTreeSet::new();
    for check in checks {
        let name = check["name"].as_str().filter(|name| !name.is_empty()).ok_or("a check has no name")?;
        let is_whole = check["ready"].is_boolean()
            && check["state"].is_string()
            && ["age_seconds", "detail"].iter().all(|member| check.get(*member).is_some());
        ensure(is_whole, || format!("the check {name} lacks something: {check}"))?;
        names.insert(name.to_owned());
    }
    Ok(names)
}

async fn health(bench: &mut Bench<'_>) -> Found {
    let product = bench.product;
    let alive = bench.admin(product, "/livez").await?;
    ensure(alive.status == StatusCode::OK, || format!("/livez answers {}", alive.status))?;
    let ready = bench.admin(product, "/readyz").await?;
    ensure(ready.status == StatusCode::OK, || format!("/readyz answers {}", ready.status))?;
    let body = ready.json()?;
    ensure(body["ready"] == true && body["phase"] == "ready", || format!("/readyz says {body}"))?;
    let named = parts(&ready)?;
    let known = product.platform.lifecycle().health().report();
    let unnamed: Vec<_> = known.iter().filter(|check| !named.contains(&*check.name)).map(|check| &check.name).collect();
    ensure(unnamed.is_empty() && !named.is_empty(), || format!("/readyz does not name {unnamed:?}"))?;
    // The public listener tells nobody how it is.
    for path in ["/livez", "/readyz", "/manifest"] {
        let answer = bench.send(Ask::new("GET", path)).await?;
        let same = bench.admin(product, path).await?;
        ensure(answer.body != same.body, || format!("{path} is on the public listener"))?;
    }
    Ok(Holds::Yes)
}

async fn lame_duck(bench: &mut Bench<'_>) -> Found {
    let product = bench.suite.start(&[("HALFBYTE_LAME_DUCK", "3600")]).await?;
    product.platform.lifecycle().enter(Phase::LameDuck);
    let seen = async {
        let ready = bench.admin(&product, "/readyz").await?;
        ensure(ready.status == StatusCode::SERVICE_UNAVAILABLE, || format!("/readyz answers {}", ready.status))?;
        ensure(ready.json()?["ready"] == false, || "/readyz says that it is ready".to_owned())?;
        parts(&ready)?;
        let alive = bench.admin(&product, "/livez").await?;
        ensure(alive.status == StatusCode::OK, || format!("/livez answers {}", alive.status))?;
        for ask in [Ask::new("GET", METADATA), Ask::new("GET", METADATA).http2()] {
            is_good(&bench.send_to(&product, ask).await?)?;
        }
        Ok(Holds::Yes)
    };
    let seen = seen.await;
    product.platform.lifecycle().enter(Phase::Draining);
    product.stop().await?;
    seen
}

/// Every product answers it, without credentials.
const METADATA: &str = "/.well-known/oauth-protected-resource";

/// What became of the requests of one client.
#[derive(Default)]
struct Load {
    good: u64,
    wrong: Option<String>,
}

/// Sends one request after the other until no connection is accepted any more; whatever is answered must be good, or refused with
/// `draining`. A request that has no answer was not handled: usage says whether that is so.
async fn load(to: SocketAddr, version: Version, ask: Ask, go: watch::Sender<usize>) -> Load {
    let mut load = Load::default();
    // From the lame duck on, each answer of HTTP/1 ends its connection.
    while let Ok(mut connection) = Connection::open(to, version).await {
        let before = load.good;
        loop {
            let answer = match timeout(PATIENCE, connection.send(&ask.clone().key(&fresh()))).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(_closed)) => break,
                Err(_) => return Load { wrong: Some("a request was never answered".to_owned()), ..load },
            };
            if answer.status.as_u16() < 400 {
                load.good += 1;
            } else if let Err(how) = is_draining(&answer) {
                return Load { wrong: Some(how), ..load };
            }
            go.send_modify(|answered| *answered += 1);
            // Many at once would only use up the machine.
            sleep(Duration::from_millis(10)).await;
        }
        if load.good == before {
            // It was at the door when that was closed.
            break;
        }
    }
    load
}

fn is_draining(answer: &Answer) -> Result<(), String> {
    is_refusal(answer, Kind::Draining)?;
    ensure(answer.header("retry-after").is_some(), || "there is no Retry-After".to_owned())?;
    closes(answer)
}

fn closes(answer: &Answer) -> Result<(), String> {
    let connection = answer.header("connection");
    ensure(connection == Some("close"), || format!("the header connection is {connection:?} and not close"))
}

async fn drain_under_load(bench: &mut Bench<'_>) -> Found {
    // Before it starts: it may take a second to see what changes elsewhere.
    let metered = Metered::all(bench).await?.into_iter().find(|metered| !metered.good.is_grpc());
    let product = bench.suite.start(&[("HALFBYTE_LAME_DUCK", "1")]).await?;
    let to = product.platform.address();
    let ask = metered.as_ref().map_or_else(|| Ask::new("GET", METADATA), |metered| metered.good.clone());
    let (go, mut gone) = watch::channel(0);
    let versions = [Version::HTTP_11, Version::HTTP_11, Version::HTTP_2, Version::HTTP_2];
    let loads = futures_util::future::join_all(versions.map(|version| load(to, version, ask.clone(), go.clone())));
    drop(go);
    let conduct = async {
        // Each has had some before it is told to stop, and a request is half-way.
        _ = gone.wait_for(|answered| *answered >= 20).await;
        let half = Half::send(&ask.clone().key(&fresh()), to).await.map_err(|error| error.to_string());
        product.platform.lifecycle().enter(Phase::LameDuck);
        product.platform.lifecycle().reached(Phase::Draining).await;
        match half {
            Ok(half) => half.finish().await.map_err(|error| format!("a request in flight was not answered: {error}")),
            Err(how) => Err(how),
        }
    };
    let ended = timeout(PATIENCE, async { tokio::join!(loads, conduct) }).await;
    let Ok((loads, in_flight)) = ended else { return Err("the load does not end".to_owned()) };
    // The rest of it came when nothing new was accepted any more.
    let in_flight = in_flight?;
    ensure(in_flight < 400, || format!("a request in flight was answered with {in_flight}"))?;
    product.stop().await?;
    if let Some(how) = loads.iter().find_map(|load| load.wrong.clone()) {
        return Err(how);
    }
    let good: u64 = loads.iter().map(|load| load.good).sum();
    ensure(good > 0, || "no request was answered".to_owned())?;
    if let Some(metered) = metered {
        metered
            .counted(bench, good + 1, &format!("{good} requests that were answered in a drain, and one in flight"))
            .await?;
    }
    Ok(Holds::Yes)
}

async fn draining(bench: &mut Bench<'_>) -> Found {
    /// An old connection may be open for a moment only: a machine that is busy misses it.
    const TRIES: usize = 10;
    for _ in 0..TRIES {
        let product = bench.suite.start(&[]).await?;
        let ask = Ask::new("GET", METADATA);
        let mut old = open(&product, Version::HTTP_11).await?;
        is_good(&say(bench, &mut old, &ask).await?)?;
        let life = product.platform.lifecycle();
        life.enter(Phase::LameDuck);
        life.enter(Phase::Draining);
        let answer = say(bench, &mut old, &ask).await;
        drop(old);
        product.stop().await?;
        if let Ok(answer) = answer {
            is_draining(&answer)?;
            return Ok(Holds::Yes);
        }
    }
    Err(format!("in {TRIES} drains no request on an old connection was answered"))
}

async fn open(product: &Product, version: Version) -> Result<Connection, String> {
    Connection::open(product.platform.address(), version).await.map_err(|error| error.to_string())
}

async fn say(bench: &mut Bench<'_>, connection: &mut Connection, ask: &Ask) -> Result<Answer, String> {
    let answer = match timeout(PATIENCE, connection.send(ask)).await {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(late) => Err(late.to_string()),
    };
    bench.keep(ask, &answer);
    answer
}

async fn told_to_go(bench: &mut Bench<'_>) -> Found {
    let product = bench.suite.start(&[("HALFBYTE_LAME_DUCK", "3600")]).await?;
    let told = told(bench, &product).await;
    product.platform.lifecycle().enter(Phase::LameDuck);
    product.platform.lifecycle().enter(Phase::Draining);
    product.stop().await?;
    told.map(|()| Holds::Yes)
}

async fn told(bench: &mut Bench<'_>, product: &Product) -> Result<(), String> {
    let ask = Ask::new("GET", METADATA);
    let (mut old, mut two) = (open(product, Version::HTTP_11).await?, open(product, Version::HTTP_2).await?);
    let answer = say(bench, &mut old, &ask).await?;
    ensure(closes(&answer).is_err(), || "a ready product closes its connections".to_owned())?;
    is_good(&say(bench, &mut two, &ask).await?)?;
    product.platform.lifecycle().enter(Phase::LameDuck);
    let mut new = open(product, Version::HTTP_11).await?;
    for connection in [&mut old, &mut new] {
        let answer = say(bench, connection, &ask).await?;
        is_good(&answer)?;
        closes(&answer)?;
    }
    is_good(&say(bench, &mut two, &ask).await?)?;
    product.platform.lifecycle().enter(Phase::Draining);
    // It is answered until it is told by GOAWAY, and never refused.
    match say(bench, &mut two, &ask).await {
        Ok(answer) => is_good(&answer),
        Err(_told) => Ok(()),
    }
}

async fn endings(bench: &mut Bench<'_>) -> Found {
    bench.suite.start(&[]).await?.stop().await?;
    let product = bench.suite.start(&[]).await?;
    drop(product.platform.lifecycle().spawn("conformance.endless", std::future::pending::<()>()));
    product.platform.lifecycle().enter(Phase::LameDuck);
    match product.ended().await? {
        Ok(()) => Err("a task was cut off, and that counts as a clean drain".to_owned()),
        Err(error) => {
            ensure(error.exit_code() == 70, || format!("the exit code is {} and not 70", error.exit_code()))?;
            Ok(Holds::Yes)
        }
    }
}

async fn manifest(bench: &mut Bench<'_>) -> Found {
    let product = bench.product;
    let answer = bench.admin(product, "/manifest").await?;
    ensure(answer.status == StatusCode::OK, || format!("/manifest answers {}", answer.status))?;
    let leak = bench.suite.witness.find(&String::from_utf8_lossy(&answer.body));
    ensure(leak.is_none(), || format!("{} is in the manifest", leak.unwrap_or_default()))?;
    let shown: Manifest =
        serde_json::from_slice(&answer.body).map_err(|error| format!("/manifest is no manifest: {error}"))?;
    let expected = product.platform.manifest();
    for (what, is_so) in [
        ("the product", shown.product == expected.product && shown.version == expected.version),
        ("the crates", shown.crates == expected.crates && !shown.crates.is_empty()),
        ("the contract", shown.contract == expected.contract && shown.fingerprint == expected.fingerprint),
        ("the deviations", shown.deviations == expected.deviations),
        ("the layers", shown.layers == expected.layers && !shown.layers.is_empty()),
        ("the limits", shown.limits == expected.limits && !shown.limits.is_empty()),
        ("the routes", shown.routes == expected.routes),
        ("the actions", shown.actions == expected.actions),
        ("the secrets", shown.secrets == bench.suite.secrets),
        ("the configuration", shown.configuration == expected.configuration && !shown.configuration.is_empty()),
    ] {
        ensure(is_so, || format!("{what} in /manifest are not those of the product"))?;
    }
    ensure(!shown.routes.is_empty(), || "the product declares no route: make them with `Platform::routes`".to_owned())?;
    let other = bench.suite.start(&[]).await?;
    let same = other.platform.manifest().fingerprint == shown.fingerprint;
    other.stop().await?;
    ensure(same, || "the same product has another fingerprint".to_owned())?;
    Ok(Holds::Yes)
}

async fn start_without_issuer(bench: &mut Bench<'_>) -> Found {
    bench.suite.issuer.outage(Outage::Refuse);
    let started = bench.suite.start(&[]).await;
    let seen = match &started {
        Ok(product) => without_issuer(bench, product).await,
        Err(how) => Err(how.clone()),
    };
    bench.suite.issuer.outage(Outage::None);
    let seen = match (&started, seen) {
        (Ok(product), Ok(())) => with_issuer(bench, product).await,
        (_, seen) => seen,
    };
    started?.stop().await?;
    seen.map(|()| Holds::Yes)
}

async fn without_issuer(bench: &mut Bench<'_>, product: &Product) -> Result<(), String> {
    is_good(&bench.send_to(product, Ask::new("GET", METADATA)).await?)?;
    let ready = bench.admin(product, "/readyz").await?;
    ensure(ready.status == StatusCode::SERVICE_UNAVAILABLE, || format!("/readyz answers {}", ready.status))?;
    for route in bench.routes(false) {
        let bare = bench.ask(&route, "nobody");
        is_refusal(&bench.send_to(product, bare.clone()).await?, Kind::Unauthenticated)?;
        let tenant = bench.customer().await?;
        let token = bench.token(&bench.persona(&route, &tenant));
        let answer = bench.send_to(product, bare.bearer(&token)).await?;
        is_refusal(&answer, Kind::Unavailable)?;
        ensure(answer.header("retry-after").is_some(), || "there is no Retry-After".to_owned())?;
    }
    Ok(())
}

async fn with_issuer(bench: &mut Bench<'_>, product: &Product) -> Result<(), String> {
    let deadline = Instant::now() + PATIENCE;
    while bench.admin(product, "/readyz").await?.status != StatusCode::OK {
        ensure(Instant::now() < deadline, || "it does not get ready once its issuer is back".to_owned())?;
        sleep(Duration::from_millis(100)).await;
    }
    let routes: Vec<_> = bench.routes(false).into_iter().filter(|route| bench.ends(route)).collect();
    for route in routes {
        let tenant = bench.customer().await?;
        let token = bench.token(&bench.persona(&route, &tenant));
        let answer = bench.send_to(product, bench.ask(&route, tenant.as_str()).bearer(&token)).await?;
        let refused =
            [Kind::Unavailable, Kind::InvalidToken].into_iter().find(|kind| is_refusal(&answer, *kind).is_ok());
        ensure(refused.is_none(), || format!("a good token is refused with {}", answer.status))?;
    }
    Ok(())
}
