use url::Url;

/// The addresses under which this product is known, to tell whether a proof's `htu` is the one of a request.
///
/// What clients wrote into `Host` or a proxy into `Forwarded` is no matter: a proof for another host that is sent here
/// must not become one for this host.
pub(super) struct Target {
    scheme: Box<str>,
    host: Box<str>,
    /// `None` for the scheme's own.
    port: Option<Box<str>>,
    /// In front of each path, without a slash at its end.
    prefix: Box<str>,
}

impl Target {
    pub(super) fn new(public_url: &Url) -> Self {
        let prefix = public_url.path().trim_end_matches('/');
        Self {
            scheme: public_url.scheme().into(),
            host: public_url.host_str().unwrap_or_default().into(),
            port: public_url.port().map(|port| port.to_string().into()),
            prefix: normal_octets(prefix).unwrap_or_default().into(),
        }
    }

    /// Whether `htu` is the address of the resource at `path`, by syntax (RFC 3986, 6.2.2) and scheme (6.2.3), with its
    /// query and fragment left out (RFC 9449, 4.3).
    ///
    /// A `path` that has dot segments is nobody's: a router takes them for names, a client for steps.
    pub(super) fn is(&self, htu: &str, path: &str) -> bool {
        let Some((scheme, rest)) = htu.split_once("://") else { return false };
        let (authority, rest) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let named = &rest[..rest.find(['?', '#']).unwrap_or(rest.len())];
        let named = if named.is_empty() { "/" } else { named };
        scheme.eq_ignore_ascii_case(&self.scheme) && self.is_authority(authority) && self.is_path(named, path)
    }

    fn is_authority(&self, authority: &str) -> bool {
        // The colons within an IPv6 address are followed by its bracket.
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port),
            _ => (authority, ""),
        };
        let default = match &*self.scheme {
            "https" => "443",
            "http" => "80",
            _ => "",
        };
        let port = Some(port).filter(|port| !port.is_empty() && *port != default);
        host.eq_ignore_ascii_case(&self.host) && port == self.port.as_deref()
    }

    fn is_path(&self, named: &str, path: &str) -> bool {
        let (Some(named), Some(path)) = (normal_octets(named), normal_octets(path)) else { return false };
        let has_steps = path.split('/').any(|segment| matches!(segment, "." | ".."));
        if has_steps || !path.starts_with('/') {
            return false;
        }
        without_dot_segments(&named).strip_prefix(&*self.prefix).is_some_and(|named| named == path)
    }
}

/// Each octet in its one spelling (RFC 3986, 6.2.2.1 and 6.2.2.2): as itself where it may always stand so, escaped in upper
/// case where it may not, and a delimiter as it is, for escaped it means something else. `None` for a broken escape.
fn normal_octets(path: &str) -> Option<String> {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut normal = String::with_capacity(path.len());
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        let is_escaped = byte == b'%';
        let octet = if is_escaped { digit(bytes.next()?)? << 4 | digit(bytes.next()?)? } else { byte };
        let is_unreserved = octet.is_ascii_alphanumeric() || b"-._~".contains(&octet);
        let is_delimiter = b"/!$&'()*+,;=:@".contains(&octet);
        if is_unreserved || (is_delimiter && !is_escaped) {
            normal.push(char::from(octet));
        } else {
            normal.push('%');
            normal.push(char::from(HEX[usize::from(octet >> 4)]));
            normal.push(char::from(HEX[usize::from(octet & 15)]));
        }
    }
    Some(normal)
}

/// RFC 3986, 5.2.4, for a path that begins with a slash.
fn without_dot_segments(path: &str) -> String {
    let mut kept = String::with_capacity(path.len());
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        if !matches!(segment, "." | "..") {
            kept.push('/');
            kept.push_str(segment);
            continue;
        }
        if segment == ".." {
            kept.truncate(kept.rfind('/').unwrap_or(0));
        }
        if segments.peek().is_none() {
            kept.push('/');
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn is(public_url: &str, htu: &str, path: &str) -> bool {
        Target::new(&public_url.parse().expect("a URL")).is(htu, path)
    }

    #[test]
    fn spellings_of_one_address_are_the_same() {
        for (htu, path) in [
            ("https://api.example/labels", "/labels"),
            ("HTTPS://API.Example/labels", "/labels"),
            ("https://api.example:443/labels", "/labels"),
            ("https://api.example:/labels", "/labels"),
            ("https://api.example/labels?page=2", "/labels"),
            ("https://api.example/labels#top", "/labels"),
            ("https://api.example/labels?a=/../#b?c", "/labels"),
            ("https://api.example", "/"),
            ("https://api.example?page=2", "/"),
            ("https://api.example#top", "/"),
            ("https://api.example/", "/"),
            ("https://api.example/a/b/c/./../../g", "/a/g"),
            ("https://api.example/a/..", "/"),
            ("https://api.example/../../labels", "/labels"),
            ("https://api.example/a/.", "/a/"),
            ("https://api.example/a/%2E%2e/labels", "/labels"),
            ("https://api.example/%6cabels%2fx", "/l%61bels%2Fx"),
            ("https://api.example/a%c3%a9", "/a%C3%A9"),
            ("https://api.example/a|b", "/a%7Cb"),
            ("https://api.example/a%7Bb%7D", "/a{b}"),
            ("https://api.example/a//b/", "/a//b/"),
            ("https://api.example/halfbyte.Labels/List", "/halfbyte.Labels/List"),
            ("https://api.example/a.b/..c/...", "/a.b/..c/..."),
            ("https://api.example/@a:b;c=d,e", "/@a:b;c=d,e"),
        ] {
            assert!(is("https://api.example", htu, path), "{htu} {path}");
            assert!(is("https://api.example:443/", htu, path), "{htu} {path}");
        }
    }

    #[test]
    fn other_addresses_are_others() {
        for (htu, path) in [
            ("", "/"),
            ("/labels", "/labels"),
            ("https:/labels", "/labels"),
            ("https:api.example/labels", "/labels"),
            ("//api.example/labels", "/labels"),
            ("http://api.example/labels", "/labels"),
            ("https://api.example:8443/labels", "/labels"),
            ("https://api.example:80/labels", "/labels"),
            ("https://api.example:0443/labels", "/labels"),
            ("https://api.example:443:443/labels", "/labels"),
            ("https://api.example./labels", "/labels"),
            ("https://ap%69.example/labels", "/labels"),
            ("https://api.example.evil/labels", "/labels"),
            ("https://evil/labels", "/labels"),
            ("https://ann@api.example/labels", "/labels"),
            ("https://api.example@evil/labels", "/labels"),
            ("https://api.example\\@evil/labels", "/labels"),
            ("https://evil?https://api.example/labels", "/labels"),
            ("https://evil#@api.example/labels", "/labels"),
            (" https://api.example/labels", "/labels"),
            ("https://api.example/labels ", "/labels"),
            ("https:// api.example/labels", "/labels"),
            ("https://api.example/Labels", "/labels"),
            ("https://api.example/labels/", "/labels"),
            ("https://api.example/labels", "/labels/"),
            ("https://api.example//labels", "/labels"),
            ("https://api.example/a%2Fb", "/a/b"),
            ("https://api.example/a%3Ab", "/a:b"),
            ("https://api.example/a\\b", "/a/b"),
            ("https://api.example/a%5Cb", "/a/b"),
            ("https://api.example/labels%", "/labels%"),
            ("https://api.example/labels%4", "/labels%4"),
            ("https://api.example/labels%4g", "/labels%4g"),
            ("https://api.example/labels%+1", "/labels%+1"),
            ("https://api.example/labels%3Fa", "/labels"),
            ("https://api.example/labels%23a", "/labels"),
            ("https://api.example/", "*"),
            ("https://api.example/", ""),
            ("https://api.example*", "*"),
            ("https://api.example", "api.example:443"),
        ] {
            assert!(!is("https://api.example", htu, path), "{htu} {path}");
        }
    }

    #[test]
    fn a_request_with_dot_segments_is_that_of_no_proof() {
        for path in ["/files/../labels", "/files/%2e%2E/labels", "/./labels", "/labels/..", "/labels/%2e"] {
            for htu in ["https://api.example/labels", "https://api.example/", "https://api.example/labels/"] {
                assert!(!is("https://api.example", htu, path), "{htu} {path}");
            }
            assert!(!is("https://api.example", &format!("https://api.example{path}"), path), "{path}");
        }
    }

    #[test]
    fn a_port_and_a_path_of_the_public_address_count() {
        assert!(is("http://[::1]:8080/api/", "http://[::1]:8080/api/labels", "/labels"));
        assert!(is("http://[::1]:8080/api/", "http://[::1]:8080/x/../api/labels", "/labels"));
        assert!(!is("http://[::1]:8080/api/", "http://[::1]:8080/api/../labels", "/labels"));
        assert!(!is("http://[::1]:8080/api/", "http://[::1]/api/labels", "/labels"));
        assert!(!is("http://[::1]:8080/api/", "http://[::1]:8080/labels", "/labels"));
        assert!(!is("http://[::1]:8080/api/", "http://[::1]:8080/apilabels", "/labels"));
        assert!(is("http://[::1]", "http://[::1]:80/labels", "/labels"));
        assert!(is("http://[::1]", "http://[::1]/labels", "/labels"));
        assert!(is("http://api.example:443", "http://api.example:443/labels", "/labels"));
        assert!(!is("http://api.example:443", "http://api.example/labels", "/labels"));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn nothing_panics_and_what_is_the_same_stays_so_when_normal(htu in ".{0,40}", path in "[/.%2eE~a|]{0,12}") {
            let _any = is("https://api.example", &htu, &path);
            let whole = format!("https://api.example/{path}");
            let request = format!("/{path}");
            if let Some(normal) = normal_octets(&request).map(|octets| without_dot_segments(&octets)) {
                prop_assert!(is("https://api.example", &whole, &normal), "{whole} {normal}");
                prop_assert_eq!(without_dot_segments(&normal), normal.clone());
                prop_assert_eq!(normal_octets(&normal), Some(normal));
            } else {
                prop_assert!(!is("https://api.example", &whole, &request));
            }
        }

        #[test]
        fn another_independent_reader_of_addresses_agrees(path in "(/([a-c.]{0,3}|%2e|%2E%2e)){0,6}") {
            let htu = format!("https://api.example{path}");
            let theirs = Url::parse(&htu).expect("a URL");
            prop_assert!(is("https://api.example", &htu, theirs.path()), "{htu} {}", theirs.path());
        }
    }
}
