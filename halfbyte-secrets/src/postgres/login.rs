use std::time::Duration;

use secrecy::ExposeSecret as _;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection};

use crate::{Credential, Error, ErrorKind, Snapshot};

/// Where to log in, and how long that may take.
pub(super) struct Login {
    pub(super) to: PgConnectOptions,
    pub(super) within: Duration,
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
    pub(super) fn options(&self, credential: &Snapshot<Credential>) -> PgConnectOptions {
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
        options
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

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self { is_refusal: is_refusal(&error), error: Some(error) }
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
