//! The `baggage` header: [W3C Baggage](https://www.w3.org/TR/baggage/).

use std::borrow::Cow;

use http::HeaderName;
use opentelemetry::baggage::Baggage;
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

use super::BaggageKeys;

pub(super) const BAGGAGE: HeaderName = HeaderName::from_static("baggage");

/// What the specification asks to be handed on at least, and all that is here.
const MEMBERS: usize = 64;
const BYTES: usize = 8192;

/// What is no `baggage-octet`, and the percent sign.
const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'%').add(b',').add(b';').add(b'\\');

/// As [`ENCODED`], for what is encoded already.
const ENCODED_AGAIN: &AsciiSet = &ENCODED.remove(b'%');

/// Reads the headers as the one list that they are, and takes the members whose keys are allowed.
///
/// Malformed members are skipped. Of a key that comes twice the last one counts. Of a list of more than 64 members or
/// 8192 bytes the rest is left out, whole members at a time. Properties become the metadata of the value, percent-encoded
/// as they came.
pub(super) fn parse<'a>(values: impl Iterator<Item = &'a str>, allowed: &BaggageKeys) -> Baggage {
    let mut baggage = Baggage::new();
    let (mut members, mut bytes) = (0, 0);
    if allowed.is_empty() {
        return baggage;
    }
    for text in values.flat_map(|value| value.split(',')) {
        bytes += text.len() + usize::from(bytes > 0);
        if bytes > BYTES {
            break;
        }
        let text = trim(text);
        if text.is_empty() {
            continue;
        }
        if members == MEMBERS {
            break;
        }
        members += 1;
        if let Some((key, value, properties)) = member(text)
            && allowed.allow(key)
        {
            let value = percent_decode_str(value).decode_utf8_lossy().into_owned();
            baggage.insert_with_metadata(key.to_owned(), value, properties);
        }
    }
    baggage
}

/// The list to be sent, unless it is empty: the members whose keys are allowed, in the order of their keys, as many as
/// the limits allow.
pub(super) fn render(baggage: &Baggage, allowed: &BaggageKeys) -> Option<String> {
    let mut members: Vec<_> = baggage.iter().filter(|(key, _)| allowed.allow(key.as_str())).collect();
    members.sort_unstable_by_key(|(key, _)| key.as_str());
    let mut list = String::new();
    let mut room = MEMBERS;
    for (key, (value, metadata)) in members {
        let before = list.len();
        if before > 0 {
            list.push(',');
        }
        list.extend([key.as_str(), "="]);
        list.extend(utf8_percent_encode(value.as_str(), ENCODED));
        for property in metadata.as_str().split(';').filter_map(sendable_property) {
            list.extend([";", &property]);
        }
        if list.len() > BYTES || room == 0 {
            list.truncate(before);
        } else {
            room -= 1;
        }
    }
    (!list.is_empty()).then_some(list)
}

/// `key OWS "=" OWS value *( OWS ";" OWS property )`, without the optional white space.
fn member(text: &str) -> Option<(&str, &str, String)> {
    let mut parts = text.split(';').map(trim);
    let (key, value) = parts.next()?.split_once('=')?;
    let (key, value) = (trim(key), trim(value));
    if !is_token(key) || !is_value(value) {
        return None;
    }
    let mut properties = String::new();
    for part in parts {
        let property = property(part)?;
        if !properties.is_empty() {
            properties.push(';');
        }
        properties.push_str(&property);
    }
    Some((key, value, properties))
}

/// `key OWS "=" OWS value / key OWS`, without the optional white space.
fn property(text: &str) -> Option<Cow<'_, str>> {
    match text.split_once('=') {
        None => is_token(text).then_some(text.into()),
        Some((key, value)) => {
            let (key, value) = (trim(key), trim(value));
            (is_token(key) && is_value(value)).then(|| format!("{key}={value}").into())
        }
    }
}

/// A property of a product's own: it may not be encoded yet, and what is not a property at all is left out.
fn sendable_property(text: &str) -> Option<String> {
    let (key, value) = text.split_once('=').map_or((text, None), |(key, value)| (key, Some(value)));
    let key = trim(key);
    is_token(key).then(|| match value {
        None => key.to_owned(),
        Some(value) => format!("{key}={}", utf8_percent_encode(trim(value), ENCODED_AGAIN)),
    })
}

/// RFC 9110, 5.6.2.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// `*baggage-octet`; it may be empty, and it may have any number of equals signs.
fn is_value(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic() && !b"\",;\\".contains(&byte))
}

fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn read(values: &[&str]) -> Vec<(String, String, String)> {
        members(&parse(values.iter().copied(), &BaggageKeys::danger_all()))
    }

    fn members(baggage: &Baggage) -> Vec<(String, String, String)> {
        let owned = |(key, (value, metadata)): (&opentelemetry::Key, &(opentelemetry::StringValue, _))| {
            (key.to_string(), value.to_string(), ToString::to_string(metadata))
        };
        let mut members: Vec<_> = baggage.iter().map(owned).collect();
        members.sort();
        members
    }

    #[test]
    fn every_rule_of_the_grammar() {
        for (values, expected) in [
            (&["key=value"][..], &[("key", "value", "")][..]),
            (&["a=1,b=2"], &[("a", "1", ""), ("b", "2", "")]),
            (&["a=1", "b=2, c = 3"], &[("a", "1", ""), ("b", "2", ""), ("c", "3", "")]),
            (&["a \t = \t 1 \t ,\tb=2 "], &[("a", "1", ""), ("b", "2", "")]),
            (&["a=1;p,b=2;q=r"], &[("a", "1", "p"), ("b", "2", "q=r")]),
            (&["a \t = \t 1 \t ; \t p \t ; \t q \t = \t r \t "], &[("a", "1", "p;q=r")]),
            (&["a=1;p;p=1;p=2"], &[("a", "1", "p;p=1;p=2")]),
            (&["a=1;p=%80;q=x%20y"], &[("a", "1", "p=%80;q=x%20y")]),
            (&["a=1;p%20%3D%20q"], &[("a", "1", "p%20%3D%20q")]),
            (&["a=1;p=x=y"], &[("a", "1", "p=x=y")]),
            (&["a=1;p="], &[("a", "1", "p=")]),
            (&["a=b=c=="], &[("a", "b=c==", "")]),
            (&["a="], &[("a", "", "")]),
            (&["a \t = \t "], &[("a", "", "")]),
            (&["a=;p"], &[("a", "", "p")]),
            (&["server=DF%2028,user=Am%C3%A9lie"], &[("server", "DF 28", ""), ("user", "Amélie", "")]),
            (&["a=%09%20%22%27%3B%3Dasdf%21%40%23%24%25%5E%26%2A%28%29"], &[("a", "\t \"';=asdf!@#$%^&*()", "")]),
            (&["a=%80"], &[("a", "\u{fffd}", "")]),
            (&["a=%C3"], &[("a", "\u{fffd}", "")]),
            (&["a=x%80y"], &[("a", "x\u{fffd}y", "")]),
            (&["a=100%"], &[("a", "100%", "")]),
            (&["a=%zz%4"], &[("a", "%zz%4", "")]),
            (&["a=+"], &[("a", "+", "")]),
            (&["a=1,a=2"], &[("a", "2", "")]),
            (&["a=1;p", "a=2"], &[("a", "2", "")]),
            (&["a=1,A=2"], &[("A", "2", ""), ("a", "1", "")]),
            (&["!#$%&'*+-.^_`|~09azAZ=1"], &[("!#$%&'*+-.^_`|~09azAZ", "1", "")]),
            (&["a%20b=1"], &[("a%20b", "1", "")]),
            (&["a=!#$&'()*+-./:<=>?@[]^_`{|}~"], &[("a", "!#$&'()*+-./:<=>?@[]^_`{|}~", "")]),
            (&["", " ", ",\t,"], &[]),
            (&["a=1,,b=2,"], &[("a", "1", ""), ("b", "2", "")]),
        ] {
            let expected: Vec<_> =
                expected.iter().map(|(k, v, p)| (k.to_string(), v.to_string(), p.to_string())).collect();
            assert_eq!(read(values), expected, "{values:?}");
        }
    }

    #[test]
    fn a_malformed_member_is_skipped_alone() {
        for malformed in [
            "nonsense",
            "=1",
            "a b=1",
            "(a)=1",
            "a@b=1",
            "ä=1",
            "\"a\"=1",
            "m=a b",
            "m=\"1\"",
            "m=a\\b",
            "m=ä",
            "m=a\tb",
            "m=a\u{7f}",
            "m=1;",
            "m=1;;p",
            "m=1;a b",
            "m=1;=p",
            "m=1;p=a b",
            "m=1;p=\"q\"",
            "m;p=1",
            ";m=1",
        ] {
            let list = format!("a=1,{malformed},b=2");
            let expected =
                vec![("a".to_owned(), "1".to_owned(), String::new()), ("b".to_owned(), "2".to_owned(), String::new())];
            assert_eq!(read(&[&list]), expected, "{malformed}");
        }
    }

    #[test]
    fn only_allowed_keys_come_in_and_go_out() {
        let list = "tenant=acme,user=ada,Tenant=other";
        for (keys, expected) in [
            (BaggageKeys::none(), None),
            (BaggageKeys::only(["tenant"]), Some("tenant=acme")),
            (BaggageKeys::only(["tenant", "user", "more"]), Some("tenant=acme,user=ada")),
            (BaggageKeys::danger_all(), Some("Tenant=other,tenant=acme,user=ada")),
        ] {
            assert_eq!(render(&parse([list].into_iter(), &keys), &BaggageKeys::danger_all()).as_deref(), expected);
            let all = parse([list].into_iter(), &BaggageKeys::danger_all());
            assert_eq!(render(&all, &keys).as_deref(), expected);
        }
    }

    #[test]
    fn values_are_encoded_as_the_specification_says_and_nothing_else_is() {
        for (value, sent) in [
            ("", "a="),
            ("DF 28", "a=DF%2028"),
            ("Amélie", "a=Am%C3%A9lie"),
            ("100%", "a=100%25"),
            ("%20", "a=%2520"),
            ("a,b;c\\d\"e", "a=a%2Cb%3Bc%5Cd%22e"),
            ("\t\n\u{7f}", "a=%09%0A%7F"),
            ("!#$&'()*+-./:<=>?@[]^_`{|}~", "a=!#$&'()*+-./:<=>?@[]^_`{|}~"),
        ] {
            let mut baggage = Baggage::new();
            baggage.insert("a", value.to_owned());
            assert_eq!(render(&baggage, &BaggageKeys::danger_all()).as_deref(), Some(sent));
        }
    }

    #[test]
    fn metadata_goes_out_as_properties_and_what_is_none_is_left_out() {
        for (metadata, sent) in [
            ("p", "a=1;p"),
            (" p ; q = r ", "a=1;p;q=r"),
            ("p=x y", "a=1;p=x%20y"),
            ("p=x%20y", "a=1;p=x%20y"),
            ("p=é,b=2", "a=1;p=%C3%A9%2Cb=2"),
            (";;(x);p", "a=1;p"),
            ("p=\r\nx", "a=1;p=%0D%0Ax"),
        ] {
            let mut baggage = Baggage::new();
            baggage.insert_with_metadata("a", "1", metadata);
            assert_eq!(render(&baggage, &BaggageKeys::danger_all()).as_deref(), Some(sent), "{metadata}");
        }
    }

    #[test]
    fn at_most_64_members_are_taken() {
        let list: Vec<_> = (0..65).map(|number| format!("k{number:02}=1")).collect();
        let taken = read(&[&list[..40].join(","), "", &list[40..].join(",")]);
        assert_eq!(taken.len(), 64);
        assert!(taken.iter().all(|(key, ..)| key != "k64"));
        // What is malformed or not allowed is looked at, and counts.
        let list = format!("{}last=1", "nonsense,".repeat(64));
        assert!(read(&[&list]).is_empty());
    }

    #[test]
    fn at_most_8192_bytes_are_taken_and_sent_in_whole_members() {
        let fits = format!("a={}", "v".repeat(8190));
        assert_eq!(read(&[&fits]).len(), 1);
        assert!(read(&[&format!("{fits}v")]).is_empty());
        assert_eq!(read(&["b=1", &format!("c={}", "v".repeat(8186))]).len(), 2, "3 + 1 + 8188");
        assert_eq!(read(&["b=1", &format!("c={}", "v".repeat(8187))]).len(), 1);
        let all = BaggageKeys::danger_all();
        assert_eq!(render(&parse([&*fits].into_iter(), &all), &all).as_deref(), Some(&*fits));
        // Encoding triples it: the first is too long now, the second is not.
        let mut baggage = Baggage::new();
        baggage.insert("a", ";".repeat(2731));
        baggage.insert("b", "1");
        assert_eq!(render(&baggage, &all).as_deref(), Some("b=1"));
    }

    #[test]
    fn without_allowed_keys_nothing_is_read() {
        let none = BaggageKeys::none();
        let counted = allocation_counter::measure(|| assert!(parse(["a=1;p=2"].into_iter(), &none).is_empty()));
        assert_eq!(counted.count_total, 0);
    }

    proptest! {
        #[test]
        fn anything_is_read_without_a_panic(values in prop::collection::vec(".{0,60}", 0..4)) {
            read(&values.iter().map(String::as_str).collect::<Vec<_>>());
        }

        #[test]
        fn lists_of_any_shape_are_read_without_a_panic(list in "[ab=,;% \t\"8]{0,80}") {
            read(&[&list]);
        }

        #[test]
        fn what_is_written_is_read_as_it_was(
            pairs in prop::collection::btree_map("[!#-'*+.^-z|~-]{1,9}", (any::<String>(), "(p(=[!#-+.-:<-Z^-~]{0,5})?(;q)?)?"), 0..9)
        ) {
            let mut baggage = Baggage::new();
            for (key, (value, metadata)) in pairs {
                baggage.insert_with_metadata(key, value, metadata);
            }
            let all = BaggageKeys::danger_all();
            let sent = render(&baggage, &all);
            let sent = sent.as_deref().unwrap_or_default();
            prop_assert!(sent.bytes().all(|byte| byte.is_ascii_graphic()));
            prop_assert_eq!(members(&parse([sent].into_iter(), &all)), members(&baggage));
        }

    }

    proptest! {
        // Strings that long are slow to make.
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn what_is_sent_keeps_the_limits(pairs in prop::collection::btree_map("[a-z]{1,3}", "[a-z; é]{0,400}", 0..64)) {
            let baggage: Baggage = pairs.into_iter().map(|(key, value)| opentelemetry::KeyValue::new(key, value)).collect();
            let sent = render(&baggage, &BaggageKeys::danger_all()).unwrap_or_default();
            prop_assert!(sent.len() <= BYTES && sent.split(',').count() <= MEMBERS);
            let found: BTreeMap<_, _> = read(&[&sent]).into_iter().map(|(key, value, _)| (key, value)).collect();
            for (key, value) in found {
                prop_assert_eq!(baggage.get(key).map(ToString::to_string), Some(value));
            }
        }
    }
}
