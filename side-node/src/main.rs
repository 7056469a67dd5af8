//! The `side-node` binary: everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    side_node::cli::main(std::env::args_os())
}
