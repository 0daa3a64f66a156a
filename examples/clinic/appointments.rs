//! The business of Clinic, which knows nothing of tokens, plans or telemetry.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use halfbyte::TenantId;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// What a customer asks for.
#[derive(Deserialize)]
pub struct Request {
    patient: String,
    at: String,
    #[serde(default)]
    home_kit: bool,
}

/// What a customer gets.
#[derive(Clone, Serialize)]
pub struct Appointment {
    pub id: String,
    pub patient: String,
    at: String,
    home_kit: bool,
    /// The label of the home kit.
    pub label: Option<String>,
}

impl Appointment {
    pub fn wants_label(&self) -> bool {
        self.home_kit && self.label.is_none()
    }
}

/// All appointments, in memory: a real product would have its database here.
#[derive(Clone, Default)]
pub struct Appointments(Arc<Mutex<HashMap<TenantId, Book>>>);

#[derive(Default)]
struct Book {
    booked: BTreeMap<String, Appointment>,
    by_key: HashMap<Vec<u8>, String>,
}

impl Appointments {
    /// An appointment that is not booked yet; with a key that was used before, the one that it was used for.
    pub fn draft(&self, tenant: &TenantId, key: Option<&[u8]>, request: Request) -> Appointment {
        let mut books = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let book = books.entry(tenant.clone()).or_default();
        let fresh = || Uuid::now_v7().simple().to_string();
        let id = key.map_or_else(fresh, |key| book.by_key.entry(key.to_vec()).or_insert_with(fresh).clone());
        let Request { patient, at, home_kit } = request;
        let known = book.booked.get(&id).cloned();
        known.unwrap_or(Appointment { id, patient, at, home_kit, label: None })
    }

    pub fn book(&self, tenant: &TenantId, appointment: Appointment) {
        let mut books = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        books.entry(tenant.clone()).or_default().booked.insert(appointment.id.clone(), appointment);
    }

    pub fn of(&self, tenant: &TenantId) -> Vec<Appointment> {
        let books = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        books.get(tenant).map(|book| book.booked.values().cloned().collect()).unwrap_or_default()
    }
}
