use std::sync::Arc;

use halfbyte_core::client::redacted_query;
use http::uri::Authority;
use http::{HeaderValue, Uri};
use reqwest::Url;

use crate::conventions::clipped;

/// The longest `url.full`, in bytes.
const LONGEST: usize = 2048;

/// Where a request goes.
#[derive(Debug, Default)]
pub struct Target<'a> {
    scheme: Option<&'a str>,
    /// What stands for the credentials in front of the host.
    credentials: &'static str,
    /// With the brackets of IPv6.
    host: Option<&'a str>,
    port: Option<u16>,
    path: &'a str,
    query: Option<&'a str>,
}

impl<'a> Target<'a> {
    /// A request that names no server has it in its `Host`.
    pub(super) fn of_uri(uri: &'a Uri, host: Option<&'a HeaderValue>) -> Self {
        let (path, query) = (uri.path(), uri.query());
        if let Some(authority) = uri.authority() {
            let credentials = authority.as_str().rsplit_once('@').map(|(credentials, _)| credentials.contains(':'));
            let (host, port) = (Some(authority.host()), authority.port_u16());
            return Self { scheme: uri.scheme_str(), credentials: redacted(credentials), host, port, path, query };
        }
        let (host, port) = host.and_then(split_host).unzip();
        Self { host, port: port.flatten(), path, query, ..Self::default() }
    }

    pub(super) fn of_url(url: &'a Url) -> Self {
        let credentials = (!url.username().is_empty() || url.password().is_some()).then_some(url.password().is_some());
        Self {
            scheme: Some(url.scheme()),
            credentials: redacted(credentials),
            host: url.host_str(),
            port: url.port(),
            path: url.path(),
            query: url.query(),
        }
    }

    /// With what is known of the server anyway, where the request does not say it.
    pub(super) fn or(mut self, server: Option<&'a Server>) -> Self {
        if let (None, Some(server)) = (self.host, server) {
            self.scheme = Some(&server.scheme);
            self.host = Some(&server.host);
            self.port = server.port;
        }
        self
    }

    pub(super) fn path(&self) -> &'a str {
        self.path
    }

    /// `server.address`, without brackets. Longer than 256 there is no such name.
    pub(super) fn address(&self) -> Option<Arc<str>> {
        let host = self.host?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        (!bare.is_empty()).then(|| clipped(bare).into())
    }

    /// `server.port`, also when it goes without saying.
    pub(super) fn port(&self) -> Option<u16> {
        self.port.or(match self.scheme {
            Some("http" | "ws") => Some(80),
            Some("https" | "wss") => Some(443),
            _ => None,
        })
    }

    /// `url.full`: without credentials, and without what the query says.
    pub(super) fn full(&self) -> String {
        let mut url = String::with_capacity(self.path.len() + self.query.map_or(0, str::len) + 64);
        if let Some(scheme) = self.scheme {
            url.extend([scheme, ":"]);
        }
        if let Some(host) = self.host {
            url.extend(["//", self.credentials, host]);
        }
        if let Some(port) = self.port {
            url.extend([":", &port.to_string()]);
        }
        url.push_str(self.path);
        if let Some(query) = self.query {
            url.extend(["?", &redacted_query(query)]);
        }
        url.truncate(url.floor_char_boundary(LONGEST));
        url
    }
}

fn redacted(credentials: Option<bool>) -> &'static str {
    match credentials {
        None => "",
        Some(false) => "REDACTED@",
        Some(true) => "REDACTED:REDACTED@",
    }
}

/// The host and the port of a `Host` header; a user name has no place in it.
fn split_host(value: &HeaderValue) -> Option<(&str, Option<u16>)> {
    let text = value.to_str().ok()?;
    let authority = Authority::try_from(text).ok()?;
    let host = authority.host();
    (text.starts_with(host) && !text.contains('@')).then(|| (&text[..host.len()], authority.port_u16()))
}

/// The server of a client that speaks to one alone.
#[derive(Clone, Debug)]
pub(super) struct Server {
    scheme: Box<str>,
    host: Box<str>,
    port: Option<u16>,
}

impl Server {
    pub(super) fn of(uri: &Uri) -> Option<Self> {
        let scheme = uri.scheme_str().unwrap_or("http");
        Some(Self { scheme: scheme.into(), host: uri.host()?.into(), port: uri.port_u16() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(target: &Target<'_>) -> (String, Option<String>, Option<u16>) {
        (target.full(), target.address().map(|address| address.to_string()), target.port())
    }

    #[test]
    fn an_address_is_told_without_credentials_and_without_what_the_query_says() {
        for (uri, full, address, port) in [
            ("https://www.example.com/search?q=x", "https://www.example.com/search?q=REDACTED", "www.example.com", 443),
            ("http://example.com", "http://example.com/", "example.com", 80),
            ("http://example.com:8080/a/b", "http://example.com:8080/a/b", "example.com", 8080),
            ("https://ada:hunter2@example.com/", "https://REDACTED:REDACTED@example.com/", "example.com", 443),
            ("https://ada@example.com/", "https://REDACTED@example.com/", "example.com", 443),
            ("http://[2001:db8::1]:81/x", "http://[2001:db8::1]:81/x", "2001:db8::1", 81),
            ("http://10.0.0.1/?a=1&b", "http://10.0.0.1/?a=REDACTED&REDACTED", "10.0.0.1", 80),
        ] {
            let expected = (full.to_owned(), Some(address.to_owned()), Some(port));
            let as_uri: Uri = uri.parse().unwrap();
            assert_eq!(described(&Target::of_uri(&as_uri, None)), expected, "{uri}");
            let as_url: Url = uri.parse().unwrap();
            assert_eq!(described(&Target::of_url(&as_url)), expected, "{uri}");
        }
    }

    #[test]
    fn a_request_that_names_no_server_has_it_in_its_host_or_from_the_layer() {
        let server = Server::of(&"https://ledger.example.com:50051".parse().unwrap());
        let uri: Uri = "/a?b=c".parse().unwrap();
        for (host, server, full, address, port) in [
            (Some("example.com"), None, "//example.com/a?b=REDACTED", Some("example.com"), None),
            (Some("example.com:81"), server.as_ref(), "//example.com:81/a?b=REDACTED", Some("example.com"), Some(81)),
            (Some("[::1]:81"), None, "//[::1]:81/a?b=REDACTED", Some("::1"), Some(81)),
            (Some("ada:hunter2@example.com"), None, "/a?b=REDACTED", None, None),
            (Some("no host"), None, "/a?b=REDACTED", None, None),
            (None, None, "/a?b=REDACTED", None, None),
            (
                None,
                server.as_ref(),
                "https://ledger.example.com:50051/a?b=REDACTED",
                Some("ledger.example.com"),
                Some(50051),
            ),
        ] {
            let host = host.map(HeaderValue::from_static);
            let target = Target::of_uri(&uri, host.as_ref()).or(server);
            let expected = (full.to_owned(), address.map(str::to_owned), port);
            assert_eq!(described(&target), expected, "{host:?}");
        }
    }

    #[test]
    fn an_address_is_told_up_to_a_length() {
        let uri: Uri = format!("http://example.com/{}", "x".repeat(9000)).parse().unwrap();
        assert_eq!(Target::of_uri(&uri, None).full().len(), LONGEST);
        let uri: Uri = format!("http://{}/", "x".repeat(300)).parse().unwrap();
        assert_eq!(Target::of_uri(&uri, None).address().unwrap().len(), 256);
    }
}
