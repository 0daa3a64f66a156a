use std::error::Error;
use std::fmt::Write as _;

/// An error of a kind that the caller does not tell apart.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// The message of `error` and of all its sources, outermost first, as one line.
///
/// ```
/// let inner = std::io::Error::other("connection refused");
/// assert_eq!(halfbyte_core::error_chain(&inner), "connection refused");
/// ```
pub fn error_chain(error: &(dyn Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let message = cause.to_string();
        // Some libraries repeat their source in their own message.
        if !line.ends_with(&message) {
            let _infallible = write!(line, ": {message}");
        }
        source = cause.source();
    }
    line
}
