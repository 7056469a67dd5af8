//! Versions, checkouts, differences and blame.

mod checkout;
pub(crate) mod world;
