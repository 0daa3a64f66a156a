use std::sync::OnceLock;
use std::time::Duration;

use halfbyte_core::config::Variables;
use halfbyte_core::live::Policy;

use super::handover::{self, Taken};
use super::only_current;
use crate::{Ask, Error, ErrorKind, Name, Provider, Reading, Version};

/// `env:`: the secret `db-password` is the variable `DB_PASSWORD`.
///
/// The name in upper case, with `-` and `.` as `_`; an empty variable counts as unset. Variables are read when the
/// configuration is, so a change takes a restart, and `HALFBYTE_*` is configuration and no secret.
///
/// The environment of a process is inherited by each program that it starts, and shown in `/proc/PID/environ` for as long as it
/// runs. So a production binary begins with [`take`](Self::take).
#[derive(Clone, Debug)]
pub struct Env(Variables);

/// The one version that there is.
const START: &str = "start";
/// By which a process logs in to what has its secrets: taken with them.
const LOGINS: [&str; 2] = ["BAO_TOKEN", "VAULT_TOKEN"];
/// What this process was handed by itself. The environment is one for the whole process, and so is this.
static TAKEN: OnceLock<Taken> = OnceLock::new();

impl Env {
    /// Takes secrets from `variables`: [`Config::other`](halfbyte_core::config::Config::other), and from what was
    /// [taken](Self::take).
    pub fn new(variables: &Variables) -> Self {
        Self(variables.clone())
    }

    /// Takes the secrets `names` out of the environment of this process, for good: neither `/proc/PID/environ` nor a program
    /// that this one starts has them afterwards. Call it first of all in `main`, before the configuration is read and before
    /// there are threads.
    ///
    /// ```no_run
    /// fn main() -> Result<(), Box<dyn std::error::Error>> {
    ///     halfbyte_secrets::Env::take(&["db-password", "smtp-password"])?;
    ///     // From here on as always: read the configuration, start the runtime, open the secrets.
    ///     Ok(())
    /// }
    /// ```
    ///
    /// A program cannot remove a variable from what the operating system shows of it, since that is what it was started with.
    /// So if one of the variables is set, this starts the program anew in its place (`execve`): with the same process number,
    /// arguments, folder, standard streams and environment, less those variables, and with the values in an anonymous file in
    /// memory, which the new program empties as soon as it has read it. Then this function returns, once, in the new program;
    /// whatever ran before it in the old one has run twice. If none is set it returns at once. Process number 1 in a container
    /// may call it. Elsewhere than on Linux it does nothing.
    ///
    /// The tokens that log in to OpenBao, `BAO_TOKEN` and `VAULT_TOKEN`, are taken along, whatever the names are, and
    /// [found](crate::openbao::Auth::from_url) all the same. Other things to log in with are not, since they are read by others:
    /// the `AWS_*` variables by the SDK.
    ///
    /// It cannot reach what others have: who started the process knows what they started it with (a pod's specification,
    /// `docker inspect`, the shell).
    ///
    /// # Errors
    ///
    /// A name is [invalid](ErrorKind::InvalidName), or the operating system does not let the program start itself: `/proc` is
    /// not there, or memory files are forbidden. The variables are then still set.
    pub fn take(names: &[&str]) -> Result<(), Error> {
        let names = names.iter().map(|name| Name::new(name)).collect::<Result<Vec<_>, _>>()?;
        let variables = names.iter().map(variable).chain(LOGINS.map(str::to_owned));
        let taken = handover::take(variables.collect(), TAKEN.get())?;
        if let Some(taken) = taken {
            let _once_only = TAKEN.set(taken);
        }
        Ok(())
    }

    /// Whether [`take`](Self::take) did its work in this process.
    pub fn is_taken() -> bool {
        TAKEN.get().is_some()
    }

    /// What was taken of `variable`.
    pub(crate) fn taken(variable: &str) -> Option<&'static [u8]> {
        TAKEN.get()?.get(variable)
    }
}

impl Provider for Env {
    const NAME: &'static str = "env:";

    async fn read(&self, ask: Ask<'_>) -> Result<Reading, Error> {
        let (name, known) = only_current(&ask)?;
        let variable = variable(name);
        let value = match (Self::taken(&variable), self.0.get(&variable)) {
            (Some(taken), _) => taken,
            (None, Some(value)) => {
                if Env::is_taken() && known.is_none() {
                    tracing::warn!(
                        target: "halfbyte::secrets",
                        "the secret {name} was left in the environment: add it to the names that Env::take is called with",
                    );
                }
                value.as_bytes()
            }
            (None, None) => {
                return Err(Error::new(ErrorKind::NotFound, format!("the variable {variable} is not set")));
            }
        };
        match known {
            Some(known) if known.as_str() == START => Ok(Reading::unchanged()),
            _ => Ok(Reading::new(value).version(Version::new(START))),
        }
    }

    fn lends(&self, _: &Name) -> bool {
        false
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
