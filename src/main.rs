//! The program: parse, run, print one error line, exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    match waata::cli::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("waata: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}
