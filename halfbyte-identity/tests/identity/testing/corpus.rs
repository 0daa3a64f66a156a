use std::collections::HashSet;

use halfbyte_core::problem::Kind;
use halfbyte_identity::jose::Algorithm;
use halfbyte_identity::testing::{Persona, attack};
use http::Request;
use http::header::AUTHORIZATION;

use super::{ann, issuer, request, with_product};
use crate::support::{AUDIENCE, Product};

#[tokio::test]
async fn a_product_behind_our_layers_refuses_every_attack_and_accepts_the_good_token_before_and_after() {
    let (issuer, product) = with_product().await;
    attack::assert_all_refused(product.greeter(), request, &issuer, AUDIENCE, &ann()).await;
}

#[tokio::test]
async fn and_so_it_does_when_it_is_asked_by_grpc() {
    let (issuer, product) = with_product().await;
    let request =
        || Request::post("/labels").header("content-type", "application/grpc").body(String::new()).expect("a request");
    attack::assert_all_refused(product.greeter(), request, &issuer, AUDIENCE, &ann()).await;
}

#[tokio::test]
async fn and_so_it_does_with_keys_of_each_type() {
    for algorithm in [Algorithm::Es384, Algorithm::Rs256, Algorithm::Ps256, Algorithm::EdDsa] {
        let issuer = issuer().await;
        issuer.algorithm(algorithm);
        issuer.forget_old_keys();
        let product = Product::of(&[issuer.id()]).await;
        let report = attack::run(product.greeter(), request, &issuer, AUDIENCE, &ann()).await;
        assert!(report.is_clean(), "{algorithm}: {report}");
    }
}

#[tokio::test]
async fn and_so_it_does_with_another_issuer_at_its_side() {
    let (issuer, other) = (issuer().await, issuer().await);
    let product = Product::of(&[other.id(), issuer.id()]).await;
    attack::assert_all_refused(product.greeter(), request, &issuer, AUDIENCE, &ann()).await;
}

#[tokio::test]
async fn a_persona_that_may_not_do_what_is_asked_for_is_authenticated_all_the_same() {
    let (issuer, product) = with_product().await;
    let guest = Persona::user("guest");
    attack::assert_all_refused(product.greeter(), request, &issuer, AUDIENCE, &guest).await;
}

#[tokio::test]
async fn the_attacks_are_many_each_has_a_name_of_its_own_and_shows_no_credentials() {
    let issuer = issuer().await;
    let attacks = attack::corpus(&issuer, AUDIENCE, &ann());
    assert!(attacks.len() >= 250, "{}", attacks.len());
    let names: HashSet<_> = attacks.iter().map(|attack| attack.name()).collect();
    assert_eq!(names.len(), attacks.len());
    for attack in &attacks {
        assert!(!attack.expected().is_empty() && attack.expected().iter().all(|kind| kind.status() == 401));
        let shown = format!("{attack:?} {:?}", attack.headers());
        let mut sent = attack.headers().values().map(|value| String::from_utf8_lossy(value.as_bytes()));
        assert!(!sent.any(|value| value.len() > 20 && shown.contains(&*value)), "{}", attack.name());
    }
}

#[tokio::test]
async fn nearly_all_attacks_are_bad_tokens_and_no_two_send_the_same() {
    let issuer = issuer().await;
    let attacks = attack::corpus(&issuer, AUDIENCE, &ann());
    let bad = attacks.iter().filter(|attack| attack.expected() == [Kind::InvalidToken]).count();
    assert!(bad * 10 > attacks.len() * 8, "{bad} of {}", attacks.len());
    let sent: HashSet<_> = attacks
        .iter()
        .map(|attack| {
            let mut request = request();
            attack.apply(&mut request);
            let headers = request.headers().iter().map(|(name, value)| format!("{name}: {:?}", value.as_bytes()));
            format!("{} {}", request.uri(), headers.collect::<String>())
        })
        .collect();
    assert_eq!(sent.len(), attacks.len());
}

#[tokio::test]
async fn an_attack_replaces_the_credentials_of_the_request_that_it_is_put_on() {
    let issuer = issuer().await;
    for attack in attack::corpus(&issuer, AUDIENCE, &ann()) {
        let mut request = request();
        request.headers_mut().insert(AUTHORIZATION, "Bearer good".parse().expect("a value"));
        attack.apply(&mut request);
        let values = |name| request.headers().get_all(name).iter().collect::<Vec<_>>();
        assert_eq!(values(AUTHORIZATION), attack.headers().get_all(AUTHORIZATION).iter().collect::<Vec<_>>());
        assert_eq!(request.uri().path(), "/labels");
    }
}
