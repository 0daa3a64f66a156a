use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use halfbyte_core::BoxError;
use halfbyte_core::client::Request;
use http::header::AUTHORIZATION;
use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use url::form_urlencoded::byte_serialize;

use super::{Error, PrivateKeyJwt};

pub(super) type SecretFn = Box<dyn Fn() -> Result<SecretString, BoxError> + Send + Sync>;

/// How a client proves to an issuer who it is.
///
/// ```
/// use halfbyte_identity::outbound::ClientAuthentication;
///
/// let authentication = ClientAuthentication::secret(|| Ok("from your secret store".into()));
/// assert_eq!(format!("{authentication:?}"), "ClientAuthentication(client_secret_basic)");
/// ```
pub struct ClientAuthentication(Method);

enum Method {
    Secret(SecretFn),
    Key(PrivateKeyJwt),
}

const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

impl ClientAuthentication {
    /// By a secret, as `client_secret_basic` (RFC 6749, 2.3.1).
    ///
    /// `secret` is asked at each use, so that a rotated secret is used from the next call on.
    pub fn secret(secret: impl Fn() -> Result<SecretString, BoxError> + Send + Sync + 'static) -> Self {
        Self(Method::Secret(Box::new(secret)))
    }

    /// By a key, as `private_key_jwt` (RFC 7523): no secret leaves this process.
    pub fn private_key_jwt(key: PrivateKeyJwt) -> Self {
        Self(Method::Key(key))
    }

    /// Whether what proves it may be sent twice.
    pub(super) fn is_repeatable(&self) -> bool {
        match self.0 {
            Method::Secret(_) => true,
            // The `jti` may have been used up by the first attempt.
            Method::Key(_) => false,
        }
    }

    /// A request whose form is `fields` and whose sender is `client_id`.
    pub(super) fn form(
        &self,
        request: Request,
        fields: &[(&str, &str)],
        client_id: &str,
        issuer: &str,
        now: Timestamp,
    ) -> Result<Request, Error> {
        let fields = fields.iter().copied().filter(|(_, value)| !value.is_empty());
        match &self.0 {
            Method::Secret(secret) => {
                let secret = secret()
                    .map_err(|error| Error::configuration("the client's secret is not to be had").caused_by(error))?;
                Ok(request.sensitive(AUTHORIZATION, &basic(client_id, &secret)).form(fields))
            }
            Method::Key(key) => {
                let assertion = key.assertion(client_id, issuer, now)?;
                let proof = [
                    ("client_id", client_id),
                    ("client_assertion_type", JWT_BEARER),
                    ("client_assertion", assertion.expose_secret()),
                ];
                Ok(request.form(fields.chain(proof)))
            }
        }
    }
}

/// RFC 6749, 2.3.1: both parts are form-encoded before they are joined.
fn basic(client_id: &str, secret: &SecretString) -> String {
    let encode = |part: &str| byte_serialize(part.as_bytes()).collect::<String>();
    let pair = format!("{}:{}", encode(client_id), encode(secret.expose_secret()));
    format!("Basic {}", STANDARD.encode(pair))
}

/// Shows the method, never the secret.
impl fmt::Debug for ClientAuthentication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Method::Secret(_) => "ClientAuthentication(client_secret_basic)",
            Method::Key(_) => "ClientAuthentication(private_key_jwt)",
        })
    }
}
