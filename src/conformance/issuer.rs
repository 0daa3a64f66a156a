//! HB-ISS: the issuer that stands in the product where there is no other.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use halfbyte_core::{TenantId, error_chain};
use halfbyte_identity::embedded::{ClientSpec, Embedded};
use http::header::AUTHORIZATION;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::bench::Bench;
use super::check::{Check, Found, Holds, ensure};
use super::client::{Answer, Ask};
use super::product::Product;
use super::refusals::of;
use super::tokens::{any_route, claims_of, is_taken};

pub(super) const CHECKS: &[Check] = &[
    Check {
        clause: "HB-ISS-001",
        what: "the issuer's documents and endpoints are there, without an access token",
        run: |bench| Box::pin(documents(bench)),
    },
    Check {
        clause: "HB-ISS-002",
        what: "a client says who it is in one of two ways, and is refused in the words of RFC 6749",
        run: |bench| Box::pin(clients(bench)),
    },
    Check {
        clause: "HB-ISS-003",
        what: "tokens are ES256, at+jwt, and good for 900 seconds",
        run: |bench| Box::pin(tokens(bench)),
    },
    Check {
        clause: "HB-ISS-004",
        what: "what was good before a rotation is good after it, but for a secret of two rotations ago",
        run: |bench| Box::pin(rotations(bench)),
    },
    Check {
        clause: "HB-ISS-005",
        what: "a token is granted for what its client may have, and nothing else is",
        run: |bench| Box::pin(grants(bench)),
    },
    Check {
        clause: "HB-ISS-006",
        what: "a revoked token is refused from the next request on, and only its own client revokes it",
        run: |bench| Box::pin(revocations(bench)),
    },
    Check {
        clause: "HB-ISS-006",
        what: "what one process on the home folder revokes, another one refuses a little later",
        run: |bench| Box::pin(revoked_elsewhere(bench)),
    },
    Check {
        clause: "HB-ISS-007",
        what: "a token is told of to whom it was issued or meant for, and to nobody else",
        run: |bench| Box::pin(introspections(bench)),
    },
    Check {
        clause: "HB-ISS-008",
        what: "who may exchange a token gets one that is no more than it, and is revoked with it",
        run: |bench| Box::pin(exchanges(bench)),
    },
    Check {
        clause: "HB-ISS-008",
        what: "at most eight act one for the other, each of whom a token names",
        run: |bench| Box::pin(chain(bench)),
    },
];

const TOKEN: &str = "/oauth/token";
const REVOKE: &str = "/oauth/revoke";
const INTROSPECT: &str = "/oauth/introspect";
const CREDENTIALS: (&str, &str) = ("grant_type", "client_credentials");
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const EXCHANGE: (&str, &str) = ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange");

/// The fields of a form.
type Form<'f> = &'f [(&'f str, &'f str)];

/// The product with the issuer in it.
struct Own {
    product: Product,
    name: String,
}

struct Client {
    id: String,
    secret: String,
}

impl Own {
    async fn start(bench: &Bench<'_>) -> Result<Self, String> {
        let product = bench.suite.start(&[("HALFBYTE_IDENTITY_URL", "embedded:")]).await?;
        Ok(Self { product, name: bench.audience().to_owned() })
    }

    fn embedded(&self) -> Result<&Embedded, String> {
        self.product.platform.identity().embedded().ok_or_else(|| "there is no embedded issuer".to_owned())
    }

    /// A client that may have the scopes `a` and `b`, for the product and another one, changed by `change`.
    async fn client(&self, change: impl FnOnce(ClientSpec) -> ClientSpec) -> Result<Client, String> {
        let id = format!("client-{}", uuid::Uuid::new_v4().simple());
        self.client_called(&id, change).await
    }

    async fn client_called(&self, id: &str, change: impl FnOnce(ClientSpec) -> ClientSpec) -> Result<Client, String> {
        let tenant = TenantId::new("conformance").map_err(|error| error.to_string())?;
        let spec = ClientSpec::new(id, tenant).scopes(["a", "b"]).audiences([self.name.as_str(), "another"]);
        let secret = self.embedded()?.register(change(spec)).await.map_err(|error| error_chain(&error).to_string())?;
        Ok(Client { id: id.to_owned(), secret: secret.expose_secret().to_owned() })
    }

    async fn ask(
        &self,
        bench: &mut Bench<'_>,
        path: &str,
        client: &Client,
        form: &[(&str, &str)],
    ) -> Result<Answer, String> {
        bench.send_to(&self.product, basic(Ask::new("POST", path).form(form), &client.id, &client.secret)).await
    }

    /// A token of `client`, by what is asked besides.
    async fn token(&self, bench: &mut Bench<'_>, client: &Client, more: &[(&str, &str)]) -> Result<String, String> {
        let form: Vec<_> = [CREDENTIALS].into_iter().chain(more.iter().copied()).collect();
        let answer = self.ask(bench, TOKEN, client, &form).await?;
        let token = answer.json()?["access_token"].as_str().map(str::to_owned);
        token.ok_or_else(|| format!("no token is granted: {}", answer.status))
    }

    /// Whether a route takes `token`.
    async fn takes(&self, bench: &mut Bench<'_>, token: &str) -> Result<Result<(), String>, String> {
        let ask = bench.ask(&any_route(bench)?, "conformance").bearer(token);
        let answer = bench.send_to(&self.product, ask.clone()).await?;
        let is_refused = answer.problem() == "invalid-token";
        Ok(if is_refused { Err(of(&ask, "refused with invalid-token".into())) } else { is_taken(&ask, &answer) })
    }

    async fn does_not_take(&self, bench: &mut Bench<'_>, token: &str, what: &str) -> Result<(), String> {
        let ask = bench.ask(&any_route(bench)?, "conformance").bearer(token);
        let answer = bench.send_to(&self.product, ask.clone()).await?;
        ensure(answer.problem() == "invalid-token", || of(&ask, format!("{what} is answered with {}", answer.status)))
    }
}

fn basic(ask: Ask, id: &str, secret: &str) -> Ask {
    ask.header(AUTHORIZATION, &format!("Basic {}", STANDARD.encode(format!("{id}:{secret}"))))
}

/// Whether `answer` is a refusal with `error` in the form of RFC 6749, 5.2.
fn is_refusal(answer: &Answer, error: &str) -> Result<(), String> {
    let status = if error == "invalid_client" { 401 } else { 400 };
    let body = answer.json().unwrap_or_default();
    let how = || format!("{} {} and not {status} {error}", answer.status, body["error"]);
    ensure(answer.status == status && body["error"] == error && body["error_description"].is_string(), how)?;
    let caching = answer.header("cache-control");
    ensure(caching == Some("no-store"), || format!("cache-control is {caching:?}"))?;
    let challenge = answer.values("www-authenticate");
    let expected = Vec::from_iter((status == 401).then_some("Basic realm=\"token\""));
    ensure(challenge == expected, || format!("the challenge is {challenge:?}"))
}

async fn documents(bench: &mut Bench<'_>) -> Found {
    let own = Own::start(bench).await?;
    let base = own.product.platform.public_url().as_str().trim_end_matches('/').to_owned();
    for path in ["/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"] {
        let ask = Ask::new("GET", path);
        let answer = bench.send_to(&own.product, ask.clone()).await?;
        ensure(answer.status == 200, || of(&ask, format!("{}", answer.status)))?;
        let document = answer.json()?;
        let issuer = own.embedded()?.issuer();
        ensure(document["issuer"] == issuer, || of(&ask, format!("the issuer is {}", document["issuer"])))?;
        let endpoints = [
            ("jwks_uri", "/oauth/jwks"),
            ("token_endpoint", TOKEN),
            ("revocation_endpoint", REVOKE),
            ("introspection_endpoint", INTROSPECT),
        ];
        for (member, path) in endpoints {
            let at = &document[member];
            ensure(*at == format!("{base}{path}"), || of(&ask, format!("the {member} is {at}")))?;
        }
    }
    let ask = Ask::new("GET", "/oauth/jwks");
    let answer = bench.send_to(&own.product, ask.clone()).await?;
    let keys = answer.json()?["keys"].as_array().cloned().unwrap_or_default();
    let are_public = keys.iter().all(|key| key["kty"] == "EC" && key["kid"].is_string() && key.get("d").is_none());
    ensure(!keys.is_empty() && are_public, || of(&ask, "these are no public keys".to_owned()))?;
    for path in [TOKEN, REVOKE, INTROSPECT] {
        let ask = Ask::new("GET", path).bearer("a.b.c");
        let answer = bench.send_to(&own.product, ask.clone()).await?;
        ensure(answer.status == 405, || of(&ask, format!("{}", answer.status)))?;
    }
    own.product.stop().await.map(|()| Holds::Yes)
}

async fn clients(bench: &mut Bench<'_>) -> Found {
    let own = Own::start(bench).await?;
    let Client { id, secret } = own.client(|client| client).await?;
    for path in [TOKEN, REVOKE, INTROSPECT] {
        let form = [CREDENTIALS, ("token", "unknown")];
        let ask = Ask::new("POST", path).form(&form);
        let by_post = |secret: &str| {
            let form = [CREDENTIALS, ("token", "unknown"), ("client_id", &id), ("client_secret", secret)];
            Ask::new("POST", path).form(&form)
        };
        for good in [basic(ask.clone(), &id, &secret), by_post(&secret), by_post(&secret).http2()] {
            let answer = bench.send_to(&own.product, good.clone()).await?;
            ensure(answer.status == 200, || of(&good, format!("{}", answer.status)))?;
        }
        let nobody = [
            ask.clone(),
            basic(ask.clone(), &id, "wrong"),
            basic(ask.clone(), "nobody", &secret),
            by_post("wrong"),
            ask.clone().bearer(&secret),
        ];
        for bad in nobody {
            let answer = bench.send_to(&own.product, bad.clone()).await?;
            is_refusal(&answer, "invalid_client").map_err(|how| of(&bad, how))?;
        }
        let invalid = [
            Ask::new("POST", path).form(&[
                ("client_id", &id),
                ("client_secret", &secret),
                ("scope", "a"),
                ("scope", "b"),
            ]),
            Ask::new("POST", path).form(&[
                ("client_id", &id),
                ("client_secret", &secret),
                ("x", &"x".repeat(17 * 1024)),
            ]),
            basic(by_post(&secret), &id, &secret),
        ];
        for bad in invalid {
            let answer = bench.send_to(&own.product, bad.clone()).await?;
            is_refusal(&answer, "invalid_request").map_err(|how| of(&bad, how))?;
        }
    }
    own.product.stop().await.map(|()| Holds::Yes)
}

async fn tokens(bench: &mut Bench<'_>) -> Found {
    let own = Own::start(bench).await?;
    let client = own.client(|client| client).await?;
    let answer = own.ask(bench, TOKEN, &client, &[CREDENTIALS]).await?;
    let grant = answer.json()?;
    ensure(grant["expires_in"] == 900, || format!("a token expires in {}", grant["expires_in"]))?;
    ensure(grant["token_type"] == "Bearer", || format!("a token is of the type {}", grant["token_type"]))?;
    let caching = answer.header("cache-control");
    ensure(caching == Some("no-store"), || format!("cache-control is {caching:?}"))?;
    let token = grant["access_token"].as_str().unwrap_or_default();
    let header = token.split('.').next().and_then(|header| URL_SAFE_NO_PAD.decode(header).ok()).unwrap_or_default();
    let header: Value = serde_json::from_slice(&header).unwrap_or_default();
    ensure(header["alg"] == "ES256" && header["typ"] == "at+jwt", || format!("the header of a token is {header}"))?;
    let claims = claims_of(token);
    let lifetime = claims["exp"].as_i64().zip(claims["iat"].as_i64()).map(|(exp, iat)| exp - iat);
    ensure(lifetime == Some(900), || format!("a token is good for {lifetime:?} seconds"))?;
    ensure(own.takes(bench, token).await?.is_ok(), || "the product does not take its own token".to_owned())?;
    own.product.stop().await.map(|()| Holds::Yes)
}

async fn rotations(bench: &mut Bench<'_>) -> Found {
    let own = Own::start(bench).await?;
    let client = own.client(|client| client).await?;
    let before = own.token(bench, &client, &[]).await?;
    let rotated = own.embedded()?.rotate_signing_key().await;
    rotated.map_err(|error| error_chain(&error).to_string())?;
    let after = own.token(bench, &client, &[]).await?;
    for (token, which) in [(&before, "before"), (&after, "after")] {
        own.takes(bench, token).await?.map_err(|how| format!("a token of {which} the rotation: {how}"))?;
    }
    let mut secrets = vec![client.secret.clone()];
    for good in [[true, true, false], [false, true, true]] {
        let secret = own.embedded()?.rotate_client_secret(&client.id).await;
        secrets.push(secret.map_err(|error| error_chain(&error).to_string())?.expose_secret().to_owned());
        for (secret, is_good) in secrets.iter().zip(good) {
            let with = Client { id: client.id.clone(), secret: secret.clone() };
            let answer = own.ask(bench, TOKEN, &with, &[CREDENTIALS]).await?;
            let status = if is_good { 200 } else { 401 };
            ensure(answer.status == status, || format!("after {} rotations: {}", secrets.len() - 1, answer.status))?;
        }
    }
    own.product.stop().await.map(|()| Holds::Yes)
}

async fn grants(bench: &mut Bench<'_>) -> Found {
    let own = Own::start(bench).await?;
    let client = own.client(|client| client).await?;
    let base = own.product.platform.public_url().as_str().trim_end_matches('/').to_owned();
    let (us, all) = (own.name.as_str(), "a b");
    let good: [(Form<'_>, &str, &str); 6] = [
        (&[], us, all),
        (&[("scope", "a")], us, "a"),
        (&[("audience", us)], us, all),
        (&[("resource", base.as_str())], us, all),
        (&[("audience", "another")], "another", all),
        (&[("resource", "another"), ("scope", "b")], "another", "b"),
    ];
    for (asked, audience, scope) in good {
        let claims = claims_of(&own.token(bench, &client, asked).await?);
        let is_it = claims["aud"] == audience && claims["scope"] == scope && claims["tenant"] == "conformance";
        ensure(is_it, || format!("{asked:?} is granted {claims}"))?;
    }
    let bad: [(Form<'_>, &str); 7] = [
        (&[("grant_type", "password")], "unsupported_grant_type"),
        (&[("grant_type", "authorization_code")], "unsupported_grant_type"),
        (&[], "invalid_request"),
        (&[CREDENTIALS, ("audience", "not-for-this-client")], "invalid_target"),
        (&[CREDENTIALS, ("resource", "https://elsewhere.example")], "invalid_target"),
        (&[CREDENTIALS, ("audience", us), ("resource", us)], "invalid_request"),
        (&[CREDENTIALS, ("scope", "a c")], "invalid_scope"),
    ];
    for (form, error) in bad {
        let answer = own.ask(bench, TOKEN, &client, form).await?;
        is_refusal(&answer, error).map_err(|how| format!("{form:?}: {how}"))?;
    }
    own.product.stop().await.map(|()| Holds::Yes)
}

async fn revocations(bench: &mut Bench<'_>) -> Found {
    let own = Own::start(bench).await?;
    let (client, other) = (own.client(|client| client).await?, own.client(|client| client).await?);
    let (token, kept) = (own.token(bench, &client, &[]).await?, own.token(bench, &client, &[]).await?);
    own.takes(bench, &token).await??;
    let answer = own.ask(bench, REVOKE, &other, &[("token", &token)]).await?;
    is_refusal(&answer, "invalid_grant").map_err(|how| format!("another client revokes: {how}"))?;
    own.takes(bench, &token).await??;
    for token in [token.as_str(), token.as_str(), "unknown", "a.b.c"] {
        let answer = own.ask(bench, REVOKE, &client, &[("token", token), ("token_type_hint", "refresh_token")]).await?;
        let is_done = answer.status == 200 && answer.json()? == json!({});
        ensure(is_done, || format!("a revocation is answered with {}", answer.status))?;
    }
    own.does_not_take(bench, &token, "a revoked token").await?;
    own.takes(bench, &kept).await??;
    own.product.stop().await.map(|()| Holds::Yes)
}

async fn revoked_elsewhere(bench: &mut Bench<'_>) -> Found {
    /// Ten times what is promised.
    const SOON: Duration = Duration::from_secs(20);
    let own = Own::start(bench).await?;
    let client = own.client(|client| client).await?;
    let token = own.token(bench, &client, &[]).await?;
    let other = Own::start(bench).await?;
    other.takes(bench, &token).await?.map_err(|how| format!("a token of another process: {how}"))?;
    own.ask(bench, REVOKE, &client, &[("token", &token)]).await?;
    let deadline = Instant::now() + SOON;
    while other.takes(bench, &token).await?.is_ok() {
        ensure(Instant::now() < deadline, || "another process goes on taking a revoked token".to_owned())?;
        sleep(Duration::from_millis(100)).await;
    }
    other.does_not_take(bench, &token, "a token that another process has revoked").await?;
    other.product.stop().await?;
    own.product.stop().await.map(|()| Holds::Yes)
}

async fn introspections(bench: &mut Bench<'_>) -> Found {
    let own = Own::start(bench).await?;
    let (client, other) = (own.client(|client| client).await?, own.client(|client| client).await?);
    let meant = own.client_called("another", |client| client).await?;
    let token = own.token(bench, &client, &[("audience", "another")]).await?;
    for by in [&client, &meant] {
        let told = own.ask(bench, INTROSPECT, by, &[("token", &token)]).await?.json()?;
        let mut expected = claims_of(&token);
        (expected["active"], expected["token_type"]) = (json!(true), json!("Bearer"));
        ensure(told == expected, || format!("of a good token is told {told} and not {expected}"))?;
    }
    let inactive = json!({"active": false});
    for (by, token) in [(&other, token.as_str()), (&client, "unknown"), (&client, "a.b.c")] {
        let told = own.ask(bench, INTROSPECT, by, &[("token", token)]).await?.json()?;
        ensure(told == inactive, || format!("who must not know is told {told}"))?;
    }
    own.ask(bench, REVOKE, &client, &[("token", &token)]).await?;
    let told = own.ask(bench, INTROSPECT, &client, &[("token", &token)]).await?.json()?;
    ensure(told == inactive, || format!("of a revoked token is told {told}"))?;
    own.product.stop().await.map(|()| Holds::Yes)
}

async fn exchanges(bench: &mut Bench<'_>) -> Found {
    let own = Own::start(bench).await?;
    let caller = own.client(|client| client.audiences([own.name.as_str(), "middle"])).await?;
    let middle = own.client_called("middle", |client| client.scopes(["b", "c"]).may_exchange()).await?;
    let other = own.client(|client| client).await?;
    let subject = own.token(bench, &caller, &[("audience", "middle")]).await?;
    let form = |token| [EXCHANGE, ("subject_token", token), ("subject_token_type", ACCESS_TOKEN)];
    let answer = own.ask(bench, TOKEN, &middle, &form(&subject)).await?.json()?;
    let token = answer["access_token"].as_str().unwrap_or_default().to_owned();
    ensure(answer["issued_token_type"] == ACCESS_TOKEN, || format!("an exchange is answered with {answer}"))?;
    let (claims, before) = (claims_of(&token), claims_of(&subject));
    let keeps = ["sub", "tenant"].iter().all(|claim| claims[*claim] == before[*claim]);
    ensure(keeps, || format!("{before} is exchanged for {claims}"))?;
    ensure(claims["scope"] == "b", || format!("the scopes are {}", claims["scope"]))?;
    ensure(claims["act"] == json!({"sub": "middle"}), || format!("who acts is {}", claims["act"]))?;
    ensure(claims["exp"].as_i64() <= before["exp"].as_i64(), || "it outlives what it is of".to_owned())?;
    own.takes(bench, &token).await??;

    let for_another = own.token(bench, &caller, &[]).await?;
    let with = |name, value| form(&subject).into_iter().chain([(name, value)]).collect::<Vec<_>>();
    let bad = [
        (&other, form(&subject).to_vec(), "unauthorized_client"),
        (&middle, form(&for_another).to_vec(), "invalid_request"),
        (&middle, form("a.b.c").to_vec(), "invalid_request"),
        (&middle, vec![EXCHANGE, ("subject_token", &subject)], "invalid_request"),
        (&middle, vec![EXCHANGE, ("subject_token", &subject), ("subject_token_type", "jwt")], "invalid_request"),
        (&middle, with("requested_token_type", "urn:ietf:params:oauth:token-type:id_token"), "invalid_request"),
        (&middle, with("actor_token", &subject), "invalid_request"),
        (&middle, with("scope", "a"), "invalid_scope"),
        (&middle, with("audience", "elsewhere"), "invalid_target"),
    ];
    for (client, form, error) in bad {
        let answer = own.ask(bench, TOKEN, client, &form).await?;
        is_refusal(&answer, error).map_err(|how| format!("{form:?}: {how}"))?;
    }
    own.ask(bench, REVOKE, &caller, &[("token", &subject)]).await?;
    own.does_not_take(bench, &token, "what was exchanged for a revoked token").await?;
    let answer = own.ask(bench, TOKEN, &middle, &form(&subject)).await?;
    is_refusal(&answer, "invalid_request").map_err(|how| format!("a revoked token is exchanged: {how}"))?;
    own.product.stop().await.map(|()| Holds::Yes)
}

async fn chain(bench: &mut Bench<'_>) -> Found {
    const MOST: usize = 8;
    let own = Own::start(bench).await?;
    let name = |_| format!("client-{}", uuid::Uuid::new_v4().simple());
    let names: Vec<_> = (0..MOST + 2).map(name).collect();
    let mut clients = Vec::new();
    for (number, name) in names.iter().enumerate() {
        let next = names.get(number + 1).map_or(own.name.as_str(), String::as_str);
        clients.push(own.client_called(name, |client| client.audiences([next]).may_exchange()).await?);
    }
    let mut token = own.token(bench, &clients[0], &[("audience", &names[1])]).await?;
    let mut act = Value::Null;
    for number in 1..MOST + 2 {
        let next = names.get(number + 1).map_or(own.name.as_str(), String::as_str);
        let form = [EXCHANGE, ("subject_token", &*token), ("subject_token_type", ACCESS_TOKEN), ("audience", next)];
        let answer = own.ask(bench, TOKEN, &clients[number], &form).await?;
        if number > MOST {
            is_refusal(&answer, "invalid_request").map_err(|how| format!("one more than {MOST} who act: {how}"))?;
            break;
        }
        let granted = answer.json()?["access_token"].as_str().unwrap_or_default().to_owned();
        act = if act.is_null() { json!({"sub": names[number]}) } else { json!({"sub": names[number], "act": act}) };
        let claims = claims_of(&granted);
        ensure(claims["act"] == act, || format!("{number} act, and a token says of them {}", claims["act"]))?;
        token = granted;
    }
    own.product.stop().await.map(|()| Holds::Yes)
}
