use std::fmt;

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
