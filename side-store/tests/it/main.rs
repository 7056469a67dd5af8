//! What the stores promise, on disk and simulated, whole and broken.

mod common;
mod contract;
mod crash;
mod faults;
mod identity;
mod log;
mod sim;
mod upgrade;
mod writer;
