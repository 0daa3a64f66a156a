use std::fmt;
use std::time::Duration;

use http::StatusCode;

/// How long an answer may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// How a service did under attack.
#[derive(Clone, Debug)]
#[must_use = "the service may have let an attack through"]
pub struct Report {
    pub(super) attacks: usize,
    pub(super) findings: Vec<Finding>,
}

/// One thing that is wrong with a service.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// The name of the attack, or "the good token".
    pub attack: &'static str,
    /// What the service did.
    pub fault: Fault,
}

/// What a service did wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// It did as if the credentials were good.
    LetThrough(StatusCode),
    /// It refused a good token, so that its other refusals say nothing.
    RefusedGoodToken(StatusCode),
    /// It refused with another status than that of the table.
    WrongStatus(StatusCode),
    /// It refused with the right status and another problem type, or none.
    WrongProblem(String),
    /// `WWW-Authenticate` is missing, or does not say what the table says.
    WrongChallenge(String),
    /// It refused two forgeries in different words, so that the forger learns which check he failed.
    ToldApart(String),
    /// Its answer holds the credentials that were sent.
    RepeatedCredentials,
    /// It fetched keys from the address that the token named.
    FollowedAddress,
    /// It did not answer within 30 seconds.
    NoAnswer,
    /// It panicked.
    Panicked,
    /// It failed instead of answering.
    Failed(String),
}

impl Report {
    /// Whether all is as it should be.
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }

    /// How many attacks were made.
    pub fn attacks(&self) -> usize {
        self.attacks
    }

    /// What is wrong, in the order of the attacks.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} attacks, {} findings", self.attacks, self.findings.len())?;
        self.findings.iter().try_for_each(|finding| write!(f, "\n- {finding}"))
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.attack, self.fault)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LetThrough(status) => write!(f, "LET THROUGH with {status}"),
            Self::RefusedGoodToken(status) => {
                write!(f, "refused with {status}, so that the other refusals say nothing")
            }
            Self::WrongStatus(status) => write!(f, "refused with the status {status}"),
            Self::WrongProblem(problem) => write!(f, "refused with the problem {problem:?}"),
            Self::WrongChallenge(challenge) => write!(f, "refused with the challenge {challenge:?}"),
            Self::ToldApart(words) => write!(f, "refused in words of its own: {words:?}"),
            Self::RepeatedCredentials => f.write_str("the credentials stand in the answer"),
            Self::FollowedAddress => f.write_str("the address in the token was followed"),
            Self::NoAnswer => write!(f, "no answer within {PATIENCE:?}"),
            Self::Panicked => f.write_str("the service panicked"),
            Self::Failed(error) => write!(f, "the service failed: {error}"),
        }
    }
}
