use halfbyte_core::error_chain;

use super::blocking;
use crate::journal::Folder;
use crate::{Error, ErrorKind};

/// Keeps the record of what was answered for and the store refuses for what it is, for people to look at, and tells them.
/// Where there is no room for it, it stays where it is.
pub(super) async fn keep_refused(folder: &Folder, record: Vec<u8>, what: &str, error: &Error) -> Result<(), Error> {
    let folder = folder.clone();
    let kept = blocking(move || folder.keep_refused(&record)).await.map_err(|unwritable| {
        let message = format!("the store refuses {what} ({}), and it cannot be kept aside", error_chain(error));
        Error::because(ErrorKind::Unavailable, message, unwritable)
    })?;
    tracing::error!(
        what, kept = %kept.display(), error = error_chain(error),
        "the store refuses what was answered for; it is not counted and kept aside: mend what keeps it out, then rename the \
         folder to a UUID with the extension \"journal\" to have it counted"
    );
    Ok(())
}
