use std::time::Duration;

use halfbyte_core::config::Variables;
use halfbyte_core::live::Policy;

use super::only_current;
use crate::{Ask, Error, ErrorKind, Name, Provider, Reading, Version};

/// `env:`: the secret `db-password` is the variable `DB_PASSWORD`.
///
/// The name in upper case, with `-` and `.` as `_`; an empty variable counts as unset. Variables are read when the
/// configuration is, so a change takes a restart, and `HALFBYTE_*` is configuration and no secret.
#[derive(Clone, Debug)]
pub struct Env(Variables);

/// The one version that there is.
const START: &str = "start";

impl Env {
    /// Takes secrets from `variables`: [`Config::other`](halfbyte_core::config::Config::other).
    pub fn new(variables: &Variables) -> Self {
        Self(variables.clone())
    }
}

impl Provider for Env {
    const NAME: &'static str = "env:";

    async fn read(&self, ask: Ask<'_>) -> Result<Reading, Error> {
        let (name, known) = only_current(&ask)?;
        let variable = variable(name);
        match (self.0.get(&variable), known) {
            (Some(_), Some(known)) if known.as_str() == START => Ok(Reading::unchanged()),
            (Some(value), _) => Ok(Reading::new(value).version(Version::new(START))),
            (None, _) => Err(Error::new(ErrorKind::NotFound, format!("the variable {variable} is not set"))),
        }
    }

    fn policy(&self) -> Policy {
        Policy {
            fresh_for: Duration::from_secs(365 * 24 * 3600),
            max_backoff: Duration::from_secs(3600),
            ..Policy::default()
        }
    }
}

fn variable(name: &Name) -> String {
    name.as_str().to_ascii_uppercase().replace(['-', '.'], "_")
}
