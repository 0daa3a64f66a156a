//! The business of Clinic, which knows nothing of tokens, plans or telemetry.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use halfbyte::TenantId;
use halfbyte::identity::access::EntityRef;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// What a customer asks for.
#[derive(Clone, PartialEq, Eq, Deserialize)]
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
    #[serde(skip)]
    pub tenant: TenantId,
    /// Who booked it, as policies name him.
    #[serde(skip)]
    pub booker: EntityRef,
}

impl Appointment {
    pub fn wants_label(&self) -> bool {
        self.home_kit
    }
}

/// What becomes of a request.
pub enum Draft {
    /// An appointment that is not booked yet, or not to the end.
    New(Appointment),
    /// The same request has booked it before.
    Booked(Appointment),
    /// The key was used for another request, or by somebody else at the same customer, whose appointment is not for everybody.
    KeyIsTaken,
}

/// All appointments, in memory: a real product would have its database here.
#[derive(Clone, Default)]
pub struct Appointments(Arc<Mutex<HashMap<TenantId, Book>>>);

#[derive(Default)]
struct Book {
    booked: BTreeMap<String, Appointment>,
    /// The id of what was asked for, by whom and what.
    by_key: HashMap<Vec<u8>, (String, EntityRef, Request)>,
}

impl Appointments {
    /// What `request` is to become. Under a key that was used before it has the id of then, booked or not.
    pub fn draft(&self, tenant: &TenantId, booker: EntityRef, key: Option<&[u8]>, request: Request) -> Draft {
        let mut books = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let book = books.entry(tenant.clone()).or_default();
        let fresh = || (Uuid::now_v7().simple().to_string(), booker.clone(), request.clone());
        let (id, by, what) =
            key.map_or_else(fresh, |key| book.by_key.entry(key.to_vec()).or_insert_with(fresh).clone());
        if by != booker || what != request {
            return Draft::KeyIsTaken;
        }
        if let Some(booked) = book.booked.get(&id) {
            return Draft::Booked(booked.clone());
        }
        let Request { patient, at, home_kit } = request;
        Draft::New(Appointment { id, patient, at, home_kit, label: None, tenant: tenant.clone(), booker })
    }

    pub fn book(&self, appointment: Appointment) {
        let mut books = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        books.entry(appointment.tenant.clone()).or_default().booked.insert(appointment.id.clone(), appointment);
    }

    pub fn of(&self, tenant: &TenantId) -> Vec<Appointment> {
        let books = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        books.get(tenant).map(|book| book.booked.values().cloned().collect()).unwrap_or_default()
    }
}
