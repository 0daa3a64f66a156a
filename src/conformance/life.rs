//! HB-LIFE: what operators see, and how a product starts and stops.

use std::collections::BTreeSet;
use std::time::Duration;

use halfbyte_core::lifecycle::Phase;
use halfbyte_core::problem::Kind;
use halfbyte_identity::testing::Outage;
use http::{StatusCode, Version};
use tokio::time::{Instant, sleep, timeout};

use super::bench::Bench;
use super::check::{Check, Found, Holds, ensure};
use super::client::{Answer, Ask, PATIENCE};
use super::connection::Connection;
use super::drain::{closes, is_draining, under_load};
use super::http2::told_by_goaway;
use super::product::Product;
use super::refusals::is_refusal;
use super::usage::is_good;
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
        run: |bench| Box::pin(under_load(bench)),
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
    Connection::open(product.address, version).await.map_err(|error| error.to_string())
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
    let idle = told_by_goaway(product.address).await?;
    product.platform.lifecycle().enter(Phase::Draining);
    // It is answered until it is told by GOAWAY, as one that asks nothing is as well, and never refused.
    if let Ok(answer) = say(bench, &mut two, &ask).await {
        is_good(&answer)?;
    }
    idle.await
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
