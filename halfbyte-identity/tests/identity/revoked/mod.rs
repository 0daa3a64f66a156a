//! Credentials that end before they expire: revocations, sessions that an issuer ends, streams that are tied.

mod logout;
mod revocations;
mod ties;
