//! A product with something for every clause, which is not broken.

use axum::Json;
use axum::response::IntoResponse;
use halfbyte_core::Principal;
use serde_json::json;

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
    [plans.all]
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
        Ok((platform, routes))
    })
    .plan("all")
    .sample(Sample::of("GET /"))
    .sample(Sample::of("POST /things").json("{}"))
    .sample(Sample::of("GET /tenants/{tenant}"))
}

async fn make(caller: Principal) -> impl IntoResponse {
    Json(json!({ "id": "thing-1", "of": caller.tenant().as_str() }))
}
