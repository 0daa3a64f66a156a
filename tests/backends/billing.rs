//! Products that share a PostgreSQL, as `HALFBYTE_BILLING_URL` says.

use std::path::Path;

use axum::Router;
use axum::routing::post;
use halfbyte::core::config::Config;
use halfbyte::core::lifecycle::Phase;
use halfbyte::identity::testing::{Issuer, Persona};
use halfbyte::{Contract, Error, Platform, TenantId};
use tokio::task::JoinSet;

use crate::database::Database;

const LIMIT: usize = 40;
const CATALOG: &str = r#"
    [products.parcel]
    [meters.labels]
    product = "parcel"
    [features.labels]
    product = "parcel"
    meter = "labels"
    [plans.starter]
    features.labels = { limit = 40, per = "year" }
"#;

/// One machine's product: a state folder of its own, and nothing shared but the database and the issuer.
async fn start(folder: &Path, name: &str, database: &str, issuer: &str) -> Result<Platform, Error> {
    let home = folder.join(name).display().to_string();
    let config = Config::parse([
        ("HALFBYTE_HOME", home.as_str()),
        ("HALFBYTE_LISTEN", "127.0.0.1:0"),
        ("HALFBYTE_ADMIN_LISTEN", "127.0.0.1:0"),
        ("HALFBYTE_BILLING_URL", database),
        ("HALFBYTE_IDENTITY_URL", issuer),
        ("RUST_LOG", "error"),
    ]);
    Platform::builder("parcel", Contract::V1).config(config.unwrap()).catalog("plans.toml", CATALOG).start().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_on_several_machines_share_a_limit_and_a_drain_leaves_nothing_uncounted() {
    let (issuer, database) = (Issuer::start().await.unwrap(), Database::new("platform_billing").await);
    let folder = tempfile::tempdir().unwrap();
    let acme: TenantId = "acme".parse().unwrap();
    let mut serving = JoinSet::new();
    let mut replicas = Vec::new();
    for name in ["one", "two"] {
        let platform = start(folder.path(), name, &database.url, issuer.id()).await.unwrap();
        let labels = platform.require(&[]).feature("labels").unwrap();
        let routes = Router::new().route("/labels", post("a label").route_layer(labels));
        serving.spawn(platform.clone().serve(routes));
        platform.lifecycle().reached(Phase::Ready).await;
        replicas.push(platform);
    }
    replicas[0].billing().customers().create(&acme).await.unwrap();
    replicas[0].billing().customers().subscribe(&acme, "starter").await.unwrap();

    let bearer = issuer.token(&Persona::user("ann").tenant("acme"), "parcel");
    let http = reqwest::Client::new();
    let mut asked = JoinSet::new();
    for number in 0..2 * LIMIT {
        let url = format!("http://{}/labels", replicas[number % 2].address());
        let request = http.post(url).bearer_auth(&bearer).header("idempotency-key", format!("key-{number}"));
        asked.spawn(async move { request.send().await.unwrap().status().as_u16() });
    }
    let first: Vec<u16> = asked.join_all().await;
    assert!(first.iter().all(|status| [200, 429].contains(status)), "{first:?}");
    let mut made = first.iter().filter(|status| **status == 200).count();
    // What one holds and does not use, it gives back.
    for number in 0.. {
        if made == LIMIT {
            break;
        }
        assert!(number < 600 && made < LIMIT, "{made} of {LIMIT} after {number} attempts more");
        let url = format!("http://{}/labels", replicas[number % 2].address());
        made += usize::from(http.post(url).bearer_auth(&bearer).send().await.unwrap().status() == 200);
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    for platform in &replicas {
        let url = format!("http://{}/labels", platform.address());
        assert_eq!(http.post(url).bearer_auth(&bearer).send().await.unwrap().status(), 429, "it is used up");
        platform.lifecycle().enter(Phase::LameDuck);
    }
    for ended in serving.join_all().await {
        ended.unwrap();
    }
    let later = start(folder.path(), "three", &database.url, issuer.id()).await.unwrap();
    let usage = later.billing().usage_of(&acme).await.unwrap();
    assert_eq!(usage[0].used, LIMIT.into());
}
