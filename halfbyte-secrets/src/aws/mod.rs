//! `aws-sm://region/prefix`, AWS Secrets Manager.

mod connector;
mod endpoint;
mod fault;
mod known;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::config::StalledStreamProtectionConfig;
use aws_sdk_secretsmanager::config::retry::RetryConfig;
use aws_sdk_secretsmanager::operation::get_secret_value::GetSecretValueOutput;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::OnceCell;

use self::connector::Connector;
use self::known::Known;
use crate::{Ask, Error, ErrorKind, Name, Provider, Reading, Stage, Version};

/// For one read, with the credentials that may have to be had first: a little less than what [`live::Policy`] allows, so that
/// it is this error which says what was slow.
///
/// [`live::Policy`]: halfbyte_core::live::Policy
const READ: Duration = Duration::from_secs(9);

/// `aws-sm://region/prefix`: the secret `db-password` is `prefix/db-password` in AWS Secrets Manager, or `db-password` where
/// there is no prefix.
///
/// By the official SDK, with the credentials that it finds: the environment, the shared profile files, a web identity, a
/// container's or an instance's role. It asks for the staging label by name, `AWSCURRENT` unless
/// [`Secret::reject`](crate::Secret::reject) needs `AWSPENDING` or `AWSPREVIOUS`, and needs the permission
/// `secretsmanager:GetSecretValue`, and `kms:Decrypt` for a key of your own. A VPC endpoint or a stand-in is
/// `AWS_ENDPOINT_URL_SECRETS_MANAGER`, which the SDK reads itself, or [`endpoint`](Self::endpoint).
///
/// ```no_run
/// # fn start(lifecycle: &halfbyte_core::Lifecycle) -> Result<(), halfbyte_secrets::Error> {
/// use halfbyte_secrets::{Aws, Secrets};
///
/// let secrets = Secrets::new(Aws::new("eu-central-1", "prod/parcel")?, lifecycle);
/// # Ok(()) }
/// ```
///
/// # What it guarantees
///
/// - The SDK's HTTP goes through [`halfbyte_core::client`]: the same TLS, at most 1 MiB an answer, no redirect, no proxy, and
///   no attempt over 5 seconds. The SDK does not repeat a call; that is for the [policy](crate::Policy).
/// - A failure is told by the code that AWS answers, not by its status, and no value, key or token is in the error. What AWS
///   says besides is repeated only where it cannot hold what was sent.
/// - The secret access key and the session's token are known to the [`firewall`](crate::firewall), as secrets are, from when they
///   are had until they are replaced for the second time.
/// - The bytes of the answer are overwritten with zeros, and so is the value, which is not copied in between.
///
/// # What it does not do
///
/// - The SDK, the HTTP and the TLS library have buffers of their own, which are not overwritten. A value with characters that
///   JSON escapes (`"`, `\`, control characters), or a binary one, passes through such a buffer once more.
/// - The SDK logs no value unless it is told to: with `LOG_SENSITIVE_BODIES=true` in the environment and the level `TRACE` for
///   `aws_smithy_runtime` it prints whole answers. Do not set it.
/// - A change shows when it is [fresh](halfbyte_core::live::Policy::fresh_for) no more: AWS tells nobody.
#[derive(Clone)]
pub struct Aws {
    region: String,
    prefix: String,
    endpoint: Option<String>,
    allow_plaintext: bool,
    credentials: Option<SharedCredentialsProvider>,
    connector: Connector,
    /// Made by the first read, since the SDK looks at files for it.
    client: Arc<OnceCell<Client>>,
}

impl Aws {
    /// Takes secrets from `region`, those whose ids begin with `prefix` and a slash, or all where it is empty.
    ///
    /// # Errors
    ///
    /// [`InvalidName`](ErrorKind::InvalidName): no region or no id can be called so; or TLS cannot be set up on this machine.
    pub fn new(region: &str, prefix: &str) -> Result<Self, Error> {
        let is_label = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if !(1..=32).contains(&region.len()) || !region.bytes().all(is_label) {
            let rule = "an AWS region is 1 to 32 of a-z 0-9 -, such as eu-central-1";
            return Err(Error::new(ErrorKind::InvalidName, rule));
        }
        // An id has at most 512 characters, of which a name takes 128 and a slash.
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"/_+=.@-".contains(&byte);
        let prefix = prefix.trim_matches('/');
        if prefix.len() > 383 || !prefix.bytes().all(is_allowed) {
            let rule = "the prefix of AWS secrets is at most 383 of A-Z a-z 0-9 / _ + = . @ -";
            return Err(Error::new(ErrorKind::InvalidName, rule));
        }
        Ok(Self {
            region: region.to_owned(),
            prefix: prefix.to_owned(),
            endpoint: None,
            allow_plaintext: false,
            credentials: None,
            connector: Connector::new()?,
            client: Arc::default(),
        })
    }

    /// The same at another address, such as a VPC endpoint, in place of what the environment says. It is `https`, or on this
    /// machine; each [read](Provider::read) of another one is [`Denied`](ErrorKind::Denied), unless
    /// [`danger_allow_plaintext`](Self::danger_allow_plaintext) says otherwise. This is not looked for in `AWS_ENDPOINT_URL` and
    /// `AWS_ENDPOINT_URL_SECRETS_MANAGER`, which are the SDK's own: who sets these must see to it.
    #[must_use]
    pub fn endpoint(self, url: impl Into<String>) -> Self {
        Self { endpoint: Some(url.into()), client: Arc::default(), ..self }
    }

    /// The same, where plain `http` to the [`endpoint`](Self::endpoint) is all right also on another machine: whoever is on the
    /// way then reads the values. For a network that encrypts by itself.
    #[must_use]
    pub fn danger_allow_plaintext(self) -> Self {
        Self { allow_plaintext: true, ..self }
    }

    /// The same with the access key `id` and its `secret`, in place of those that the SDK finds. For tests, and for what
    /// speaks as AWS does.
    #[must_use]
    pub fn access_key(self, id: impl Into<String>, secret: &SecretString) -> Self {
        let credentials = Known::here(Credentials::new(id, secret.expose_secret(), None, None, "halfbyte"));
        let credentials = Some(SharedCredentialsProvider::new(credentials));
        Self { credentials, client: Arc::default(), ..self }
    }

    async fn ask(&self, id: &str, stage: Stage) -> Result<GetSecretValueOutput, Error> {
        if let Some(endpoint) = self.endpoint.as_deref().filter(|_| !self.allow_plaintext) {
            endpoint::check(endpoint)?;
        }
        let client = self.client.get_or_init(|| self.connect()).await;
        let asked = client.get_secret_value().secret_id(id).version_stage(label(stage)).send().await;
        asked.map_err(|error| fault::of(id, label(stage), &self.region, error))
    }

    /// Settles where from and by which credentials; asks nobody yet.
    async fn connect(&self) -> Client {
        let mut config = aws_config::defaults(BehaviorVersion::v2026_01_12())
            .region(Region::new(self.region.clone()))
            .http_client(self.connector.clone())
            .retry_config(RetryConfig::disabled())
            // An answer comes whole from the connector.
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .timeout_config(TimeoutConfig::builder().operation_timeout(READ).build());
        if let Some(credentials) = &self.credentials {
            // Others are not looked for.
            config = config.credentials_provider(credentials.clone());
        }
        if let Some(endpoint) = &self.endpoint {
            config = config.endpoint_url(endpoint);
        }
        let config = config.load().await;
        Client::new(&match config.credentials_provider().filter(|_| self.credentials.is_none()) {
            Some(found) => {
                let known = SharedCredentialsProvider::new(Known::by(found));
                config.into_builder().credentials_provider(known).build()
            }
            None => config,
        })
    }

    fn id(&self, name: &Name) -> String {
        if self.prefix.is_empty() { name.to_string() } else { format!("{}/{name}", self.prefix) }
    }
}

impl Provider for Aws {
    const NAME: &'static str = "aws-sm:";

    async fn read(&self, ask: Ask<'_>) -> Result<Reading, Error> {
        let id = self.id(ask.name());
        let mut output = Box::pin(self.ask(&id, ask.stage())).await?;
        let version = output.version_id.take().map(Version::new);
        // Taken out of what the SDK made, not copied: the reading wipes it.
        let value = match (output.secret_string.take(), output.secret_binary.take()) {
            (Some(text), _) => Reading::new(text),
            (None, Some(bytes)) => Reading::new(bytes.into_inner()),
            (None, None) => {
                let what = format!("Secrets Manager answered {id} without a value");
                return Err(Error::new(ErrorKind::Malformed, what));
            }
        };
        match version {
            Some(version) if ask.known() == Some(&version) => Ok(Reading::unchanged()),
            Some(version) => Ok(value.version(version)),
            None => Ok(value),
        }
    }

    fn lends(&self, _: &Name) -> bool {
        false
    }
}

/// Asked for by name always: an answer without one may be behind after a rotation.
fn label(stage: Stage) -> &'static str {
    match stage {
        Stage::Current => "AWSCURRENT",
        Stage::Pending => "AWSPENDING",
        Stage::Previous => "AWSPREVIOUS",
    }
}

impl fmt::Debug for Aws {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { region, prefix, endpoint, .. } = self;
        f.debug_struct("Aws").field("region", region).field("prefix", prefix).field("endpoint", endpoint).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use aws_credential_types::provider::{ProvideCredentials, future};
    use tokio::time::{Instant, sleep};

    use super::*;

    /// Credentials that take almost as long as the SDK waits for them.
    #[derive(Debug)]
    struct Slow;

    impl ProvideCredentials for Slow {
        fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            future::ProvideCredentials::new(async {
                sleep(Duration::from_millis(4_500)).await;
                Ok(Credentials::new("AKIDTEST", "k", None, None, "test"))
            })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_read_ends_in_its_time_though_each_step_of_it_does() {
        // Nobody accepts what comes in: there is never an answer.
        let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
        let aws = Aws::new("eu-central-1", "prod").expect("made");
        let aws = aws.endpoint(format!("http://{}", silent.local_addr().expect("bound")));
        let aws = Aws { credentials: Some(SharedCredentialsProvider::new(Slow)), ..aws };
        let (name, begun) = (Name::new("token").expect("a name"), Instant::now());
        let error = aws.read(Ask::current(&name)).await.expect_err("silence");
        assert!(error.is_unavailable() && error.to_string().contains("did not answer in time"), "{error}");
        assert!((READ..READ + Duration::from_millis(400)).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    }
}
