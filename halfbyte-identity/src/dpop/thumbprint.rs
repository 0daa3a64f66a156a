use aws_lc_rs::digest::{Context, SHA256};

use crate::jose::Object;

/// The SHA-256 thumbprint of a key (RFC 7638, RFC 8037): of its required members alone, so that it is the same however
/// else the key is described. `None` when the key is not one of EC (P-256, P-384, P-521), RSA and OKP (Ed25519).
pub(crate) fn thumbprint(jwk: &Object) -> Option<[u8; 32]> {
    let text = |member: &str| jwk.get(member)?.as_str();
    // Base64url needs no escapes in JSON; anything else could end its string and pass for another member.
    let is_base64url = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    let number = |member: &str| text(member).filter(|text| !text.is_empty() && is_base64url(text));
    let coordinate = |member: &str, length: usize| number(member).filter(|text| text.len() == length);
    let (kty, crv) = (text("kty")?, text("crv"));
    match (kty, crv) {
        ("EC", Some(crv)) => {
            // In base64url: 32, 48 and 66 bytes.
            let length = match crv {
                "P-256" => 43,
                "P-384" => 64,
                "P-521" => 88,
                _ => return None,
            };
            let (x, y) = (coordinate("x", length)?, coordinate("y", length)?);
            Some(sha256(&[r#"{"crv":""#, crv, r#"","kty":"EC","x":""#, x, r#"","y":""#, y, r#""}"#]))
        }
        ("OKP", Some("Ed25519")) => {
            Some(sha256(&[r#"{"crv":"Ed25519","kty":"OKP","x":""#, coordinate("x", 43)?, r#""}"#]))
        }
        ("RSA", _) => Some(sha256(&[r#"{"e":""#, number("e")?, r#"","kty":"RSA","n":""#, number("n")?, r#""}"#])),
        _ => None,
    }
}

fn sha256(parts: &[&str]) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(part.as_bytes());
    }
    context.finish().as_ref().try_into().expect("SHA-256 has 32 bytes")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::jose::decode;

    fn of(jwk: &Value) -> Option<[u8; 32]> {
        thumbprint(jwk.as_object().expect("an object"))
    }

    fn known(text: &str) -> Option<[u8; 32]> {
        Some(decode(text).expect("base64url").try_into().expect("32 bytes"))
    }

    #[test]
    fn the_examples_of_the_rfcs_have_the_thumbprints_that_these_state() {
        let rfc7638 = json!({
            "kty": "RSA",
            "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV\
                  4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d\
                  0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44\
                  -csFCur-kEgU8awapJzKnqDKgw",
            "e": "AQAB", "alg": "RS256", "kid": "2011-04-29",
        });
        assert_eq!(of(&rfc7638), known("NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"));
        let rfc8037 = json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"});
        assert_eq!(of(&rfc8037), known("kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"));
        let rfc9449 = json!({
            "kty": "EC", "crv": "P-256",
            "x": "l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs", "y": "9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA",
        });
        assert_eq!(of(&rfc9449), known("0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"));
    }

    #[test]
    fn only_the_required_members_count() {
        let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
        let plain = of(&json!({"kty": "OKP", "crv": "Ed25519", "x": x}));
        let described =
            json!({"x": x, "use": "sig", "kid": "k", "alg": "EdDSA", "y": "z", "crv": "Ed25519", "kty": "OKP"});
        assert!(plain.is_some());
        assert_eq!(of(&described), plain);
    }

    #[test]
    fn every_curve_has_coordinates_of_its_own_length() {
        for (crv, length) in [("P-256", 43), ("P-384", 64), ("P-521", 88)] {
            let key = |x: usize, y: usize| json!({"kty": "EC", "crv": crv, "x": "A".repeat(x), "y": "B".repeat(y)});
            let other = json!({"kty": "EC", "crv": crv, "x": "B".repeat(length), "y": "A".repeat(length)});
            assert!(of(&key(length, length)).is_some() && of(&key(length, length)) != of(&other), "{crv}");
            assert_eq!(of(&key(length - 1, length)), None, "{crv}");
            assert_eq!(of(&key(length, length + 1)), None, "{crv}");
        }
    }

    #[test]
    fn what_is_no_key_or_would_pass_for_another_one_has_no_thumbprint() {
        let quoted = format!("{}\"", "A".repeat(42));
        for bad in [
            json!({}),
            json!({"kty": "oct", "k": "AAAA"}),
            json!({"kty": "OKP", "crv": "X25519", "x": "A".repeat(43)}),
            json!({"kty": "OKP", "crv": "Ed25519", "x": quoted}),
            json!({"kty": "OKP", "crv": "Ed25519", "x": 7}),
            json!({"kty": "EC", "crv": "secp256k1", "x": "A".repeat(43), "y": "A".repeat(43)}),
            json!({"kty": "EC", "crv": "P-256", "x": "A".repeat(43)}),
            json!({"kty": "EC", "x": "A".repeat(43), "y": "A".repeat(43)}),
            json!({"kty": "RSA", "n": "AAAA", "e": ""}),
            json!({"kty": "RSA", "n": "A\",\"x\":\"A", "e": "AQAB"}),
            json!({"kty": "RSA", "n": "AA==", "e": "AQAB"}),
            json!({"kty": "RSA", "e": "AQAB"}),
        ] {
            assert_eq!(of(&bad), None, "{bad}");
        }
    }
}
