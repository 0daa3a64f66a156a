use proptest::prelude::*;
use serde_json::json;

use super::*;

fn at(time: &str) -> Timestamp {
    time.parse().unwrap()
}

fn page(id: &str) -> Event {
    Event::new("/printer", id, "print.page", "acme", at("2026-11-02T08:30:00.123456Z")).unwrap()
}

/// An event as somebody sends it, with `members` after those that must be there.
fn sent(members: &str) -> String {
    let comma = if members.is_empty() { "" } else { "," };
    format!(
        r#"{{"specversion":"1.0","source":"/printer","id":"1","type":"print.page","subject":"acme","time":"2026-11-02T08:30:00Z"{comma}{members}}}"#
    )
}

fn refusal(json: &str) -> EventError {
    Event::from_json(json.as_bytes()).expect_err(json)
}

#[test]
fn an_event_comes_back_from_its_json_as_it_was() {
    for event in [page("1"), page("ü \"q\" \\ 🖨").data(json!({"b": [1, {"z": 1, "a": null}], "a": "x\ny"})).unwrap()]
    {
        assert_eq!(Event::from_json(event.to_json().as_bytes()), Ok(event));
    }
    assert_eq!(
        page("1").raw_data(" { \"n\" : 1.50 } ").unwrap().to_json(),
        "{\"specversion\":\"1.0\",\"source\":\"/printer\",\"id\":\"1\",\"type\":\"print.page\",\"subject\":\"acme\",\
         \"time\":\"2026-11-02T08:30:00.123456Z\",\"datacontenttype\":\"application/json\",\"data\":{\"n\":1.50}}"
    );
}

#[test]
fn a_batch_comes_back_in_its_order_and_has_a_bound() {
    let events = [page("1"), page("2"), page("3")];
    let json = Event::to_json_batch(&events);
    assert_eq!(Event::batch_from_json(json.as_bytes(), 3).unwrap(), events);
    assert!(Event::batch_from_json(json.as_bytes(), 2).unwrap_err().to_string().contains("more than 2 events"));
    assert!(Event::batch_from_json(b"[7, 7, 7]", 2).unwrap_err().to_string().contains("more than 2 events"));
    assert_eq!(Event::batch_from_json(b" [ ] ", 0), Ok(Vec::new()));
    for wrong in ["", "{}", "[", "[1,]", "[] []", "null"] {
        assert_eq!(Event::batch_from_json(wrong.as_bytes(), 9).unwrap_err().index(), None, "{wrong}");
    }
}

#[test]
fn the_event_of_a_batch_that_is_wrong_is_named() {
    let json = format!("[{}, {}, 7]", sent(""), sent(r#""data":[]"#));
    let error = Event::batch_from_json(json.as_bytes(), 9).unwrap_err();
    assert_eq!((error.index(), error.attribute()), (Some(1), "data"));
    assert_eq!(error.to_string(), "event 1: data: not a JSON object; send {\"name\": value, ...}");
}

#[test]
fn every_attribute_must_be_there_once_and_be_a_text() {
    assert!(Event::from_json(sent("").as_bytes()).is_ok());
    for (name, value) in [
        ("specversion", "1.0"),
        ("source", "/printer"),
        ("id", "1"),
        ("type", "print.page"),
        ("subject", "acme"),
        ("time", "2026-11-02T08:30:00Z"),
    ] {
        let member = format!("\"{name}\":\"{value}\"");
        let missing = sent("").replace(&format!("{member},"), "").replace(&format!(",{member}"), "");
        assert_eq!(refusal(&missing).to_string(), format!("{name}: missing; an event must have it"));
        assert_eq!(refusal(&sent("").replace(&member, &format!("\"{name}\":null"))).attribute(), name);
        assert_eq!(refusal(&sent("").replace(&member, &format!("\"{name}\":7"))).attribute(), name);
        assert_eq!(refusal(&sent("").replace(&member, &format!("\"{name}\":\"\""))).attribute(), name);
        assert!(refusal(&sent(&member)).to_string().contains("two members of one name"));
    }
    assert!(refusal(&sent(r#""\u0069d":"1""#)).to_string().contains("two members of one name"));
    assert!(refusal(&sent(r#""data":{"a":1,"\u0061":2}"#)).to_string().contains("two members of one name"));
    assert!(refusal(&sent(r#""data":{"x":[{"a":1,"a":1}]}"#)).to_string().contains("two members of one name"));
}

#[test]
fn a_text_has_a_bound_and_no_control_characters() {
    let time = at("2026-11-02T08:30:00Z");
    let with = |attribute: &str, text: &str| {
        let of = |name: &str| if name == attribute { text.to_owned() } else { "x".to_owned() };
        Event::new(&of("source"), &of("id"), &of("type"), &of("subject"), time)
    };
    for (attribute, max) in [("source", 512), ("id", 256), ("type", 128), ("subject", 256)] {
        assert!(with(attribute, &"x".repeat(max)).is_ok());
        for wrong in ["x".repeat(max + 1), String::new(), "a\u{1f}b".into(), "a\0".into(), "\u{85}".into()] {
            assert_eq!(with(attribute, &wrong).unwrap_err().attribute(), attribute, "{wrong:?}");
        }
    }
    assert_eq!(refusal(&sent("").replace("acme", "\\u001f")).attribute(), "subject");
    assert_eq!(refusal(&sent("").replace("acme", "\\ud800")).attribute(), "subject");
}

#[test]
fn a_time_is_rfc_3339_and_kept_to_the_microsecond() {
    let time = |text: &str| Event::from_json(sent("").replace("2026-11-02T08:30:00Z", text).as_bytes());
    for (text, same) in [
        ("2026-11-02T08:30:00Z", "2026-11-02T08:30:00Z"),
        ("2026-11-02t08:30:00z", "2026-11-02T08:30:00Z"),
        ("2026-11-02T08:30:00.1234569Z", "2026-11-02T08:30:00.123456Z"),
        ("2026-11-02T09:30:00.5+01:00", "2026-11-02T08:30:00.5Z"),
        ("2026-11-01T23:30:00-09:00", "2026-11-02T08:30:00Z"),
        ("2028-02-29T00:00:00Z", "2028-02-29T00:00:00Z"),
    ] {
        assert_eq!(time(text).expect(text).time(), at(same), "{text}");
    }
    for wrong in [
        "2026-11-02",
        "2026-11-02T08:30Z",
        "2026-11-02T08:30:00",
        "2026-11-02 08:30:00Z",
        "2026-11-02T08:30:00.Z",
        "2026-11-02T08:30:00,5Z",
        "2026-11-02T08:30:00.1234567890Z",
        "2026-11-02T08:30:00+0100",
        "2026-11-02T08:30:00+01",
        "2026-11-02T08:30:00Z[UTC]",
        "2026-11-02T08:30:00+01:00[Europe/Vienna]",
        "20261102T083000Z",
        "2026-13-02T08:30:00Z",
        "2027-02-29T00:00:00Z",
        "2026-11-02T24:00:00Z",
        "+002026-11-02T08:30:00Z",
        "1793606400",
        "1969-12-31T23:59:59.999999Z",
        "２026-11-02T08:30:00Z",
    ] {
        assert_eq!(time(wrong).expect_err(wrong).attribute(), "time", "{wrong}");
    }
}

#[test]
fn extensions_are_let_through_and_other_members_are_refused() {
    let extended = sent(
        r#""traceparent":"00-ab","n1":7,"dataschema":"https://example.com/s","datacontenttype":"application/json; charset=utf-8""#,
    );
    assert_eq!(Event::from_json(extended.as_bytes()), Event::from_json(sent("").as_bytes()));
    for name in ["Data", "trace_parent", "a-b", "", "ünits", "abcdefghijklmnopqrstu"] {
        assert!(
            refusal(&sent(&format!("\"{name}\":1"))).to_string().contains("lower-case letters and digits"),
            "{name}"
        );
    }
    assert_eq!(refusal(&sent(r#""data_base64":"e30=""#)).attribute(), "data_base64");
    assert_eq!(refusal(&sent(r#""datacontenttype":"text/xml""#)).attribute(), "datacontenttype");
    assert_eq!(refusal(&sent("").replace("1.0", "0.3")).attribute(), "specversion");
    let many: Vec<String> = (0..41).map(|number| format!("\"x{number}\":0")).collect();
    assert!(refusal(&sent(&many.join(","))).to_string().contains("more than 40 attributes"));
}

#[test]
fn data_is_an_object_of_bounded_size_and_depth() {
    for wrong in ["[]", "1", "\"text\"", "true"] {
        assert_eq!(refusal(&sent(&format!("\"data\":{wrong}"))).attribute(), "data");
        assert!(page("1").raw_data(wrong).is_err());
    }
    for wrong in
        ["", "{", "{}{}", "{a:1}", "{\"a\":1,}", "{\"a\":00}", "{\"a\":+1}", "{\"a\":\"\\ud800\"}", "{\"a\":\"\t\"}"]
    {
        assert!(page("1").raw_data(wrong).is_err(), "{wrong}");
    }
    assert!(page("1").raw_data(r#"{"a":"\u0000"}"#).unwrap_err().to_string().contains("U+0000"));
    assert!(page("1").raw_data(r#"{"a\u0000":1}"#).is_err());
    let deep = |depth: usize| format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
    assert!(page("1").raw_data(&deep(32)).is_ok());
    assert!(page("1").raw_data(&deep(33)).unwrap_err().to_string().contains("deeper than 32"));
    assert!(page("1").raw_data(&deep(100_000)).is_err());
    let spaces = |length: usize| format!("{{\"a\":1{}}}", " ".repeat(length));
    assert!(page("1").raw_data(&spaces(64 * 1024)).is_ok());
    assert!(page("1").raw_data(&spaces(8 * 64 * 1024)).is_err());
    assert!(refusal(&format!("{}{}", sent(""), " ".repeat(1 << 20))).to_string().contains("longer than 1048576 bytes"));
    let long = |length: usize| format!("{{ \"a\" : \"{}\" }}", "x".repeat(length - 8));
    assert!(page("1").raw_data(&long(64 * 1024)).is_ok());
    assert!(page("1").raw_data(&long(64 * 1024 + 1)).unwrap_err().to_string().contains("longer than 65536 bytes"));
}

#[test]
fn null_data_is_none_and_an_empty_object_is_some() {
    let event = |members: &str| Event::from_json(sent(members).as_bytes()).unwrap();
    assert_eq!(event(r#""data":null"#).data_json(), None);
    assert_eq!(event(r#""data":{ }"#).data_json(), Some("{}"));
    assert_ne!(event("").digest(), event(r#""data":{}"#).digest());
}

#[test]
fn a_digest_sees_every_change_but_not_order_space_or_escapes() {
    let digest = |data: &str| page("1").raw_data(data).unwrap().digest();
    let one = digest(r#"{"a":"ä/","n":0.1}"#);
    assert_eq!((one.len(), one.bytes().all(|byte| byte.is_ascii_hexdigit())), (32, true));
    assert_eq!(digest("\n{ \"n\" : 0.1,\t\"a\":\"\\u00e4\\/\" }"), one);
    for other in [
        r#"{"a":"ä/","n":0.10}"#,
        r#"{"a":"ä/","n":1e-1}"#,
        r#"{"a":"ä/","n":"0.1"}"#,
        r#"{"a":"a\u0308/","n":0.1}"#,
        r#"{"a":"ä/"}"#,
        r#"{"a":"ä/","n":0.1,"o":null}"#,
    ] {
        assert_ne!(digest(other), one, "{other}");
    }
    let time = at("2026-11-02T08:30:00Z");
    let of = |source: &str, id: &str, kind: &str, subject: &str, time| {
        Event::new(source, id, kind, subject, time).unwrap().digest()
    };
    let one = of("s", "i", "ab", "c", time);
    assert_eq!(of("other", "other", "ab", "c", time), one);
    assert_eq!(of("s", "i", "ab", "c", at("2026-11-02T08:30:00.000000999Z")), one);
    assert_ne!(of("s", "i", "ab", "c", at("2026-11-02T08:30:00.000001Z")), one);
    assert_ne!(of("s", "i", "a", "bc", time), one);
    assert_ne!(of("s", "i", "c", "ab", time), one);
}

#[test]
fn a_digest_stays_what_it_was() {
    // Digests are kept for ever: another one here makes a conflict of every event that is sent once more.
    assert_eq!(page("1").raw_data("{\"n\":1.50}").unwrap().digest(), "c7525a9d288bf95b1c2f4dd11f7aec0d");
}

#[test]
fn numbers_stay_as_they_are_written() {
    let data = r#"{"a":1E400,"b":-0,"c":1e-3,"d":0.10,"e":123456789012345678901234567890.5}"#;
    assert_eq!(page("1").raw_data(data).unwrap().data_json(), Some(data));
}

#[test]
fn a_void_names_the_event_that_it_takes_back() {
    let target = page("1").reference();
    let void = Event::void("/desk", "v1", "acme", at("2026-11-03T00:00:00Z"), &target).unwrap();
    assert_eq!((void.kind(), void.data_json()), ("halfbyte.usage.voided", Some(r#"{"id":"1","source":"/printer"}"#)));
    let correction = Correction { source: "/printer".into(), id: "1".into(), data: None };
    assert_eq!(void.correction(), Ok(Some(correction)));
    assert_eq!(page("1").correction(), Ok(None));
}

#[test]
fn an_amendment_has_the_data_that_is_right() {
    let target = EventRef::new("/printer", "\"1\"").unwrap();
    let time = at("2026-11-03T00:00:00Z");
    let amend = Event::amend("/desk", "a1", "acme", time, &target, json!({"pages": 7, "b": {}})).unwrap();
    let amend = Event::from_json(amend.to_json().as_bytes()).unwrap();
    let data = Some(r#"{"b":{},"pages":7}"#.into());
    assert_eq!(amend.correction(), Ok(Some(Correction { source: "/printer".into(), id: "\"1\"".into(), data })));
}

#[test]
fn a_correction_that_does_not_say_what_it_corrects_is_refused() {
    let event = |kind: &str, data: &str| {
        let event = Event::new("/desk", "1", kind, "acme", at("2026-11-03T00:00:00Z")).unwrap();
        event.raw_data(data).unwrap().correction()
    };
    for (kind, data) in [
        (Event::VOIDED, "{}"),
        (Event::VOIDED, r#"{"source":"/printer"}"#),
        (Event::VOIDED, r#"{"source":"/printer","id":7}"#),
        (Event::VOIDED, r#"{"source":"/printer","id":""}"#),
        (Event::VOIDED, r#"{"source":"/printer","id":"\u001f"}"#),
        (Event::VOIDED, r#"{"source":"/printer","id":"1","why":"x"}"#),
        (Event::VOIDED, r#"{"source":"/printer","id":"1","data":{}}"#),
        (Event::VOIDED, r#"{"source":"/desk","id":"1"}"#),
        (Event::AMENDED, r#"{"source":"/printer","id":"1"}"#),
        (Event::AMENDED, r#"{"source":"/printer","id":"1","data":null}"#),
        (Event::AMENDED, r#"{"source":"/printer","id":"1","data":[]}"#),
    ] {
        assert!(event(kind, data).unwrap_err().attribute().starts_with("data"), "{kind} {data}");
    }
    let bare = Event::new("/desk", "1", Event::VOIDED, "acme", at("2026-11-03T00:00:00Z")).unwrap();
    assert!(bare.correction().is_err());
    assert!(Event::void("/printer", "1", "acme", at("2026-11-03T00:00:00Z"), &page("1").reference()).is_err());
}

#[test]
fn a_refusal_never_repeats_what_was_sent() {
    let secret = "hunter2";
    let mut wrong = vec![secret.to_owned(), format!("\"{secret}\""), format!("{{\"{secret}\":{secret}}}")];
    let names = ["specversion", "source", "id", "type", "subject", "time", "datacontenttype", "data", "hunter2_"];
    for name in names {
        for value in [json!(format!("{secret}\u{1}")), json!([secret]), json!({ secret: "\0" })] {
            let mut event: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&sent("")).unwrap();
            event.insert(name.to_owned(), value);
            wrong.push(json!(event).to_string());
        }
    }
    for json in wrong {
        let error = refusal(&json);
        assert!(!format!("{error} {error:?}").contains(secret), "{json}: {error}");
    }
}

fn any_json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(|value| json!(value)),
        any::<i64>().prop_map(|value| json!(value)),
        any::<u64>().prop_map(|value| json!(value)),
        "[^\0]{0,8}".prop_map(|value| json!(value)),
    ];
    leaf.prop_recursive(4, 30, 5, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(|values| json!(values)),
            proptest::collection::btree_map("[^\0]{0,4}", inner, 0..5).prop_map(|values| json!(values)),
        ]
    })
}

fn any_data() -> impl Strategy<Value = serde_json::Value> {
    proptest::collection::btree_map("[^\0]{0,4}", any_json(), 0..6).prop_map(|members| json!(members))
}

/// The same value with the members of each object the other way round, spaces, and every character escaped.
fn scrambled(value: &serde_json::Value) -> String {
    let text = |text: &str| {
        let units: String = text.encode_utf16().map(|unit| format!("\\u{unit:04X}")).collect();
        format!("\"{units}\"")
    };
    match value {
        serde_json::Value::Object(members) => {
            let members = members.iter().rev().map(|(name, value)| format!("{} :\n{}", text(name), scrambled(value)));
            format!("{{ {} }}", members.collect::<Vec<_>>().join(" , "))
        }
        serde_json::Value::Array(values) => {
            format!("[\t{}\r]", values.iter().map(scrambled).collect::<Vec<_>>().join(" , "))
        }
        serde_json::Value::String(value) => text(value),
        other => other.to_string(),
    }
}

proptest! {
    #[test]
    fn no_bytes_make_reading_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        _ = Event::from_json(&bytes);
        _ = Event::batch_from_json(&bytes, 3);
    }

    #[test]
    fn no_damage_to_an_event_makes_reading_panic(
        data in any_data(),
        at_byte in any::<proptest::sample::Index>(),
        byte in any::<u8>(),
        cut in any::<bool>(),
    ) {
        let mut json = page("1").data(&data).unwrap().to_json().into_bytes();
        let index = at_byte.index(json.len());
        if cut { json.truncate(index) } else { json[index] = byte }
        if let Ok(event) = Event::from_json(&json) {
            prop_assert_eq!(Event::from_json(event.to_json().as_bytes()), Ok(event.clone()));
            _ = event.correction();
        }
    }

    #[test]
    fn any_event_comes_back_from_its_json(
        texts in proptest::array::uniform4("[^\\p{Cc}]{1,20}"),
        micros in 0_i64..253_000_000_000_000_000,
        data in proptest::option::of(any_data()),
    ) {
        let time = Timestamp::from_microsecond(micros).unwrap();
        let [source, id, kind, subject] = texts;
        let mut event = Event::new(&source, &id, &kind, &subject, time).unwrap();
        if let Some(data) = &data {
            event = event.data(data).unwrap();
            // The text that is kept means what was given.
            prop_assert_eq!(&serde_json::from_str::<serde_json::Value>(event.data_json().unwrap()).unwrap(), data);
        }
        let back = Event::from_json(event.to_json().as_bytes()).unwrap();
        prop_assert_eq!(back.digest(), event.digest());
        prop_assert_eq!(back, event);
    }

    #[test]
    fn a_digest_is_that_of_the_value(one in any_data(), other in any_data()) {
        let digest = |text: &str| page("1").raw_data(text).unwrap().digest();
        let (first, second) = (digest(&one.to_string()), digest(&other.to_string()));
        prop_assert_eq!(digest(&scrambled(&one)), first.clone());
        prop_assert_eq!(first == second, one == other);
    }
}
