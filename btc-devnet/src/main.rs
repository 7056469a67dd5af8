//! `btc-devnet`: one command, a funded chain; see [`btc_devnet::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    btc_devnet::cli::main()
}
