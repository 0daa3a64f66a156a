use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::header::RETRY_AFTER;
use http::{HeaderMap, StatusCode};
use secrecy::zeroize::Zeroizing;
use serde::de::DeserializeOwned;
use url::Url;

use super::{Error, ErrorKind};

/// The room for a body of a length that is not announced, in bytes.
const SMALLEST: usize = 4096;

/// A response with its whole body, which is overwritten with zeros when the last clone of it is dropped: it may hold a token.
pub struct Response {
    url: Url,
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Response {
    pub(super) async fn read(mut sent: reqwest::Response, max_body: usize, url: &Url) -> Result<Self, Error> {
        let too_large = || Error::new(ErrorKind::TooLarge, Some(url), format!("the body is over {max_body} bytes"));
        let announced = sent.content_length().unwrap_or(0);
        if announced > max_body as u64 {
            return Err(too_large());
        }
        let mut body = Zeroizing::new(Vec::with_capacity(usize::try_from(announced).unwrap_or(0)));
        while let Some(chunk) = sent.chunk().await.map_err(|error| Error::from_reqwest(url, error))? {
            let length = body.len() + chunk.len();
            if length > max_body {
                return Err(too_large());
            }
            if length > body.capacity() {
                // Grown by hand: a vector that grows by itself leaves what it held behind.
                let mut larger = Zeroizing::new(Vec::with_capacity(length.max(2 * body.capacity()).max(SMALLEST)));
                larger.extend_from_slice(&body);
                body = larger;
            }
            body.extend_from_slice(&chunk);
        }
        let headers = std::mem::take(sent.headers_mut());
        Ok(Self { url: url.clone(), status: sent.status(), headers, body: Bytes::from_owner(body) })
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The headers.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The body.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// How long the server asks to wait, where it says so in seconds.
    pub fn retry_after(&self) -> Option<Duration> {
        let seconds = self.headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
        Some(Duration::from_secs(seconds))
    }

    /// Takes a status outside 200..300 for an error.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Status`] with the status.
    pub fn success(self) -> Result<Self, Error> {
        if self.status.is_success() {
            Ok(self)
        } else {
            let (status, url) = (self.status, &self.url);
            Err(Error::new(ErrorKind::Status(status), Some(url), format!("the answer was {status}")))
        }
    }

    /// Reads the body as JSON.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Body`]: it is not the JSON that `T` asks for. The message holds the place and never the content.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_slice(&self.body).map_err(|error| {
            let (line, column, what) = (error.line(), error.column(), error.classify());
            Error::new(ErrorKind::Body, Some(&self.url), format!("{what:?} error in the JSON at {line}:{column}"))
        })
    }
}

/// Shows status and size; a body may hold a token.
impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Response({}, {} bytes)", self.status, self.body.len())
    }
}
