use halfbyte_identity::jose::{Algorithm, ErrorKind, JwkSet, verify};
use serde_json::{Value, json};

use super::set_of;
use crate::support::{Key, b64, unb64};

fn changed(mut jwk: Value, member: &str, value: Value) -> Value {
    jwk[member] = value;
    jwk
}

fn without(mut jwk: Value, member: &str) -> Value {
    jwk.as_object_mut().expect("an object").remove(member);
    jwk
}

/// Of two primes `k * M + (65537^a mod M)`, as the flawed library makes them (M: the product of the first 126 primes).
const ROCA: &str = "tLIlpMiBKWI7ThC0P3XVzToMDpkg6rv0owcnK9aLJNKWSUKHEesIlCuYIW-uh4XcEUhMY0VlrhS5-QEDfJaF9mPBzHdNQjjFbMTNONkh24rg\
                    bNJSr_7syXWwkUKv2lqu_YDcM1lRyWIxjOUccHcaPCUiESb5mISJ9rJEiVSfF19Sp-E80u5vA0apQYp5PDn_cE-EyxJzmBvBlKToxcE2z1ba\
                    gJz7bOS84ebkixwZBmvfhTR5kF7wpJ9hiMpbrlpRCL85v-ozIKKSTgBs3a-FF2hCQHB9ZPHOyrz1MlVG1cF5XsBfaghUdmlynME3ajdyoXpB\
                    dnoFSdwdCLZ6sU--ew";

/// Each stands in a set with one good key, which must be left.
#[test]
fn each_key_that_must_not_be_used_is_left_out_with_its_reason_and_the_others_stay() {
    let (ec, rsa, ed) = (Key::es256("bad"), Key::new("RS256", "bad"), Key::new("EdDSA", "bad"));
    let (p384, p521, good) = (Key::new("ES384", "bad"), Key::new("ES512", "bad"), Key::es256("good"));
    let bytes_of = |jwk: &Value, member: &str| unb64(jwk[member].as_str().expect("text"));
    let (x, y, n) = (bytes_of(&ec.jwk(), "x"), bytes_of(&ec.jwk(), "y"), bytes_of(&rsa.jwk(), "n"));
    let mut off_curve = y.clone();
    off_curve[31] ^= 1;
    let mut even = n.clone();
    even[255] &= 0xfe;
    let mut small = n[..128].to_vec();
    small[127] |= 1;
    let mut of_2047_bits = n.clone();
    of_2047_bits[0] &= 0x7f;
    let ec_with = |member: &str, value: Value| changed(ec.jwk(), member, value);
    let rsa_with = |member: &str, value: Value| changed(rsa.jwk(), member, value);
    let private = "a private or symmetric key is published";
    let table = [
        (ec_with("d", json!(ec.private_part())), private),
        (rsa_with("p", json!("AQ")), private),
        (rsa_with("oth", json!([])), private),
        (json!({"kty": "oct", "k": "c2VjcmV0", "alg": "HS256"}), private),
        (ec_with("use", json!("enc")), "not for signatures"),
        (ec_with("use", json!(7)), "not for signatures"),
        (ec_with("use", Value::Null), "not for signatures"),
        (ec_with("key_ops", json!(["sign"])), "not for verification"),
        (ec_with("key_ops", json!([])), "not for verification"),
        (ec_with("key_ops", json!("verify")), "not for verification"),
        (ec_with("key_ops", json!(["verify", "verify"])), "not for verification"),
        (ec_with("key_ops", json!(["verify", "sign", "sign"])), "not for verification"),
        (ec_with("key_ops", json!(["verify", "encrypt"])), "not for verification"),
        (ec_with("key_ops", json!(["Verify"])), "not for verification"),
        (ec_with("key_ops", json!(["verify", 7])), "not for verification"),
        (ec_with("key_ops", Value::Null), "not for verification"),
        (ec_with("crv", json!("P-384")), "the algorithm is not one of its key type"),
        (changed(p384.jwk(), "alg", json!("ES256")), "the algorithm is not one of its key type"),
        (without(ec_with("crv", json!("P-384")), "alg"), "a coordinate has the wrong length"),
        (without(ec_with("crv", json!("P-521")), "alg"), "a coordinate has the wrong length"),
        (changed(p521.jwk(), "alg", json!("ES256")), "the algorithm is not one of its key type"),
        (changed(p521.jwk(), "alg", json!("RS512")), "the algorithm is not one of its key type"),
        (changed(p521.jwk(), "x", json!(b64([0; 65]))), "a coordinate has the wrong length"),
        (changed(p521.jwk(), "x", json!(b64([0; 66]))), "the point is not on the curve"),
        (ec_with("crv", json!("secp256k1")), "not a key type of ours"),
        (without(ec.jwk(), "crv"), "not a key type of ours"),
        (ec_with("kty", json!("RSA")), "the algorithm is not one of its key type"),
        (ec_with("kty", json!("XYZ")), "not a key type of ours"),
        (without(ec.jwk(), "kty"), "not a key type of ours"),
        (ec_with("alg", json!("RS256")), "the algorithm is not one of its key type"),
        (ec_with("alg", json!("EdDSA")), "the algorithm is not one of its key type"),
        (ec_with("alg", json!("ECDH-ES")), "not an algorithm of ours"),
        (ec_with("alg", json!("none")), "not an algorithm of ours"),
        (ec_with("alg", json!(["ES256"])), "not an algorithm of ours"),
        (rsa_with("alg", json!("ES256")), "the algorithm is not one of its key type"),
        (rsa_with("alg", json!("HS256")), "the algorithm is not one of its key type"),
        (ec_with("alg", json!("HS256")), "the algorithm is not one of its key type"),
        (json!({"kty": "oct", "alg": "HS256"}), "not a key type of ours"),
        (ec_with("kty", json!("oct")), "not a key type of ours"),
        (rsa_with("alg", json!("RSA-OAEP")), "not an algorithm of ours"),
        (ec_with("x", json!(b64(&x[1..]))), "a coordinate has the wrong length"),
        (ec_with("x", json!(b64([&[0][..], &x].concat()))), "a coordinate has the wrong length"),
        (ec_with("y", json!("")), "a coordinate has the wrong length"),
        (ec_with("x", json!(format!("{}=", b64(&x)))), "a coordinate is not canonical base64url"),
        (ec_with("x", json!(7)), "a coordinate is missing"),
        (without(ec.jwk(), "y"), "a coordinate is missing"),
        (ec_with("y", json!(b64(&off_curve))), "the point is not on the curve"),
        (changed(ec_with("x", json!(b64([0; 32]))), "y", json!(b64([0; 32]))), "the point is not on the curve"),
        (ec_with("x", json!(b64([0xff; 32]))), "the point is not on the curve"),
        (ec_with("kid", json!(7)), "the id is not a string"),
        (ec_with("kid", Value::Null), "the id is not a string"),
        (ec_with("kid", json!("")), "the id is empty or too long"),
        (ec_with("kid", json!("k".repeat(257))), "the id is empty or too long"),
        (changed(ed.jwk(), "x", json!(b64([1; 31]))), "a coordinate has the wrong length"),
        (changed(ed.jwk(), "crv", json!("X25519")), "not a key type of ours"),
        (changed(ed.jwk(), "crv", json!("Ed448")), "not a key type of ours"),
        (rsa_with("n", json!(b64(&small))), "the modulus is not one of 2048 to 8192 bits"),
        (rsa_with("n", json!(b64(&of_2047_bits))), "the modulus is not one of 2048 to 8192 bits"),
        (rsa_with("n", json!(b64([&[0][..], &n].concat()))), "the modulus is not one of 2048 to 8192 bits"),
        (rsa_with("n", json!(b64(vec![0xff; 1025]))), "the modulus is not one of 2048 to 8192 bits"),
        (rsa_with("n", json!("")), "the modulus is not one of 2048 to 8192 bits"),
        (rsa_with("n", json!(b64(&even))), "the modulus or the exponent is not one of a real key"),
        (rsa_with("n", json!(ROCA)), "the modulus is one of those that can be factored (CVE-2017-15361)"),
        (rsa_with("e", json!(b64([1]))), "the modulus or the exponent is not one of a real key"),
        (rsa_with("e", json!(b64([0, 1]))), "the modulus or the exponent is not one of a real key"),
        (rsa_with("e", json!(b64([0, 1, 0, 1]))), "the modulus or the exponent is not one of a real key"),
        (rsa_with("e", json!(b64([2]))), "the modulus or the exponent is not one of a real key"),
        (rsa_with("e", json!("")), "the modulus or the exponent is not one of a real key"),
        (rsa_with("e", json!(b64([1; 5]))), "the modulus or the exponent is not one of a real key"),
        (json!("a string"), "not an object with unique names"),
        (json!({}), "not a key type of ours"),
        (json!([{}]), "not an object with unique names"),
        (Value::Null, "not an object with unique names"),
    ];
    for (jwk, reason) in table {
        let set = set_of(&[jwk.clone(), good.jwk()]);
        let ids: Vec<_> = set.keys().iter().map(|key| key.key_id()).collect();
        assert_eq!(ids, [Some("good")], "{jwk}");
        assert_eq!(set.rejected().len(), 1, "{jwk}");
        assert_eq!(set.rejected()[0].reason, reason, "{jwk}");
        assert!(verify(&good.token(&json!({})), &set, &Algorithm::ASYMMETRIC).is_ok());
    }
}

/// With such a key a signature of zeros fits about every message.
#[test]
fn an_edwards_key_that_anybody_can_sign_for_is_left_out() {
    let zero = [0; 32];
    let with = |first: u8, rest: u8, last: u8| {
        let mut point = [rest; 32];
        (point[0], point[31]) = (first, last);
        point
    };
    let order_eight = unb64("xxdqcD1N2E-6PAt2DRBnDyogU_osOczGTsf9d5KsA3o");
    let mut order_eight_signed = order_eight.clone();
    order_eight_signed[31] |= 0x80;
    for point in [
        zero.to_vec(),
        with(1, 0, 0).to_vec(),
        with(1, 0, 0x80).to_vec(),
        with(0xec, 0xff, 0x7f).to_vec(),
        with(0xed, 0xff, 0x7f).to_vec(),
        with(0xee, 0xff, 0xff).to_vec(),
        unb64("JuiVj8KysCewRcP0ie8pjw1d-sBdPGMzmxOAKIbVP8AF").get(..32).expect("long enough").to_vec(),
        order_eight,
        order_eight_signed,
    ] {
        let jwk = json!({"kty": "OKP", "crv": "Ed25519", "kid": "k", "x": b64(&point)});
        let set = set_of(&[jwk]);
        let token =
            format!("{}.{}.{}", b64(r#"{"alg":"EdDSA","kid":"k"}"#), b64("{}"), b64([&point[..], &zero].concat()));
        assert!(verify(&token, &set, &Algorithm::ASYMMETRIC).is_err(), "{point:02x?}");
    }
}

#[test]
fn what_a_good_key_may_say_of_itself_does_no_harm() {
    let key = Key::es256("k");
    for jwk in [
        changed(key.jwk(), "key_ops", json!(["verify"])),
        without(changed(key.jwk(), "key_ops", json!(["sign", "verify"])), "use"),
        changed(key.jwk(), "x5c", json!(["not looked at"])),
        changed(key.jwk(), "unknown", json!({"a": 1})),
        without(key.jwk(), "use"),
        without(key.jwk(), "alg"),
    ] {
        assert!(verify(&key.token(&json!({})), &set_of(&[jwk]), &Algorithm::ASYMMETRIC).is_ok());
    }
}

/// No `Value` can hold these: they are wrong as text.
#[test]
fn a_key_that_is_wrong_as_json_does_not_lose_the_others() {
    let good = Key::es256("good");
    let text = Key::es256("bad").jwk().to_string();
    let with = |members: &str| format!("{{{members},{}", &text[1..]);
    assert!(
        JwkSet::parse(format!(r#"{{"keys":[{}]}}"#, with(r#""a":1"#)).as_bytes()).expect("a set").keys().len() == 1
    );
    for bad in [
        with(r#""kid":"bad""#),
        with(r#""\u006bid":"other""#),
        with(r#""a":{"b":1,"b":2}"#),
        with(r#""a":[[{"b":1,"\u0062":2}]]"#),
        with(r#""a":"\ud800""#),
        with(r#""a":1e999"#),
        with(&format!(r#""a":{}{}"#, "[".repeat(200), "]".repeat(200))),
    ] {
        let set = JwkSet::parse(format!(r#"{{"keys":[{bad},{}, {bad}]}}"#, good.jwk()).as_bytes()).expect(&bad);
        assert_eq!(set.keys().len(), 1, "{bad}");
        assert_eq!(set.rejected().len(), 2, "{bad}");
        assert_eq!(set.rejected()[1].reason, "not an object with unique names", "{bad}");
        assert!(verify(&good.token(&json!({})), &set, &Algorithm::ASYMMETRIC).is_ok(), "{bad}");
    }
}

#[test]
fn what_a_rejected_key_calls_itself_is_told_unless_it_is_no_name() {
    let rejected = |kid: Value| set_of(&[json!({"kty": "XYZ", "kid": kid})]).rejected()[0].key_id.clone();
    assert_eq!(rejected(json!("old")).as_deref(), Some("old"));
    for kid in [json!("k".repeat(257)), json!(""), json!(7)] {
        assert_eq!(rejected(kid), None);
    }
}

#[test]
fn a_set_has_at_most_64_keys() {
    let keys = |count: usize| {
        let keys: Vec<_> =
            (0..count).map(|number| changed(Key::es256("k").jwk(), "kid", json!(number.to_string()))).collect();
        json!({ "keys": keys }).to_string()
    };
    assert_eq!(JwkSet::parse(keys(64).as_bytes()).expect("read").keys().len(), 64);
    assert_eq!(JwkSet::parse(keys(65).as_bytes()).expect_err("refused").kind(), ErrorKind::Malformed);
    let junk = format!(r#"{{"keys":[{}7]}}"#, "7,".repeat(64));
    assert_eq!(JwkSet::parse(junk.as_bytes()).expect_err("refused").kind(), ErrorKind::Malformed);
}

#[test]
fn what_is_not_a_key_set_is_malformed() {
    for text in [
        "",
        "{}",
        "[]",
        "null",
        r#"{"keys":{}}"#,
        r#"{"keys":[]}x"#,
        r#"{"keys":[],"keys":[]}"#,
        r#"{"keys":[],"a":1,"a":1}"#,
        r#"{"keys":[],"a":{"b":1,"b":1}}"#,
        r#"{"keys":[{]}"#,
        r#"{"keys":null}"#,
        "<html>",
    ] {
        assert_eq!(JwkSet::parse(text.as_bytes()).expect_err("refused").kind(), ErrorKind::Malformed, "{text}");
    }
    assert!(JwkSet::parse(b"\xff\xfe").is_err());
}

#[test]
fn a_key_shows_its_name_and_not_its_bytes() {
    let key = Key::es256("k");
    let shown = format!("{:?}", set_of(&[key.jwk()]));
    assert!(shown.contains("\"k\"") && !shown.contains(key.jwk()["x"].as_str().expect("text")), "{shown}");
}
