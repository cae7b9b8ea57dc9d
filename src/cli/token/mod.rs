//! `token`: makes tokens for trying, and explains any token with the very rules that judge requests.

mod claims;
mod curl;
mod explain;
mod found;
mod guess;
mod openings;
mod report;
mod sign;
mod times;
mod verify;

pub use sign::signed;

use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use hyper::header::{AUTHORIZATION, HeaderName};

use super::{ConfigArgs, FAILED, USAGE, WRONG_CONFIGURATION, out};
use crate::config::{self, Env, Faults};
use crate::rules::carrier::{TokenField, TokenFields};
use crate::rules::policy::Rules;
use crate::rules::route::Switches;
use crate::rules::token::{Algorithm, Settings, VerifyingKey};
use crate::secret::Secret;
use crate::tls;

/// What can be done with tokens.
#[derive(Debug, Clone, Subcommand)]
pub enum TokenCommand {
    /// Make a token for trying; only the token goes to stdout
    Sign(Box<sign::SignArgs>),
    /// Explain a token: signature, times, class, and which routes it opens
    Verify(verify::VerifyArgs),
}

/// Does it.
pub fn token(command: &TokenCommand, env: &Env) -> ExitCode {
    let done = match command {
        TokenCommand::Sign(args) => sign::sign(args, env),
        TokenCommand::Verify(args) => verify::verify(args, env),
    };
    done.unwrap_or_else(|trouble| {
        out::complain(&trouble);
        ExitCode::from(trouble.code())
    })
}

/// Why a command did nothing.
#[derive(Debug)]
enum Trouble {
    /// It was asked in the wrong way.
    Usage(String),
    /// The configuration cannot be used.
    Config(Faults),
    /// The machine did not play along.
    Failed(String),
}

impl Trouble {
    fn usage(message: impl Into<String>) -> Self {
        Self::Usage(message.into())
    }

    const fn code(&self) -> u8 {
        match self {
            Self::Usage(_) => USAGE,
            Self::Config(_) => WRONG_CONFIGURATION,
            Self::Failed(_) => FAILED,
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(message) | Self::Failed(message) => f.write_str(message),
            Self::Config(faults) => {
                write!(f, "{faults}\n--secret-env NAME or --secret-file FILE does without a configuration")
            }
        }
    }
}

/// Where the secret comes from; never from the command line, which every user of a machine can read.
#[derive(Debug, Clone, Default, Args)]
struct SecretArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Take the secret from this variable, and no configuration at all (HS256, 60 s, Authorization: Bearer)
    #[arg(long, value_name = "NAME", conflicts_with_all = ["config", "secret_file"])]
    secret_env: Option<String>,
    /// Take the secret from this file, and no configuration at all
    #[arg(long, value_name = "FILE", conflicts_with = "config")]
    secret_file: Option<PathBuf>,
}

/// What is known of the gateway that a token is for.
struct Known {
    /// As the running gateway would have them.
    tokens: Settings,
    /// The present secret: what is signed with.
    secret: Secret,
    /// Which routes are open.
    switches: Switches,
    /// What a token must be made for, besides its signature.
    rules: Rules,
    /// `https://host[:port][/path]`; `None` without a configuration.
    public: Option<String>,
    /// Fields and prefixes of integrators that have their own.
    fields: Vec<(HeaderName, String)>,
}

impl SecretArgs {
    fn know(&self, env: &Env) -> Result<Known, Trouble> {
        if let Some(name) = &self.secret_env {
            let value = env.get(name).ok_or_else(|| {
                Trouble::usage(format!("--secret-env: the environment has no {}", shown(name)))
            })?;
            return Known::alone(Secret::new(value.as_encoded_bytes().to_vec()), "--secret-env");
        }
        if let Some(path) = &self.secret_file {
            let bytes = fs::read(path).map_err(|e| {
                Trouble::usage(format!("--secret-file: {} cannot be read: {e}", path.display()))
            })?;
            return Known::alone(Secret::new(config::without_newline(bytes)), "--secret-file");
        }
        let tickets = tls::Tickets::new()
            .map_err(|e| Trouble::Failed(format!("the system gives no randomness: {e}")))?;
        let path = self.config.find(env).map_err(Trouble::Config)?;
        let loaded = config::load(&path, env, &tickets).map_err(Trouble::Config)?;
        let snapshot = loaded.snapshot;
        let rules = snapshot.rules();
        let public = snapshot.site.public.first().and_then(|url| url.forwarded_host().to_str().ok());
        let fields = snapshot.relay.integrators.iter().filter_map(|integrator| {
            let name = integrator.header.clone();
            let prefix = integrator.prefix.clone();
            (name.is_some() || prefix.is_some()).then(|| {
                (
                    name.unwrap_or_else(|| snapshot.tokens.header.clone()),
                    prefix.unwrap_or_else(|| snapshot.tokens.prefix.clone()),
                )
            })
        });
        Ok(Known {
            public: public.map(|host| format!("https://{host}")),
            fields: fields.collect(),
            switches: snapshot.routes,
            rules,
            secret: snapshot.relay.secret,
            tokens: snapshot.tokens,
        })
    }
}

impl Known {
    /// In which fields a request may have its token.
    fn token_fields(&self) -> TokenFields {
        let field = |(name, prefix): (&HeaderName, &String)| TokenField {
            name: name.clone(),
            prefix: prefix.clone(),
        };
        let others = self.fields.iter().map(|(name, prefix)| field((name, prefix)));
        TokenFields::new(field((&self.tokens.header, &self.tokens.prefix)), others)
    }

    /// A gateway of which only the secret is known; the rest is as it comes.
    fn alone(secret: Secret, from: &str) -> Result<Self, Trouble> {
        if secret.expose().iter().all(u8::is_ascii_whitespace) {
            return Err(Trouble::usage(format!("{from}: the secret is empty there")));
        }
        let tokens = Settings {
            keys: vec![VerifyingKey::new(&secret)],
            algorithms: vec![Algorithm::Hs256],
            leeway: Duration::from_secs(60),
            header: AUTHORIZATION,
            prefix: "Bearer ".to_owned(),
        };
        Ok(Self {
            tokens,
            secret,
            switches: Switches::default(),
            rules: Rules::default(),
            public: None,
            fields: Vec::new(),
        })
    }
}

/// Somebody else's text, fit for a terminal: no control characters, and not without end.
pub fn shown(text: &str) -> String {
    const MOST: usize = 128;
    let mut plain: String = text
        .chars()
        .take(MOST)
        .map(|c| if c.is_control() || is_invisible(c) { '\u{fffd}' } else { c })
        .collect();
    if text.chars().nth(MOST).is_some() {
        plain.push('…');
    }
    plain
}

/// Marks that turn text around or hide in it.
const fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}
