//! What a call to Secrets Manager failed of, in this crate's words.

use std::error::Error as StdError;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_secretsmanager::config::http::HttpResponse;
use aws_sdk_secretsmanager::error::{ProvideErrorMetadata as _, SdkError};
use aws_sdk_secretsmanager::operation::get_secret_value::GetSecretValueError;
use halfbyte_core::client;

use crate::{Error, ErrorKind};

/// How much is repeated of what AWS says.
const LONGEST_WORD: usize = 64;
const LONGEST_SAYING: usize = 400;

/// What a code of AWS stands for.
struct Meaning {
    kind: ErrorKind,
    what: &'static str,
    /// Whether what AWS says with it may be repeated. Not where it is about the request's signature: that repeats the headers
    /// of the request, a session's token among them.
    repeat: bool,
}

/// Never by status: 400 is most of these.
fn meaning(code: &str) -> Meaning {
    let (kind, what, repeat) = match code {
        "ResourceNotFoundException" => (ErrorKind::NotFound, "is not there, or has no version of that label", true),
        // Marked for deletion, above all.
        "InvalidRequestException" => (ErrorKind::NotFound, "cannot be read in the state that it is in", true),
        "InvalidParameterException" | "ValidationException" => {
            (ErrorKind::InvalidName, "is no id that a secret can have: see the prefix", true)
        }
        "AccessDeniedException" | "AccessDenied" | "NotAuthorized" | "OptInRequired" => (
            ErrorKind::Denied,
            "may not be read: allow secretsmanager:GetSecretValue, and kms:Decrypt if its key is your own",
            true,
        ),
        "DecryptionFailure" => {
            (ErrorKind::Denied, "cannot be decrypted: is its KMS key enabled, and is kms:Decrypt allowed?", true)
        }
        "UnrecognizedClientException" | "InvalidClientTokenId" | "InvalidAccessKeyId" | "AuthFailure" => (
            ErrorKind::Denied,
            "may not be read: AWS does not know the access key; is it of this region's partition?",
            false,
        ),
        "ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired" => {
            (ErrorKind::Denied, "may not be read: the AWS credentials have expired; renew them", false)
        }
        "RequestExpired" | "RequestTimeTooSkewed" | "RequestInTheFuture" => {
            (ErrorKind::Denied, "may not be read: the clock of this machine is wrong", false)
        }
        "InvalidSignatureException"
        | "SignatureDoesNotMatch"
        | "InvalidSignature"
        | "IncompleteSignature"
        | "IncompleteSignatureException"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException" => (
            ErrorKind::Denied,
            "may not be read: the signature is not what AWS expects; is the secret access key whole, the clock right?",
            false,
        ),
        "Throttling"
        | "ThrottlingException"
        | "ThrottledException"
        | "RequestThrottled"
        | "RequestThrottledException"
        | "TooManyRequestsException"
        | "LimitExceededException"
        | "RequestLimitExceeded"
        | "BandwidthLimitExceeded"
        | "ProvisionedThroughputExceededException"
        | "PriorRequestNotComplete"
        | "SlowDown" => (ErrorKind::Throttled, "was asked for too often", false),
        _ => (ErrorKind::Unavailable, "cannot be had now", false),
    };
    Meaning { kind, what, repeat }
}

pub(super) fn of(id: &str, label: &str, region: &str, error: SdkError<GetSecretValueError, HttpResponse>) -> Error {
    let secret = format!("{label} of {id} in {region}");
    if let SdkError::ServiceError(answer) = &error
        && !answer.raw().status().is_success()
    {
        return of_code(&secret, answer.err().code(), answer.err().message());
    }
    // The SDK's own errors hold the answer, and with it perhaps a value: nothing of them goes on but what is written here.
    let source = error.source();
    match &error {
        SdkError::ServiceError(_) | SdkError::ResponseError(_) => {
            let what =
                format!("{secret}: what answered does not speak as Secrets Manager does; is the endpoint right?");
            Error::new(ErrorKind::Malformed, what)
        }
        _ if let Some(credentials) = find::<CredentialsError>(source) => of_credentials(&secret, credentials),
        error => {
            let cause = find::<client::Error>(source);
            let is_late = matches!(error, SdkError::TimeoutError(_)) || cause.is_some_and(client::Error::is_timeout);
            let what = if is_late { "did not answer in time" } else { "cannot be reached" };
            let error = Error::new(ErrorKind::Unavailable, format!("{secret}: Secrets Manager {what}"));
            match cause {
                Some(cause) => error.with_source(halfbyte_core::error_chain(cause)),
                None => error,
            }
        }
    }
}

fn of_code(secret: &str, code: Option<&str>, said: Option<&str>) -> Error {
    let code = code.filter(|code| code.len() <= LONGEST_WORD && code.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    let Some(code) = code else {
        let what = format!("{secret}: an error was answered that does not say which");
        return Error::new(ErrorKind::Unavailable, what);
    };
    let Meaning { kind, what, repeat } = meaning(code);
    let error = Error::new(kind, format!("{secret} {what}"));
    error.with_source(match said.filter(|_| repeat) {
        Some(said) => format!("{code}: {}", printable(said)),
        None => code.to_owned(),
    })
}

/// Where the credentials come from is known to who configured it; what went wrong there may hold a part of them.
fn of_credentials(secret: &str, error: &CredentialsError) -> Error {
    let (kind, what) = match error {
        // The SDK says so also where the metadata service of EC2 or ECS is away, and then nothing was refused.
        CredentialsError::CredentialsNotLoaded(_) => (
            ErrorKind::Unavailable,
            "there are no AWS credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or a role",
        ),
        CredentialsError::InvalidConfiguration(_) => (
            ErrorKind::Denied,
            "the AWS credentials are configured wrongly: look at the AWS_* variables and the profile",
        ),
        CredentialsError::ProviderTimedOut(_) => (ErrorKind::Unavailable, "AWS credentials were not had in time"),
        _ => (ErrorKind::Unavailable, "AWS credentials cannot be had now from where they are configured to come"),
    };
    Error::new(kind, format!("{secret} may not be read yet: {what}"))
}

fn find<'a, E: StdError + 'static>(mut error: Option<&'a (dyn StdError + 'static)>) -> Option<&'a E> {
    while let Some(current) = error {
        if let Some(found) = current.downcast_ref() {
            return Some(found);
        }
        error = current.source();
    }
    None
}

fn printable(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { ' ' } else { char }).take(LONGEST_SAYING).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_takes_too_long_as_a_whole_is_late_and_not_unreachable() {
        let error = of("x", "AWSCURRENT", "eu-central-1", SdkError::timeout_error("hunter2"));
        assert!(error.is_unavailable() && error.to_string().contains("did not answer in time"), "{error}");
        assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
    }

    #[test]
    fn only_credentials_that_are_configured_wrongly_are_denied_the_others_may_come_yet() {
        let cases = [
            (CredentialsError::not_loaded("hunter2"), ErrorKind::Unavailable, "AWS_ACCESS_KEY_ID"),
            (CredentialsError::invalid_configuration("hunter2"), ErrorKind::Denied, "configured wrongly"),
            (CredentialsError::provider_timed_out(std::time::Duration::ZERO), ErrorKind::Unavailable, "in time"),
            (CredentialsError::provider_error("hunter2"), ErrorKind::Unavailable, "cannot be had now"),
        ];
        for (cause, kind, said) in cases {
            let error = of("x", "AWSCURRENT", "eu-central-1", SdkError::construction_failure(cause));
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.to_string().contains(said), "{error}");
            assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
        }
    }
}
