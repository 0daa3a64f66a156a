//! The issuer in the process: its endpoints, its rotations, and its file.

mod documents;
mod file;
mod grants;
mod key_rotation;
mod secret_rotation;
