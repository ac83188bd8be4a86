//! The program: parse, run, print one error line, exit code.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("waata: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}
