//! `completions` and `man`: made from the same definition that reads the command line, so that they cannot lag behind.

use std::io;
use std::process::ExitCode;

use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

use super::{Cli, FAILED, out};

/// Prints the completions of a shell.
pub fn completions(shell: Shell) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "rapidpm-gateway", &mut script);
    out::say(&String::from_utf8_lossy(&script));
    ExitCode::SUCCESS
}

/// Prints one page with every subcommand.
pub fn man() -> ExitCode {
    match page() {
        Ok(page) => {
            out::say(&String::from_utf8_lossy(&page));
            ExitCode::SUCCESS
        }
        Err(error) => {
            out::complain(&error);
            ExitCode::from(FAILED)
        }
    }
}

const EXIT: [&str; 5] = [
    "0  fine",
    "1  failed while running, or something was found",
    "2  wrong usage",
    "78 wrong configuration: `check` says every reason",
    "",
];

fn page() -> io::Result<Vec<u8>> {
    let mut command = Cli::command();
    command.build();
    let mut page = Vec::new();
    let man = Man::new(command.clone());
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
        section(sub, &mut page)?;
    }
    let mut exit = Roff::new();
    exit.control("SH", ["EXIT STATUS"]);
    for line in EXIT {
        exit.text([roman(line)]).control("br", []);
    }
    exit.to_writer(&mut page)?;
    Ok(page)
}

/// A subcommand, with those below it.
fn section(command: &Command, page: &mut Vec<u8>) -> io::Result<()> {
    let mut heading = Roff::new();
    let name = command.get_bin_name().unwrap_or(command.get_name()).to_uppercase();
    heading.control("SH", [name.as_str()]);
    heading.to_writer(page)?;
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    Roff::new().text([roman(about)]).to_writer(page)?;
    let man = Man::new(command.clone());
    man.render_options_section(page)?;
    for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
        section(sub, page)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_in_the_page() {
        let page = String::from_utf8(page().unwrap()).unwrap();
        for word in ["DOCTOR", "TOKEN SIGN", "SAVES RETRY", "CERTS DEV", "would", "EXIT STATUS"] {
            assert!(page.contains(word), "{word}");
        }
    }
}
