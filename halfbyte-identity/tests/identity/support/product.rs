use std::convert::Infallible;

use halfbyte_core::client::{Client, Limits};
use halfbyte_core::config::IdentityBackend;
use halfbyte_core::home::Home;
use halfbyte_core::{Clock, Lifecycle, Principal};
use halfbyte_identity::embedded::ClientSpec;
use halfbyte_identity::{Embedded, Identity, Settings};
use http::{Request, Response};
use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret as _, SecretString};
use tempfile::TempDir;
use tower::util::BoxCloneSyncService;
use tower::{ServiceBuilder, service_fn};
use url::form_urlencoded::Serializer;

use super::{Seen, send};

pub const AUDIENCE: &str = "parcel";
/// When the manual clocks of these tests start.
pub const NOW: i64 = 1_900_000_000;

pub fn life() -> Lifecycle {
    Lifecycle::new(Clock::manual(Timestamp::from_second(NOW).expect("in range")))
}

/// One product's identity on a clock of its own.
pub struct Product {
    pub identity: Identity,
    pub life: Lifecycle,
    home: Home,
    _folder: Option<TempDir>,
}

impl Product {
    /// With an issuer in the process.
    pub async fn embedded() -> Self {
        Self::open(vec![IdentityBackend::Embedded]).await
    }

    /// With issuers elsewhere.
    pub async fn of(issuers: &[&str]) -> Self {
        Self::set(issuers, |settings| settings).await
    }

    pub async fn open(backends: Vec<IdentityBackend>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let home = Home::open(folder.path().join("home")).expect("a home");
        Self::on(home, Some(folder), backends, "http://127.0.0.1:8080").await
    }

    /// With an issuer in the process, for clients that know it by `url`.
    pub async fn at(url: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let home = Home::open(folder.path().join("home")).expect("a home");
        Self::on(home, Some(folder), vec![IdentityBackend::Embedded], url).await
    }

    /// Another product on the same home, as if it were another process: they share nothing but the folder.
    pub async fn sharing(home: &Home, url: &str) -> Self {
        Self::on(home.clone(), None, vec![IdentityBackend::Embedded], url).await
    }

    /// The same with settings changed by `change`.
    pub async fn sharing_with(home: &Home, change: impl FnOnce(Settings) -> Settings) -> Self {
        let url = "http://127.0.0.1:8080".parse().expect("a URL");
        let settings = Settings::new(vec![IdentityBackend::Embedded], AUDIENCE, url, home.clone());
        Self::with(change(settings), home.clone(), None).await
    }

    /// With issuers elsewhere, and settings changed by `change`.
    pub async fn set(issuers: &[&str], change: impl FnOnce(Settings) -> Settings) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let home = Home::open(folder.path().join("home")).expect("a home");
        let backends = issuers.iter().map(|id| IdentityBackend::issuer(*id)).collect();
        let settings = Settings::new(backends, AUDIENCE, "http://127.0.0.1:8080".parse().expect("a URL"), home.clone());
        Self::with(change(settings), home, Some(folder)).await
    }

    async fn on(home: Home, folder: Option<TempDir>, backends: Vec<IdentityBackend>, url: &str) -> Self {
        let settings = Settings::new(backends, AUDIENCE, url.parse().expect("a URL"), home.clone());
        Self::with(settings, home, folder).await
    }

    async fn with(settings: Settings, home: Home, folder: Option<TempDir>) -> Self {
        let life = life();
        // One attempt a call, so that what the issuer counts is what was asked for.
        let limits = Limits { attempts: 1, ..Limits::default() };
        let client = Client::with_limits(limits).expect("a client");
        let identity = Identity::open(settings, client, &life).await.expect("opened");
        Self { identity, life, home, _folder: folder }
    }

    pub fn issuer(&self) -> &Embedded {
        self.identity.embedded().expect("embedded")
    }

    pub fn home(&self) -> Home {
        self.home.clone()
    }

    pub fn jump(&self, seconds: i64) {
        self.life.clock().jump(SignedDuration::from_secs(seconds));
    }

    /// A client with the scopes and audiences of these tests.
    pub async fn register(&self, id: &str) -> SecretString {
        self.issuer().register(client(id)).await.expect("registered")
    }

    pub async fn token(&self, fields: &[(&str, &str)]) -> String {
        let secret = self.register("acme-app").await;
        let answer = self.ask_token("acme-app", &secret, fields).await;
        answer.json()["access_token"].as_str().expect(&answer.body).to_owned()
    }

    /// Asks the token endpoint, with the secret in the form.
    pub async fn ask_token(&self, id: &str, secret: &SecretString, more: &[(&str, &str)]) -> Seen {
        let fixed =
            [("grant_type", "client_credentials"), ("client_id", id), ("client_secret", secret.expose_secret())];
        let form = Serializer::new(String::new()).extend_pairs(fixed).extend_pairs(more).finish();
        self.post_token(&form).await
    }

    pub async fn post_token(&self, form: &str) -> Seen {
        let request = Request::post("/oauth/token").header("content-type", "application/x-www-form-urlencoded");
        send(&self.endpoints(), request.body(form.to_owned()).expect("a request")).await
    }

    /// The well-known documents and the token endpoint around a service that has nothing.
    pub fn endpoints(&self) -> Boxed<EndpointsBody> {
        let service = ServiceBuilder::new().layer(self.identity.endpoints()).service(service_fn(
            async |_request: Request<String>| {
                Ok::<_, Infallible>(
                    Response::builder().status(404).body("nothing here".to_owned()).expect("a response"),
                )
            },
        ));
        BoxCloneSyncService::new(service)
    }

    /// A service that greets its caller, behind authentication and the scope `labels:read`.
    pub fn greeter(&self) -> Boxed<GreeterBody> {
        let service = ServiceBuilder::new()
            .layer(self.identity.authenticate())
            .layer(self.identity.require(&["labels:read"]))
            .service(service_fn(greet));
        BoxCloneSyncService::new(service)
    }
}

type Boxed<B> = BoxCloneSyncService<Request<String>, Response<B>, Infallible>;
type EndpointsBody = halfbyte_identity::layers::EndpointsBody<String>;
type GreeterBody = halfbyte_core::body::Refusable<halfbyte_core::body::Refusable<String>>;

pub async fn greet(request: Request<String>) -> Result<Response<String>, Infallible> {
    let caller = request.extensions().get::<Principal>().map_or("nobody", |caller| caller.subject()).to_owned();
    Ok(Response::new(format!("hello, {caller}")))
}

pub fn client(id: &str) -> ClientSpec {
    ClientSpec::new(id, "acme".parse().expect("a tenant"))
        .scopes(["labels:read", "labels:write"])
        .audiences([AUDIENCE, "clinic"])
}
