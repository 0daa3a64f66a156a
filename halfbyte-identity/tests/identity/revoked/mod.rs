//! Credentials that end before they expire: revocations, sessions that an issuer ends, streams that are tied.

mod logout;
mod revocations;
mod ties;

use crate::remote::Issuer;
use crate::support::{Key, Product};

/// A product and the issuer that it trusts, with the issuer's key.
struct Case {
    key: Key,
    issuer: Issuer,
    product: Product,
}

impl Case {
    async fn new() -> Self {
        let key = Key::es256("1");
        let issuer = Issuer::start(&[&key]).await;
        let product = Product::of(&[issuer.id()]).await;
        Self { key, issuer, product }
    }
}
