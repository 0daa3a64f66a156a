//! Secrets in a query, in headers and in a log, and what of them reaches the collector.

use crate::{Outcome, Scene, check, heading};

pub const PASSWORD: &str = "hunter2-hunter2";
pub const JWT: &str = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZGEifQ.c2lnbmF0dXJl";
pub const CARD: &str = "4111 1111 1111 1111";
const CODE: &str = "SplxlOBeZQQYbYS6WxSbIA";

pub async fn show(scene: &Scene<'_>) -> Outcome {
    heading("Secrets go in, and none comes out");
    let url = format!("{}/login?page=2&code={CODE}&api_key=hb_live_0123456789", scene.shop.url);
    println!("sent     GET /login?page=2&code={CODE}&api_key=hb_live_0123456789");
    println!("sent     authorization: Bearer {JWT}");
    let response = scene.shop.http.get(url).bearer_auth(JWT).send().await?;
    check(response.status() == 200, "the login does not answer")?;
    scene.flush().await?;

    let span = scene.collector.spans().named("GET /login");
    println!("arrived  {} {}", span.name, span.attributes["url.query"].as_str());
    for log in scene.collector.logs().filtered(|log| log.trace_id.as_ref() == Some(&span.trace_id)) {
        let fields = log.attributes.iter().map(|(key, value)| format!("  {key}={}", value.as_str()));
        println!("arrived  {} {}{}", log.severity, log.body, fields.collect::<String>());
    }
    let received = scene.collector.received();
    let everything = format!("{:?} {:?} {:?}", received.spans, received.logs, received.metrics);
    for secret in [PASSWORD, JWT, CARD, CODE, "hb_live_0123456789"] {
        check(!everything.contains(secret), &format!("{secret} has left the process"))?;
    }
    println!("None of the five is in any of the {} bytes that the collector can show.", everything.len());
    Ok(())
}
