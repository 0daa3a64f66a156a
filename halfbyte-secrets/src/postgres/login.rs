use std::net::IpAddr;
use std::time::Duration;

use secrecy::ExposeSecret as _;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{Connection as _, PgConnection};

use crate::{Credential, Error, ErrorKind, Snapshot};

/// Where to log in, and how long that may take.
pub(super) struct Login {
    pub(super) to: PgConnectOptions,
    pub(super) within: Duration,
    /// Also where the password and all data could be read on the way.
    pub(super) allow_plaintext: bool,
}

/// A login failed.
#[derive(Debug)]
pub(super) struct Failure {
    /// The server does not accept the credential; else it may work later.
    pub(super) is_refusal: bool,
    /// None if there was no answer in time.
    pub(super) error: Option<sqlx::Error>,
}

impl Login {
    /// The options of a connection with `credential`.
    ///
    /// # Errors
    ///
    /// [`Denied`](ErrorKind::Denied): it would go to another machine, and might go there without encryption. Looked at with each
    /// credential, since that may name another host.
    pub(super) fn options(&self, credential: &Snapshot<Credential>) -> Result<PgConnectOptions, Error> {
        let credential = credential.expose_secret();
        let password = credential.password().expose_secret();
        let mut options = self.to.clone().username(credential.username()).password(password);
        if let Some(host) = credential.host() {
            options = options.host(host);
        }
        if let Some(port) = credential.port() {
            options = options.port(port);
        }
        if let Some(database) = credential.database() {
            options = options.database(database);
        }
        if self.allow_plaintext || is_encrypted(options.get_ssl_mode()) || is_here(&options) {
            return Ok(options);
        }
        let rule = "the database is on another machine, and sslmode allows a connection without encryption: set \
                    PgSslMode::VerifyFull, or say danger_allow_plaintext() on the builder";
        Err(Error::new(ErrorKind::Denied, rule))
    }

    /// Logs in with `options`, and asks for an answer.
    pub(super) async fn verify(&self, options: &PgConnectOptions) -> Result<(), Failure> {
        let login = async {
            let mut connection = PgConnection::connect_with(options).await?;
            sqlx::raw_sql("select 1").execute(&mut connection).await?;
            // It has answered; that it says goodbye does not matter.
            let _closed = connection.close().await;
            Ok::<(), sqlx::Error>(())
        };
        match tokio::time::timeout(self.within, login).await {
            Ok(outcome) => outcome.map_err(Failure::from),
            Err(_elapsed) => Err(Failure { is_refusal: false, error: None }),
        }
    }
}

/// Whatever the server says: with `allow` and `prefer` whoever is on the way can ask for none.
fn is_encrypted(mode: PgSslMode) -> bool {
    matches!(mode, PgSslMode::Require | PgSslMode::VerifyCa | PgSslMode::VerifyFull)
}

/// A socket, or a loopback address.
fn is_here(options: &PgConnectOptions) -> bool {
    let host = options.get_host().trim_matches(['[', ']']);
    // sqlx goes to the socket where there is one, and takes a host that begins with a slash for its folder.
    options.get_socket().is_some()
        || host.starts_with('/')
        || host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self { is_refusal: is_refusal(&error), error: Some(error) }
    }
}

impl From<Error> for Failure {
    /// The server was not asked.
    fn from(error: Error) -> Self {
        Self { is_refusal: false, error: Some(sqlx::Error::Configuration(error.into())) }
    }
}

impl Failure {
    pub(super) fn into_error(self, name: &str) -> Error {
        let (kind, message) = if self.is_refusal {
            (ErrorKind::Denied, format!("the database refuses the credential {name}"))
        } else {
            (ErrorKind::Unavailable, format!("the database of the credential {name} cannot be used now"))
        };
        let error = Error::new(kind, message);
        match self.error {
            Some(source) => error.with_source(source),
            None => error.with_source("there was no answer in time"),
        }
    }
}

/// Whether the server did not accept who logs in: `invalid_password`, `invalid_authorization_specification` (PostgreSQL,
/// appendix A, class 28).
pub(super) fn is_refusal(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| matches!(&*code, "28P01" | "28000"))
}

#[cfg(test)]
mod tests {
    use halfbyte_core::{Clock, Lifecycle};

    use super::*;
    use crate::{Ask, Provider, Reading, Secrets};

    struct Fixed(&'static str);

    impl Provider for Fixed {
        const NAME: &'static str = "fixed";

        async fn read(&self, _ask: Ask<'_>) -> Result<Reading, Error> {
            Ok(Reading::new(self.0))
        }
    }

    #[tokio::test]
    async fn a_password_goes_to_another_machine_with_encryption_or_on_demand_only() {
        use PgSslMode::{Allow, Disable, Prefer, Require, VerifyCa, VerifyFull};
        const PLAIN: &str = r#"{"username":"app","password":"hunter2"}"#;
        const ELSEWHERE: &str = r#"{"username":"app","password":"hunter2","host":"db.internal"}"#;
        let here = ["localhost", "127.0.0.1", "127.8.9.1", "::1", "[::1]", "/run/postgresql"];
        let away = ["db.internal", "10.0.0.1", "localhost.evil.com", "127.0.0.1.evil.com", "2001:db8::1", ""];
        let rows = here.iter().map(|host| (*host, PLAIN, true)).chain(away.iter().map(|host| (*host, PLAIN, false)));
        for (host, credential, is_here) in rows.chain([("localhost", ELSEWHERE, false)]) {
            let lifecycle = Lifecycle::new(Clock::system());
            let secret = Secrets::new(Fixed(credential), &lifecycle).get::<Credential>("db");
            secret.ready().await.unwrap();
            let credential = secret.load().unwrap();
            for mode in [Disable, Allow, Prefer, Require, VerifyCa, VerifyFull] {
                let to = PgConnectOptions::new_without_pgpass().host(host).ssl_mode(mode);
                let login = |allow_plaintext| {
                    let (to, within) = (to.clone(), Duration::from_secs(1));
                    Login { to, within, allow_plaintext }.options(&credential).map(drop)
                };
                assert!(login(true).is_ok());
                let is_encrypted = matches!(mode, Require | VerifyCa | VerifyFull);
                match login(false) {
                    Ok(()) => assert!(is_here || is_encrypted, "{host} {mode:?}"),
                    Err(error) => {
                        assert!(!is_here && !is_encrypted, "{host} {mode:?}");
                        assert_eq!(error.kind(), ErrorKind::Denied);
                        assert!(error.to_string().contains("PgSslMode::VerifyFull"), "{error}");
                    }
                }
            }
        }
    }
}
