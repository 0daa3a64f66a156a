//! Which addresses may have a token.

use std::net::{Ipv4Addr, Ipv6Addr};

use http::Uri;
use http::uri::Authority;

use super::Error;

/// Hosts by exact name and port.
#[derive(Debug)]
pub(super) struct Hosts(Box<[Host]>);

#[derive(Debug)]
struct Host {
    name: Box<str>,
    /// `None` for the scheme's own.
    port: Option<u16>,
}

impl Hosts {
    pub(super) fn parse(hosts: impl IntoIterator<Item: AsRef<str>>) -> Result<Self, Error> {
        let hosts = hosts.into_iter().map(|host| Host::parse(host.as_ref())).collect::<Result<Box<[_]>, _>>()?;
        if hosts.is_empty() {
            return Err(Error::configuration("a token layer needs the hosts that may have the token, and has none"));
        }
        Ok(Self(hosts))
    }

    /// Whether a token may go to `uri`: encrypted, or not off this machine, to one of the hosts.
    pub(super) fn may_have_tokens(&self, uri: &Uri) -> bool {
        let Some(name) = uri.host() else { return false };
        let default = match uri.scheme_str() {
            Some("https") => 443,
            Some("http") if is_this_machine(name) => 80,
            _ => return false,
        };
        let port = uri.port_u16().unwrap_or(default);
        self.0.iter().any(|host| host.name.eq_ignore_ascii_case(name) && host.port.unwrap_or(default) == port)
    }
}

impl Host {
    fn parse(text: &str) -> Result<Self, Error> {
        let refused = || {
            let what = format!(
                "{text:?} is not a host that may have a token: it must be HOST or HOST:PORT, without wildcards"
            );
            Error::configuration(what)
        };
        let authority: Authority = text.parse().map_err(|_| refused())?;
        let (name, port) = (authority.host(), authority.port_u16());
        // What is left over is a user name, or a port that is none.
        let rest = text.strip_prefix(name).ok_or_else(refused)?;
        let is_whole = port.map_or(rest.is_empty(), |port| rest == format!(":{port}"));
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        let is_address = name.starts_with('[');
        if name.is_empty() || !(is_address || name.bytes().all(is_name)) || !is_whole {
            return Err(refused());
        }
        Ok(Self { name: name.into(), port })
    }
}

fn is_this_machine(name: &str) -> bool {
    let bare = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost")
        || bare.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback())
        || bare.parse::<Ipv6Addr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(hosts: &[&str], uri: &str) -> bool {
        Hosts::parse(hosts).expect("hosts").may_have_tokens(&uri.parse().expect("a URI"))
    }

    #[test]
    fn a_token_goes_to_the_exact_host_and_port_over_https() {
        let hosts = ["api.example.com", "other.example.com:8443", "[2001:db8::1]"];
        for good in [
            "https://api.example.com/",
            "https://API.Example.com:443/a?b",
            "https://other.example.com:8443/",
            "https://[2001:db8::1]/",
            "https://user@api.example.com/",
        ] {
            assert!(allows(&hosts, good), "{good}");
        }
        for bad in [
            "http://api.example.com/",
            "http://api.example.com:443/",
            "https://api.example.com:8443/",
            "https://other.example.com/",
            "https://api.example.com.evil.com/",
            "https://evil.com/api.example.com",
            "https://api.example.com@evil.com/",
            "https://a.api.example.com/",
            "https://example.com/",
            "https://api.example.com./",
            "wss://api.example.com/",
            "ftp://api.example.com/",
            "/labels",
            "*",
        ] {
            assert!(!allows(&hosts, bad), "{bad}");
        }
    }

    #[test]
    fn plain_http_is_for_this_machine() {
        let hosts = ["127.0.0.1:8080", "localhost", "[::1]:1", "10.0.0.1", "127.0.0.1.nip.io"];
        for good in ["http://127.0.0.1:8080/", "http://localhost/", "http://localhost:80/", "http://[::1]:1/"] {
            assert!(allows(&hosts, good), "{good}");
        }
        for bad in ["http://127.0.0.1/", "http://localhost:8080/", "http://10.0.0.1/", "http://127.0.0.1.nip.io/"] {
            assert!(!allows(&hosts, bad), "{bad}");
        }
    }

    #[test]
    fn what_is_not_one_exact_host_is_refused() {
        for bad in [
            "",
            "*",
            "*.example.com",
            "https://a.example.com",
            "a.example.com/",
            "user@a.example.com",
            "a.example.com:",
            "a.example.com:0x50",
            "a.example.com:99999",
            "a.example.com:080",
            ":443",
            "a b",
            "a,b",
            "::1",
            "ä.example.com",
        ] {
            assert!(Hosts::parse([bad]).is_err(), "{bad}");
        }
        assert!(Hosts::parse([] as [&str; 0]).is_err());
    }
}
