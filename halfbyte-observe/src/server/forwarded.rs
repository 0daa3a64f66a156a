//! What proxies say of the request that they pass on: `Forwarded` (RFC 7239), or else `X-Forwarded-*`.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use http::{HeaderMap, HeaderName};
use ipnet::IpNet;

use super::facts::Scheme;
use super::inbound::contains;

const FORWARDED: HeaderName = http::header::FORWARDED;
static X_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static X_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
static X_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// The hops that are looked at, from the nearest.
const MOST: usize = 32;

/// Where the request came from, as the outermost of the trusted proxies saw it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Origin<'a> {
    pub(super) client: Client,
    pub(super) scheme: Option<Scheme>,
    pub(super) host: Option<&'a str>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Client {
    /// No proxy says anything: it is whoever is at the other end of the connection.
    #[default]
    Peer,
    At(IpAddr, Option<u16>),
    /// A trusted proxy says that it does not say.
    Unknown,
}

/// Reads what `headers` say, which came from one of `proxies`. Whatever stands left of the first address that is none of
/// them, seen from the right, the client may have written itself.
pub(super) fn origin<'a>(headers: &'a HeaderMap, proxies: &[IpNet]) -> Origin<'a> {
    let said = headers.contains_key(FORWARDED).then(|| forwarded(headers, proxies));
    let also_said = headers.contains_key(&X_FOR).then(|| x_forwarded(headers, proxies));
    match (said, also_said) {
        // The proxies write one of them, and pass on whatever the client has written into the other.
        (Some(one), Some(other)) if one.client != other.client => {
            Origin { client: Client::Unknown, ..Origin::default() }
        }
        (Some(origin), _) | (None, Some(origin)) => origin,
        (None, None) => x_forwarded(headers, proxies),
    }
}

fn x_forwarded<'a>(headers: &'a HeaderMap, proxies: &[IpNet]) -> Origin<'a> {
    let hops = list(headers, &X_FOR, false);
    let chosen = nearest_outside(hops.iter().map(|hop| node(hop)), proxies);
    // Proxies add to the three lists, or replace a list of one.
    let beside = |name: &HeaderName| {
        let values = list(headers, name, false);
        let at = chosen.map(|(place, _)| place).filter(|_| values.len() == hops.len());
        let at = at.or_else(|| values.len().checked_sub(1))?;
        values.get(at).copied().map(str::trim)
    };
    Origin {
        client: chosen.map_or(Client::Peer, |(_, client)| client),
        scheme: beside(&X_PROTO).and_then(Scheme::named),
        host: beside(&X_HOST).filter(|host| !host.is_empty()),
    }
}

fn forwarded<'a>(headers: &'a HeaderMap, proxies: &[IpNet]) -> Origin<'a> {
    let hops: Vec<Hop<'a>> = list(headers, &FORWARDED, true).into_iter().map(Hop::read).collect();
    let chosen = nearest_outside(hops.iter().map(|hop| hop.by_for.map_or(Client::Unknown, node)), proxies);
    let Some((place, client)) = chosen else { return Origin::default() };
    let hop = hops.get(place);
    Origin {
        client,
        scheme: hop.and_then(|hop| hop.proto).and_then(Scheme::named),
        host: hop.and_then(|hop| hop.host).filter(|host| !host.is_empty()),
    }
}

/// One element of `Forwarded`.
#[derive(Default)]
struct Hop<'a> {
    by_for: Option<&'a str>,
    proto: Option<&'a str>,
    host: Option<&'a str>,
}

impl<'a> Hop<'a> {
    fn read(element: &'a str) -> Self {
        let mut hop = Self::default();
        for pair in split(element, b';') {
            let Some((key, value)) = pair.split_once('=') else { continue };
            // A quote that a client left open must not hide what a proxy added.
            let Some(value) = unquoted(value.trim()) else { return Self::default() };
            let key = key.trim();
            if key.eq_ignore_ascii_case("for") {
                hop.by_for = Some(value);
            } else if key.eq_ignore_ascii_case("proto") {
                hop.proto = Some(value);
            } else if key.eq_ignore_ascii_case("host") {
                hop.host = Some(value);
            }
        }
        hop
    }
}

/// The place and the client of the rightmost hop that is no trusted proxy; the leftmost one if they all are.
fn nearest_outside(
    clients: impl DoubleEndedIterator<Item = Client> + ExactSizeIterator,
    proxies: &[IpNet],
) -> Option<(usize, Client)> {
    let mut last = None;
    for (place, client) in clients.enumerate().rev() {
        last = Some((place, client));
        match client {
            Client::At(address, _) if contains(proxies, address) => {}
            _ => break,
        }
    }
    last
}

/// The elements of a list, also when it is split over several headers; the last ones, if they are very many.
fn list<'a>(headers: &'a HeaderMap, name: &HeaderName, quotes: bool) -> Vec<&'a str> {
    let mut values: Vec<&str> = Vec::new();
    for value in headers.get_all(name) {
        // What cannot be read hides what is left of it.
        match value.to_str() {
            Ok(value) if quotes => values.extend(split(value, b',')),
            Ok(value) => values.extend(value.split(',')),
            Err(_) => values.push(""),
        }
    }
    if values.len() > MOST {
        values.drain(..values.len() - MOST);
    }
    values
}

/// The parts between separators that stand in no quotes.
fn split(text: &str, separator: u8) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |character: char| {
        let here = character == char::from(separator) && !quoted;
        if escaped {
            escaped = false;
        } else if quoted && character == '\\' {
            escaped = true;
        } else if character == '"' {
            quoted = !quoted;
        }
        here
    })
}

/// None if the quotes do not match, or something in them is escaped, which no address needs.
fn unquoted(value: &str) -> Option<&str> {
    match value.strip_prefix('"') {
        Some(rest) => rest.strip_suffix('"').filter(|inner| !inner.contains(['"', '\\'])),
        None => Some(value).filter(|value| !value.contains('"')),
    }
}

/// `192.0.2.43`, `192.0.2.43:47011`, `2001:db8::1`, `[2001:db8::1]:4711`, `unknown`, `_hidden`.
fn node(text: &str) -> Client {
    let text = text.trim();
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok().map(IpAddr::from);
    if let Some(address) = text.parse().ok().or_else(bracketed) {
        return Client::At(address.to_canonical(), None);
    }
    match text.parse::<SocketAddr>() {
        Ok(address) => Client::At(address.ip().to_canonical(), Some(address.port())),
        Err(_) => Client::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies() -> Vec<IpNet> {
        vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()]
    }

    fn map(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    fn at(address: &str, port: Option<u16>) -> Client {
        Client::At(address.parse().unwrap(), port)
    }

    #[test]
    fn the_client_is_the_rightmost_address_that_is_of_no_trusted_proxy() {
        let cases: &[(&[(&'static str, &str)], Client)] = &[
            (&[], Client::Peer),
            (&[("x-forwarded-for", "192.0.2.1")], at("192.0.2.1", None)),
            (&[("x-forwarded-for", "192.0.2.9, 192.0.2.1")], at("192.0.2.1", None)),
            (&[("x-forwarded-for", "192.0.2.9, 192.0.2.1, 10.0.0.1, 10.0.0.2")], at("192.0.2.1", None)),
            (&[("x-forwarded-for", "192.0.2.9"), ("x-forwarded-for", "192.0.2.1")], at("192.0.2.1", None)),
            (&[("x-forwarded-for", "10.0.0.3, 10.0.0.1")], at("10.0.0.3", None)),
            (&[("x-forwarded-for", "192.0.2.1:4711")], at("192.0.2.1", Some(4711))),
            (&[("x-forwarded-for", "2001:db8::1")], at("2001:db8::1", None)),
            (&[("x-forwarded-for", "[2001:db8::1]:4711")], at("2001:db8::1", Some(4711))),
            (&[("x-forwarded-for", "[2001:db8::1]")], at("2001:db8::1", None)),
            (&[("x-forwarded-for", "::ffff:10.0.0.1")], at("10.0.0.1", None)),
            (&[("x-forwarded-for", "192.0.2.1, nonsense")], Client::Unknown),
            (&[("x-forwarded-for", "192.0.2.1, nonsense, 10.0.0.1")], Client::Unknown),
            (&[("x-forwarded-for", "192.0.2.1,")], Client::Unknown),
            (&[("forwarded", "for=192.0.2.1")], at("192.0.2.1", None)),
            (
                &[("forwarded", "for=192.0.2.9, For=\"[2001:db8::1]:4711\", for=10.0.0.1")],
                at("2001:db8::1", Some(4711)),
            ),
            (&[("forwarded", "for=192.0.2.9;by=\"a,b\", for=192.0.2.1")], at("192.0.2.1", None)),
            (&[("forwarded", "for=192.0.2.1"), ("forwarded", "for=10.0.0.1")], at("192.0.2.1", None)),
            (&[("forwarded", "for=unknown, for=10.0.0.1")], Client::Unknown),
            (&[("forwarded", "for=_hidden")], Client::Unknown),
            (&[("forwarded", "proto=https")], Client::Unknown),
            (&[("forwarded", "for=\"192.0.2.1")], Client::Unknown),
            (&[("forwarded", "for=198.51.100.1;x=\", for=192.0.2.1")], Client::Unknown),
            (&[("forwarded", "for=198.51.100.1;x=\", for=\"[2001:db8::1]\"")], Client::Unknown),
            // A proxy writes one of the two, and may pass on what the client wrote into the other.
            (&[("forwarded", "for=192.0.2.1"), ("x-forwarded-for", "192.0.2.7")], Client::Unknown),
            (&[("forwarded", "for=192.0.2.1"), ("x-forwarded-for", "192.0.2.1, 10.0.0.1")], at("192.0.2.1", None)),
        ];
        for (lines, expected) in cases {
            assert_eq!(origin(&map(lines), &proxies()).client, *expected, "{lines:?}");
        }
    }

    #[test]
    fn scheme_and_host_are_those_that_the_outermost_trusted_proxy_saw() {
        type Case<'a> = (&'a [(&'static str, &'a str)], Option<Scheme>, Option<&'a str>);
        let cases: &[Case<'_>] = &[
            (&[], None, None),
            (
                &[(
                    "forwarded",
                    "for=192.0.2.9;proto=ftp;host=evil, for=192.0.2.1;proto=https;host=\"shop.example:8443\"",
                )],
                Some(Scheme::Https),
                Some("shop.example:8443"),
            ),
            (
                &[("forwarded", "for=192.0.2.1;proto=HTTPS;host=shop.example, for=10.0.0.1;proto=http;host=inner")],
                Some(Scheme::Https),
                Some("shop.example"),
            ),
            (&[("forwarded", "for=192.0.2.1;proto=gopher")], None, None),
            (&[("forwarded", "for=192.0.2.1;host=\"a\\\"b\"")], None, None),
            (
                &[
                    ("x-forwarded-for", "192.0.2.1"),
                    ("x-forwarded-proto", "https"),
                    ("x-forwarded-host", "shop.example"),
                ],
                Some(Scheme::Https),
                Some("shop.example"),
            ),
            (
                &[("x-forwarded-for", "192.0.2.9, 192.0.2.1, 10.0.0.1"), ("x-forwarded-proto", "http, https, http")],
                Some(Scheme::Https),
                None,
            ),
            // One value for several hops: it was replaced, not added to.
            (&[("x-forwarded-for", "192.0.2.1, 10.0.0.1"), ("x-forwarded-proto", "https")], Some(Scheme::Https), None),
            (&[("x-forwarded-proto", "https")], Some(Scheme::Https), None),
            // Of more values than hops, the last one is a proxy's own.
            (&[("x-forwarded-for", "192.0.2.1"), ("x-forwarded-proto", "https, http")], Some(Scheme::Http), None),
        ];
        for (lines, scheme, host) in cases {
            let headers = map(lines);
            let origin = origin(&headers, &proxies());
            assert_eq!((origin.scheme, origin.host), (*scheme, *host), "{lines:?}");
        }
    }

    #[test]
    fn a_very_long_list_is_read_from_its_near_end_only() {
        let hops = vec!["10.0.0.1"; 100].join(", ");
        let headers = map(&[("x-forwarded-for", &format!("192.0.2.1, {hops}"))]);
        assert_eq!(origin(&headers, &proxies()).client, at("10.0.0.1", None));
    }

    proptest::proptest! {
        #[test]
        fn nothing_that_a_client_writes_in_front_changes_what_the_proxy_says(written in "[ -~]{0,60}") {
            let lines = [("forwarded", written.as_str()), ("forwarded", "for=192.0.2.1;proto=https;host=shop.example")];
            let headers = map(&lines);
            let expected =
                Origin { client: at("192.0.2.1", None), scheme: Some(Scheme::Https), host: Some("shop.example") };
            proptest::prop_assert_eq!(origin(&headers, &proxies()), expected);
            let line = format!("{written}, 192.0.2.1");
            let headers = map(&[("x-forwarded-for", &line)]);
            proptest::prop_assert_eq!(origin(&headers, &proxies()).client, at("192.0.2.1", None));
            // In the same header an open quote can hide the proxy's word, but not replace it.
            let line = format!("{written}, for=192.0.2.1");
            let headers = map(&[("forwarded", &line)]);
            let client = origin(&headers, &proxies()).client;
            proptest::prop_assert!([at("192.0.2.1", None), Client::Unknown].contains(&client), "{:?}", client);
        }
    }
}
