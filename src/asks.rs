//! What a route asks of its callers, as the manifest tells it.

use serde::{Deserialize, Serialize};

/// What one route asks of its callers; nothing of a public one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Asks {
    /// Whether anybody may, with or without credentials. A bad credential is refused all the same.
    pub is_public: bool,
    /// All of these.
    pub scopes: Vec<String>,
    /// All of these.
    pub roles: Vec<String>,
    /// One of these, the preferred one first.
    pub acr: Vec<String>,
    /// The longest time since the sign-in, in seconds.
    pub max_age_seconds: Option<u64>,
    /// Where the tenant stands in the path, if it must be the caller's.
    pub tenant_in_path: Option<String>,
    /// What policies are asked for.
    pub action: Option<String>,
    /// To which thing, if not to the tenant as a whole.
    pub resource: Option<Resource>,
    /// What the plan must have.
    pub feature: Option<String>,
    /// What counts the use of the feature, if something does.
    pub meter: Option<String>,
}

/// Where a route finds the thing that it asks policies for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Resource {
    /// Its kind, as policies name it; none where the product's code decides.
    pub kind: Option<String>,
    /// `path PATTERN`, `header NAME` or `code`.
    pub found_in: String,
}

impl Asks {
    pub(crate) fn found(self, kind: Option<&str>, found_in: String) -> Self {
        Self { resource: Some(Resource { kind: kind.map(str::to_owned), found_in }), ..self }
    }
}
