//! People who sign out at the provider, which tells the products (OpenID Connect Back-Channel Logout 1.0).

use std::time::Duration;

use halfbyte::core::Clock;
use reqwest::Response;
use serde_json::json;
use tokio::time::{sleep, timeout};

use super::provider::{SignedIn, secret_text};
use super::{AUDIENCE, Instance, Provider, Served, refusal};

/// The client that a product of these tests is at the provider.
const CLIENT: &str = "shop";
/// A product hears of a logout before the provider has answered; what is tied ends a moment later.
const SOON: Duration = Duration::from_secs(2);

/// A provider with two products; people sign in to the first one.
struct Case {
    instance: Instance,
    served: Served,
}

impl Case {
    /// `by_session`: the provider says which session has ended, and not only whose.
    async fn new(by_session: bool) -> Self {
        let instance = Instance::started().await;
        let provider = instance.provider();
        let served = Served::start(&provider, AUDIENCE, Clock::system(), |settings| {
            settings.introspect(CLIENT, || Ok(secret_text(CLIENT).into()))
        })
        .await;
        let case = Self { instance, served };
        case.register(CLIENT, by_session).await;
        case
    }

    /// Adds a client whose logout tokens go to the product.
    async fn register(&self, client: &str, by_session: bool) {
        let metadata = json!({
            "client_id": client,
            "client_secret": secret_text(client),
            "grant_types": ["authorization_code", "refresh_token"],
            "redirect_uris": ["https://shop.example.com/callback"],
            "response_types": ["code"],
            "scope": "openid labels:read",
            "backchannel_logout_uri": format!("{}/oauth/backchannel-logout", self.served.url),
            "backchannel_logout_session_required": by_session,
        });
        self.provider().register(&metadata).await;
    }

    fn provider(&self) -> Provider {
        self.instance.provider()
    }

    async fn sign_in(&self, client: &str, sub: &str) -> SignedIn {
        let query = format!("client={client}&sub={sub}&tenant=acme&scope=openid+labels:read&resource={AUDIENCE}");
        self.provider().sign_in(&query).await
    }

    /// Ends one session of the person, or all; the product takes the provider's word.
    async fn sign_out(&self, sub: &str, session: Option<&str>) {
        let query = session.map_or_else(String::new, |session| format!("&session={session}"));
        let told = self.provider().tell(&format!("logout?sub={sub}{query}")).await;
        assert_eq!(told, json!({ "sessions": 1, "delivered": [CLIENT], "failed": [] }));
    }

    async fn statuses<const N: usize>(&self, people: [&SignedIn; N]) -> [u16; N] {
        let mut statuses = [0; N];
        for (status, person) in statuses.iter_mut().zip(people) {
            *status = self.served.status(&person.access_token).await;
        }
        statuses
    }

    /// A stream that is open and ticks.
    async fn ticking(&self, person: &SignedIn) -> Response {
        let authorization = format!("Bearer {}", person.access_token);
        let mut stream = self.served.get("/ticks", &[("authorization", &authorization)]).await;
        assert_eq!(stream.status(), 200);
        require_tick(&mut stream).await;
        stream
    }
}

async fn require_tick(stream: &mut Response) {
    let tick = timeout(SOON, stream.chunk()).await.expect("it hangs").expect("it fails");
    assert!(tick.is_some(), "it has ended");
}

async fn require_end(stream: &mut Response) {
    let end = async { while stream.chunk().await.expect("it fails").is_some() {} };
    timeout(SOON, end).await.expect("it goes on");
}

#[tokio::test]
async fn a_session_that_ends_at_the_provider_ends_here_with_its_streams_and_no_other_does() {
    let case = Case::new(true).await;
    let (phone, laptop) = (case.sign_in(CLIENT, "ann").await, case.sign_in(CLIENT, "ann").await);
    let ben = case.sign_in(CLIENT, "ben").await;
    assert_eq!(case.statuses([&phone, &laptop, &ben]).await, [200; 3]);
    let (mut on_phone, mut on_laptop) = (case.ticking(&phone).await, case.ticking(&laptop).await);

    case.sign_out("ann", Some(&phone.session)).await;
    assert_eq!(case.statuses([&phone, &laptop, &ben]).await, [401, 200, 200]);
    require_end(&mut on_phone).await;
    require_tick(&mut on_laptop).await;
    let authorization = format!("Bearer {}", phone.access_token);
    let answer = case.served.get("/labels", &[("authorization", &authorization)]).await;
    let (_, kind, challenge) = refusal(answer).await;
    assert_eq!(kind, "invalid-token");
    assert!(challenge.contains("the credential was revoked"), "{challenge}");

    case.sign_out("ann", Some(&laptop.session)).await;
    assert_eq!(case.statuses([&phone, &laptop, &ben]).await, [401, 401, 200]);
    require_end(&mut on_laptop).await;
    let again = case.sign_in(CLIENT, "ann").await;
    assert_eq!(case.statuses([&again, &ben]).await, [200; 2], "who has signed out signs in again");
}

#[tokio::test]
async fn a_token_that_was_not_seen_before_its_session_ended_is_refused() {
    let case = Case::new(true).await;
    let (ann, ben) = (case.sign_in(CLIENT, "ann").await, case.sign_in(CLIENT, "ben").await);
    case.sign_out("ann", None).await;
    assert_eq!(case.statuses([&ann, &ben]).await, [401, 200]);
}

#[tokio::test]
async fn a_logout_that_names_no_session_ends_all_that_the_person_had_until_then() {
    let case = Case::new(false).await;
    let (phone, laptop) = (case.sign_in(CLIENT, "ann").await, case.sign_in(CLIENT, "ann").await);
    let ben = case.sign_in(CLIENT, "ben").await;
    assert_eq!(case.statuses([&phone, &laptop, &ben]).await, [200; 3]);
    let mut stream = case.ticking(&laptop).await;
    case.sign_out("ann", Some(&phone.session)).await;
    assert_eq!(case.statuses([&phone, &laptop, &ben]).await, [401, 401, 200]);
    require_end(&mut stream).await;
    // Tokens say in whole seconds when they were issued.
    sleep(Duration::from_millis(1_100)).await;
    assert_eq!(case.statuses([&case.sign_in(CLIENT, "ann").await, &ben]).await, [200; 2]);
}

#[tokio::test]
async fn a_logout_token_of_a_key_that_is_new_is_taken() {
    let case = Case::new(true).await;
    let ann = case.sign_in(CLIENT, "ann").await;
    assert_eq!(case.statuses([&ann]).await, [200]);
    case.provider().tell("rotate").await;
    sleep(Duration::from_millis(1_200)).await;
    case.sign_out("ann", None).await;
    assert_eq!(case.statuses([&ann]).await, [401]);
}

#[tokio::test]
async fn a_logout_that_is_meant_for_another_client_ends_nothing_here() {
    let case = Case::new(true).await;
    case.register("other", true).await;
    let ann = case.sign_in("other", "ann").await;
    assert_eq!(case.statuses([&ann]).await, [200]);
    let told = case.provider().tell("logout?sub=ann").await;
    assert_eq!((&told["delivered"], &told["failed"][0]["client"]), (&json!([]), &json!("other")), "{told}");
    assert_eq!(case.statuses([&ann]).await, [200]);
}
