//! Versions, checkouts, differences and blame.

mod checkout;
mod diff;
mod model;
pub(crate) mod world;
