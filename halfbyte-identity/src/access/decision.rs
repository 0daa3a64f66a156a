use std::fmt;
use std::sync::Arc;

/// What came of a question, and why.
#[must_use = "a denial is a decision too"]
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Decision {
    /// Whether it may be done.
    pub is_allowed: bool,
    /// The ids of the policies that decided, in order: those that permit if it is allowed; those that forbid if one does;
    /// none if none permits.
    pub policies: Vec<Arc<str>>,
    /// What could not be evaluated. With one of these nothing is allowed.
    pub errors: Vec<EvaluationError>,
    /// Which set of policies decided: its [version](super::Rules::version).
    pub version: Arc<str>,
}

/// A policy that could not be evaluated, a thing that does not fit the schema, or one that is not there. Says where, and no value.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EvaluationError {
    /// The policy's id; `None` if no policy was asked: the question does not fit the schema, or what policies look at is not there,
    /// or is too much.
    pub policy: Option<Arc<str>>,
    /// What is wrong.
    pub reason: Box<str>,
}

impl fmt::Display for EvaluationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.policy {
            Some(policy) => write!(f, "{policy}: {}", self.reason),
            None => f.write_str(&self.reason),
        }
    }
}
