//! The audit log: who did what to what, with which outcome, in files that show it when somebody changes them.
//!
//! ```
//! use halfbyte_core::ProductId;
//! use halfbyte_observe::audit::{self, AuditLog, Outcome, Record, Who};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let home = tempfile::tempdir()?;
//! # let folder = home.path().join("audit");
//! let log = AuditLog::builder(&folder, &ProductId::new("parcel")?, "1.2.3").open()?;
//! let record = Record::new("label.delete", "label", "L-17", Outcome::Allowed)
//!     .by(Who::System("nightly clean-up".to_owned()))
//!     .detail("copies", 2);
//! let link = log.record(record).await?;
//! drop(log);
//!
//! let verified = audit::verify_to(&folder, None, link.hash)?;
//! assert_eq!((verified.records, verified.last), (1, link));
//! # Ok(()) }
//! ```
//!
//! It is no telemetry: nothing is sampled, dropped or sent, and [`AuditLog::record`] answers once the disk has the record.
//!
//! # What it guarantees
//!
//! - What was acknowledged was fsynced before, together with what others recorded at that moment.
//! - Every line holds the hash of the one before, across files, and its own. A line that was changed, removed, inserted
//!   or moved breaks the chain, and [`verify`] says where. A record is in the log as a whole or not at all.
//! - With a [`Key`] nobody without it can make the chain anew.
//! - Who records waits until there is room: at most 1024 records wait for the disk. Nothing is cut to fit; what is over a
//!   bound is refused: names 128 visible ASCII characters, subjects, issuers and ids 1024 bytes, reasons and texts 1024 bytes,
//!   32 details, 16 actors.
//! - Folders are 0700 and files 0600. One process at a time writes to a folder, under a lock of the operating system; a
//!   second one is [refused](AuditError::is_in_use), since two chains side by side would prove less than one.
//! - A file that was moved, removed, replaced, cut or made longer under the open log is noticed with the next record, which
//!   then fails. What was changed within the file is for [`verify`] to find: a record reads nothing of those before it.
//! - What a process that was killed had written of a line is cut off when the log is opened, and the chain says that, how
//!   many bytes it was and their SHA-256.
//!
//! # What it does not do
//!
//! - Lines that are missing at the end look as though they had never been written, and so does a repair that somebody
//!   provokes by cutting the last line. Only [`verify_to`] finds that, with a [`Link`] that was kept elsewhere:
//!   [`AuditLog::last`] has it.
//! - Without a key, who may write the files can make a new chain from any line on. With one, who can read it can.
//! - Hashing a subject hides it from who does not have that key; who has it can try names.
//! - `time` is what the clock of the machine says, which can be set; the order is that of `seq`. [`verify`] counts how often
//!   it was set back.
//! - It removes no file. Move the oldest ones away as you must keep them; the others can be verified by themselves.
//! - An error of [`AuditLog::record`] means that it is not recorded. If the disk then takes no removal either, the line can
//!   be found after the process has died.
//!
//! # Files
//!
//! `audit-00000001.jsonl` and so on, one JSON object a line, in this order:
//!
//! | member | value |
//! |---|---|
//! | `seq` | the number of the line in the whole log, from 1 |
//! | `time` | RFC 3339, in UTC |
//! | `product`, `version` | who writes |
//! | `event` | `record`; `file` (the first line of each: `format`, `algorithm`, `file`); `repaired` (`cut_bytes`, `cut_sha256`) |
//! | `who` | `kind` (`user`, `service`, `system`, `anonymous`), `subject` or `subject_hash`, `tenant`, `issuer`, `actors` (of the `kind` `actor`) |
//! | `action` | what was done |
//! | `what` | to what: `type`, `id` |
//! | `outcome` | `allowed`; `denied` or `failed`, with `reason` |
//! | `from`, `request_id`, `trace_id`, `details` | where they are known |
//! | `prev` | the `hash` of the line before; of the first one 64 zeros |
//! | `hash` | SHA-256, or HMAC-SHA-256 with the key, of the line's bytes up to `,"hash"` |

mod chain;
mod disk;
mod entry;
mod error;
mod log;
mod open;
mod record;
mod verify;
mod writer;

#[cfg(test)]
mod tests;

pub use self::chain::{Hash, InvalidHash, Key, Link};
pub use self::entry::{Begun, Cut, Entry, Event, Person, Recorded, Thing};
pub use self::error::{AuditError, AuditErrorKind};
pub use self::log::{AuditLog, AuditLogBuilder};
pub use self::record::{Outcome, Record, Value, Who};
pub use self::verify::{Broken, Verified, Why, read, verify, verify_to};
