//! HB-AUTH-009, 010 and 012: tokens that are bound to their holder, and API keys.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use halfbyte_core::problem::Kind;
use halfbyte_identity::api_keys::ApiKeySpec;
use halfbyte_identity::testing::{Holder, Persona};
use http::header::AUTHORIZATION;
use http::{HeaderName, Method};
use secrecy::ExposeSecret as _;
use serde_json::json;

use super::bench::Bench;
use super::check::{Check, Found, Holds, NO_ROUTE, ensure};
use super::client::{Answer, Ask};
use super::product::Product;
use super::refusals::{by_each_protocol, is_row, of, quotable};
use super::tokens::{any_route, is_bad, is_taken};
use crate::manifest::Route;

pub(super) const CHECKS: &[Check] = &[
    Check {
        clause: "HB-AUTH-009",
        what: "a token that is bound to a key is good with a proof, and with nothing else",
        run: |bench| Box::pin(bound_to_key(bench)),
    },
    Check {
        clause: "HB-AUTH-009",
        what: "a token that is bound to a certificate is good with it, from a proxy that is trusted",
        run: |bench| Box::pin(bound_to_certificate(bench)),
    },
    Check {
        clause: "HB-AUTH-010",
        what: "a proof is for one request, one token and one time",
        run: |bench| Box::pin(proofs(bench)),
    },
    Check {
        clause: "HB-AUTH-010",
        what: "where nonces are required, a proof without one is told one, and good with it",
        run: |bench| Box::pin(nonces(bench)),
    },
    Check {
        clause: "HB-AUTH-012",
        what: "an API key is good until it is revoked, and all bad ones are refused in the same words",
        run: |bench| Box::pin(api_keys(bench)),
    },
    Check {
        clause: "HB-AUTH-012",
        what: "where API keys are off, none is good",
        run: |bench| Box::pin(api_keys_off(bench)),
    },
];

const DPOP: HeaderName = HeaderName::from_static("dpop");
const CLIENT_CERT: HeaderName = HeaderName::from_static("client-cert");

/// A route, somebody with a key of his own, and where the product says that the route is.
struct Bound {
    holder: Holder,
    persona: Persona,
    ask: Ask,
    method: Method,
    url: String,
}

impl Bound {
    async fn new(bench: &Bench<'_>, product: &Product, route: &Route) -> Result<Self, String> {
        let (holder, tenant) = (Holder::new(), bench.customer().await?);
        let ask = bench.ask(route, tenant.as_str());
        let url = format!("{}{}", product.platform.public_url().as_str().trim_end_matches('/'), ask.path);
        let persona = bench.persona(route, &tenant);
        Ok(Self { holder, persona, method: ask.method.clone(), ask, url })
    }

    fn token(&self, bench: &Bench<'_>) -> String {
        bench.token(&self.holder.bind(self.persona.clone()))
    }

    fn ask(&self, token: &str, proof: &str) -> Ask {
        self.ask.clone().header(AUTHORIZATION, &format!("DPoP {token}")).header(DPOP, proof)
    }
}

/// Whether `answer` challenges by DPoP with `error`.
fn is_challenge(ask: &Ask, answer: &Answer, error: &str, metadata: &str) -> Result<(), String> {
    ensure(answer.problem() == Kind::InvalidToken.slug(), || {
        of(ask, format!("{} {}", answer.status, answer.problem()))
    })?;
    let (got, detail) = (answer.values("www-authenticate"), quotable(&answer.detail()));
    let start =
        format!("DPoP error=\"{error}\",error_description=\"{detail}\",resource_metadata=\"{metadata}\",algs=\"");
    let is_it = matches!(&got[..], [one] if one.starts_with(&start));
    ensure(is_it, || of(ask, format!("the challenge is {got:?} and not {start}…")))
}

async fn bound_to_key(bench: &mut Bench<'_>) -> Found {
    let metadata = super::refusals::metadata(bench);
    let routes = bench.answering();
    for route in &routes {
        let bound = Bound::new(bench, bench.product, route).await?;
        let token = bound.token(bench);
        let proof = || bound.holder.proof(&bound.method, &bound.url, &token);
        for ask in [bound.ask(&token, &proof()), bound.ask(&token, &proof()).http2()] {
            let answer = bench.send(ask.clone()).await?;
            is_taken(&ask, &answer)?;
        }
        for ask in [bound.ask.clone().bearer(&token), bound.ask.clone().bearer(&token).header(DPOP, &proof())] {
            let answer = bench.send(ask.clone()).await?;
            is_challenge(&ask, &answer, "invalid_token", &metadata)?;
        }
        let without = bound.ask.clone().header(AUTHORIZATION, &format!("DPoP {token}"));
        for ask in by_each_protocol(without) {
            let answer = bench.send(ask.clone()).await?;
            is_challenge(&ask, &answer, "invalid_dpop_proof", &metadata)?;
        }
        let unbound = bench.token(&bound.persona);
        let ask = bound.ask(&unbound, &bound.holder.proof(&bound.method, &bound.url, &unbound));
        let answer = bench.send(ask.clone()).await?;
        is_challenge(&ask, &answer, "invalid_token", &metadata)?;
        let otherwise = bound.persona.clone().claim("cnf", json!({"kid": "a key that somebody has"}));
        is_bad(bench, bound.ask.clone().bearer(&bench.token(&otherwise))).await?;
    }
    Ok(Holds::if_any(routes.len(), NO_ROUTE))
}

/// The shortest thing that counts as a certificate: that it is one, the proxy has seen.
const DER: [u8; 5] = [0x30, 0x03, 0x02, 0x01, 0x05];

async fn bound_to_certificate(bench: &mut Bench<'_>) -> Found {
    let (route, tenant) = (any_route(bench)?, bench.customer().await?);
    let token = bench.token(&bench.persona(&route, &tenant).bound_to_certificate(&DER));
    let ask = bench.ask(&route, tenant.as_str()).bearer(&token);
    let shown = |der: &[u8]| ask.clone().header(CLIENT_CERT, &format!(":{}:", STANDARD.encode(der)));
    // The suite is no proxy to the product that all checks share.
    is_bad(bench, shown(&DER)).await?;
    is_bad(bench, ask.clone()).await?;
    let behind = bench.suite.start(&[("HALFBYTE_TRUSTED_PROXIES", "127.0.0.1/32")]).await?;
    let answer = bench.send_to(&behind, shown(&DER)).await?;
    is_taken(&ask, &answer)?;
    let metadata = behind.platform.identity().resource_metadata().to_owned();
    for bad in [ask.clone(), shown(&[0x30, 0x03, 0x02, 0x01, 0x06]), shown(&DER).header(CLIENT_CERT, ":MAMCAQU=:")] {
        let answer = bench.send_to(&behind, bad.clone()).await?;
        is_row(&answer, Kind::InvalidToken, "", &metadata).map_err(|how| of(&bad, how))?;
    }
    behind.stop().await.map(|()| Holds::Yes)
}

async fn proofs(bench: &mut Bench<'_>) -> Found {
    let metadata = super::refusals::metadata(bench);
    let routes = bench.answering();
    for route in &routes {
        let bound = Bound::new(bench, bench.product, route).await?;
        let token = bound.token(bench);
        let Bound { holder, method, url, .. } = &bound;
        let once = holder.proof(method, url, &token);
        let ask = bound.ask(&token, &once);
        let answer = bench.send(ask.clone()).await?;
        is_taken(&ask, &answer)?;
        let other_method = if *method == Method::GET { Method::PUT } else { Method::GET };
        let long_ago = halfbyte_core::Clock::system().now() - jiff::SignedDuration::from_secs(120);
        let bad = [
            ("used twice", once),
            ("for another method", holder.proof(&other_method, url, &token)),
            ("for another path", holder.proof(method, &format!("{url}x"), &token)),
            ("for another host", holder.proof(method, "https://elsewhere.example/", &token)),
            ("for another token", holder.proof(method, url, &bench.token(&bound.persona))),
            ("for no token", holder.proof_without_token(method, url, None)),
            ("of a thief", Holder::new().proof(method, url, &token)),
            (
                "of two minutes ago",
                Holder::with_clock(halfbyte_core::Clock::manual(long_ago)).proof(method, url, &token),
            ),
            ("empty", String::new()),
        ];
        for (what, proof) in bad {
            let ask = bound.ask(&token, &proof);
            let answer = bench.send(ask.clone()).await?;
            is_challenge(&ask, &answer, "invalid_dpop_proof", &metadata).map_err(|how| format!("{what}: {how}"))?;
        }
    }
    Ok(Holds::if_any(routes.len(), NO_ROUTE))
}

async fn nonces(bench: &mut Bench<'_>) -> Found {
    let product = bench.suite.start(&[("HALFBYTE_DPOP_NONCE", "required")]).await?;
    let metadata = product.platform.identity().resource_metadata().to_owned();
    let bound = Bound::new(bench, &product, &any_route(bench)?).await?;
    let token = bound.token(bench);
    let Bound { holder, method, url, .. } = &bound;
    let mut nonce = String::new();
    for proof in [holder.proof(method, url, &token), holder.proof_with_nonce(method, url, &token, "made-up")] {
        let ask = bound.ask(&token, &proof);
        let answer = bench.send_to(&product, ask.clone()).await?;
        is_challenge(&ask, &answer, "use_dpop_nonce", &metadata)?;
        nonce = answer.header("dpop-nonce").unwrap_or_default().to_owned();
        ensure(!nonce.is_empty(), || of(&ask, "no nonce is told".to_owned()))?;
    }
    let ask = bound.ask(&token, &holder.proof_with_nonce(method, url, &token, &nonce));
    let answer = bench.send_to(&product, ask.clone()).await?;
    is_taken(&ask, &answer)?;
    product.stop().await.map(|()| Holds::Yes)
}

async fn api_keys(bench: &mut Bench<'_>) -> Found {
    let Some(keys) = bench.product.platform.identity().api_keys() else {
        return Ok(Holds::NotHere("the product has no API keys"));
    };
    let mut words = Vec::new();
    let routes = bench.answering();
    for route in &routes {
        let tenant = bench.customer().await?;
        let spec = || {
            ApiKeySpec::new(tenant.clone())
                .scopes(&route.asks.scopes)
                .roles(route.asks.roles.iter().filter(|role| role.is_ascii() && !role.contains(' ')))
        };
        let create = async || keys.create(spec()).await.map_err(|error| error.to_string());
        let (_, key) = create().await?;
        let key = key.expose_secret().to_owned();
        let good = bench.ask(route, tenant.as_str()).bearer(&key);
        for ask in [good.clone(), good.http2()] {
            let answer = bench.send(ask.clone()).await?;
            is_taken(&ask, &answer)?;
            let is_seen = answer.problem() != "insufficient-scope";
            ensure(is_seen, || of(&ask, "the scopes of an API key are not seen".into()))?;
        }
        let (revoked, secret) = create().await?;
        keys.revoke(&revoked.id).await.map_err(|error| error.to_string())?;
        let (seen_and_revoked, seen) = create().await?;
        let ask = bench.ask(route, tenant.as_str()).bearer(seen.expose_secret());
        let answer = bench.send(ask.clone()).await?;
        is_taken(&ask, &answer)?;
        keys.revoke(&seen_and_revoked.id).await.map_err(|error| error.to_string())?;
        let last = key.chars().last().unwrap_or_default();
        let mistyped = format!("{}{}", &key[..key.len() - 1], if last == 'a' { 'b' } else { 'a' });
        let bad = [
            secret.expose_secret().to_owned(),
            seen.expose_secret().to_owned(),
            mistyped,
            key.replacen("hb_dev_", "hb_live_", 1),
            key.replacen("hb_dev_", "hb_stg_", 1),
            format!("hb_dev_{}_{}", "0".repeat(12), "1".repeat(49)),
            format!("{key}x"),
        ];
        for key in bad {
            let ask = bench.ask(route, tenant.as_str()).bearer(&key);
            is_bad(bench, ask.clone()).await?;
            words.push(bench.send(ask).await?.detail());
        }
    }
    words.dedup();
    ensure(words.len() <= 1, || format!("bad keys are told apart: {words:?}"))?;
    Ok(Holds::if_any(routes.len(), NO_ROUTE))
}

async fn api_keys_off(bench: &mut Bench<'_>) -> Found {
    let Some(keys) = bench.product.platform.identity().api_keys() else {
        return Ok(Holds::NotHere("the product has no API keys"));
    };
    let (route, tenant) = (any_route(bench)?, bench.customer().await?);
    let (_, key) = keys.create(ApiKeySpec::new(tenant.clone())).await.map_err(|error| error.to_string())?;
    let off = bench.suite.start(&[("HALFBYTE_API_KEYS_URL", "off:")]).await?;
    let ask = bench.ask(&route, tenant.as_str()).bearer(key.expose_secret());
    let answer = bench.send_to(&off, ask.clone()).await?;
    let metadata = off.platform.identity().resource_metadata().to_owned();
    is_row(&answer, Kind::InvalidToken, "", &metadata).map_err(|how| of(&ask, how))?;
    off.stop().await.map(|()| Holds::Yes)
}
