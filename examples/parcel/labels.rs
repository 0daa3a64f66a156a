//! The business of Parcel, which knows nothing of tokens, plans or telemetry.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::hmac;
use halfbyte::TenantId;
use halfbyte::secrets::Secret;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// What a customer asks for.
#[derive(Clone, Deserialize)]
pub struct Order {
    to: String,
}

/// What a customer gets.
#[derive(Clone, Serialize)]
pub struct Label {
    id: String,
    to: String,
    /// Proves that the label is one of ours.
    seal: String,
}

/// All labels, in memory: a real product would have its database here.
#[derive(Clone)]
pub struct Labels {
    made: Arc<Mutex<Made>>,
    seal: Secret<SecretString>,
}

#[derive(Default)]
struct Made {
    by_id: HashMap<(TenantId, String), Label>,
    by_key: HashMap<(TenantId, Vec<u8>), String>,
}

impl Labels {
    pub fn new(seal: Secret<SecretString>) -> Self {
        Self { made: Arc::default(), seal }
    }

    /// Makes a label; with a key that was used before, answers the one that was made then. Without the secret for the
    /// seal there is no label, and the answer is when to try again.
    pub fn make(&self, tenant: &TenantId, key: Option<&[u8]>, order: Order) -> Result<Label, Duration> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let by_key = key.map(|key| (tenant.clone(), key.to_vec()));
        if let Some(id) = by_key.as_ref().and_then(|key| made.by_key.get(key)) {
            return Ok(made.by_id[&(tenant.clone(), id.clone())].clone());
        }
        let id = Uuid::now_v7().simple().to_string();
        let label = Label { seal: self.sign(&id)?, id: id.clone(), to: order.to };
        made.by_id.insert((tenant.clone(), id.clone()), label.clone());
        if let Some(key) = by_key {
            made.by_key.insert(key, id);
        }
        Ok(label)
    }

    pub fn find(&self, tenant: &TenantId, id: &str) -> Option<Label> {
        let made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        made.by_id.get(&(tenant.clone(), id.to_owned())).cloned()
    }

    /// The secret is read anew for each label, so that a rotated one is used from the next label on.
    fn sign(&self, id: &str) -> Result<String, Duration> {
        let secret = self.seal.load().map_err(|error| error.retry_in())?;
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose_secret().expose_secret().as_bytes());
        Ok(hmac::sign(&key, id.as_bytes()).as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect())
    }
}
