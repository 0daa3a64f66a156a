use std::time::Duration;

use halfbyte_core::problem::Kind;

use super::Issuer;
use crate::support::{Key, Product, Server, claims, send, with_token};

#[tokio::test]
async fn an_issuer_that_is_gone_at_boot_is_a_503_with_retry_after_until_it_is_back() {
    let listener = Server::listener().await;
    let address = listener.local_addr().expect("an address");
    drop(listener);
    let (id, key) = (format!("http://{address}"), Key::es256("1"));
    let product = Product::of(&[&id]).await;
    assert!(product.identity.ready().await.is_err());
    let (service, token) = (product.greeter(), key.token(&claims(&id)));
    let seen = send(&service, with_token(&token)).await;
    assert_eq!((seen.status.as_u16(), seen.problem().as_str()), (503, "unavailable"));
    assert!(seen.header("retry-after").parse::<u64>().expect("seconds") >= 1);
    assert_eq!(seen.header("www-authenticate"), "", "the caller did nothing wrong");
    // What no key could make good is the caller's fault, keys or not.
    assert_eq!(send(&service, with_token("a.b.c")).await.status, 401);

    let listener = tokio::net::TcpListener::bind(address).await.expect("the port is free still");
    let _issuer = Issuer::start_on(listener, &[&key]);
    let back = async {
        while send(&service, with_token(&token)).await.status != 200 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), back).await.expect("it recovers");
}

#[tokio::test]
async fn an_issuer_that_is_gone_later_leaves_its_last_good_keys_in_force() {
    let key = Key::es256("1");
    let issuer = Issuer::start(&[&key]).await;
    let product = Product::of(&[issuer.id()]).await;
    product.identity.ready().await.expect("ready");
    issuer.fail_with(500);
    tokio::time::sleep(Duration::from_millis(1_050)).await;
    let authenticator = product.identity.authenticator();
    let unknown = Key::es256("new").token(&claims(issuer.id()));
    let refused = authenticator.authenticate(&unknown).await.expect_err("its key cannot be had");
    assert_eq!(refused.kind(), Kind::Unavailable, "it may be good: nobody can tell");
    authenticator.authenticate(&key.token(&claims(issuer.id()))).await.expect("good by the keys at hand");
}

#[tokio::test]
async fn keys_that_are_garbage_leave_the_old_ones_in_force() {
    let key = Key::es256("1");
    let issuer = Issuer::start(&[&key]).await;
    let product = Product::of(&[issuer.id()]).await;
    product.identity.ready().await.expect("ready");
    let huge = format!(r#"{{"keys":[{}]}}"#, " ".repeat(2 << 20));
    for (serial, garbage) in
        ["<html>", r#"{"keys":[]}"#, r#"{"keys":[{"kty":"oct","k":"AA"}]}"#, "", &huge].iter().enumerate()
    {
        issuer.publish_text(garbage);
        let fetches = issuer.fetches();
        let unknown = Key::es256("new").token(&claims(issuer.id()));
        let asked = async {
            while issuer.fetches() == fetches {
                let _refused = product.identity.authenticator().authenticate(&unknown).await;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), asked).await.expect("it is asked for");
        let mut claims = claims(issuer.id());
        claims["jti"] = serial.to_string().into();
        let answer = product.identity.authenticator().authenticate(&key.token(&claims)).await;
        assert!(answer.is_ok(), "{garbage:.20}: {answer:?}");
    }
}
