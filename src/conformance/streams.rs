//! HB-AUTH-016 and HB-LIFE-010: bodies that go on for long.

use std::time::Duration;

use halfbyte_core::Clock;
use halfbyte_core::lifecycle::Phase;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Response};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use jiff::{SignedDuration, Timestamp};
use tokio::time::timeout;

use super::bench::Bench;
use super::check::{Check, Found, Holds, ensure};
use super::client::{Ask, PATIENCE};
use super::product::Product;
use super::refusals::{by_each_protocol, of};
use super::sample::Does;
use crate::manifest::Route;

pub(super) const CHECKS: &[Check] = &[
    Check {
        clause: "HB-AUTH-016",
        what: "a stream that is tied to its caller breaks off when the credential expires, and not before",
        run: |bench| Box::pin(expires(bench)),
    },
    Check {
        clause: "HB-LIFE-010",
        what: "a stream goes on in a drain, which waits for it",
        run: |bench| Box::pin(goes_on(bench)),
    },
];

/// How long the credential of a stream is good: in this time three of them begin, also on a machine that is busy.
const GOOD_FOR: SignedDuration = SignedDuration::from_secs(10);

/// Longer than a stream goes on then.
const SOON: Duration = Duration::from_secs(30);

/// How long a stream is watched in a drain.
const WATCHED: Duration = Duration::from_millis(700);

/// A call of `route`, over each protocol, by somebody whose token is good for this long, and when that ends.
async fn asks(bench: &Bench<'_>, route: &Route, good_for: SignedDuration) -> Result<([Ask; 3], Timestamp), String> {
    let tenant = bench.customer().await?;
    let end = Clock::system().now() + good_for;
    let end = Timestamp::from_second(end.as_second()).map_err(|error| error.to_string())?;
    let persona = bench.persona(route, &tenant).claim("exp", end.as_second());
    let ask = bench.ask(route, tenant.as_str()).bearer(&bench.token(&persona));
    Ok((by_each_protocol(ask), end))
}

/// The response, once its body has begun.
async fn open(ask: &Ask, product: &Product) -> Result<Response<Incoming>, String> {
    let begun = async {
        let mut response = ask.open(product.address).await.map_err(|error| of(ask, error.to_string()))?;
        let status = response.status();
        ensure(status.as_u16() < 400, || of(ask, format!("it is answered with {status}")))?;
        let first = response.frame().await;
        ensure(matches!(first, Some(Ok(_))), || of(ask, format!("the stream does not begin: {first:?}")))?;
        Ok(response)
    };
    timeout(PATIENCE, begun).await.unwrap_or_else(|_| Err(of(ask, "the stream does not begin".to_owned())))
}

/// How a body ended.
enum End {
    BrokenOff,
    Whole(HeaderMap),
}

async fn end_of(response: &mut Response<Incoming>) -> End {
    let mut trailers = HeaderMap::new();
    loop {
        match response.frame().await {
            Some(Ok(frame)) => trailers.extend(frame.into_trailers().unwrap_or_default()),
            Some(Err(_)) => return End::BrokenOff,
            None => return End::Whole(trailers),
        }
    }
}

async fn expires(bench: &mut Bench<'_>) -> Found {
    // Who calls a public one has no credential that ends.
    let Some(route) = bench.those(Does::Stream).into_iter().find(|route| !route.asks.is_public) else {
        return Ok(Holds::NotHere("no sample of a guarded route streams"));
    };
    let (asks, expires) = asks(bench, &route, GOOD_FOR).await?;
    let product = bench.product;
    let ends = asks.iter().map(async |ask| {
        let mut response = open(ask, product).await?;
        let end = timeout(SOON, end_of(&mut response)).await;
        let end = end.map_err(|_| of(ask, "the stream goes on without its credential".to_owned()))?;
        let is_early = Clock::system().now() < expires;
        ensure(!is_early, || of(ask, "the stream ends before its credential does".to_owned()))?;
        let is_grpc = response.headers().get(CONTENT_TYPE).is_some_and(|it| it == "application/grpc");
        match end {
            End::BrokenOff if !is_grpc => Ok(()),
            End::BrokenOff => Err(of(ask, "it breaks off without a status".to_owned())),
            End::Whole(trailers) if is_grpc => {
                let status = trailers.get("grpc-status");
                ensure(status.is_some_and(|status| status == "16"), || of(ask, format!("it ends with {status:?}")))
            }
            End::Whole(_) => Err(of(ask, "it ends as if it were whole".to_owned())),
        }
    });
    let ends = futures_util::future::join_all(ends).await;
    ends.into_iter().collect::<Result<(), String>>()?;
    Ok(Holds::Yes)
}

async fn goes_on(bench: &mut Bench<'_>) -> Found {
    const HOUR: SignedDuration = SignedDuration::from_hours(1);
    let Some(route) = bench.that(Does::Stream) else { return Ok(Holds::NotHere("no sample streams")) };
    let (asks, _) = asks(bench, &route, HOUR).await?;
    let product = bench.suite.start(&[]).await?;
    let life = product.platform.lifecycle().clone();
    let opened = futures_util::future::join_all(asks.iter().map(|ask| open(ask, &product))).await;
    life.enter(Phase::LameDuck);
    life.reached(Phase::Draining).await;
    let mut seen = Ok(());
    let mut streams = Vec::new();
    for stream in opened {
        match stream {
            Ok(stream) => streams.push(stream),
            Err(how) => seen = Err(how),
        }
    }
    let watched = asks.iter().zip(&mut streams).map(async |(ask, stream)| {
        let ended = timeout(WATCHED, end_of(stream)).await;
        ensure(ended.is_err(), || of(ask, "the stream ends with the drain".to_owned()))
    });
    let watched: Result<(), String> = futures_util::future::join_all(watched).await.into_iter().collect();
    let phase = life.phase();
    drop(streams);
    product.ended().await?.map_err(|error| format!("a drain whose clients have hung up ends badly: {error:?}"))?;
    seen.and(watched)?;
    ensure(phase == Phase::Draining, || format!("the product is {} while streams go on", phase.as_str()))?;
    Ok(Holds::Yes)
}
