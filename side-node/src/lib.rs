//! The Side node: daemon, console and command line.

pub mod terminal;
