//! Reads the output of a run of tests and prints it to standard error, without the output of passed
//! tests. At the end it prints the table of guarantees and stores. Its argument is the date of the
//! table. It exits with 1 if a cell has failed or is missing.

use std::{
    io::{self, BufRead, Write},
    process::ExitCode,
};

use tests::matrix::{Run, Table};

fn main() -> io::Result<ExitCode> {
    let date = std::env::args().nth(1).unwrap_or_default();
    let (mut run, mut input, mut line) = (Run::default(), io::stdin().lock(), Vec::new());
    while input.read_until(b'\n', &mut line)? > 0 {
        if run.take(String::from_utf8_lossy(&line).trim_end()) {
            io::stderr().write_all(&line)?;
        }
        line.clear();
    }
    let table = Table::of(&run, &date);
    io::stdout().write_all(table.to_string().as_bytes())?;
    Ok(if table.is_whole() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
