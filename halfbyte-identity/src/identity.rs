use std::sync::Arc;

use halfbyte_core::client::Client;
use halfbyte_core::config::IdentityBackend;
use halfbyte_core::home::Home;
use halfbyte_core::{BoxError, Lifecycle};
use secrecy::SecretString;
use serde_json::json;
use url::Url;

use crate::authenticator::Authenticator;
use crate::embedded::Embedded;
use crate::error::Error;
use crate::issuer::Issuer;
use crate::layers::{AuthenticateLayer, EndpointsLayer, RequireLayer};
use crate::tokens::{Credentials, TokenSource};

/// What [`Identity::open`] needs to know.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whose tokens are accepted.
    pub backends: Vec<IdentityBackend>,
    /// What `aud` must hold.
    pub audience: String,
    /// The address under which clients know this product: scheme and host.
    pub public_url: Url,
    /// Where an embedded issuer keeps its state.
    pub home: Home,
}

/// The identity system of one product. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Identity {
    authenticator: Authenticator,
    embedded: Option<Embedded>,
    resource_metadata: Arc<str>,
    resource_document: Arc<str>,
    client: Client,
    lifecycle: Lifecycle,
}

pub(crate) const RESOURCE_METADATA_PATH: &str = "/.well-known/oauth-protected-resource";

impl Identity {
    /// Opens the issuers. Keys of issuers elsewhere are fetched in the background: see [`ready`](Self::ready).
    ///
    /// # Errors
    ///
    /// The state of the embedded issuer cannot be read, is corrupt, or cannot be made.
    pub async fn open(settings: Settings, client: Client, lifecycle: &Lifecycle) -> Result<Self, Error> {
        let mut issuers = Vec::new();
        let mut embedded = None;
        for backend in &settings.backends {
            issuers.push(match backend {
                IdentityBackend::Issuer { id, .. } => Issuer::remote(id, client.clone(), lifecycle)?,
                _ => {
                    let issuer =
                        Embedded::open(&settings.home, &settings.public_url, &settings.audience, lifecycle).await?;
                    embedded = Some(issuer.clone());
                    Issuer::Embedded(issuer)
                }
            });
        }
        let base = settings.public_url.as_str().trim_end_matches('/');
        let resource_document = json!({
            "resource": base,
            "authorization_servers": issuers.iter().map(Issuer::id).collect::<Vec<_>>(),
            "bearer_methods_supported": ["header"],
        });
        Ok(Self {
            authenticator: Authenticator::new(issuers, &settings.audience, lifecycle.clock().clone()),
            embedded,
            resource_metadata: format!("{base}{RESOURCE_METADATA_PATH}").into(),
            resource_document: resource_document.to_string().into(),
            client,
            lifecycle: lifecycle.clone(),
        })
    }

    /// Waits until the keys of every issuer are there; for a boot that wants to be warm.
    ///
    /// # Errors
    ///
    /// An issuer cannot be reached. Tokens of the others are accepted all the same.
    pub async fn ready(&self) -> Result<(), halfbyte_core::live::Error> {
        for issuer in self.authenticator.issuers() {
            issuer.warm().await?;
        }
        Ok(())
    }

    /// Verifies tokens outside a layer.
    pub fn authenticator(&self) -> &Authenticator {
        &self.authenticator
    }

    /// The issuer in this process, where one is configured.
    pub fn embedded(&self) -> Option<&Embedded> {
        self.embedded.as_ref()
    }

    /// A layer that turns a bearer token into a principal and refuses a bad one. A request without credentials is let
    /// through without a principal, for [`require`](Self::require) to refuse; or see [`AuthenticateLayer::required`].
    pub fn authenticate(&self) -> AuthenticateLayer {
        AuthenticateLayer::new(self.authenticator.clone(), self.resource_metadata.clone())
    }

    /// A layer that lets only principals with all of `scopes` through; with none, any principal.
    pub fn require(&self, scopes: &[&str]) -> RequireLayer {
        RequireLayer::new(scopes, self.resource_metadata.clone())
    }

    /// A layer that answers the well-known documents of this product, and the token endpoint of an embedded issuer.
    pub fn endpoints(&self) -> EndpointsLayer {
        EndpointsLayer::new(self.resource_document.clone(), self.embedded.clone())
    }

    /// Access tokens of this product's own, for calling `audience`: by client credentials (RFC 6749, 4.4) from the first
    /// issuer, kept until shortly before they expire, one fetch for all who wait.
    ///
    /// `secret` is asked at each fetch, so that a rotated secret is used from the next one on.
    pub fn tokens(
        &self,
        client_id: &str,
        secret: impl Fn() -> Result<SecretString, BoxError> + Send + Sync + 'static,
        audience: &str,
        scopes: &[&str],
    ) -> TokenSource {
        let credentials = Credentials::new(client_id, secret, audience, scopes);
        TokenSource::start(self.authenticator.clone(), self.client.clone(), credentials, &self.lifecycle)
    }
}
