/// What a token is bound to (RFC 7800): without a proof that the caller has it, the token may be a stolen one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Binding {
    /// A key whose RFC 7638 thumbprint (SHA-256) this is: `jkt`, proven by DPoP (RFC 9449).
    Key([u8; 32]),
    /// A certificate whose SHA-256 fingerprint this is: `x5t#S256`, proven by mutual TLS (RFC 8705).
    Certificate([u8; 32]),
}
