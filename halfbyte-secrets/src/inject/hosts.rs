use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use super::message::Target;

/// The hosts that a secret may go to; at least one.
///
/// Each is `host` or `host:port`. A host is a name in ASCII, an IPv4 address, or an IPv6 address in brackets, and stands for
/// itself alone, whatever the case; there are no wildcards. Without a port it is the default one of the scheme.
///
/// ```
/// use halfbyte_secrets::inject::Hosts;
///
/// assert!(Hosts::new(["api.example.com", "10.0.0.1:8443", "[2001:db8::1]"]).is_ok());
/// assert!(Hosts::new(["https://api.example.com"]).is_err());
/// assert!(Hosts::new([""; 0]).is_err());
/// ```
#[derive(Clone, Debug)]
pub struct Hosts(Arc<[Allowed]>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Allowed {
    host: Host,
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    /// An IPv4 address too: there is one way to write it.
    Name(Box<str>),
    V6(Ipv6Addr),
}

/// What was given is not a list of hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidHosts {
    /// There is none.
    Empty,
    /// That one, counted from 1, is not a `host` or `host:port`.
    NotAHost(usize),
}

impl Hosts {
    /// These hosts.
    ///
    /// # Errors
    ///
    /// There is none, or one of them is something else: a URL, a wildcard, a name with a dot at its end.
    pub fn new<I>(hosts: I) -> Result<Self, InvalidHosts>
    where
        I: IntoIterator<Item: AsRef<str>>,
    {
        let allowed = hosts
            .into_iter()
            .enumerate()
            .map(|(index, host)| Allowed::parse(host.as_ref()).ok_or(InvalidHosts::NotAHost(index + 1)))
            .collect::<Result<Arc<[_]>, _>>()?;
        if allowed.is_empty() { Err(InvalidHosts::Empty) } else { Ok(Self(allowed)) }
    }

    /// Whether the secret may go there, as far as host and port are concerned.
    pub(super) fn contain(&self, target: &Target<'_>) -> bool {
        self.0.iter().any(|allowed| {
            target.port == allowed.port.or(target.default_port) && target.port.is_some() && allowed.host.is(target.host)
        })
    }
}

impl Allowed {
    fn parse(text: &str) -> Option<Self> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (address, port) = rest.split_once(']')?;
                (Host::V6(address.parse().ok()?), port.strip_prefix(':').or(port.is_empty().then_some("")))
            }
            None => match text.split_once(':') {
                Some((host, port)) => (Host::name(host)?, Some(port)),
                None => (Host::name(text)?, Some("")),
            },
        };
        let has_port = text.rsplit_once(']').map_or(text, |(_, rest)| rest).contains(':');
        let port = port?;
        if !has_port {
            return Some(Self { host, port: None });
        }
        // A number alone: `parse` would take a sign as well.
        let digits = port.bytes().all(|byte| byte.is_ascii_digit());
        let port = port.parse().ok().filter(|port| digits && *port != 0)?;
        Some(Self { host, port: Some(port) })
    }
}

impl Host {
    fn name(text: &str) -> Option<Self> {
        let is_label = |label: &str| {
            let is_part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
            (1..=63).contains(&label.len()) && label.bytes().all(is_part)
        };
        let last = text.rsplit('.').next().unwrap_or(text);
        let is_number = last.bytes().all(|byte| byte.is_ascii_digit()) || last.to_ascii_lowercase().starts_with("0x");
        let is_name = text.len() <= 253 && text.split('.').all(is_label);
        // Whoever ends in a number is an address, of which there are many ways to write it, and one that counts here.
        let is_host = is_name && (!is_number || text.parse::<Ipv4Addr>().is_ok());
        is_host.then(|| Self::Name(text.to_ascii_lowercase().into()))
    }

    /// Whether a request to `host`, which for an IPv6 address is in brackets, goes here.
    fn is(&self, host: &str) -> bool {
        match self {
            Self::Name(name) => host.eq_ignore_ascii_case(name),
            Self::V6(address) => {
                let inside = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
                inside.and_then(|inside| inside.parse::<Ipv6Addr>().ok()).is_some_and(|host| host == *address)
            }
        }
    }
}

impl fmt::Display for InvalidHosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the list of hosts that a secret may go to is empty: name at least one"),
            Self::NotAHost(number) => {
                write!(f, "number {number} of the hosts that a secret may go to is not a host or host:port")
            }
        }
    }
}

impl std::error::Error for InvalidHosts {}

#[cfg(test)]
mod tests {
    use http::Uri;
    use proptest::prelude::*;

    use super::*;

    fn is_allowed(list: &[&str], uri: &str) -> bool {
        let hosts = Hosts::new(list).expect("hosts");
        let Ok(uri) = uri.parse::<Uri>() else { return false };
        Target::of_uri(&uri).is_some_and(|target| hosts.contain(&target))
    }

    #[test]
    fn a_host_stands_for_itself_and_nothing_else() {
        let list = ["api.example.com", "other.example.com:8443", "10.0.0.1", "[2001:DB8::1]:9443", "localhost"];
        for (uri, expected) in [
            ("https://api.example.com", true),
            ("https://api.example.com/path?query=https://evil.com", true),
            ("https://API.Example.COM/", true),
            ("https://api.example.com:443/", true),
            ("https://api.example.com:0443/", true),
            ("https://api.example.com:80/", false),
            ("http://api.example.com/", true),
            ("http://api.example.com:80/", true),
            ("http://api.example.com:443/", false),
            ("https://api.example.com:8443/", false),
            ("https://api.example.com:99999/", false),
            ("https://api.example.com:/", false),
            ("https://api.example.com./", false),
            ("https://www.api.example.com/", false),
            ("https://example.com/", false),
            ("https://api.example.com.evil.com/", false),
            ("https://api-example.com/", false),
            ("https://apiXexample.com/", false),
            ("https://evil.com/api.example.com", false),
            ("https://evil.com?api.example.com", false),
            ("https://evil.com#@api.example.com", false),
            ("https://api.example.com@evil.com/", false),
            ("https://api.example.com:443@evil.com/", false),
            ("https://api.example.com%2f@evil.com/", false),
            ("https://evil.com@api.example.com/", true),
            ("https://evil.com\\@api.example.com/", false),
            ("https://api%2eexample.com/", false),
            ("https://other.example.com/", false),
            ("https://other.example.com:8443/", true),
            ("https://10.0.0.1/", true),
            ("https://10.0.0.01/", false),
            ("https://10.1/", false),
            ("https://167772161/", false),
            ("https://[2001:db8::1]:9443/", true),
            ("https://[2001:0db8:0:0:0:0:0:1]:9443/", true),
            ("https://[2001:db8::1]/", false),
            ("https://[2001:db8::2]:9443/", false),
            ("https://[::ffff:10.0.0.1]/", false),
            ("https://localhost/", true),
            ("https://127.0.0.1/", false),
            ("ftp://api.example.com/", false),
            ("api.example.com:443", false),
            ("/path", false),
            ("*", false),
        ] {
            assert_eq!(is_allowed(&list, uri), expected, "{uri}");
        }
    }

    #[test]
    fn what_is_not_a_host_is_refused_when_the_list_is_made() {
        for bad in [
            "",
            " ",
            ".",
            "*",
            "*.example.com",
            "api.example.com.",
            ".example.com",
            "a..b",
            "https://a",
            "a/b",
            "a@b",
            "a:",
            "a:0",
            "a:65536",
            "a:+1",
            "a:1:2",
            "::1",
            "[::1",
            "[::1]x",
            "[::1]:",
            "[a]",
            "é.com",
            "a b",
            "a\n",
            "1.2.3",
            "0x7f.1",
            "1",
        ] {
            assert_eq!(Hosts::new(["a", bad]).err(), Some(InvalidHosts::NotAHost(2)), "{bad:?}");
        }
        assert_eq!(Hosts::new([""; 0]).err(), Some(InvalidHosts::Empty));
    }

    proptest! {
        #[test]
        fn only_what_is_written_like_a_listed_host_is_allowed(uri in "https?://[a-c.:@\\[\\]1%/]{0,12}") {
            if is_allowed(&["a.b", "c:11"], &uri) {
                let rest = uri.split_once("://").expect("a scheme").1.split('/').next().expect("an authority");
                let host = rest.rsplit('@').next().expect("a host");
                prop_assert!(host == "a.b" || host == "c:11", "{uri}");
            }
        }

        #[test]
        fn no_entry_makes_it_panic(entry in any::<String>()) {
            let _any = Hosts::new([entry]);
        }
    }
}
