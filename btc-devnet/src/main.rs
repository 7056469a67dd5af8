//! `btc-devnet`: one command, a funded chain.

fn main() {}
