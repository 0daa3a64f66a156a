//! The business of Parcel, which knows nothing of tokens, plans or telemetry.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::hmac;
use halfbyte::TenantId;
use halfbyte::identity::access::EntityRef;
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
    #[serde(skip)]
    pub tenant: TenantId,
    /// Who made it, as policies name him.
    #[serde(skip)]
    pub maker: EntityRef,
}

/// Why there is no label.
pub enum Unmade {
    /// The key was used for another order, or by somebody else at the same customer, whose label is not for everybody.
    KeyIsTaken,
    /// There is no secret for the seal.
    NoSeal { retry_in: Duration },
}

/// All labels, in memory: a real product would have its database here.
#[derive(Clone, Default)]
pub struct Labels(Arc<Mutex<Made>>);

#[derive(Default)]
struct Made {
    by_id: HashMap<String, Arc<Label>>,
    by_key: HashMap<(TenantId, Vec<u8>), Arc<Label>>,
}

impl Labels {
    /// Makes a label; with a key that the maker used before for the same order, answers the one that was made then.
    pub fn make(
        &self,
        tenant: &TenantId,
        maker: EntityRef,
        key: Option<&[u8]>,
        order: Order,
        seal: &Secret<SecretString>,
    ) -> Result<Arc<Label>, Unmade> {
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let by_key = key.map(|key| (tenant.clone(), key.to_vec()));
        if let Some(label) = by_key.as_ref().and_then(|key| made.by_key.get(key)) {
            let is_the_same = label.maker == maker && label.to == order.to;
            return if is_the_same { Ok(label.clone()) } else { Err(Unmade::KeyIsTaken) };
        }
        let id = Uuid::now_v7().simple().to_string();
        let seal = sign(&id, seal).map_err(|retry_in| Unmade::NoSeal { retry_in })?;
        let label = Arc::new(Label { id: id.clone(), to: order.to, seal, tenant: tenant.clone(), maker });
        made.by_id.insert(id, label.clone());
        if let Some(key) = by_key {
            made.by_key.insert(key, label.clone());
        }
        Ok(label)
    }

    /// Whosever it is: policies say who may have it.
    pub fn find(&self, id: &str) -> Option<Arc<Label>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).by_id.get(id).cloned()
    }
}

/// The secret is read anew for each label, so that a rotated one is used from the next label on.
fn sign(id: &str, seal: &Secret<SecretString>) -> Result<String, Duration> {
    let secret = seal.load().map_err(|error| error.retry_in())?;
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose_secret().expose_secret().as_bytes());
    Ok(hmac::sign(&key, id.as_bytes()).as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect())
}
