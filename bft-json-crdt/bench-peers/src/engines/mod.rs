//! The engines, each behind the same trait.

#[cfg(feature = "peers")]
pub mod automerge;
#[cfg(feature = "peers")]
pub mod cola;
pub mod diamond;
#[cfg(feature = "peers")]
pub mod loro;
pub mod ours;
#[cfg(feature = "peers")]
pub mod yrs;

use crate::engine::Engine;

/// Names and versions, ours first: the columns of the table.
pub const NAMES: [&str; 6] =
    ["ours", "diamond-types 1.0.0", "loro 1.17.1", "yrs 0.28.1", "automerge 0.12.0", "cola 0.5.1"];

/// The engine of a column, if it was built in.
pub fn get(column: usize) -> Option<&'static dyn Engine> {
    match column {
        0 => Some(&ours::Ours),
        1 => Some(&diamond::Diamond),
        #[cfg(feature = "peers")]
        2 => Some(&loro::Loro),
        #[cfg(feature = "peers")]
        3 => Some(&yrs::Yrs),
        #[cfg(feature = "peers")]
        4 => Some(&automerge::Automerge),
        #[cfg(feature = "peers")]
        5 => Some(&cola::Cola),
        _ => None,
    }
}

/// The first word of a column's name.
pub fn short(column: usize) -> &'static str {
    NAMES[column].split(' ').next().unwrap_or_default()
}
