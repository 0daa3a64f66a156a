//! Services that are broken in one way, and how their reports are read.

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use halfbyte_identity::jose::{self, Algorithm, JwkSet, Object};
use halfbyte_identity::testing::Issuer;
use halfbyte_identity::testing::attack::{self, Fault, Report};
use http::header::AUTHORIZATION;
use http::{HeaderMap, Request, Response, StatusCode};
use serde_json::Value;
use tower::{ServiceExt as _, service_fn};

use super::{ann, fetched, request, with_product};
use crate::support::{AUDIENCE, Product};

/// A good product behind something that makes good tokens of bad ones, as a broken verifier does.
pub struct Broken {
    pub issuer: Issuer,
    product: Product,
    keys: JwkSet,
}

impl Broken {
    pub async fn new() -> Self {
        let (issuer, product) = with_product().await;
        let keys = JwkSet::parse(fetched(&issuer, "/jwks").await.as_bytes()).expect("keys");
        Self { issuer, product, keys }
    }

    /// `change` is what the service makes of a token before it looks at it as it should; `None` leaves it as it is.
    pub async fn attacked(&self, change: impl Fn(&str) -> Option<String>) -> Report {
        let greeter = self.product.greeter();
        let service = service_fn(|mut request: Request<String>| {
            let changed = single_bearer(request.headers()).and_then(&change);
            if let Some(token) = changed {
                let value = format!("Bearer {token}").parse().expect("a value");
                request.headers_mut().insert(AUTHORIZATION, value);
            }
            greeter.clone().oneshot(request)
        });
        attack::run(service, request, &self.issuer, AUDIENCE, &ann()).await
    }

    /// The claims of a token whose signature is good, read strictly.
    pub fn verified(&self, token: &str) -> Option<Object> {
        let verified = jose::verify(token, &self.keys, &[Algorithm::Es256]).ok()?;
        jose::parse_object(&verified.payload).ok()
    }

    /// A service that does not look at one claim of tokens whose signature is good.
    pub async fn ignoring(&self, claim: &str, good: Value) -> Report {
        self.attacked(|token| {
            let mut claims = self.verified(token)?;
            claims.insert(claim.to_owned(), good.clone());
            Some(self.issuer.sign(&header_of(token)?.to_string(), &Value::Object(claims).to_string()))
        })
        .await
    }

    /// What a service makes of a token whose claims it believes: a good one.
    pub fn believed(&self, token: &str) -> Option<String> {
        Some(self.issuer.sign(&self.issuer.header(), &claims_of(token)?.to_string()))
    }
}

pub fn single_bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().filter(|_| values.next().is_none())?;
    value.to_str().ok()?.strip_prefix("Bearer ")
}

/// Reads base64url as careless decoders do.
pub fn carelessly(text: &str) -> Option<Vec<u8>> {
    let config = GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent);
    GeneralPurpose::new(&URL_SAFE, config).decode(text).ok()
}

pub fn json_of(part: &str) -> Option<Value> {
    serde_json::from_slice(&carelessly(part)?).ok()
}

pub fn header_of(token: &str) -> Option<Value> {
    json_of(token.split('.').next()?)
}

pub fn claims_of(token: &str) -> Option<Value> {
    json_of(token.split('.').nth(1)?)
}

/// The names of all attacks that got through, which are all that there is to say.
pub fn let_through(report: &Report) -> Vec<&'static str> {
    let all = report.findings().iter();
    let through = all.clone().filter(|finding| matches!(finding.fault, Fault::LetThrough(StatusCode::OK)));
    let through: Vec<_> = through.map(|finding| finding.attack).collect();
    assert_eq!(through.len(), all.len(), "{report}");
    through
}

pub fn answer(status: u16, body: &str) -> Response<String> {
    Response::builder().status(status).body(body.to_owned()).expect("a response")
}
