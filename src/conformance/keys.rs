//! HB-AUTH-006 to 008 and 011: what is asked of issuers, and what clients are told of them.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use halfbyte_core::problem::Kind;
use halfbyte_identity::testing::{Issuer, Outage, Persona};
use http::StatusCode;
use secrecy::SecretString;
use serde_json::{Value, json};

use super::bench::Bench;
use super::check::{Check, Found, Holds, ensure};
use super::client::Ask;
use super::product::{self, Product};
use super::refusals::{is_row, metadata, of};
use super::tokens::{any_route, claims_of, is_taken};

pub(super) const CHECKS: &[Check] = &[
    Check {
        clause: "HB-AUTH-006",
        what: "a rotation of the issuer's keys fails no request, and keys are fetched at most once a second",
        run: |bench| Box::pin(rotation(bench)),
    },
    Check {
        clause: "HB-AUTH-006",
        what: "tokens by keys that nobody has are refused, and do not make keys be fetched again and again",
        run: |bench| Box::pin(unknown_keys(bench)),
    },
    Check {
        clause: "HB-AUTH-007",
        what: "while the issuer is away or talks nonsense, its last keys are used",
        run: |bench| Box::pin(outage(bench)),
    },
    Check {
        clause: "HB-AUTH-007",
        what: "tokens of an issuer that was away from the start are taken once it is there",
        run: |bench| Box::pin(late_issuer(bench)),
    },
    Check {
        clause: "HB-AUTH-008",
        what: "the metadata says of whom tokens are, without credentials",
        run: |bench| Box::pin(documents(bench)),
    },
    Check {
        clause: "HB-AUTH-011",
        what: "an opaque token is taken if the issuer says that it is good and for this product",
        run: |bench| Box::pin(introspection(bench)),
    },
];

/// A product with an issuer of its own, and a request to it by somebody whom that issuer knows.
struct Own {
    issuer: Issuer,
    product: Product,
    persona: Persona,
    ask: Ask,
}

impl Own {
    async fn start(bench: &Bench<'_>, more: &[(&str, &str)], outage: Outage) -> Result<Self, String> {
        let issuer = product::issuer().await?;
        issuer.outage(outage);
        let url = issuer.config_url();
        let variables: Vec<_> =
            [("HALFBYTE_IDENTITY_URL", url.as_str())].into_iter().chain(more.iter().copied()).collect();
        let product = bench.suite.start(&variables).await?;
        let (route, tenant) = (any_route(bench)?, bench.customer().await?);
        let (persona, ask) = (bench.persona(&route, &tenant), bench.ask(&route, tenant.as_str()));
        Ok(Self { issuer, product, persona, ask })
    }

    /// The request with a new token.
    fn ask(&self, bench: &Bench<'_>) -> Ask {
        self.ask.clone().bearer(&self.issuer.token(&self.persona, bench.audience()))
    }

    async fn is_taken(&self, bench: &mut Bench<'_>, ask: Ask) -> Result<(), String> {
        let answer = bench.send_to(&self.product, ask.clone()).await?;
        is_taken(&ask, &answer)
    }
}

/// How often keys may be fetched in a time that began then.
fn most_fetches(began: Instant) -> usize {
    usize::try_from(began.elapsed().as_secs()).unwrap_or(usize::MAX).saturating_add(2)
}

async fn rotation(bench: &mut Bench<'_>) -> Found {
    /// Requests that are under way when the keys change.
    const AT_ONCE: usize = 12;
    let own = Own::start(bench, &[], Outage::None).await?;
    let old = own.ask(bench);
    own.is_taken(bench, old.clone()).await?;
    let (began, fetched) = (Instant::now(), own.issuer.fetches());
    for _ in 0..2 {
        let before = (0..AT_ONCE).map(|_| own.ask(bench)).collect::<Vec<_>>();
        own.issuer.rotate();
        let after = (0..AT_ONCE).map(|_| own.ask(bench)).collect::<Vec<_>>();
        let asks: Vec<_> = before.into_iter().chain(after).chain([old.clone()]).collect();
        let answers = join_all(asks.iter().map(|ask| ask.send(own.product.address))).await;
        for (ask, answer) in asks.iter().zip(answers) {
            bench.keep(ask, &answer);
            is_taken(ask, &answer?)?;
        }
    }
    let fetches = own.issuer.fetches().saturating_sub(fetched);
    ensure(fetches <= most_fetches(began), || format!("keys were fetched {fetches} times in {:?}", began.elapsed()))?;
    own.product.stop().await.map(|()| Holds::Yes)
}

async fn unknown_keys(bench: &mut Bench<'_>) -> Found {
    let own = Own::start(bench, &[], Outage::None).await?;
    own.is_taken(bench, own.ask(bench)).await?;
    let (began, fetched) = (Instant::now(), own.issuer.fetches());
    let claims = claims_of(&own.issuer.token(&own.persona, bench.audience())).to_string();
    let asks: Vec<_> = (0..40)
        .map(|number| {
            let mut header: Value = serde_json::from_str(&own.issuer.header()).unwrap_or_default();
            header["kid"] = json!(format!("nobody-has-it-{}", number % 30));
            own.ask.clone().bearer(&own.issuer.sign(&header.to_string(), &claims))
        })
        .collect();
    let good = own.ask(bench);
    let answers = join_all(asks.iter().chain([&good]).map(|ask| ask.send(own.product.address))).await;
    let metadata = own.product.platform.identity().resource_metadata().to_owned();
    for (ask, answer) in asks.iter().chain([&good]).zip(answers) {
        bench.keep(ask, &answer);
        if std::ptr::eq(ask, &good) {
            is_taken(ask, &answer?)?;
        } else {
            is_row(&answer?, Kind::InvalidToken, "", &metadata).map_err(|how| of(ask, how))?;
        }
    }
    let fetches = own.issuer.fetches().saturating_sub(fetched);
    ensure(fetches <= most_fetches(began), || format!("keys were fetched {fetches} times in {:?}", began.elapsed()))?;
    own.product.stop().await.map(|()| Holds::Yes)
}

async fn outage(bench: &mut Bench<'_>) -> Found {
    let own = Own::start(bench, &[], Outage::None).await?;
    let old = own.ask(bench);
    own.is_taken(bench, old.clone()).await?;
    for outage in [Outage::Refuse, Outage::Error(StatusCode::INTERNAL_SERVER_ERROR), Outage::Garbage] {
        own.issuer.outage(outage);
        // Makes the keys be looked for.
        let header = json!({"alg": "ES256", "typ": "at+jwt", "kid": format!("{outage:?}")}).to_string();
        let claims = claims_of(&own.issuer.token(&own.persona, bench.audience())).to_string();
        let unknown = own.ask.clone().bearer(&own.issuer.sign(&header, &claims));
        let answer = bench.send_to(&own.product, unknown.clone()).await?;
        ensure(is_taken(&unknown, &answer).is_err(), || of(&unknown, format!("taken while {outage:?}")))?;
        for ask in [old.clone(), own.ask(bench)] {
            own.is_taken(bench, ask).await.map_err(|how| format!("while {outage:?}: {how}"))?;
        }
    }
    own.product.stop().await.map(|()| Holds::Yes)
}

async fn late_issuer(bench: &mut Bench<'_>) -> Found {
    /// How often is asked again.
    const TRIES: usize = 150;
    let own = Own::start(bench, &[], Outage::Refuse).await?;
    let ask = own.ask(bench);
    let answer = bench.send_to(&own.product, ask.clone()).await?;
    is_row(&answer, Kind::Unavailable, "", "").map_err(|how| of(&ask, how))?;
    own.issuer.outage(Outage::None);
    let mut last = String::new();
    for _ in 0..TRIES {
        match own.is_taken(bench, ask.clone()).await {
            Ok(()) => return own.product.stop().await.map(|()| Holds::Yes),
            Err(how) => last = how,
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Err(format!("the issuer was back, and a while later: {last}"))
}

async fn documents(bench: &mut Bench<'_>) -> Found {
    let metadata = metadata(bench);
    let base = bench.product.platform.public_url().as_str().trim_end_matches('/').to_owned();
    let path = "/.well-known/oauth-protected-resource";
    ensure(metadata == format!("{base}{path}"), || format!("challenges lead to {metadata:?}"))?;
    for ask in [Ask::new("GET", path), Ask::new("GET", path).http2()] {
        let answer = bench.send(ask.clone()).await?;
        ensure(answer.status == 200, || of(&ask, format!("{}", answer.status)))?;
        let content_type = answer.header("content-type");
        ensure(content_type == Some("application/json"), || of(&ask, format!("the content-type is {content_type:?}")))?;
        let document = answer.json()?;
        ensure(document["resource"] == base, || of(&ask, format!("the resource is {}", document["resource"])))?;
        let issuers = &document["authorization_servers"];
        let ours = json!([bench.suite.issuer.id()]);
        ensure(*issuers == ours, || of(&ask, format!("the authorization servers are {issuers} and not {ours}")))?;
    }
    Ok(Holds::Yes)
}

async fn introspection(bench: &mut Bench<'_>) -> Found {
    let secret = uuid::Uuid::new_v4().simple().to_string();
    bench.suite.secret("a secret of the product", &secret)?;
    let stored =
        bench.product.platform.store_local_secret("identity-client-secret", Some(SecretString::from(secret.clone())));
    stored.await.map_err(|error| format!("{error:?}"))?;
    let own = Own::start(bench, &[("HALFBYTE_IDENTITY_CLIENT_ID", "conformance-client")], Outage::None).await?;
    own.issuer.client("conformance-client", &secret);
    let good = own.ask.clone().bearer(&own.issuer.opaque_token(&own.persona, bench.audience()));
    own.is_taken(bench, good.clone()).await?;
    let metadata = own.product.platform.identity().resource_metadata().to_owned();
    let revoked = own.issuer.opaque_token(&own.persona, bench.audience());
    own.issuer.revoke(&revoked);
    for bad in [own.issuer.opaque_token(&own.persona, "another-product"), revoked, "nobody-issued-it".repeat(3)] {
        let ask = own.ask.clone().bearer(&bad);
        let answer = bench.send_to(&own.product, ask.clone()).await?;
        is_row(&answer, Kind::InvalidToken, "", &metadata).map_err(|how| of(&ask, how))?;
    }
    own.issuer.outage(Outage::Refuse);
    let unseen = own.ask.clone().bearer(&own.issuer.opaque_token(&own.persona, bench.audience()));
    let answer = bench.send_to(&own.product, unseen.clone()).await?;
    is_row(&answer, Kind::Unavailable, "", "").map_err(|how| of(&unseen, how))?;
    own.product.stop().await.map(|()| Holds::Yes)
}
