//! What the end-to-end tests share.

pub mod measure;
pub mod pty;
