use std::sync::Arc;

use halfbyte_core::Clock;
use halfbyte_core::client::{Client, Response};
use http::header::ACCEPT;
use jiff::Timestamp;
use url::Url;

use super::{ClientAuthentication, Error};
use crate::issuer::{Endpoint, Issuer};

/// One client as one issuer knows it, and the means to ask that issuer.
pub(crate) struct Registration {
    /// `None` in a product that trusts no issuer: it can have no tokens.
    issuer: Option<Arc<Issuer>>,
    http: Client,
    client_id: Box<str>,
    authentication: ClientAuthentication,
    clock: Clock,
}

/// Whether a request may be sent again when its outcome is not known.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeat {
    Allowed,
    Never,
}

impl Registration {
    pub(crate) fn new(
        issuer: Option<Arc<Issuer>>,
        http: Client,
        client_id: &str,
        authentication: ClientAuthentication,
        clock: Clock,
    ) -> Self {
        Self { issuer, http, client_id: client_id.into(), authentication, clock }
    }

    pub(super) fn client_id(&self) -> &str {
        &self.client_id
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Posts the form `fields` as this client; fields without a value are left out. Answers what succeeded.
    pub(super) async fn post(
        &self,
        endpoint: Endpoint,
        fields: &[(&str, &str)],
        repeat: Repeat,
    ) -> Result<Response, Error> {
        let url = self.endpoint(endpoint).await?;
        let request = self.http.post(url).header(ACCEPT, "application/json");
        let mut request =
            self.authentication.form(request, fields, &self.client_id, self.issuer()?.id(), self.clock.now())?;
        if repeat == Repeat::Allowed && self.authentication.is_repeatable() {
            request = request.repeatable();
        }
        succeeded(request.send().await?)
    }

    /// Asks `endpoint` with an access token in place of this client's own proof.
    pub(super) async fn get(&self, endpoint: Endpoint, token: &secrecy::SecretString) -> Result<Response, Error> {
        let url = self.endpoint(endpoint).await?;
        succeeded(self.http.get(url).header(ACCEPT, "application/json").bearer(token).send().await?)
    }

    async fn endpoint(&self, endpoint: Endpoint) -> Result<Url, Error> {
        self.issuer()?.endpoint(endpoint).await.map_err(Error::no_endpoint)
    }

    fn issuer(&self) -> Result<&Issuer, Error> {
        self.issuer.as_deref().ok_or_else(|| Error::configuration("no issuer is configured"))
    }
}

fn succeeded(response: Response) -> Result<Response, Error> {
    if response.status().is_success() { Ok(response) } else { Err(Error::of_answer(&response)) }
}
