//! Where an endpoint that a product names may be.

use url::{Host, Url};

use crate::{Error, ErrorKind};

/// Values travel there: by TLS, or on this machine.
pub(super) fn check(address: &str) -> Result<(), Error> {
    // No part of it is repeated: a password may stand in it.
    let Ok(url) = Url::parse(address) else {
        return Err(Error::new(ErrorKind::Malformed, "the endpoint of Secrets Manager is not a URL: say https://host"));
    };
    // Not *.localhost: that is asked of a name server where the system's resolver does not know better.
    let is_here = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    if url.scheme() == "https" || url.scheme() == "http" && is_here {
        return Ok(());
    }
    let rule = "the endpoint of Secrets Manager is on another machine and not https: say https://, or \
                danger_allow_plaintext() where the network encrypts by itself";
    Err(Error::new(ErrorKind::Denied, rule))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_travel_by_tls_or_on_this_machine() {
        for url in [
            "https://vpce-1.secretsmanager.eu-central-1.vpce.amazonaws.com",
            "HTTPS://10.0.0.1:8443",
            "http://localhost:5000",
            "http://LOCALHOST",
            "https://aws.localhost",
            "http://127.0.0.1:5000/",
            "http://127.1",
            "http://[::1]:5000",
        ] {
            check(url).unwrap();
        }
        for (url, kind) in [
            ("http://10.0.0.1:5000", ErrorKind::Denied),
            ("http://moto:5000", ErrorKind::Denied),
            ("http://aws.localhost", ErrorKind::Denied),
            ("http://localhost.:5000", ErrorKind::Denied),
            ("http://0.0.0.0:5000", ErrorKind::Denied),
            ("http://[::ffff:127.0.0.1]", ErrorKind::Denied),
            ("http://localhost.evil.com", ErrorKind::Denied),
            ("http://localhost@evil.com", ErrorKind::Denied),
            ("http://127.0.0.1.evil.com", ErrorKind::Denied),
            ("ftp://localhost", ErrorKind::Denied),
            ("localhost", ErrorKind::Malformed),
            ("", ErrorKind::Malformed),
        ] {
            assert_eq!(check(url).unwrap_err().kind(), kind, "{url}");
        }
    }
}
