//! An address that is taken and not yet accepted on: clients are refused, and not left waiting, until there is an answer. With a
//! socket that was handed over they wait, as it listens already, and always does.

use std::net::SocketAddr;

use halfbyte_core::BoxError;
use tokio::net::{TcpListener, TcpSocket};
use url::Url;

use crate::error::{Error, ErrorKind};

pub(crate) struct Bound {
    key: &'static str,
    address: SocketAddr,
    socket: Socket,
}

enum Socket {
    Own(TcpSocket),
    /// A service manager's, which others may listen on as well.
    HandedOver(std::net::TcpListener),
}

/// What clients are accepted from.
pub(crate) struct Listener {
    pub(crate) tcp: TcpListener,
    /// Whether somebody takes the connections that this process leaves waiting.
    pub(crate) is_shared: bool,
}

/// Connections that wait to be accepted, at most.
const BACKLOG: u32 = 1024;

impl Bound {
    /// Takes the listener that was `handed_over`, or else `address`, which the configuration has under `key`.
    pub(crate) fn new(
        key: &'static str,
        address: SocketAddr,
        handed_over: Option<std::net::TcpListener>,
    ) -> Result<Self, Error> {
        let bind = || match handed_over {
            Some(listener) => {
                let address = listener.local_addr()?;
                Ok(Self { key, address, socket: Socket::HandedOver(listener) })
            }
            None => {
                let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
                // So that a restart need not wait for connections of before to be forgotten.
                socket.set_reuseaddr(true)?;
                socket.bind(address)?;
                Ok(Self { key, address: socket.local_addr()?, socket: Socket::Own(socket) })
            }
        };
        bind().map_err(|error| cannot_listen(key, address, error))
    }

    /// Where it is.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address as clients on this machine write it.
    pub(crate) fn own_url(&self, is_tls: bool) -> Result<Url, Error> {
        let scheme = if is_tls { "https" } else { "http" };
        format!("{scheme}://{}", self.address).parse().map_err(|error: url::ParseError| {
            Error::new(ErrorKind::Unavailable, "the listener has no address").caused_by(Box::new(error) as BoxError)
        })
    }

    /// Lets clients in.
    pub(crate) fn listen(self) -> Result<Listener, Error> {
        let (key, address) = (self.key, self.address);
        let listen = || match self.socket {
            Socket::Own(socket) => Ok(Listener { tcp: socket.listen(BACKLOG)?, is_shared: false }),
            Socket::HandedOver(listener) => {
                listener.set_nonblocking(true)?;
                Ok(Listener { tcp: TcpListener::from_std(listener)?, is_shared: true })
            }
        };
        listen().map_err(|error| cannot_listen(key, address, error))
    }
}

fn cannot_listen(key: &str, address: SocketAddr, error: std::io::Error) -> Error {
    Error::new(ErrorKind::Unavailable, format!("cannot listen on {address}; set {key} to another address"))
        .caused_by(error)
}
