//! HB-REQ: what holds for every request.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::join_all;
use halfbyte_core::problem::Kind;
use http::HeaderName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use super::bench::Bench;
use super::check::{Check, Found, Holds, NO_ROUTE, ensure};
use super::client::{Ask, PATIENCE, Pipe};
use super::refusals::{by_each_http, by_each_protocol, is_row, metadata, of};
use super::sample::Does;

pub(super) const CHECKS: &[Check] = &[
    Check {
        clause: "HB-REQ-001",
        what: "a response has the request's id if that is well-formed, and else one of its own",
        run: |bench| Box::pin(request_id(bench)),
    },
    Check {
        clause: "HB-REQ-002",
        what: "a valid trace of a peer who is believed is continued, and a new one begins otherwise",
        run: |bench| Box::pin(traced(bench)),
    },
    Check {
        clause: "HB-REQ-002",
        what: "the trace of a peer who is not believed is not continued",
        run: |bench| Box::pin(foreign_traces(bench)),
    },
    Check {
        clause: "HB-REQ-003",
        what: "credentials are looked at before routes, and well-known documents before credentials",
        run: |bench| Box::pin(outer_order(bench)),
    },
    Check {
        clause: "HB-REQ-003",
        what: "nothing of a request is read before its caller is known",
        run: |bench| Box::pin(guards_first(bench)),
    },
    Check {
        clause: "HB-REQ-004",
        what: "a handler that takes longer than the deadline is answered with deadline-exceeded",
        run: |bench| Box::pin(deadline(bench)),
    },
    Check {
        clause: "HB-REQ-005",
        what: "one request too many at once is refused with overloaded, before its credentials are looked at",
        run: |bench| Box::pin(overloaded(bench)),
    },
    Check {
        clause: "HB-REQ-006",
        what: "a head of more than 64 KiB is not read, and one of nearly as much is",
        run: |bench| Box::pin(heads(bench)),
    },
    Check {
        clause: "HB-REQ-006",
        what: "a connection too many waits until another one ends",
        run: |bench| Box::pin(connections(bench)),
    },
];

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

async fn request_id(bench: &mut Bench<'_>) -> Found {
    let (longest, too_long) = ("x".repeat(64), "x".repeat(65));
    // Who may not call a route is answered at once, whatever its handler does.
    let routes = bench.routes(false).into_iter().chain(bench.open());
    let mut asks: Vec<_> = routes.map(|route| bench.ask(&route, "nobody")).collect();
    asks.push(Ask::new("GET", "/conformance-that-is-not-there"));
    asks.push(Ask::new("GET", "/.well-known/oauth-protected-resource"));
    for ask in asks.into_iter().flat_map(by_each_protocol) {
        for kept in ["order-7", "A.b_9-z", &longest] {
            let answer = bench.send(ask.clone().header(REQUEST_ID, kept)).await?;
            let got = answer.header("x-request-id");
            ensure(got == Some(kept), || of(&ask, format!("{kept:?} came back as {got:?}")))?;
        }
        let mut new = BTreeSet::new();
        for replaced in [None, Some(""), Some("a b"), Some("x\"y"), Some(&*too_long)] {
            let with = replaced.map_or_else(|| ask.clone(), |id| ask.clone().header(REQUEST_ID, id));
            let answer = bench.send(with).await?;
            let got = answer.header("x-request-id");
            let is_new = got.and_then(|id| uuid::Uuid::parse_str(id).ok()).is_some_and(|id| id.get_version_num() == 7);
            ensure(is_new, || of(&ask, format!("{replaced:?} was answered with the id {got:?}")))?;
            let is_first = new.insert(got.unwrap_or_default().to_owned());
            ensure(is_first, || of(&ask, format!("the id {got:?} was given twice")))?;
        }
    }
    Ok(Holds::Yes)
}

fn random(digits: usize) -> String {
    uuid::Uuid::new_v4().simple().to_string()[..digits].to_owned()
}

/// The trace of the refusal of a request with this `traceparent`.
async fn trace_of(bench: &mut Bench<'_>, to: SocketAddr, ask: Ask, parent: Option<&str>) -> Result<String, String> {
    let ask = parent.map_or_else(|| ask.clone(), |parent| ask.clone().header(TRACEPARENT, parent));
    let answer = ask.send(to).await;
    bench.keep(&ask, &answer);
    let problem = answer?.json()?;
    problem["trace_id"].as_str().map(str::to_owned).ok_or_else(|| "the refusal names no trace".to_owned())
}

async fn traced(bench: &mut Bench<'_>) -> Found {
    let to = bench.product.address;
    let routes = bench.manifest().routes;
    for route in &routes {
        for ask in by_each_http(&bench.ask(route, "nobody").bearer("a.b.c")) {
            let (trace, span) = (random(32), random(16));
            for flags in ["00", "01"] {
                let got = trace_of(bench, to, ask.clone(), Some(&format!("00-{trace}-{span}-{flags}"))).await?;
                ensure(got == trace, || of(&ask, format!("the trace {trace} became {got}")))?;
            }
            let zeros = "0".repeat(32);
            let bad = [
                None,
                Some(format!("00-{zeros}-{span}-01")),
                Some(format!("00-{trace}-{}-01", &zeros[..16])),
                Some(format!("ff-{trace}-{span}-01")),
                Some(format!("00-{}-{span}-01", &trace[1..])),
                Some(format!("00-{}-{span}-01", trace.replacen(|_: char| true, "G", 1))),
                Some(format!("00-{trace}-{span}-01-more")),
            ];
            let mut begun = BTreeSet::from([trace.clone(), zeros]);
            for parent in bad {
                let got = trace_of(bench, to, ask.clone(), parent.as_deref()).await?;
                ensure(begun.insert(got.clone()), || of(&ask, format!("no new trace began: {got}")))?;
            }
        }
    }
    Ok(Holds::if_any(routes.len(), NO_ROUTE))
}

async fn foreign_traces(bench: &mut Bench<'_>) -> Found {
    let product = bench.suite.start(&[("HALFBYTE_TRACE_NETWORKS", "none")]).await?;
    let Some(route) = bench.manifest().routes.into_iter().next() else {
        return Ok(Holds::NotHere("there are no routes"));
    };
    let (trace, span) = (random(32), random(16));
    let ask = bench.ask(&route, "nobody").bearer("a.b.c").over_http();
    let got = trace_of(bench, product.address, ask, Some(&format!("00-{trace}-{span}-01"))).await?;
    ensure(got != trace, || "the trace of a stranger was continued".to_owned())?;
    product.stop().await.map(|()| Holds::Yes)
}

async fn outer_order(bench: &mut Bench<'_>) -> Found {
    let metadata = metadata(bench);
    for ask in by_each_protocol(Ask::new("GET", "/conformance-that-is-not-there").bearer("a.b.c")) {
        let answer = bench.send(ask.clone()).await?;
        is_row(&answer, Kind::InvalidToken, "", &metadata).map_err(|how| of(&ask, how))?;
    }
    let document = Ask::new("GET", "/.well-known/oauth-protected-resource").bearer("a.b.c");
    let answer = bench.send(document.clone()).await?;
    ensure(answer.status == 200, || of(&document, format!("a bad token hides it: {}", answer.status)))?;
    Ok(Holds::Yes)
}

async fn guards_first(bench: &mut Bench<'_>) -> Found {
    let (routes, metadata) = (bench.routes(false), metadata(bench));
    if routes.is_empty() {
        return Ok(Holds::NotHere("no route is guarded"));
    }
    for route in routes {
        for body in ["", "{", "[]", "\0"] {
            let mut ask = bench.ask(&route, "nobody").over_http().with_content_type("application/json");
            ask.body = body.into();
            let answer = bench.send(ask.clone()).await?;
            is_row(&answer, Kind::Unauthenticated, "", &metadata).map_err(|how| of(&ask, how))?;
        }
    }
    Ok(Holds::Yes)
}

/// A request that is not answered before the deadline.
async fn hanging(bench: &Bench<'_>) -> Result<Option<Ask>, String> {
    let Some(route) = bench.that(Does::Hang) else { return Ok(None) };
    let tenant = bench.customer().await?;
    Ok(Some(bench.ask(&route, tenant.as_str()).bearer(&bench.token(&bench.persona(&route, &tenant)))))
}

async fn deadline(bench: &mut Bench<'_>) -> Found {
    let Some(ask) = hanging(bench).await? else { return Ok(Holds::NotHere("no sample hangs")) };
    let (asks, to) = (by_each_protocol(ask), bench.product.address);
    let answers = join_all(asks.iter().map(|ask| ask.send(to))).await;
    for (ask, answer) in asks.iter().zip(answers) {
        bench.keep(ask, &answer);
        is_row(&answer?, Kind::DeadlineExceeded, "", "").map_err(|how| of(ask, how))?;
    }
    Ok(Holds::Yes)
}

/// How many requests are held on one connection.
const A_CONNECTION: usize = 100;

/// How often something else is done in which what must not come about would have.
const TRIES: usize = 100;

async fn overloaded(bench: &mut Bench<'_>) -> Found {
    let Some(ask) = hanging(bench).await? else { return Ok(Holds::NotHere("no sample hangs")) };
    let most = bench.manifest().limits.get("requests_in_flight").copied().unwrap_or_default();
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    if most > 4096 {
        return Ok(Holds::NotHere("it takes more requests at once than a test sends"));
    }
    let mut held = tokio::task::JoinSet::new();
    let mut room = most;
    while room > 0 {
        let pipe = Pipe::open(bench.product.address).await?;
        for _ in 0..room.min(A_CONNECTION) {
            let (pipe, ask) = (pipe.clone(), ask.clone());
            held.spawn(async move { pipe.send(&ask).await });
        }
        room -= room.min(A_CONNECTION);
    }
    // A request that asks whether they are all there would take the place of one that is still to come.
    let handling = || bench.product.platform.load()().map_or(0, |load| load.handling());
    let deadline = Instant::now() + PATIENCE;
    while handling() < most as u64 {
        let taken = handling();
        let early = held.try_join_next().transpose().map_err(|error| error.to_string())?.transpose()?;
        let is_under_way = early.is_none() && Instant::now() < deadline;
        ensure(is_under_way, || {
            let early =
                early.map(|answer| format!(", and one was answered with {} {}", answer.status, answer.problem()));
            format!("of {most} requests at once {taken} are being handled{}", early.unwrap_or_default())
        })?;
        sleep(Duration::from_millis(20)).await;
    }
    for ask in by_each_protocol(ask.bearer("a second one is a bad credential")) {
        let answer = bench.send(ask.clone()).await?;
        is_row(&answer, Kind::Overloaded, "", "").map_err(|how| of(&ask, how))?;
    }
    // None is refused among those that there is room for.
    while let Some(early) = held.try_join_next() {
        let problem = early.map_err(|error| error.to_string())??.problem();
        ensure(problem != "overloaded", || format!("one of {most} at once was refused"))?;
    }
    Ok(Holds::Yes)
}

async fn heads(bench: &mut Bench<'_>) -> Found {
    const KIB: usize = 1024;
    for (size, is_read) in [(60 * KIB, true), (66 * KIB, false), (200 * KIB, false)] {
        let got = raw(bench.product.address, size).await?;
        let was_read = !got.starts_with("HTTP/1.1 431") && !got.is_empty();
        ensure(was_read == is_read, || format!("a head of {size} bytes was answered with {got:?}"))?;
    }
    let ask = Ask::new("GET", "/.well-known/oauth-protected-resource").http2();
    let ask = ask.header(HeaderName::from_static("x-long"), &"x".repeat(66 * KIB));
    let answer = ask.send(bench.product.address).await;
    let was_read = answer.is_ok_and(|answer| answer.status != 431);
    ensure(!was_read, || "a head of 66 KiB was read over HTTP/2".to_owned())?;
    Ok(Holds::Yes)
}

/// The first line of the answer to a head of `size` bytes; empty if the connection was closed.
async fn raw(to: SocketAddr, size: usize) -> Result<String, String> {
    let exchange = async {
        let mut stream = TcpStream::connect(to).await?;
        let start = format!(
            "GET /.well-known/oauth-protected-resource HTTP/1.1\r\nhost: {to}\r\nconnection: close\r\nx-long: "
        );
        let head = format!("{start}{}\r\n\r\n", "x".repeat(size - start.len() - 4));
        // Who does not read it all may close the connection before it is written.
        _ = stream.write_all(head.as_bytes()).await;
        let mut got = Vec::new();
        _ = stream.read_to_end(&mut got).await;
        Ok::<_, std::io::Error>(String::from_utf8_lossy(&got).lines().next().unwrap_or_default().to_owned())
    };
    exchange.await.map_err(|error| format!("a head of {size} bytes: {error}"))
}

async fn connections(bench: &mut Bench<'_>) -> Found {
    let most = bench.manifest().limits.get("connections").copied().unwrap_or_default();
    if most > 400 {
        return Ok(Holds::NotHere("it takes more connections at once than a test opens"));
    }
    let to = bench.product.address;
    let ask = Ask::new("GET", "/.well-known/oauth-protected-resource");
    let open = || async move { TcpStream::connect(to).await.map_err(|error| error.to_string()) };
    let mut opened = Vec::new();
    let first = Pipe::open(to).await?;
    first.clone().send(&ask).await?;
    for _ in 1..most {
        opened.push(open().await?);
    }
    let further = ask.clone();
    let mut further = tokio::task::JoinSet::from_iter([async move { further.send(to).await }]);
    // While a connection that was there before is answered again and again, it is not.
    for _ in 0..TRIES {
        first.clone().send(&ask).await?;
        sleep(Duration::from_millis(5)).await;
    }
    let early = further.try_join_next();
    ensure(early.is_none(), || format!("more than {most} connections were served at once"))?;
    drop(opened);
    let answer = further.join_next().await.ok_or("no answer")?.map_err(|error| error.to_string())??;
    ensure(answer.status == 200, || format!("a connection that waited was answered with {}", answer.status))?;
    Ok(Holds::Yes)
}
