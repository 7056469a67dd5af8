//! The relay as a program; see [`side_watcher::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    side_watcher::cli::main()
}
