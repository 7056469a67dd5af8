//! `btc-devnet` for the pages of the documentation: the same program, built with the tests, so that Bitcoin Core's library is not compiled a second time.

use std::process::ExitCode;

fn main() -> ExitCode {
    btc_devnet::cli::main()
}
