//! HB-LIFE-002: what becomes of requests while a product drains under load.

use std::error::Error as _;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use halfbyte_core::BoxError;
use halfbyte_core::lifecycle::Phase;
use halfbyte_core::problem::Kind;
use http::Version;
use http_body_util::Full;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::bench::Bench;
use super::check::{Found, Holds, ensure};
use super::client::{Answer, Ask, PATIENCE};
use super::connection::{Half, Sender};
use super::refusals::is_refusal;
use super::usage::{Metered, fresh};

/// Every product answers it, without credentials.
const METADATA: &str = "/.well-known/oauth-protected-resource";

/// How long the product is a lame duck here: from then on each answer of HTTP/1 announces that its connection ends.
const LAME_DUCK: Duration = Duration::from_secs(1);

/// What became of the requests of one client.
#[derive(Default)]
struct Load {
    good: u64,
    /// The ids of those that were sent and that, by the protocol's word or by the closed door, were not handled.
    unhandled: Vec<String>,
    wrong: Option<String>,
}

/// A connection on which one request goes after the other.
struct Client {
    to: SocketAddr,
    sender: Sender<Full<Bytes>>,
    /// Drives it, until it is dropped.
    _driver: JoinSet<()>,
}

/// Why there is no answer.
enum Missed {
    /// It was never sent: the connection had ended.
    Unsent,
    /// The product says that it has not handled it.
    Told,
    /// The connection ended before anything was answered. The product has said nothing of this request.
    Silence(BoxError),
    /// It had begun to answer.
    HalfWay(BoxError),
}

impl Client {
    async fn open(stream: TcpStream, to: SocketAddr, version: Version) -> Result<Self, BoxError> {
        let (sender, driver) = Sender::open(stream, version).await?;
        Ok(Self { to, sender, _driver: driver })
    }

    async fn send(&mut self, ask: &Ask) -> Result<Answer, Missed> {
        let request = |ask: &Ask, uri, host| {
            let request = ask.request(uri, host).and_then(|request| request.body(Full::from(ask.body.clone())));
            request.map_err(|error| Missed::HalfWay(error.into()))
        };
        let sent = match &mut self.sender {
            Sender::Http1(sender) => {
                let request = request(ask, ask.path.clone(), Some(self.to))?;
                sender.ready().await.map_err(|_ended| Missed::Unsent)?;
                sender.send_request(request).await
            }
            Sender::Http2(sender) => {
                let request = request(&ask.clone().http2(), format!("http://{}{}", self.to, ask.path), None)?;
                sender.ready().await.map_err(|_ended| Missed::Unsent)?;
                sender.send_request(request).await
            }
        };
        ask.answer(sent.map_err(missed)?).await.map_err(Missed::HalfWay)
    }
}

/// What the protocol says of a request for which no response began.
fn missed(error: hyper::Error) -> Missed {
    if error.is_canceled() {
        return Missed::Unsent;
    }
    let of_http2 = error.source().and_then(|source| source.downcast_ref::<h2::Error>());
    // RFC 9113, 8.7: above the last stream of a GOAWAY, and with REFUSED_STREAM, nothing was processed.
    let was_told = of_http2.is_some_and(|error| {
        error.is_remote() && (error.is_go_away() || error.reason() == Some(h2::Reason::REFUSED_STREAM))
    });
    if was_told { Missed::Told } else { Missed::Silence(error.into()) }
}

/// Sends one request after the other until no connection is accepted any more; whatever is answered must be good, or refused with
/// `draining`, and what is not answered must not have been handled.
async fn load(to: SocketAddr, version: Version, ask: Ask, go: watch::Sender<usize>) -> Load {
    let mut load = Load::default();
    match drive(&mut load, to, version, &ask, &go).await {
        Ok(()) => load,
        Err(how) => Load { wrong: Some(format!("{how}, over {version:?}")), ..load },
    }
}

async fn drive(
    load: &mut Load,
    to: SocketAddr,
    version: Version,
    ask: &Ask,
    go: &watch::Sender<usize>,
) -> Result<(), String> {
    // Whoever was at the door when it was closed finds it closed when he comes back.
    let mut at_the_door: Option<String> = None;
    loop {
        let stream = match (TcpStream::connect(to).await, at_the_door.take()) {
            (Ok(_), Some(how)) => return Err(how),
            (Ok(stream), None) => stream,
            (Err(error), _) if error.kind() == io::ErrorKind::ConnectionRefused => return Ok(()),
            (Err(error), Some(how)) => return Err(format!("{how}, and then {error}")),
            (Err(error), None) => {
                at_the_door = Some(format!("a connection ends as it is opened: {error}"));
                continue;
            }
        };
        let mut client = match Client::open(stream, to, version).await {
            Ok(client) => client,
            Err(error) => {
                at_the_door = Some(format!("a connection ends as it is opened: {error}"));
                continue;
            }
        };
        let mut answered: Option<Instant> = None;
        loop {
            let id = fresh();
            let ask = ask.clone().key(&fresh()).named(&id);
            let answer = timeout(PATIENCE, client.send(&ask)).await;
            match answer.map_err(|_| "a request was never answered".to_owned())? {
                Ok(answer) => {
                    load.good += u64::from(good_or_draining(&answer)?);
                    answered = Some(Instant::now());
                }
                Err(Missed::Unsent) => break,
                Err(Missed::Told) => {
                    load.unhandled.push(id);
                    break;
                }
                Err(Missed::HalfWay(error)) => return Err(format!("the answer of a request broke off: {error}")),
                Err(Missed::Silence(error)) => {
                    let how = format!("a request was sent, and its connection ended without a word: {}", Chain(&error));
                    match answered {
                        None => at_the_door = Some(how),
                        // An idle connection may be closed at any time (RFC 9112, 9.5), also while it is used again.
                        Some(answered) if answered.elapsed() > LAME_DUCK && version == Version::HTTP_11 => {}
                        Some(_) => return Err(how),
                    }
                    load.unhandled.push(id);
                    break;
                }
            }
            go.send_modify(|answered| *answered += 1);
            // Many at once would only use up the machine.
            sleep(Duration::from_millis(10)).await;
        }
    }
}

struct Chain<'e>(&'e BoxError);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", halfbyte_core::error_chain(&**self.0))
    }
}

/// Whether it was good.
fn good_or_draining(answer: &Answer) -> Result<bool, String> {
    if answer.status.as_u16() < 400 {
        return Ok(true);
    }
    is_draining(answer).map(|()| false)
}

pub(super) fn is_draining(answer: &Answer) -> Result<(), String> {
    is_refusal(answer, Kind::Draining)?;
    ensure(answer.header("retry-after").is_some(), || "there is no Retry-After".to_owned())?;
    closes(answer)
}

pub(super) fn closes(answer: &Answer) -> Result<(), String> {
    let connection = answer.header("connection");
    ensure(connection == Some("close"), || format!("the header connection is {connection:?} and not close"))
}

pub(super) async fn under_load(bench: &mut Bench<'_>) -> Found {
    // Before it starts: it may take a second to see what changes elsewhere. Of a body there is a half, which keeps a request in flight.
    let metered = Metered::all(bench)
        .await?
        .into_iter()
        .filter(|metered| !metered.good.is_grpc() && !metered.is_counted_in_body)
        .max_by_key(|metered| metered.good.body.len());
    let lame_duck = LAME_DUCK.as_secs().to_string();
    let product = bench.suite.start(&[("HALFBYTE_LAME_DUCK", &lame_duck)]).await?;
    let to = product.address;
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
    // What was not answered the product must not know: each request that it handles leaves a line in its log.
    let unhandled: Vec<_> = loads.iter().flat_map(|load| &load.unhandled).collect();
    if !unhandled.is_empty() {
        let received = bench.suite.received().await?;
        let ids = received.logs.iter().filter_map(|log| log.attributes.get("request_id"));
        let lost = ids.filter(|id| unhandled.iter().any(|unhandled| **id == ***unhandled)).count();
        ensure(lost == 0, || format!("{lost} requests were handled, and their clients were told nothing"))?;
    }
    if let Some(metered) = metered {
        metered
            .counted(bench, good + 1, &format!("{good} requests that were answered in a drain, and one in flight"))
            .await?;
    }
    Ok(Holds::Yes)
}
