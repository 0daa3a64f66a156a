use std::fmt;

use halfbyte_core::client::{Client, ErrorKind as ClientErrorKind, Response};
use halfbyte_core::error_chain;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::value::RawValue;
use url::{Host, Url};

use super::lago::{self, Fault, LagoBatch};
use super::status::clip;
use super::{BoxFuture, Destination, Exported, SendError, cloud_event};
use crate::{Error, ErrorKind};

/// A request with more than one event holds at most so many bytes of JSON.
const LARGEST_BODY: usize = 1 << 20;
/// How often one batch is sent anew to Lago without those that it has.
const LAGO_ROUNDS: usize = 4;

/// How events are written into a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HttpFormat {
    /// A JSON array of CloudEvents 1.0 as `application/cloudevents-batch+json`, which OpenMeter takes at
    /// `/api/v1/events`. The extension attribute `halfbytetenant` names who pays.
    ///
    /// The receiver tells events that it has by `source` and `id`.
    CloudEventsBatch,
    /// What Lago takes at `/api/v1/events/batch`, at most 100 events at a time.
    ///
    /// `transaction_id` is source and id joined by `#`, `external_subscription_id` the tenant, `code` the type,
    /// `timestamp` the time to the millisecond, `properties` the data. Lago refuses a batch with an event that it has; it is
    /// then sent without that.
    Lago,
}

/// Sends events to an HTTP endpoint in batches, each a POST.
///
/// 408, 425, 429, every 5xx and an answer that does not come are tried again; so are 401, 403, 404, 405, and redirects,
/// which are about the endpoint and not about an event. Any other 4xx refuses the event. `Retry-After` in
/// seconds is honoured.
pub struct HttpDestination {
    client: Client,
    url: Url,
    format: HttpFormat,
    bearer: Option<Box<dyn Fn() -> SecretString + Send + Sync>>,
}

impl HttpDestination {
    /// Sends to `url` through `client`, whose limits hold for each request.
    pub fn new(client: Client, url: Url, format: HttpFormat) -> Self {
        Self { client, url, format, bearer: None }
    }

    /// Authenticates each request with what `token` answers at the time, so that a token may change.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`]: the address is plain `http` to another machine, where anybody on the way reads the token.
    pub fn bearer(mut self, token: impl Fn() -> SecretString + Send + Sync + 'static) -> Result<Self, Error> {
        if self.url.scheme() != "https" && !is_this_machine(&self.url) {
            let message = "an export with a token needs https; plain http is accepted for this machine only";
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        self.bearer = Some(Box::new(token));
        Ok(self)
    }

    async fn send_cloud_events(&self, events: &[Exported]) -> Result<usize, SendError> {
        let encoded = encode(events, cloud_event::encode)?;
        let response = self.post(&encoded, "application/cloudevents-batch+json").await?;
        if response.status().is_success() { Ok(encoded.len()) } else { Err(refusal(&response)) }
    }

    async fn send_lago(&self, events: &[Exported]) -> Result<usize, SendError> {
        let encoded = encode(&events[..events.len().min(lago::MOST)], lago::encode)?;
        // Everything before `end` that is not in `left` is there.
        let mut end = encoded.len();
        let mut left: Vec<(usize, &RawValue)> = encoded.iter().map(|event| &**event).enumerate().collect();
        for _ in 0..LAGO_ROUNDS {
            let body: Vec<&RawValue> = left.iter().map(|(_, event)| *event).collect();
            let response = self.post(&LagoBatch { events: &body }, "application/json").await?;
            if response.status().is_success() {
                return Ok(end);
            }
            let mut faults = match response.status() {
                StatusCode::UNPROCESSABLE_ENTITY => lago::faults(response.body()),
                _ => return Err(refusal(&response)),
            };
            let before = left.len();
            let mut why = None;
            let mut kept = Vec::with_capacity(before);
            for (sent_as, (index, event)) in left.into_iter().enumerate() {
                match faults.remove(&sent_as) {
                    None => kept.push((index, event)),
                    Some(Fault::Known) => {}
                    Some(Fault::Refused(fault)) => {
                        (end, why) = (index, Some(fault));
                        break;
                    }
                }
            }
            left = kept;
            match why {
                _ if left.len() == before => return Err(refusal(&response)),
                Some(why) if end == 0 => return Err(SendError::refused(format!("422 Unprocessable Entity: {why}"))),
                _ if left.is_empty() => return Ok(end),
                _ => {}
            }
        }
        Err(SendError::failed("other events of the same batch are refused each time"))
    }

    async fn post(&self, body: &impl serde::Serialize, content_type: &str) -> Result<Response, SendError> {
        // Not marked as repeatable: the export does that itself, with its claim, its position and its own patience.
        let request = self.client.post(self.url.clone()).json(body).header(CONTENT_TYPE, content_type);
        let request = match &self.bearer {
            Some(token) => request.bearer(&token()),
            None => request,
        };
        request.send().await.map_err(|error| match error.kind() {
            // It was read, and is too large to tell why.
            ClientErrorKind::TooLarge => SendError::failed("the answer is too large to be one to this request"),
            _ => SendError::failed(error_chain(&error)),
        })
    }
}

impl Destination for HttpDestination {
    fn send<'a>(&'a self, events: &'a [Exported]) -> BoxFuture<'a, Result<usize, SendError>> {
        Box::pin(async move {
            match self.format {
                HttpFormat::CloudEventsBatch => self.send_cloud_events(events).await,
                HttpFormat::Lago => self.send_lago(events).await,
            }
        })
    }
}

/// The first events, as many as fit into one request.
fn encode(
    events: &[Exported],
    form: fn(&Exported) -> Result<Box<RawValue>, SendError>,
) -> Result<Vec<Box<RawValue>>, SendError> {
    let (mut encoded, mut bytes) = (Vec::with_capacity(events.len()), 0);
    for event in events {
        match form(event) {
            Ok(json) => {
                bytes += json.get().len() + 1;
                if bytes > LARGEST_BODY && !encoded.is_empty() {
                    break;
                }
                encoded.push(json);
            }
            // It is the first the next time.
            Err(_) if !encoded.is_empty() => break,
            Err(error) => return Err(error),
        }
    }
    Ok(encoded)
}

fn refusal(response: &Response) -> SendError {
    let status = response.status();
    let message = match reason(response) {
        Some(reason) => format!("{status}: {}", clip(&reason)),
        None => status.to_string(),
    };
    let is_about_events = status.is_client_error()
        && !matches!(
            status,
            StatusCode::UNAUTHORIZED
                | StatusCode::FORBIDDEN
                | StatusCode::NOT_FOUND
                | StatusCode::METHOD_NOT_ALLOWED
                | StatusCode::PROXY_AUTHENTICATION_REQUIRED
                | StatusCode::REQUEST_TIMEOUT
                | StatusCode::TOO_EARLY
                | StatusCode::TOO_MANY_REQUESTS
        );
    let error = if is_about_events { SendError::refused(message) } else { SendError::failed(message) };
    error.retry_in(response.retry_after())
}

/// What the endpoint says of it in the form of RFC 9457. Nothing else of a body is shown, which may hold anything.
fn reason(response: &Response) -> Option<String> {
    #[derive(Deserialize)]
    struct Problem {
        title: Option<String>,
        detail: Option<String>,
    }
    let problem: Problem = response.json().ok()?;
    problem.detail.or(problem.title)
}

fn is_this_machine(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

impl fmt::Debug for HttpDestination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = format!("{}{}", self.url.origin().ascii_serialization(), self.url.path());
        f.debug_struct("HttpDestination")
            .field("address", &address)
            .field("format", &self.format)
            .finish_non_exhaustive()
    }
}
