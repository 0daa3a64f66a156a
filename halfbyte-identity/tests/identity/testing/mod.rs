//! The test kit: the issuer does what it is told, and the attacks find what is wrong with a service.

mod broken;
mod corpus;
mod issuer;
mod mutants;
mod refusals;
mod tokens;

use halfbyte_core::client::Client;
use halfbyte_identity::testing::{Issuer, Persona};
use http::Request;

use crate::support::{Product, get, life};

/// On the clock of the products of these tests.
async fn issuer() -> Issuer {
    Issuer::start_with_clock(life().clock().clone()).await.expect("started")
}

async fn with_product() -> (Issuer, Product) {
    let issuer = issuer().await;
    let product = Product::of(&[issuer.id()]).await;
    (issuer, product)
}

fn ann() -> Persona {
    Persona::user("ann").tenant("acme").scopes(["labels:read"])
}

fn request() -> Request<String> {
    get("/labels")
}

/// What stands at `path` of the issuer.
async fn fetched(issuer: &Issuer, path: &str) -> String {
    let client = Client::new().expect("a client");
    let answer = client.get(format!("{}{path}", issuer.id()).parse().expect("a URL")).send().await.expect("sent");
    String::from_utf8(answer.success().expect("200").body().to_vec()).expect("text")
}
