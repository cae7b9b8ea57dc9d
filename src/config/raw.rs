//! `gateway.toml` as written: one struct a section, every key optional, each value with its place in the file.

use std::net::SocketAddr;
use std::time::Duration;

use hyper::header::HeaderName;
use ipnet::IpNet;
use toml::Spanned;
use toml::de::DeValue;

use super::fault::Report;
use super::read::{self, OneOrMore, Read, Section};
use super::secret::SecretFrom;
use super::url::{HttpUrl, RedisUrl, ServerUrl, SftpUrl};
use super::values::{Bytes, Connect, HostName, IntegratorName, Memory, Prefix, Sometimes};
use crate::live::Mode;
use crate::ops::log;
use crate::relay::Validate;
use crate::rules::token::Algorithm;
use crate::sockets::KeyBinding;
use crate::tls::MinVersion;

/// Declares a section once: the struct, the list of its keys, and how each is read.
macro_rules! section {
    ($(#[$meta:meta])* $name:ident $title:literal, $one:literal, $many:literal { $($key:ident: $type:ty,)* }) => {
        $(#[$meta])*
        #[derive(Default)]
        pub struct $name {
            /// Every key that stands in the file, also those whose value is wrong.
            pub written: Vec<&'static str>,
            $(
                #[doc = concat!("`", stringify!($key), "`")]
                pub $key: Option<Spanned<$type>>,
            )*
        }

        impl Section for $name {
            const TITLE: &'static str = $title;
            const KEYS: &'static [&'static str] = &[$(stringify!($key)),*];

            fn written(&mut self) -> &mut Vec<&'static str> {
                &mut self.written
            }

            fn take(&mut self, key: &str, value: &Spanned<DeValue<'_>>, report: &mut Report) -> bool {
                match key {
                    $(stringify!($key) => {
                        self.written.push(stringify!($key));
                        self.$key = Read::read(&dotted($title, stringify!($key)), value, report);
                    })*
                    _ => return false,
                }
                true
            }
        }

        impl Read for $name {
            const ONE: &'static str = $one;
            const MANY: &'static str = $many;

            fn read(key: &str, value: &Spanned<DeValue<'_>>, report: &mut Report) -> Option<Self> {
                match value.get_ref() {
                    DeValue::Table(table) => Some(read::section(table, report)),
                    _ => {
                        read::wrong_type(key, $one, value, report);
                        None
                    }
                }
            }
        }
    };
}

fn dotted(title: &str, key: &str) -> String {
    if title.is_empty() { key.to_owned() } else { format!("{title}.{key}") }
}

/// Keys at the top that are sections, not values.
pub const TABLES: [&str; 13] = [
    "server",
    "tls",
    "jwt",
    "document_server",
    "sockets",
    "integrators",
    "saves",
    "archive",
    "state",
    "assets",
    "headers",
    "limits",
    "log",
];

section! {
    /// The whole file.
    File "", "a table", "tables" {
        public_url: OneOrMore<String>,
        mode: Mode,
        server: Server,
        tls: Tls,
        jwt: Jwt,
        document_server: DocumentServer,
        sockets: Sockets,
        integrators: Vec<Spanned<Integrator>>,
        saves: Saves,
        archive: Archive,
        state: State,
        assets: Assets,
        headers: Headers,
        limits: Limits,
        log: Log,
    }
}

section! {
    /// `[server]`
    Server "server", "a section [server]", "a section [server], written once and in single brackets" {
        https: Vec<Spanned<SocketAddr>>,
        http: Vec<Spanned<SocketAddr>>,
        admin: SocketAddr,
        relay: Vec<Spanned<SocketAddr>>,
        workers: u64,
        trusted_proxies: Vec<Spanned<IpNet>>,
        health_networks: Vec<Spanned<IpNet>>,
        admin_names: Vec<Spanned<HostName>>,
        acme_challenge: String,
        drain: Duration,
    }
}

section! {
    /// `[tls]`
    Tls "tls", "a section [tls]", "a section [tls]" {
        min_version: MinVersion,
        certificates: Vec<Spanned<Certificate>>,
    }
}

section! {
    /// `[[tls.certificates]]`
    Certificate "tls.certificates", "a section [[tls.certificates]], in double brackets",
        "sections [[tls.certificates]], in double brackets" {
        names: Vec<Spanned<String>>,
        chain: String,
        key: String,
    }
}

section! {
    /// `[jwt]`
    Jwt "jwt", "a section [jwt]", "a section [jwt]" {
        secret: SecretFrom,
        previous: Vec<Spanned<SecretFrom>>,
        algorithms: Vec<Spanned<Algorithm>>,
        leeway: Duration,
        header: HeaderName,
        prefix: Prefix,
    }
}

section! {
    /// `[document_server]`
    DocumentServer "document_server", "a section [document_server]", "a section [document_server]" {
        servers: Vec<Spanned<ServerUrl>>,
        health: Duration,
        wait: Duration,
        docbuilder: bool,
        ai_proxy: bool,
        wopi: bool,
        example: bool,
        backend_networks: Vec<Spanned<IpNet>>,
    }
}

section! {
    /// `[sockets]`
    Sockets "sockets", "a section [sockets]", "a section [sockets]" {
        key_binding: KeyBinding,
        origins: Vec<Spanned<String>>,
        polling: bool,
    }
}

section! {
    /// `[[integrators]]`
    Integrator "integrators", "a section [[integrators]], in double brackets",
        "sections [[integrators]], in double brackets" {
        name: IntegratorName,
        url: HttpUrl,
        header: HeaderName,
        prefix: Prefix,
        connect: Connect,
        ca: String,
        hosts: Vec<Spanned<HostName>>,
    }
}

section! {
    /// `[saves]`
    Saves "saves", "a section [saves]", "a section [saves]" {
        directory: String,
        answer_within: Duration,
        keep_trying: Duration,
        hold_editors: Duration,
        validate: Validate,
        max_document: Bytes,
        max_size: Bytes,
    }
}

section! {
    /// `[archive]`
    Archive "archive", "a section [archive]", "a section [archive]" {
        sftp: SftpUrl,
        key: SecretFrom,
        known_hosts: String,
    }
}

section! {
    /// `[state]`
    State "state", "a section [state]", "a section [state]" {
        redis: RedisUrl,
    }
}

section! {
    /// `[assets]`
    Assets "assets", "a section [assets]", "a section [assets]" {
        memory: Memory,
    }
}

section! {
    /// `[headers]`
    Headers "headers", "a section [headers]", "a section [headers]" {
        hsts: Sometimes,
        frame_ancestors: Vec<Spanned<String>>,
    }
}

section! {
    /// `[limits]`
    Limits "limits", "a section [limits]", "a section [limits]" {
        connections: u64,
        connections_per_address: u64,
        sockets_per_document: u64,
    }
}

section! {
    /// `[log]`
    Log "log", "a section [log]", "a section [log]" {
        format: log::Format,
        level: log::Level,
    }
}
