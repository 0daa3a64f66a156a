use std::io;

use halfbyte_core::config::Config;
use halfbyte_core::lifecycle::Health;
use halfbyte_secrets::Secrets;
use tokio::net::TcpStream;

use crate::error::{Error, ErrorKind};

/// There is none.
#[derive(Clone)]
pub(crate) enum Tls {}

impl Tls {
    pub(crate) fn configured(config: &Config, _: &Secrets, _: &Health) -> Result<Option<Self>, Error> {
        match config.tls_secret {
            None => Ok(None),
            Some(_) => {
                let message = "HALFBYTE_TLS_SECRET is set, and this product was built without TLS: build it with the \
                               feature `tls` of halfbyte, or leave TLS to a proxy";
                Err(Error::new(ErrorKind::Configuration, message))
            }
        }
    }

    pub(crate) async fn accept(&self, _: TcpStream) -> io::Result<TcpStream> {
        match *self {}
    }
}
