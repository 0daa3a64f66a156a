//! What can be done in Parcel, by which policies, and what these see of a label.

use halfbyte::core::BoxError;
use halfbyte::identity::access::{Action, Entity, EntityProvider, EntityRef, SourceFile};

use super::labels::Labels;

pub const CREATE_LABEL: Action = Action::new("CreateLabel");
pub const READ_LABEL: Action = Action::new("ReadLabel");
pub const READ_USAGE: Action = Action::new("ReadUsage");

/// They are part of the program: what was reviewed is what decides.
pub fn policies() -> [SourceFile; 2] {
    [
        SourceFile::new("parcel.cedarschema", include_str!("policies/parcel.cedarschema")),
        SourceFile::new("parcel.cedar", include_str!("policies/parcel.cedar")),
    ]
}

impl EntityProvider for Labels {
    /// The label is sent along with what policies see of it, so that the handler need not look for it again.
    async fn entity(&self, name: &EntityRef) -> Result<Option<Entity>, BoxError> {
        if name.kind() != "Label" {
            return Ok(None);
        }
        Ok(self.find(name.id()).map(|label| {
            let entity = Entity::named(name.clone()).of_tenant(&label.tenant);
            // What a program made is nobody's own.
            let is_by_a_person = label.maker.kind() == "HalfByte::User";
            let entity = if is_by_a_person { entity.attribute("maker", label.maker.clone()) } else { entity };
            entity.with(label)
        }))
    }
}
