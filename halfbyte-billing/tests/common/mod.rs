//! What the tests on SQLite and those on real servers share. Each has a `support` with a `Desk`, `keyed` and `tenant`.

pub mod child;
pub mod killed;
