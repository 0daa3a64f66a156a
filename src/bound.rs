//! An address that is taken and not yet listened on: clients are refused, and not left waiting, until there is an answer.

use std::net::SocketAddr;

use halfbyte_core::BoxError;
use tokio::net::{TcpListener, TcpSocket};
use url::Url;

use crate::error::{Error, ErrorKind};

pub(crate) struct Bound {
    key: &'static str,
    address: SocketAddr,
    socket: TcpSocket,
}

/// Connections that wait to be accepted, at most.
const BACKLOG: u32 = 1024;

impl Bound {
    /// Takes `address`, which the configuration has under `key`.
    pub(crate) fn new(key: &'static str, address: SocketAddr) -> Result<Self, Error> {
        let bind = || {
            let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
            // So that a restart need not wait for connections of before to be forgotten.
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            Ok(Self { key, address: socket.local_addr()?, socket })
        };
        bind().map_err(|error| cannot_listen(key, address, error))
    }

    /// Where it is.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address as clients on this machine write it.
    pub(crate) fn own_url(&self) -> Result<Url, Error> {
        format!("http://{}", self.address).parse().map_err(|error: url::ParseError| {
            Error::new(ErrorKind::Unavailable, "the listener has no address").caused_by(Box::new(error) as BoxError)
        })
    }

    /// Lets clients in.
    pub(crate) fn listen(self) -> Result<TcpListener, Error> {
        let (key, address) = (self.key, self.address);
        self.socket.listen(BACKLOG).map_err(|error| cannot_listen(key, address, error))
    }
}

fn cannot_listen(key: &str, address: SocketAddr, error: std::io::Error) -> Error {
    Error::new(ErrorKind::Unavailable, format!("cannot listen on {address}; set {key} to another address"))
        .caused_by(error)
}
