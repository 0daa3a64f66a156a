//! Requests that use pages, what is left of them, and work whose cost is known only afterwards.

use std::convert::Infallible;
use std::time::Duration;

use halfbyte_billing::{Billing, GrantSpec, IdempotencyKey, Operation, Receipt, Reservation};
use halfbyte_core::{Principal, TenantId};
use http::{Request, Response};
use jiff::{SignedDuration, Timestamp};
use tower::{Layer as _, ServiceExt as _, service_fn};

use crate::{Outcome, check, heading};

/// One request through the layers; answers its status and what it says of the limit.
async fn print(billing: &Billing, acme: &TenantId, now: Timestamp, key: &str) -> Outcome<(u16, String)> {
    let handler = service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(String::from("a page"))));
    let app = billing.entitle("pages")?.layer(billing.meter().layer(handler));
    let mut request = Request::builder().header("idempotency-key", key).body(())?;
    // Who calls is identity's to find out; here it is said.
    request.extensions_mut().insert(Principal::builder("ann", acme.clone(), now).build());
    let response = app.oneshot(request).await?;
    let limit = response.headers().get("ratelimit").map_or("", |value| value.to_str().unwrap_or_default());
    Ok((response.status().as_u16(), limit.to_owned()))
}

pub async fn use_up(billing: &Billing, acme: &TenantId, now: Timestamp) -> Outcome {
    heading(&format!("Requests, on {now}"));
    show(billing, acme, "Nothing was used before; 2 were taken over:").await?;
    let mut answered = 0;
    for key in ["cover".to_owned(), "cover".to_owned()].into_iter().chain((1..20).map(|page| format!("page-{page}"))) {
        let (status, limit) = print(billing, acme, now, &key).await?;
        println!("{key:8} → {status}  {limit}");
        if status != 200 {
            break;
        }
        answered += 1;
    }
    check(answered == 11, "the limit is another")?;
    show(billing, acme, "11 were answered and 10 are counted: a key counts once.").await
}

pub async fn buy_more(billing: &Billing, acme: &TenantId, now: Timestamp) -> Outcome {
    heading("An add-on, and a grant that ends in a week");
    let customers = billing.customers();
    customers.operate("order-3", acme, Operation::AddAddOn { name: "more-pages".into() }).await?;
    let grant = GrantSpec::new("sorry", "pages", 4).expires(now + SignedDuration::from_hours(7 * 24)).priority(50);
    check(customers.grant(acme, grant.clone()).await?, "it is there already")?;
    check(!customers.grant(acme, grant).await?, "it was granted twice")?;
    for key in ["back", "spine"] {
        println!("{key:8} → {}", print(billing, acme, now, key).await?.0);
    }
    show(billing, acme, "What has the smaller number as its priority is used first:").await
}

pub async fn reserve(billing: &Billing, acme: &TenantId) -> Outcome {
    heading("A reservation: 4 pages at most, 1 in the end");
    let four = billing.reserve(acme, "pages", 4, Duration::from_secs(600)).await?;
    let Reservation::Held(four) = four else { return Err(format!("refused: {four:?}").into()) };
    show(billing, acme, &format!("Held as {four}:")).await?;
    let receipt = billing.settle_reserved(&four, 1, IdempotencyKey::of(b"job-1")).await?;
    check(receipt == Receipt::Counted { overage: 0 }, "it was not counted")?;
    show(billing, acme, "Settled; the rest went back to where it came from:").await
}

/// What is left, lot by lot.
async fn show(billing: &Billing, acme: &TenantId, what: &str) -> Outcome {
    let balance = billing.balance(acme, "pages").await?.ok_or("acme has no pages")?;
    println!("{what}\n  {:38} {:>6} {:>7} {:>6} {:>4}", "lot", "amount", "carried", "burned", "held");
    for lot in &balance.lots {
        println!("  {:38} {:>6} {:>7} {:>6} {:>4}", lot.key, lot.amount, lot.carried, lot.burned, lot.held);
    }
    println!("  available: {}", balance.available);
    Ok(())
}
