//! A product with something for every clause, which is not broken.

use axum::Json;
use axum::response::IntoResponse;
use halfbyte_core::Principal;
use http::StatusCode;
use secrecy::SecretString;
use serde_json::{Value, json};

use super::super::{Conformance, Sample};
use crate::{Contract, Platform, Public};

const CATALOG: &str = r#"
    [products.sound]
    title = "Sound"
    [meters.things]
    product = "sound"
    unit = "thing"
    [features.things]
    product = "sound"
    meter = "things"
    [meters.seals]
    product = "sound"
    unit = "seal"
    [features.seals]
    product = "sound"
    meter = "seals"
    [plans.all]
    features.seals = { limit = 20, per = "day" }
    features.things = { limit = 1000, per = "month" }
"#;

pub(super) fn product() -> Conformance {
    Conformance::new(async |config| {
        let builder = Platform::builder("sound", Contract::V1).catalog("catalog.toml", CATALOG).config(config);
        let platform = builder.start().await?;
        let may_make = platform.require(&["things:write"]).feature("things")?;
        let routes = platform
            .routes()
            .route("GET /", Public, async || "hello")
            .route("POST /things", may_make, make)
            .route("GET /tenants/{tenant}", platform.require(&[]).tenant_in_path("/tenants/{tenant}"), "yours");
        let may_seal = platform.require(&["seals:write"]).feature("seals")?.units(|_| 2);
        let wax = platform.secrets().get::<SecretString>("wax");
        let seal = async move |order: Json<Value>| match wax.load() {
            Ok(wax) => Ok(Json(json!({ "of": *order, "wax": wax.generation() }))),
            Err(_) => Err(StatusCode::SERVICE_UNAVAILABLE),
        };
        let routes = routes.route("POST /seals", may_seal, seal);
        Ok((platform, routes))
    })
    .plan("all")
    .sample(Sample::of("GET /"))
    .sample(Sample::of("POST /things").json("{}"))
    .sample(Sample::of("POST /seals").json(r#"{"letter":7}"#).units(2))
    .sample(Sample::of("GET /tenants/{tenant}"))
}

async fn make(caller: Principal) -> impl IntoResponse {
    Json(json!({ "id": "thing-1", "of": caller.tenant().as_str() }))
}
