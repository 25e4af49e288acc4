//! The `tailor` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    tailor::cli::main()
}
