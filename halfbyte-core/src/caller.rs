//! What the outermost layers and the server tell the ones further in, and hear from them.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use crate::Principal;

/// Where a layer outside of authentication hears who called, also when the request is refused, hangs up or panics further
/// in: it puts an empty one into the request's extensions, and the authenticate layer writes into it.
#[derive(Clone, Debug, Default)]
pub struct CallerSlot(Arc<OnceLock<Principal>>);

impl CallerSlot {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// The caller, once he is known.
    pub fn principal(&self) -> Option<&Principal> {
        self.0.get()
    }

    /// Says who called; the first word counts.
    pub fn tell(&self, principal: &Principal) {
        let _already_told = self.0.set(principal.clone());
    }
}

/// The address at the other end of the connection, in the request's extensions: a client, or the proxy in front.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerAddress(pub SocketAddr);
