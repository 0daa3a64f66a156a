use std::collections::VecDeque;
use std::error::Error as _;
use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};

use async_nats::connection::State;
use async_nats::jetstream::context::{PublishAckFuture, PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::{self, Context, ErrorCode};
use halfbyte_core::error_chain;

use super::cloud_event::{encode, message_id};
use super::status::clip;
use super::{BoxFuture, Destination, Exported, SendError};
use crate::{Error, ErrorKind};

/// The longest part of a subject that comes from the type of an event.
const LONGEST_TYPE: usize = 255;
const IN_FLIGHT: usize = 256;
/// When the connection has broken so often in a row with the same event first, that is taken for the reason.
const BREAKS: u32 = 3;

/// Publishes events to a JetStream stream, which must exist and take the subjects `PREFIX.>`.
///
/// ```no_run
/// use halfbyte_billing::export::{NatsDestination, async_nats};
///
/// # async fn example(token: String) -> Result<(), Box<dyn std::error::Error>> {
/// let options = async_nats::ConnectOptions::with_token(token).retry_on_initial_connect();
/// let client = options.connect("tls://nats.example.com").await?;
/// let nats = NatsDestination::new(async_nats::jetstream::new(client), "usage")?;
/// # Ok(()) }
/// ```
///
/// - The subject is the prefix and the type of the event: `usage.com.example.request`. What may not stand in a
///   subject becomes `_`.
/// - The message is the event as JSON (CloudEvents 1.0, structured mode), with `Content-Type:
///   application/cloudevents+json`.
/// - `Nats-Msg-Id` is source and id joined by `#`, so that what is sent again within the stream's `duplicate_window` is
///   stored once. A process that was down for longer may leave duplicates; give the window the length of your outages.
/// - An event counts as safe once the stream has acknowledged it. Up to 256 are under way at once: should the connection
///   break, or the stream refuse one as too large, it comes after some that were behind it.
///   [`in_flight(1)`](Self::in_flight) rules that out.
/// - An event that is too large for the stream (`max_msg_size`), the server, the account or the user (`max_payload`) is
///   refused and never left out: it holds up those behind it until the limit is raised, and the health check says which
///   one. Events are at most 64 KiB of data and some more around it; the server's own default is 1 MiB.
/// - Give it a connection of its own: a client learns a limit of the server only as it connects, so the connection is made
///   anew after each attempt at an event that is over the one that it knows.
pub struct NatsDestination {
    context: Context,
    prefix: String,
    in_flight: usize,
    /// How often in a row nothing became safe because the connection broke.
    breaks: AtomicU32,
}

impl NatsDestination {
    /// Publishes through `context` under `prefix`. How to connect and with which credential, `context` knows.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`]: `prefix` is not one or more names of `A-Z a-z 0-9 _ -` with dots between them.
    pub fn new(context: Context, prefix: &str) -> Result<Self, Error> {
        if prefix.len() > LONGEST_TYPE || prefix != tokens(prefix) {
            let rule = "must be names of A-Z, a-z, 0-9, '_' and '-' with dots between them, at most 255 characters";
            return Err(Error::new(ErrorKind::Invalid, format!("a prefix of subjects {rule}")));
        }
        Ok(Self { context, prefix: prefix.to_owned(), in_flight: IN_FLIGHT, breaks: AtomicU32::new(0) })
    }

    /// How many events are published before the first of them is acknowledged. Default 256, at least 1, which is slow and
    /// keeps the order whatever breaks.
    pub fn in_flight(mut self, events: usize) -> Self {
        self.in_flight = events.max(1);
        self
    }

    async fn publish_all(&self, events: &[Exported]) -> Result<usize, SendError> {
        // What is published without a connection waits for one, and would come out of order.
        let state = self.context.client().connection_state();
        if state != State::Connected {
            return Err(SendError::failed(format!("the connection to NATS is {state}")));
        }
        let connects = self.connects();
        // What breaks the connection must not keep those before it from being acknowledged.
        let in_flight = if self.breaks.load(Ordering::Relaxed) > 0 { 1 } else { self.in_flight };
        let mut rest = events.iter();
        let (mut waiting, mut safe, mut fault) = (VecDeque::new(), 0, None);
        loop {
            while waiting.len() < in_flight
                && fault.is_none()
                && let Some(event) = rest.next()
            {
                match self.publish(event).await {
                    Ok(acknowledgement) => waiting.push_back(acknowledgement),
                    Err(error) => fault = Some(error),
                }
            }
            let Some(acknowledgement) = waiting.pop_front() else { break };
            match acknowledgement.await {
                Ok(_) => safe += 1,
                // Those behind it may be there or not: they do not count.
                Err(error) => {
                    fault = Some(failure(&error));
                    break;
                }
            }
        }
        match fault {
            Some(fault) if safe == 0 => Err(self.examine(fault, events, connects).await),
            _ => {
                self.breaks.store(0, Ordering::Relaxed);
                Ok(safe)
            }
        }
    }

    /// Finds out whether the first of these events is the reason why none is safe.
    async fn examine(&self, fault: Fault, events: &[Exported], connects: u64) -> SendError {
        let client = self.context.client();
        let error = match fault {
            Fault::OverKnownLimit(error) => {
                // It may have been raised since, which the client learns as it connects; where that fails, it tries again.
                if events.len() == 1 {
                    _ = client.force_reconnect().await;
                }
                return error;
            }
            Fault::Other(error) => error,
        };
        let broke = connects != self.connects() || client.connection_state() != State::Connected;
        if error.is_permanent() || !broke {
            return error;
        }
        // Over a limit of its account, a client is told by the end of its connection.
        let breaks = self.breaks.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if breaks < BREAKS {
            return SendError::failed(format!("the connection broke: {error}"));
        }
        let bytes = events.first().and_then(|event| encode(event).ok()).map_or(0, |json| json.get().len());
        SendError::refused(format!(
            "the connection broke {breaks} times in a row with this event of {bytes} bytes first ({error}); \
             the log of the server says why; where it is too large, raise max_payload of the account or the user"
        ))
    }

    /// How often the client has connected.
    fn connects(&self) -> u64 {
        self.context.client().statistics().connects.load(Ordering::Relaxed)
    }

    async fn publish(&self, event: &Exported) -> Result<PublishAckFuture, Fault> {
        let subject = format!("{}.{}", self.prefix, tokens(&event.event().kind));
        let message = PublishMessage::build()
            .payload(encode(event)?.get().to_owned().into())
            .header("Content-Type", "application/cloudevents+json")
            .message_id(message_id(event));
        self.context.send_publish(subject, message).await.map_err(|error| failure(&error))
    }
}

impl Destination for NatsDestination {
    fn send<'a>(&'a self, events: &'a [Exported]) -> BoxFuture<'a, Result<usize, SendError>> {
        Box::pin(self.publish_all(events))
    }
}

/// Why nothing more of a batch becomes safe.
enum Fault {
    /// The client does not even send it, by the limit that the server told it as it connected.
    OverKnownLimit(SendError),
    Other(SendError),
}

impl From<SendError> for Fault {
    fn from(error: SendError) -> Self {
        Fault::Other(error)
    }
}

fn failure(error: &PublishError) -> Fault {
    let answer = error.source().and_then(|source| source.downcast_ref::<jetstream::Error>());
    let message = clip(&error_chain(error));
    if error.kind() == PublishErrorKind::MaxPayloadExceeded {
        let message = format!("{message}; raise max_payload of the NATS server");
        return Fault::OverKnownLimit(SendError::refused(message));
    }
    if answer.is_some_and(|answer| answer.error_code() == ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM) {
        return Fault::Other(SendError::refused(format!("{message}; raise max_msg_size of the stream")));
    }
    Fault::Other(SendError::failed(message))
}

/// `name` with `_` for everything that may not stand in a subject, and for names that are not there.
fn tokens(name: &str) -> String {
    let plain = |char: char| if char.is_ascii_alphanumeric() || matches!(char, '_' | '-') { char } else { '_' };
    let token = |token: &str| if token.is_empty() { "_".to_owned() } else { token.chars().map(plain).collect() };
    let mut subject = name.split('.').map(token).collect::<Vec<String>>().join(".");
    subject.truncate(LONGEST_TYPE);
    // A cut right behind a dot would leave a name that is not there.
    if subject.ends_with('.') {
        subject.push('_');
    }
    subject
}

impl fmt::Debug for NatsDestination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsDestination").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_becomes_names_that_may_stand_in_a_subject() {
        assert_eq!(tokens("com.example.request"), "com.example.request");
        assert_eq!(tokens("a b.*.>.$SYS.é"), "a_b._._._SYS._");
        assert_eq!(tokens(""), "_");
        assert_eq!(tokens(".a..b."), "_.a._.b._");
        let long = tokens(&"a.".repeat(1000));
        assert!(long.len() <= LONGEST_TYPE + 1 && !long.ends_with('.'), "{long}");
    }
}
