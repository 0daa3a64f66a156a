//! Secrets as typed live handles: read without I/O, rotated without a restart, never printed.
//!
//! ```
//! use halfbyte_core::config::Config;
//! use halfbyte_core::{Clock, Lifecycle};
//! use halfbyte_secrets::{ExposeSecret, Secrets};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // As `HALFBYTE_SECRETS_URL=env: DB_PASSWORD=hunter2 ./product` would give it; see `Config::from_env`.
//! let config = Config::parse([("HALFBYTE_SECRETS_URL", "env:"), ("DB_PASSWORD", "hunter2")])?;
//! let lifecycle = Lifecycle::new(Clock::system());
//!
//! let secrets = Secrets::open(&config, &lifecycle)?;
//! let password = secrets.get::<String>("db-password");
//! password.ready().await?;
//!
//! assert_eq!(password.load()?.expose_secret(), "hunter2"); // lock-free; always the current one
//! assert_eq!(format!("{:?}", password.load()?), "Snapshot([REDACTED], generation 1)");
//! # Ok(()) }
//! ```
//!
//! A secret that may be missing is an `Option`: `secrets.get::<Option<String>>("smtp-password")`. What is not text is
//! bytes, [`Json`], [`SecretUrl`], or a type of yours with [`FromSecret`].
//!
//! # Where secrets come from
//!
//! `HALFBYTE_SECRETS_URL` says it; the program does not change.
//!
//! | URL | what | a change shows |
//! |---|---|---|
//! | `local:` | [`Local`]: one encrypted file under `HALFBYTE_HOME`, for development | within a second |
//! | `env:` | [`Env`]: variables, `db-password` as `DB_PASSWORD`; see [`Env::take`] | with the next start |
//! | `file:///dir` | [`Files`]: one file a secret, as Kubernetes mounts them | at once; within 30 s if it cannot be told of |
//! | `openbao://host:8200/mount/path` | [`openbao`]: OpenBao and Vault, `vault://` is the same | within a minute |
//! | `aws-sm://region/prefix` | `Aws`, with the feature `aws`: AWS Secrets Manager | within five minutes |
//!
//! Anything else is a [`Provider`] of yours, given to [`Secrets::new`].
//!
//! # Where secrets are used
//!
//! - [`inject`] adds one to outbound calls, for the hosts that are listed and for no others, and calls once more with the next
//!   value on a 401.
//! - `postgres::Database`, with the feature `postgres`, is a pool of connections that follows the rotation of its
//!   [`Credential`].
//!
//! # What it guarantees
//!
//! - [`Secret::load`] is a lock-free snapshot: no I/O, no waiting, no allocation. One fetch at a time runs behind it,
//!   however many readers and handles there are.
//! - A value is seen whole, old or new, never a mix.
//! - `Debug`, `Display` and `Serialize` of everything here print `[REDACTED]`; reading a value takes a call of
//!   [`expose_secret`](ExposeSecret::expose_secret), which is easy to search for. No error holds a value or a part of one.
//! - Values, and the buffers that this crate reads them into, are overwritten with zeros when they are dropped.
//! - A live secret, or a part of one such as the password of a URL, is masked in logs, spans and panics by the
//!   [`firewall`], and by `halfbyte-observe` in all that it sends: as it is, escaped, percent-encoded, in base64 and in
//!   hexadecimal. `testing::assert_no_leak!` (feature `testing`) tells in a test whether code leaks one in the first place.
//! - When the backend is away the last known good value is served for the [policy](halfbyte_core::live::Policy)'s
//!   `max_stale`, and after that a typed [`Error`]. A missing, denied, malformed or unreachable secret is told apart.
//! - A broken local file, a wrong key or a key file that others may read is reported and never overwritten.
//! - A mount that Kubernetes swaps is read whole, before the swap or after it; [`Files::together`] reads several names so.
//! - With a [`BootSnapshot`] a product restarts while the backend is down, with values that were confirmed within a day.
//!
//! # Features
//!
//! `local` and `snapshot`, both there unless `default-features = false`: [`Local`] and [`BootSnapshot`]. They bring age and the
//! many crates that it needs.
//!
//! # What it does not do
//!
//! - It does not keep a value out of core dumps, swap or the hands of a debugger: memory is not locked.
//! - It does not know of copies that others make: what `expose_secret` hands out may be cloned, and JSON and URL parsers
//!   have scratch space of their own. The environment itself is the operating system's copy, until
//!   [`Env::take`] starts the program without it; what the one who started it keeps, stays.
//! - The [`firewall`] does not know secrets of less than 8 bytes, a part of a secret, one that is split over two fields of a
//!   log line or in another encoding, nor what is printed, stored or sent past it.
//! - It does not protect `local:`, nor a boot snapshot without a key from elsewhere, from who can read the home folder: the
//!   key lies next to the file, so that both survive a restart without a person. It keeps values out of backups of single
//!   files, of `grep` and of screens.

#[cfg(feature = "aws")]
mod aws;
mod boot;
mod credential;
mod error;
pub mod firewall;
mod from_secret;
mod guarded;
mod handle;
pub mod inject;
mod journal;
#[cfg(any(feature = "local", feature = "snapshot"))]
mod key;
mod lease;
#[cfg(feature = "local")]
mod local;
mod metrics;
mod name;
pub mod openbao;
mod parts;
mod policy;
#[cfg(feature = "postgres")]
pub mod postgres;
mod provider;
mod reader;
mod rotation;
mod secrets;
#[cfg(feature = "snapshot")]
mod snapshot;
#[cfg(feature = "testing")]
pub mod testing;

pub use halfbyte_core::live;
pub use secrecy::{ExposeSecret, SecretSlice, SecretString, zeroize};

#[cfg(feature = "aws")]
pub use self::aws::Aws;
pub use self::credential::Credential;
pub use self::error::{Error, ErrorKind};
pub use self::from_secret::{FromSecret, Json, ParseError, SecretUrl};
pub use self::handle::{PreviousValue, Secret, Snapshot};
pub use self::journal::{Event, Outcome};
#[cfg(feature = "local")]
pub use self::local::Local;
pub use self::name::Name;
pub use self::policy::Policy;
pub use self::provider::{Ask, Env, Files, Lease, Provider, Reading, Stage, Version};
pub use self::secrets::{Builder, Secrets};
#[cfg(feature = "snapshot")]
pub use self::snapshot::BootSnapshot;
