use std::sync::Arc;

use halfbyte_core::client::Client;
use halfbyte_core::config::IdentityBackend;
use halfbyte_core::{BoxError, Lifecycle, Principal};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;

use crate::api_keys::ApiKeys;
use crate::authenticator::{Authenticator, Parts};
use crate::cache::VerifiedTokens;
use crate::claims::Fault;
use crate::dpop::{self, Proofs};
use crate::embedded::Embedded;
use crate::error::{Error, ErrorKind};
use crate::introspection::{Introspection, Limits};
use crate::issuer::Issuer;
use crate::layers::{AuthenticateLayer, EndpointsLayer, RequireLayer};
use crate::mtls::Certificates;
use crate::outbound::{ClientAuthentication, OAuthClient, Registration, TokenSource};
use crate::revocation::Revocations;
use crate::settings::Settings;
use crate::tie::Tie;

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

/// The endpoint at which an issuer says that a session has ended.
pub(crate) const LOGOUT_PATH: &str = "/oauth/backchannel-logout";

pub(crate) const RESOURCE_METADATA_PATH: &str = "/.well-known/oauth-protected-resource";

impl Identity {
    /// Opens the issuers. Keys of issuers elsewhere are fetched in the background: see [`ready`](Self::ready).
    ///
    /// # Errors
    ///
    /// The state of the embedded issuer or the API keys cannot be read, is corrupt, or cannot be made; an issuer's identifier is
    /// not one; or the key of DPoP nonces is too short.
    pub async fn open(settings: Settings, client: Client, lifecycle: &Lifecycle) -> Result<Self, Error> {
        let Settings { audience, public_url, home, .. } = &settings;
        if settings.dpop_nonce_key.as_ref().is_some_and(|key| key.expose_secret().len() < 32) {
            return Err(Error::new(ErrorKind::Setting, "the key of DPoP nonces is shorter than 32 bytes"));
        }
        let mut issuers = Vec::new();
        let mut embedded = None;
        for backend in &settings.backends {
            issuers.push(Arc::new(match backend {
                IdentityBackend::Issuer { id, preset } => {
                    Issuer::remote(id, *preset, audience, client.clone(), lifecycle)?
                }
                _ => {
                    let issuer = Embedded::open(home, public_url, audience, lifecycle).await?;
                    embedded = Some(issuer.clone());
                    Issuer::embedded(issuer, audience)
                }
            }));
        }
        let clock = lifecycle.clock();
        let introspection = settings.client.as_ref().and_then(|(id, secret)| {
            let (issuer, secret) = (issuers.first()?.clone(), secret.clone());
            let authentication = ClientAuthentication::secret(move || secret());
            let registration =
                Registration::new(Some(issuer.clone()), client.clone(), id, authentication, clock.clone());
            let read = move |answer: &[u8], now| issuer.rules().accept_introspected(answer, now).map_err(Fault::detail);
            Some(Introspection::new(OAuthClient::new(registration, lifecycle), read, clock.clone(), Limits::default()))
        });
        let base = public_url.as_str().trim_end_matches('/');
        let resource_document = json!({
            "resource": base,
            "authorization_servers": issuers.iter().map(|issuer| issuer.id()).collect::<Vec<_>>(),
            "bearer_methods_supported": ["header"],
            "dpop_signing_alg_values_supported": dpop::ALGORITHMS.split(' ').collect::<Vec<_>>(),
            "tls_client_certificate_bound_access_tokens": !settings.trusted_proxies.is_empty(),
        });
        let parts = Parts {
            issuers,
            audience: audience.as_str().into(),
            client_id: settings.client.as_ref().map(|(id, _)| id.clone()),
            clock: clock.clone(),
            cache: VerifiedTokens::new(settings.cached_tokens, settings.cached_for),
            revocations: Revocations::new(clock.clone()),
            api_keys: ApiKeys::open(&settings.api_keys, settings.environment, home, lifecycle).await?,
            introspection,
            proofs: Proofs::new(public_url, settings.dpop_nonce, settings.dpop_nonce_key.as_ref())
                .map_err(|_| Error::new(ErrorKind::Storage, "this machine gives no random numbers"))?,
            certificates: Certificates::new(settings.trusted_proxies.clone()),
        };
        Ok(Self {
            authenticator: Authenticator::new(parts),
            embedded,
            resource_metadata: format!("{base}{RESOURCE_METADATA_PATH}").into(),
            resource_document: resource_document.to_string().into(),
            client,
            lifecycle: lifecycle.clone(),
        })
    }

    /// Waits until the keys of every issuer are there; for a boot that wants to be warm. Cancel safe.
    ///
    /// # Errors
    ///
    /// An issuer could not be reached at the first attempt. Tokens of the others are accepted all the same, and
    /// it goes on being tried in the background.
    pub async fn ready(&self) -> Result<(), halfbyte_core::live::Error> {
        for issuer in self.authenticator.parts().issuers.iter() {
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

    /// A layer that turns a credential into a principal and refuses a bad one. A request without credentials is let
    /// through without a principal, for [`require`](Self::require) to refuse; or see [`AuthenticateLayer::required`].
    pub fn authenticate(&self) -> AuthenticateLayer {
        AuthenticateLayer::new(self.authenticator.clone(), self.resource_metadata.clone())
    }

    /// A layer that lets only principals with all of `scopes` through; with none, any principal. Stands inside
    /// [`authenticate`](Self::authenticate); asks for more by the methods of [`RequireLayer`].
    pub fn require(&self, scopes: &[&str]) -> RequireLayer {
        RequireLayer::new(scopes, self.resource_metadata.clone(), self.lifecycle.clock().clone())
    }

    /// Where the protected-resource metadata of this product is (RFC 9728), as refusals say it.
    pub fn resource_metadata(&self) -> &str {
        &self.resource_metadata
    }

    /// Where the product revokes credentials of any issuer before they expire, in this process.
    pub fn revocations(&self) -> &Revocations {
        &self.authenticator.parts().revocations
    }

    /// The API keys, where they are accepted.
    pub fn api_keys(&self) -> Option<&ApiKeys> {
        self.authenticator.parts().api_keys.as_ref()
    }

    /// Ties what stays open, such as a WebSocket, to the credential that opened it.
    pub fn tie(&self, principal: &Principal) -> Tie {
        Tie::new(principal, &self.authenticator)
    }

    /// A layer that answers the well-known documents of this product and the endpoints of an embedded issuer, and takes
    /// logout tokens.
    pub fn endpoints(&self) -> EndpointsLayer {
        EndpointsLayer::new(self.resource_document.clone(), self.embedded.clone(), self.authenticator.clone())
    }

    /// This product as the client `client_id` of the first issuer: for tokens to call others with, and for what else an
    /// issuer answers its clients. Keep it: the tokens are kept with it.
    pub fn client(&self, client_id: &str, authentication: ClientAuthentication) -> OAuthClient {
        let issuer = self.authenticator.parts().issuers.first().cloned();
        let clock = self.lifecycle.clock().clone();
        let registration = Registration::new(issuer, self.client.clone(), client_id, authentication, clock);
        OAuthClient::new(registration, &self.lifecycle)
    }

    /// Access tokens of this product's own, for calling `audience`: by client credentials (RFC 6749, 4.4) from the first
    /// issuer, kept until shortly before they expire, one fetch for all who wait.
    ///
    /// `secret` is asked at each fetch, so that a rotated secret is used from the next one on. Who calls several others
    /// takes their sources from one [`client`](Self::client).
    pub fn tokens(
        &self,
        client_id: &str,
        secret: impl Fn() -> Result<SecretString, BoxError> + Send + Sync + 'static,
        audience: &str,
        scopes: &[&str],
    ) -> TokenSource {
        self.client(client_id, ClientAuthentication::secret(secret)).tokens(audience, scopes)
    }
}
