use std::fmt;
use std::str::FromStr as _;
use std::sync::OnceLock;

use cedar_policy::{EntityId, EntityTypeName, EntityUid};

/// What can be done, as a constant of the product: `const CREATE_LABEL: Action = Action::new("CreateLabel");`
///
/// It is `Action::"CreateLabel"` of the product's schema; `Action::new("Parcel::CreateLabel")` is one in the namespace `Parcel`. Which
/// principals and resources it applies to, and by which scope a service is granted it, the schema says:
///
/// ```text
/// @scope("labels:write")
/// action CreateLabel appliesTo { principal: [HalfByte::User, HalfByte::Service], resource: HalfByte::Tenant };
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Action(&'static str);

impl Action {
    /// The action of that name.
    pub const fn new(name: &'static str) -> Self {
        Self(name)
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        self.0
    }

    /// As policies name it. `None` if no schema can have an action of that name.
    pub(super) fn uid(self) -> Option<EntityUid> {
        static PLAIN: OnceLock<Option<EntityTypeName>> = OnceLock::new();
        let (kind, id) = match self.0.rsplit_once("::") {
            None => (PLAIN.get_or_init(|| EntityTypeName::from_str("Action").ok()).clone()?, self.0),
            Some((namespace, id)) => (EntityTypeName::from_str(&format!("{namespace}::Action")).ok()?, id),
        };
        Some(EntityUid::from_type_name_and_id(kind, EntityId::new(id)))
    }
}

impl fmt::Debug for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Action({})", self.0)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}
