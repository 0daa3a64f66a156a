//! What the configuration says of credentials, over real sockets.

use axum::Router;
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use halfbyte::core::lifecycle::Phase;
use halfbyte::identity::ApiKeySpec;
use halfbyte::identity::testing::{Holder, Issuer, Persona};
use halfbyte::{Contract, Error, Platform, Principal};
use http::Method;
use secrecy::{ExposeSecret as _, SecretString};
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::start;

struct Product {
    platform: Platform,
    http: reqwest::Client,
    _serving: JoinSet<Result<(), Error>>,
    _folder: TempDir,
}

impl Product {
    async fn start(issuer: &Issuer, more: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = start::config(folder.path(), &[&[("HALFBYTE_IDENTITY_URL", issuer.id())], more].concat()).unwrap();
        let platform = Platform::builder("parcel", Contract::V1).config(config).start().await.unwrap();
        let hello = get(async |caller: Principal| caller.subject().to_owned());
        let routes = Router::new().route("/hello", hello.layer(platform.require(&[])));
        let mut serving = JoinSet::new();
        serving.spawn(platform.clone().serve(routes));
        platform.lifecycle().reached(Phase::Ready).await;
        Self { platform, http: reqwest::Client::new(), _serving: serving, _folder: folder }
    }

    async fn ask(&self, headers: &[(&str, &str)]) -> (u16, String) {
        let request = self.http.get(format!("{}hello", self.platform.public_url()));
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        let challenge = answer.headers().get("www-authenticate").map(|value| value.to_str().unwrap().to_owned());
        (status, challenge.unwrap_or(answer.text().await.unwrap()))
    }
}

fn ann() -> Persona {
    Persona::user("ann").tenant("acme")
}

const DER: [u8; 5] = [0x30, 0x03, 0x02, 0x01, 0x05];

#[tokio::test]
async fn a_certificate_counts_from_the_proxies_that_are_configured_and_from_nobody_else() {
    let issuer = Issuer::start().await.unwrap();
    let bearer = format!("Bearer {}", issuer.token(&ann().bound_to_certificate(&DER), "parcel"));
    let certificate = format!(":{}:", STANDARD.encode(DER));
    let headers = [("authorization", &*bearer), ("client-cert", &*certificate)];
    let behind = Product::start(&issuer, &[("HALFBYTE_TRUSTED_PROXIES", "127.0.0.0/8")]).await;
    assert_eq!(behind.ask(&headers).await, (200, "ann".into()));
    assert_eq!(behind.ask(&headers[..1]).await.0, 401);
    for proxies in ["192.0.2.1", "::1", ""] {
        let open = Product::start(&issuer, &[("HALFBYTE_TRUSTED_PROXIES", proxies)]).await;
        assert_eq!(open.ask(&headers).await.0, 401, "{proxies}");
    }
}

#[tokio::test]
async fn a_proof_is_for_the_public_address_and_holds_a_nonce_where_that_is_configured() {
    let issuer = Issuer::start().await.unwrap();
    let holder = Holder::new();
    let token = issuer.token(&holder.bind(ann()), "parcel");
    let authorization = format!("DPoP {token}");
    let plain = Product::start(&issuer, &[]).await;
    let url = format!("{}hello", plain.platform.public_url());
    let proof = holder.proof(&Method::GET, &url, &token);
    assert_eq!(plain.ask(&[("authorization", &authorization), ("dpop", &proof)]).await, (200, "ann".into()));
    assert_eq!(plain.ask(&[("authorization", &authorization), ("dpop", &proof)]).await.0, 401, "used up");

    let strict = Product::start(&issuer, &[("HALFBYTE_DPOP_NONCE", "required")]).await;
    let url = format!("{}hello", strict.platform.public_url());
    let proof = holder.proof(&Method::GET, &url, &token);
    let (status, challenge) = strict.ask(&[("authorization", &authorization), ("dpop", &proof)]).await;
    assert!(status == 401 && challenge.starts_with(r#"DPoP error="use_dpop_nonce","#), "{status} {challenge}");
}

#[tokio::test]
async fn opaque_tokens_need_a_client_id_and_its_secret() {
    let issuer = Issuer::start().await.unwrap();
    issuer.client("parcel-app", "opensesame");
    let bearer = format!("Bearer {}", issuer.opaque_token(&ann(), "parcel"));
    let without = Product::start(&issuer, &[]).await;
    assert_eq!(without.ask(&[("authorization", &bearer)]).await.0, 401);
    let with = Product::start(
        &issuer,
        &[
            ("HALFBYTE_IDENTITY_CLIENT_ID", "parcel-app"),
            ("HALFBYTE_SECRETS_URL", "env:"),
            ("IDENTITY_CLIENT_SECRET", "opensesame"),
        ],
    )
    .await;
    assert_eq!(with.ask(&[("authorization", &bearer)]).await, (200, "ann".into()));
}

#[tokio::test]
async fn api_keys_are_on_in_development_unless_they_are_turned_off() {
    let issuer = Issuer::start().await.unwrap();
    let product = Product::start(&issuer, &[]).await;
    let keys = product.platform.identity().api_keys().unwrap();
    let (_, secret) = keys.create(ApiKeySpec::new("acme".parse().unwrap()).subject("importer")).await.unwrap();
    let secret: SecretString = secret;
    let bearer = format!("Bearer {}", secret.expose_secret());
    assert_eq!(product.ask(&[("authorization", &bearer)]).await, (200, "importer".into()));
    let off = Product::start(&issuer, &[("HALFBYTE_API_KEYS_URL", "off:")]).await;
    assert!(off.platform.identity().api_keys().is_none());
    assert_eq!(off.ask(&[("authorization", &bearer)]).await.0, 401);
}
