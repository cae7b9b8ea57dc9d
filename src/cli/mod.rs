//! The command line: what can be typed, and which exit code comes of it.

pub mod certs;
pub mod check;
pub mod doctor;
pub mod manual;
pub mod out;
pub mod run;
pub mod saves;
pub mod token;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::{self, Env, Faults};
use crate::ops::panics;

/// Failed while running.
pub const FAILED: u8 = 1;

/// Wrong usage, as clap has it.
pub const USAGE: u8 = 2;

/// Wrong configuration: `EX_CONFIG` of sysexits.h, which systemd knows by name (`RestartPreventExitStatus=CONFIG`).
pub const WRONG_CONFIGURATION: u8 = 78;

/// Where systemd keeps what it hands to the gateway while that runs: `LoadCredential=` of systemd/rapidpm-gateway.service.
const CREDENTIALS: &str = "/run/credentials/rapidpm-gateway.service";

/// The gateway in front of an ONLYOFFICE Document Server.
#[derive(Debug, Parser)]
#[command(name = "rapidpm-gateway", version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    // `run` is the default: its arguments may stand without it.
    #[command(flatten)]
    run: ConfigArgs,
}

/// What the gateway can be asked to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the gateway (the default)
    Run(ConfigArgs),
    /// Say everything that is wrong with a configuration, and what it would serve
    Check(check::CheckArgs),
    /// Certificates for trying the gateway out
    Certs {
        /// What to do with them
        #[command(subcommand)]
        command: certs::CertsCommand,
    },
    /// Ask everything around the gateway that can go wrong, and say what to do
    Doctor(doctor::DoctorArgs),
    /// Saves that wait for delivery or for a person
    Saves {
        /// What to do with them
        #[command(subcommand)]
        command: saves::SavesCommand,
    },
    /// Make and explain tokens
    Token {
        /// What to do with them
        #[command(subcommand)]
        command: token::TokenCommand,
    },
    /// Print what a shell needs to complete these commands
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page, for `man`
    Man,
}

/// Which configuration is meant.
#[derive(Debug, Clone, Default, Args)]
pub struct ConfigArgs {
    /// The configuration; else $RAPIDPM_GATEWAY_CONFIG, ./gateway.toml, /etc/rapidpm-gateway/gateway.toml
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

impl ConfigArgs {
    /// The file that is meant.
    ///
    /// # Errors
    /// When none is named and none is where one usually is.
    pub fn find(&self, env: &Env) -> Result<PathBuf, Faults> {
        config::find(self.config.as_deref(), env)
    }
}

/// The environment of a command. What an operator types looks at a gateway that runs already, and takes the credentials that
/// this was given; the gateway itself takes only its own.
fn environment(command: &Command, env: Env, running: &Path) -> Env {
    match command {
        Command::Run(_) => env,
        _ if running.is_dir() => env.or("CREDENTIALS_DIRECTORY", running),
        _ => env,
    }
}

/// Does what was typed.
pub fn main() -> ExitCode {
    enter(std::env::args_os())
}

/// Does what these words say. Wrong usage exits with 2, from clap itself.
pub fn enter(words: impl IntoIterator<Item: Into<OsString> + Clone>) -> ExitCode {
    panics::watch();
    let cli = Cli::parse_from(words);
    let command = cli.command.unwrap_or(Command::Run(cli.run));
    let env = environment(&command, std::env::vars_os().collect(), Path::new(CREDENTIALS));
    match command {
        Command::Run(args) => run::run(&args, env),
        Command::Check(args) => check::check(&args, &env),
        Command::Certs { command: certs::CertsCommand::Dev(args) } => certs::dev(&args),
        Command::Saves { command } => saves::saves(&command, &env),
        Command::Doctor(args) => doctor::doctor(&args, &env),
        Command::Completions { shell } => manual::completions(shell),
        Command::Man => manual::man(),
        Command::Token { command } => token::token(&command, &env),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn run_is_what_is_meant_when_nothing_is_said() {
        for arguments in [&["gateway", "--config", "x.toml"][..], &["gateway", "run", "--config", "x.toml"]] {
            let cli = Cli::try_parse_from(arguments).unwrap();
            let Command::Run(args) = cli.command.unwrap_or(Command::Run(cli.run)) else {
                panic!("{arguments:?}")
            };
            assert_eq!(args.config, Some("x.toml".into()));
        }
        assert!(Cli::try_parse_from(["gateway"]).unwrap().command.is_none());
    }

    #[test]
    fn what_is_typed_takes_the_credentials_of_the_gateway_that_runs() {
        let folder = tempfile::tempdir().unwrap();
        let (running, stopped) = (folder.path(), folder.path().join("none"));
        let own = || [("CREDENTIALS_DIRECTORY", "/own")].into_iter().collect::<Env>();
        let table = [
            ("check", Env::default(), running, Some(running)),
            ("doctor", Env::default(), running, Some(running)),
            ("check", own(), running, Some(Path::new("/own"))),
            ("check", Env::default(), &stopped, None),
            ("run", Env::default(), running, None),
            ("run", own(), running, Some(Path::new("/own"))),
        ];
        for (typed, env, folder, expected) in table {
            let command = Cli::try_parse_from(["gateway", typed]).unwrap().command.unwrap();
            let env = environment(&command, env, folder);
            assert_eq!(env.path("CREDENTIALS_DIRECTORY").as_deref(), expected, "{typed}");
        }
    }

    #[test]
    fn what_cannot_be_typed_is_wrong_usage() {
        for arguments in [
            &["gateway", "chek"][..],
            &["gateway", "check", "--jsno"],
            &["gateway", "--config"],
            &["gateway", "certs"],
            &["gateway", "--config", "x", "check"],
        ] {
            assert_eq!(Cli::try_parse_from(arguments).unwrap_err().exit_code(), 2, "{arguments:?}");
        }
    }
}
