//! What can be done in Clinic, by which policies, and what these see of an appointment.

use halfbyte::identity::access::{Action, Entity, Resource, SourceFile};

use super::appointments::Appointment;

pub const BOOK_APPOINTMENT: Action = Action::new("BookAppointment");
pub const LIST_APPOINTMENTS: Action = Action::new("ListAppointments");
pub const READ_APPOINTMENT: Action = Action::new("ReadAppointment");

/// They are part of the program: what was reviewed is what decides.
pub fn policies() -> [SourceFile; 2] {
    [
        SourceFile::new("clinic.cedarschema", include_str!("policies/clinic.cedarschema")),
        SourceFile::new("clinic.cedar", include_str!("policies/clinic.cedar")),
    ]
}

/// Clinic asks about appointments that it has at hand. One that routes name by its id would come from an `EntityProvider`, as
/// Parcel's labels do.
impl Resource for Appointment {
    fn entity(&self) -> Entity {
        let entity = Entity::new("Appointment", &*self.id).of_tenant(&self.tenant);
        // What a program booked is nobody's own.
        let is_by_a_person = self.booker.kind() == "HalfByte::User";
        if is_by_a_person { entity.attribute("booker", self.booker.clone()) } else { entity }
    }
}
