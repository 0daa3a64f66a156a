use halfbyte_core::PrincipalKind;
use halfbyte_core::client::Client;
use halfbyte_core::config::IdentityBackend;
use halfbyte_identity::embedded::ClientSpec;
use halfbyte_identity::{Identity, Settings};
use serde_json::{Value, json};

use super::{Registered, SigningKey, access_token, assert_refused, claims_of, status_of};
use crate::support::{Key, NOW, Product, Seen, claims};

const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

fn spec(id: &str) -> ClientSpec {
    ClientSpec::new(id, id.parse().expect("a tenant"))
}

async fn registered(product: &Product, id: &'static str, spec: ClientSpec) -> Registered {
    Registered { id, secret: product.issuer().register(spec).await.expect("registered") }
}

/// The product `parcel`, which may call `clinic` for its callers, and `acme-app`, which calls it.
async fn parties() -> (Product, Registered, Registered) {
    let product = Product::embedded().await;
    let caller = Registered::at(&product, "acme-app").await;
    let spec = spec("parcel").scopes(["labels:read", "visits:read"]).audiences(["clinic", "parcel"]).may_exchange();
    let parcel = registered(&product, "parcel", spec).await;
    (product, caller, parcel)
}

impl Registered {
    async fn exchange(&self, product: &Product, token: &str, audience: &str, more: &[(&str, &str)]) -> Seen {
        let mut fields = vec![
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("subject_token", token),
            ("subject_token_type", ACCESS_TOKEN),
            ("audience", audience),
        ];
        fields.extend(more);
        fields.retain(|(_, value)| !value.is_empty());
        self.post(product, "/oauth/token", &fields).await
    }
}

#[tokio::test]
async fn a_product_has_a_token_by_which_it_calls_another_on_behalf_of_its_caller() {
    let (product, caller, parcel) = parties().await;
    let token = caller.token(&product).await;
    let seen = parcel.exchange(&product, &token, "clinic", &[("requested_token_type", ACCESS_TOKEN)]).await;
    let new = access_token(&seen);
    assert_eq!(seen.header("cache-control"), "no-store");
    let (answer, old, got) = (seen.json(), claims_of(&token), claims_of(&new));
    assert_eq!((&answer["issued_token_type"], &answer["token_type"]), (&json!(ACCESS_TOKEN), &json!("Bearer")));
    assert_eq!(answer["scope"], "labels:read", "what both may");
    assert!((890..=900).contains(&answer["expires_in"].as_i64().expect("a number")));
    let expected = json!({
        "iss": "http://127.0.0.1:8080", "sub": "acme-app", "tenant": "acme", "client_id": "parcel", "aud": "clinic",
        "scope": "labels:read", "act": {"sub": "parcel"}, "iat": got["iat"], "exp": old["exp"], "jti": got["jti"],
        "issued_from": [{"jti": old["jti"], "client_id": "acme-app"}],
    });
    assert_eq!(got, expected);
    assert_ne!(got["jti"], old["jti"]);

    let settings = Settings::new(
        vec![IdentityBackend::Embedded],
        "clinic",
        "http://127.0.0.1:8083".parse().expect("a URL"),
        product.home(),
    );
    let clinic = Identity::open(settings, Client::new().expect("a client"), &product.life).await.expect("opened");
    let principal = clinic.authenticator().authenticate(&new).await.expect("good");
    assert_eq!((principal.subject(), principal.tenant().as_str()), ("acme-app", "acme"));
    assert_eq!(principal.kind(), PrincipalKind::Service, "no person signs in there");
    assert_eq!(principal.actors().iter().map(|actor| &*actor.subject).collect::<Vec<_>>(), ["parcel"]);
    assert!(clinic.authenticator().authenticate(&token).await.is_err(), "which the first was not meant for");
}

#[tokio::test]
async fn the_new_token_tells_how_the_subject_signed_in_and_nothing_else_that_the_old_one_told() {
    let (product, caller, parcel) = parties().await;
    let signed_in = json!({"auth_time": NOW - 60, "acr": "gold", "amr": ["pwd", "otp"], "sid": "s1", "sub": "ann"});
    let mut all = signed_in.clone();
    all["email"] = json!("ann@example.com");
    all["may_act"] = json!({"sub": "parcel"});
    let token = SigningKey::of(&product).token_like(&caller.token(&product).await, &all);
    let got = claims_of(&access_token(&parcel.exchange(&product, &token, "clinic", &[]).await));
    for (claim, value) in signed_in.as_object().expect("an object") {
        assert_eq!(&got[claim], value, "{claim}");
    }
    assert!(got.get("email").is_none() && got.get("may_act").is_none());
}

#[tokio::test]
async fn the_new_token_ends_with_the_old_one() {
    let (product, caller, parcel) = parties().await;
    let token = caller.token(&product).await;
    product.jump(600);
    let seen = parcel.exchange(&product, &token, "clinic", &[]).await;
    assert_eq!(claims_of(&access_token(&seen))["exp"], claims_of(&token)["exp"]);
    assert!((290..=300).contains(&seen.json()["expires_in"].as_i64().expect("a number")));
    // A token that is good for longer than this issuer makes them is not exchanged for another such.
    let long = SigningKey::of(&product).token_like(&token, &json!({"exp": NOW + 1_000_000}));
    let seen = parcel.exchange(&product, &long, "clinic", &[]).await;
    assert_eq!(seen.json()["expires_in"], 900);
    product.jump(300);
    assert_refused(&parcel.exchange(&product, &token, "clinic", &[]).await, 400, "invalid_request");
}

#[tokio::test]
async fn only_a_client_that_may_exchange_does() {
    let (product, caller, _) = parties().await;
    let token = caller.token(&product).await;
    let plain = registered(&product, "parcel", spec("parcel").scopes(["labels:read"]).audiences(["clinic"])).await;
    assert_refused(&plain.exchange(&product, &token, "clinic", &[]).await, 400, "unauthorized_client");
    assert_refused(&caller.exchange(&product, &token, "parcel", &[]).await, 400, "unauthorized_client");
}

#[tokio::test]
async fn a_subject_token_that_cannot_be_accepted_is_refused() {
    let (product, caller, parcel) = parties().await;
    let token = caller.token(&product).await;
    let forge = SigningKey::of(&product);
    let elsewhere = Product::embedded().await;
    let foreign = Registered::at(&elsewhere, "acme-app").await.token(&elsewhere).await;
    let revoked = caller.token(&product).await;
    assert_eq!(caller.revoke(&product, &revoked).await.status, 200);
    let for_clinic = access_token(&product.ask_token("acme-app", &caller.secret, &[("audience", "clinic")]).await);
    let unsigned = token.rsplit_once('.').expect("parts").0;
    let like = |changes: Value| forge.token_like(&token, &changes);
    for (what, bad) in [
        ("garbage", "a.b.c".to_owned()),
        ("of nobody", format!("{unsigned}.{}", "A".repeat(86))),
        ("of an issuer of the same name", foreign),
        ("of another key", Key::es256("k1").token(&claims("http://127.0.0.1:8080"))),
        ("revoked", revoked),
        ("expired", like(json!({"exp": NOW}))),
        ("without an end", like(json!({"exp": null}))),
        ("bound to a key", like(json!({"cnf": {"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}}))),
        ("for a product that the client may call", for_clinic),
        ("for several", like(json!({"aud": ["parcel", "clinic"]}))),
        ("for nobody", like(json!({"aud": null}))),
        ("by another issuer name", like(json!({"iss": "http://127.0.0.1:8081"}))),
        ("of another type", forge.token_of_type("JWT", &claims_of(&token))),
    ] {
        let seen = parcel.exchange(&product, &bad, "clinic", &[]).await;
        assert_eq!((what, seen.status.as_u16()), (what, 400));
        assert_refused(&seen, 400, "invalid_request");
    }
    access_token(&parcel.exchange(&product, &token, "clinic", &[]).await);
}

#[tokio::test]
async fn each_fault_of_an_exchange_has_the_error_of_its_rfc() {
    let (product, caller, parcel) = parties().await;
    let token = caller.token(&product).await;
    for (audience, more, error) in [
        ("bank", &[][..], "invalid_target"),
        ("https://bank.example", &[], "invalid_target"),
        ("clinic", &[("audience", "parcel")], "invalid_request"),
        ("clinic", &[("resource", "parcel")], "invalid_request"),
        ("clinic", &[("scope", "visits:read")], "invalid_scope"),
        ("clinic", &[("scope", "labels:write")], "invalid_scope"),
        ("clinic", &[("scope", "labels:read labels:write")], "invalid_scope"),
        ("clinic", &[("scope", "bank:all")], "invalid_scope"),
        ("clinic", &[("requested_token_type", "urn:ietf:params:oauth:token-type:refresh_token")], "invalid_request"),
        ("clinic", &[("requested_token_type", "urn:ietf:params:oauth:token-type:saml2")], "invalid_request"),
        ("clinic", &[("actor_token", "x")], "invalid_request"),
        ("clinic", &[("actor_token_type", ACCESS_TOKEN)], "invalid_request"),
        ("clinic", &[("subject_token", "x")], "invalid_request"),
    ] {
        assert_refused(&parcel.exchange(&product, &token, audience, more).await, 400, error);
    }
    let grant = ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange");
    for fields in [
        &[grant, ("subject_token", token.as_str())][..],
        &[grant, ("subject_token_type", ACCESS_TOKEN)],
        &[grant, ("subject_token", &token), ("subject_token_type", "urn:ietf:params:oauth:token-type:id_token")],
    ] {
        let fields = [fields, &[("audience", "clinic")]].concat();
        assert_refused(&parcel.post(&product, "/oauth/token", &fields).await, 400, "invalid_request");
    }
}

/// All of it: each client, each caller, each wish.
#[tokio::test]
async fn an_exchange_gives_no_scope_that_either_does_not_have() {
    const SCOPES: [&str; 3] = ["a", "b", "c"];
    let subset = |bits: usize| (0..3).filter(move |bit| bits >> bit & 1 == 1).map(|bit| SCOPES[bit]);
    let product = Product::embedded().await;
    for client in 0..8 {
        let exchanging = spec("parcel").scopes(subset(client)).audiences(["clinic"]).may_exchange();
        let parcel = registered(&product, "parcel", exchanging).await;
        for caller in 0..8 {
            let calling = spec("acme-app").scopes(subset(caller)).audiences(["parcel"]);
            let token = registered(&product, "acme-app", calling).await.token(&product).await;
            for asked in 0..8 {
                let scope = subset(asked).collect::<Vec<_>>().join(" ");
                let seen = parcel.exchange(&product, &token, "clinic", &[("scope", &scope)]).await;
                let both = client & caller;
                if asked & !both == 0 {
                    // What is not asked for is all that both have.
                    let granted = subset(if asked == 0 { both } else { asked }).collect::<Vec<_>>().join(" ");
                    assert_eq!(claims_of(&access_token(&seen))["scope"], granted, "{client} {caller} {asked}");
                } else {
                    assert_refused(&seen, 400, "invalid_scope");
                }
            }
        }
    }
}

const CHAIN: [&str; 10] = ["p0", "p1", "p2", "p3", "p4", "p5", "p6", "p7", "p8", "p9"];

/// A caller of `p0`, and products each of which calls the next one; then the token of each.
async fn chain() -> (Product, Vec<Registered>, Vec<String>) {
    let product = Product::embedded().await;
    let first = spec("acme-app").scopes(["labels:read"]).audiences([CHAIN[0]]);
    let caller = registered(&product, "acme-app", first).await;
    let asked = product.ask_token("acme-app", &caller.secret, &[("audience", CHAIN[0])]).await;
    let (mut parties, mut tokens) = (vec![caller], vec![access_token(&asked)]);
    for pair in CHAIN.windows(2) {
        // The last of a chain is for this product, so that it can be tried out here.
        let spec = spec(pair[0]).scopes(["labels:read"]).audiences([pair[1], "parcel"]).may_exchange();
        let party = registered(&product, pair[0], spec).await;
        if let Some(token) = tokens.last().filter(|_| tokens.len() <= 8) {
            let seen = party.exchange(&product, token, pair[1], &[]).await;
            tokens.push(access_token(&seen));
        }
        parties.push(party);
    }
    (product, parties, tokens)
}

#[tokio::test]
async fn each_who_acts_is_named_and_there_are_at_most_eight() {
    let (product, parties, tokens) = chain().await;
    let mut act = Value::Null;
    for (token, id) in tokens[1..].iter().zip(CHAIN) {
        act = if act.is_null() { json!({"sub": id}) } else { json!({"sub": id, "act": act}) };
        let claims = claims_of(token);
        assert_eq!((&claims["act"], &claims["sub"], &claims["client_id"]), (&act, &json!("acme-app"), &json!(id)));
    }
    assert_eq!(tokens.len(), 9);
    let ninth = parties[9].exchange(&product, &tokens[8], "p9", &[]).await;
    assert_refused(&ninth, 400, "invalid_request");
    assert!(tokens[8].len() < 4096, "{}", tokens[8].len());
}

#[tokio::test]
async fn a_token_ends_with_each_of_those_that_it_was_exchanged_for() {
    for revoked in 0..4 {
        for whole_client in [false, true] {
            let (product, parties, tokens) = chain().await;
            let token = access_token(&parties[4].exchange(&product, &tokens[3], "parcel", &[]).await);
            assert_eq!(status_of(&product, &token).await, 200);
            if whole_client {
                product.issuer().revoke_client(parties[revoked].id).await.expect("revoked");
            } else {
                assert_eq!(parties[revoked].revoke(&product, &tokens[revoked]).await.status, 200);
            }
            assert_eq!(status_of(&product, &token).await, 401, "with the token {revoked}");
            let again = parties[4].exchange(&product, &tokens[3], "parcel", &[]).await;
            assert_refused(&again, 400, "invalid_request");
        }
    }
}

#[tokio::test]
async fn an_unrelated_revocation_leaves_an_exchanged_token_good() {
    let (product, parties, tokens) = chain().await;
    let token = access_token(&parties[4].exchange(&product, &tokens[3], "parcel", &[]).await);
    assert_eq!(parties[4].revoke(&product, &tokens[4]).await.status, 200);
    product.issuer().revoke_client("p8").await.expect("revoked");
    assert_eq!(status_of(&product, &token).await, 200);
    assert_eq!(parties[4].revoke(&product, &token).await.status, 200);
    assert_eq!(status_of(&product, &token).await, 401);
}

#[tokio::test]
async fn a_client_whose_tokens_were_all_revoked_is_spoken_for_again_by_its_next_token() {
    let (product, caller, parcel) = parties().await;
    product.issuer().revoke_client("acme-app").await.expect("revoked");
    product.issuer().revoke_client("parcel").await.expect("revoked");
    let token = caller.token(&product).await;
    let exchanged = access_token(&parcel.exchange(&product, &token, "parcel", &[]).await);
    assert_eq!(status_of(&product, &exchanged).await, 200);
    product.issuer().revoke_client("parcel").await.expect("revoked");
    assert_eq!((status_of(&product, &exchanged).await, status_of(&product, &token).await), (401, 200));
}

/// A process that has not yet seen the revocation may exchange the token; what it gives is no good where it was seen.
#[tokio::test]
async fn a_revoked_token_cannot_be_exchanged_for_a_good_one_at_a_process_that_is_late() {
    let (product, caller, parcel) = parties().await;
    let late = Product::sharing(&product.home(), "http://127.0.0.1:8081").await;
    let mut exchanged = 0;
    for whole_client in [false, true] {
        for _ in 0..3 {
            let token = caller.token(&product).await;
            if whole_client {
                product.issuer().revoke_client("acme-app").await.expect("revoked");
            } else {
                assert_eq!(caller.revoke(&product, &token).await.status, 200);
            }
            let seen = parcel.exchange(&late, &token, "parcel", &[]).await;
            if seen.status == 200 {
                exchanged += 1;
                assert_eq!(status_of(&product, &access_token(&seen)).await, 401);
            }
        }
    }
    assert!(exchanged > 0, "it was never late");
}
