//! The SDK's HTTP, by the client that everything else here uses: one TLS stack and one set of limits.

use std::time::Duration;

use aws_sdk_secretsmanager::config::http::{HttpRequest, HttpResponse};
use aws_sdk_secretsmanager::config::{HttpClient, RuntimeComponents};
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::body::SdkBody;
use halfbyte_core::client::{Client, Limits};
use http_body_util::Full;
use tokio::time::timeout;

use crate::{Error, ErrorKind};

/// One attempt at a time: repeating is for who asks.
const LIMITS: Limits = Limits {
    timeout: Duration::from_secs(5),
    connect_timeout: Duration::from_secs(3),
    // A value of 64 KiB with each byte escaped is 384 KiB.
    max_body: 1 << 20,
    attempts: 1,
    max_wait: Duration::ZERO,
};

#[derive(Clone, Debug)]
pub(super) struct Connector {
    client: Client,
    /// What the SDK asks for besides: that an instance's metadata service, which may not be there, is not waited for long.
    limit: Option<Duration>,
}

impl Connector {
    pub(super) fn new() -> Result<Self, Error> {
        let client = Client::with_limits(LIMITS).map_err(|error| {
            Error::new(ErrorKind::Unavailable, "the connection to Secrets Manager cannot be set up").with_source(error)
        })?;
        Ok(Self { client, limit: None })
    }

    async fn exchange(client: Client, request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
        let request = request.try_into_http1x().map_err(|error| ConnectorError::user(error.into()))?;
        let (parts, body) = request.into_parts();
        let url = parts.uri.to_string().parse().map_err(|_| ConnectorError::user("the address is no URL".into()))?;
        let body = body.bytes().ok_or_else(|| ConnectorError::user("the body is a stream".into()))?;
        let request = client.request(parts.method, url).headers(parts.headers).body(body.to_vec());
        let response = request.send().await.map_err(|error| {
            if error.is_timeout() { ConnectorError::timeout(error.into()) } else { ConnectorError::io(error.into()) }
        })?;
        let status = StatusCode::try_from(response.status().as_u16())
            .map_err(|error| ConnectorError::other(error.into(), None))?;
        // As a stream: the SDK's events show the bytes of a body that it has whole.
        let body = SdkBody::from_body_1_x(Full::new(response.body().clone()));
        let mut answer = HttpResponse::new(status, body);
        for (name, value) in response.headers() {
            // What is not text is nothing that the SDK reads.
            if let Ok(value) = value.to_str() {
                answer.headers_mut().append(name.as_str().to_owned(), value.to_owned());
            }
        }
        Ok(answer)
    }
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (exchange, limit) = (Self::exchange(self.client.clone(), request), self.limit);
        HttpConnectorFuture::new_boxed(Box::pin(async move {
            match limit {
                Some(limit) => match timeout(limit, exchange).await {
                    Ok(answer) => answer,
                    Err(elapsed) => Err(ConnectorError::timeout(elapsed.into())),
                },
                None => exchange.await,
            }
        }))
    }
}

impl HttpClient for Connector {
    fn http_connector(&self, settings: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        let limit = settings.read_timeout().map(|read| read + settings.connect_timeout().unwrap_or_default());
        SharedHttpConnector::new(Self { client: self.client.clone(), limit })
    }
}
