//! What the tests are made with.

mod heard;
mod http;
mod keys;
mod product;
mod server;

pub use self::heard::Heard;
pub use self::http::{Seen, get, send, with_token};
pub use self::keys::{Key, b64, claims, unb64};
pub use self::product::{AUDIENCE, NOW, Product, client, greet, life};
pub use self::server::Server;
