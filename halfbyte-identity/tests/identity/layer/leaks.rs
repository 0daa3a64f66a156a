use halfbyte_identity::embedded::ClientSpec;
use secrecy::ExposeSecret as _;

use crate::support::{Heard, Product, get, send, with_token};

#[tokio::test]
async fn no_token_no_secret_and_no_key_is_ever_logged_or_shown() {
    let heard = Heard::listen();
    let mut secrets = Vec::new();
    let shown = {
        let product = Product::embedded().await;
        let service = product.greeter();
        let secret = product.register("acme-app").await;
        let rotated = product.issuer().rotate_client_secret("acme-app").await.expect("rotated");
        let good = product.token(&[]).await;
        let foreign = product.token(&[("audience", "clinic")]).await;
        let mut bad = good.clone();
        bad.replace_range(good.len() - 8.., "AAAAAAAA");
        product.issuer().rotate_signing_key().await.expect("rotated");
        for token in [&good, &foreign, &bad, &good[..80]] {
            let seen = send(&service, with_token(token)).await;
            assert!(!seen.body.contains(token));
        }
        send(&service, get("/")).await;
        product.ask_token("acme-app", &"a-wrong-secret".to_owned().into(), &[]).await;
        product.jump(10_000);
        send(&service, with_token(&good)).await;
        let path = product.home().path().join("identity/issuer.json");
        let file: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).expect("read")).expect("JSON");
        std::fs::write(&path, file.to_string().replace("signing", "sinking")).expect("written");
        let error = product.issuer().register(ClientSpec::new("x", "acme".parse().expect("a tenant"))).await;
        let principal = product.identity.authenticator().authenticate(&good).await;
        let parts = good.split('.').map(str::to_owned);
        secrets.extend(parts);
        secrets.extend([good.clone(), bad, foreign, "a-wrong-secret".to_owned()]);
        secrets.extend([secret, rotated].map(|secret| secret.expose_secret().to_owned()));
        secrets.push(file["client_secret_key"].as_str().expect("text").to_owned());
        secrets.extend(
            file["keys"].as_array().expect("keys").iter().map(|key| key["pkcs8"].as_str().expect("text").to_owned()),
        );
        let tokens = product.identity.tokens("acme-app", || Ok("hbcs_x".to_owned().into()), "parcel", &[]);
        secrets.push("hbcs_x".to_owned());
        format!(
            "{:?} {:?} {:?} {error:?} {principal:?} {tokens:?} {:?}",
            product.identity,
            product.issuer(),
            product.identity.authenticator(),
            product.identity.authenticate(),
        )
    };
    let heard = heard.text();
    assert!(heard.contains("a token is refused"), "else nothing was heard");
    assert!(secrets.len() > 10);
    for secret in secrets {
        assert!(secret.len() > 5);
        assert!(!heard.contains(&secret), "{secret} was logged");
        assert!(!shown.contains(&secret), "{secret} is shown: {shown}");
    }
}
