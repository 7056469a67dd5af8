//! Versions, checkouts, differences and blame.

mod blame;
mod checkout;
mod compact;
mod diff;
mod model;
pub(crate) mod world;
