//! Connections that are kept, and requests that break off.

use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use halfbyte_core::BoxError;
use http::Version;
use http_body::{Body, Frame, SizeHint};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::client::{Answer, Ask, PATIENCE};

/// One connection to a product, for one request after the other.
pub(super) struct Connection {
    to: SocketAddr,
    sender: Sender<Sent>,
    /// Drives it, until it is dropped.
    _driver: JoinSet<()>,
}

/// What sends the requests of a connection, whose bodies are `B`.
pub(super) enum Sender<B> {
    Http1(http1::SendRequest<B>),
    Http2(http2::SendRequest<B>),
}

impl<B> Sender<B>
where
    B: Body<Data: Send, Error: Into<BoxError>> + Send + Unpin + 'static,
{
    /// The connection lives as long as what drives it.
    pub async fn open(stream: TcpStream, version: Version) -> Result<(Self, JoinSet<()>), BoxError> {
        stream.set_nodelay(true)?;
        let io = TokioIo::new(stream);
        let mut driver = JoinSet::new();
        let sender = if version == Version::HTTP_2 {
            let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
            driver.spawn(async { _ = connection.await });
            Self::Http2(sender)
        } else {
            let (sender, connection) = http1::handshake(io).await?;
            driver.spawn(async { _ = connection.await });
            Self::Http1(sender)
        };
        Ok((sender, driver))
    }
}

impl Connection {
    pub async fn open(to: SocketAddr, version: Version) -> Result<Self, BoxError> {
        let (sender, driver) = Sender::open(TcpStream::connect(to).await?, version).await?;
        Ok(Self { to, sender, _driver: driver })
    }

    /// Sends `ask`, in the version of this connection, and reads the whole answer.
    pub async fn send(&mut self, ask: &Ask) -> Result<Answer, BoxError> {
        let body = Sent { data: Some(Bytes::from(ask.body.clone())), ends: true };
        let response = match &mut self.sender {
            Sender::Http1(sender) => {
                sender.ready().await?;
                sender.send_request(ask.request(ask.path.clone(), Some(self.to))?.body(body)?).await?
            }
            Sender::Http2(sender) => {
                sender.ready().await?;
                let uri = format!("http://{}{}", self.to, ask.path);
                sender.send_request(ask.clone().http2().request(uri, None)?.body(body)?).await?
            }
        };
        ask.answer(response).await
    }
}

/// Where a client hangs up.
#[derive(Clone, Copy, Debug)]
pub(super) enum HangUp {
    /// With half of its body sent.
    BeforeTheHead,
    /// When the response has begun.
    AfterTheHead,
}

/// Sends `ask` and hangs up: over HTTP/1 by closing the connection, over HTTP/2 by resetting the stream.
pub(super) async fn hang_up(ask: &Ask, to: SocketAddr, when: HangUp) -> Result<(), String> {
    let hung_up = async {
        match ask.version {
            Version::HTTP_2 => hang_up_http2(ask, to, when).await,
            _ => hang_up_http1(ask, to, when).await,
        }
    };
    let hung_up = timeout(PATIENCE, hung_up).await.unwrap_or_else(|late| Err(late.into()));
    hung_up.map_err(|error| format!("{} {}: {error}", ask.method, ask.path))
}

async fn hang_up_http1(ask: &Ask, to: SocketAddr, when: HangUp) -> Result<(), BoxError> {
    let Half { mut stream, rest } = Half::send(ask, to).await?;
    let rest = async {
        if let HangUp::AfterTheHead = when {
            stream.write_all(&rest).await?;
            stream.read_u8().await?;
        }
        stream.shutdown().await
    };
    // Who answers without reading the body may close before the client has hung up.
    _ = rest.await;
    Ok(())
}

async fn hang_up_http2(ask: &Ask, to: SocketAddr, when: HangUp) -> Result<(), BoxError> {
    let mut connection = Connection::open(to, Version::HTTP_2).await?;
    let Sender::Http2(sender) = &mut connection.sender else { return Err("not over HTTP/2".into()) };
    let ends = matches!(when, HangUp::AfterTheHead);
    let sent = if ends { &ask.body[..] } else { &ask.body[..ask.body.len() / 2] };
    let body = Sent { data: Some(Bytes::copy_from_slice(sent)), ends };
    let request = ask.request(format!("http://{to}{}", ask.path), None)?.body(body)?;
    let answer = sender.send_request(request);
    // Frames are read in their order: once this is answered the request has arrived, and after the next one its end.
    let other = Ask::new("GET", "/.well-known/oauth-protected-resource");
    if ends {
        drop(answer.await?);
        connection.send(&other).await?;
    } else {
        connection.send(&other).await?;
        drop(answer);
        connection.send(&other).await?;
    }
    Ok(())
}

/// A request whose second half is still to come, over HTTP/1.
pub(super) struct Half {
    stream: TcpStream,
    rest: Vec<u8>,
}

impl Half {
    pub async fn send(ask: &Ask, to: SocketAddr) -> Result<Self, BoxError> {
        let mut stream = TcpStream::connect(to).await?;
        let (method, path, length) = (&ask.method, &ask.path, ask.body.len());
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {to}\r\ncontent-length: {length}\r\n");
        for (name, value) in &ask.headers {
            head.push_str(&format!("{name}: {}\r\n", value.to_str()?));
        }
        head.push_str("\r\n");
        let (first, rest) = ask.body.split_at(ask.body.len() / 2);
        stream.write_all(&[head.as_bytes(), first].concat()).await?;
        Ok(Self { stream, rest: rest.to_vec() })
    }

    /// Sends the rest; answers the status.
    pub async fn finish(mut self) -> Result<u16, BoxError> {
        self.stream.write_all(&self.rest).await?;
        let mut status = [0; 12];
        timeout(PATIENCE, self.stream.read_exact(&mut status)).await??;
        Ok(std::str::from_utf8(&status[9..])?.parse()?)
    }
}

/// The body of a request.
struct Sent {
    data: Option<Bytes>,
    /// Else there is always more to come.
    ends: bool,
}

impl Body for Sent {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.data.take() {
            Some(data) if !data.is_empty() => Poll::Ready(Some(Ok(Frame::data(data)))),
            _ if self.ends => Poll::Ready(None),
            _ => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ends && self.data.as_ref().is_none_or(Bytes::is_empty)
    }

    fn size_hint(&self) -> SizeHint {
        let len = self.data.as_ref().map_or(0, |data| data.len() as u64);
        if self.ends { SizeHint::with_exact(len) } else { SizeHint::default() }
    }
}
