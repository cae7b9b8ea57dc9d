//! What a request may see: one immutable snapshot of everything that was configured, swapped as a whole.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::{ArcSwap, ArcSwapOption};
use hyper::header::{HeaderName, HeaderValue};
use ipnet::IpNet;

use crate::assets::Cache;
use crate::ops::log;
use crate::ops::metrics::Metrics;
pub use crate::rules::policy::Mode;

use crate::relay::House;
use crate::rules::carrier::{TokenField, TokenFields};
use crate::rules::headers::Forwarded;
use crate::rules::host::PublicUrl;
use crate::rules::origin::Origins;
use crate::rules::policy::{HostRule, Rules};
use crate::rules::{route, token};
use crate::upstream::Servers;
use crate::{assets, relay, sockets, state, tls, upstream};

mod change;

pub use change::{Ask, Asks, Cause, Complaint, Outcome, Verdict};

/// The running configuration: what a reload may replace. Loaded once a request and used to its end.
#[derive(Debug)]
pub struct Snapshot {
    /// Whether the softer rules (class, origin, binding, host) refuse or only log.
    pub mode: Mode,
    /// How this site is called and what its pages carry.
    pub site: Site,
    /// Secrets, algorithms, header and prefix of tokens.
    pub tokens: token::Settings,
    /// Which of the closed routes the operator opened by name.
    pub routes: route::Switches,
    /// Certificates and versions of the public listener; `None` when there is no such listener (`https = []`).
    pub tls: Option<tls::Settings>,
    /// Document Servers.
    pub upstream: upstream::Settings,
    /// Editor sockets.
    pub sockets: sockets::Settings,
    /// Files of the editor in memory.
    pub assets: assets::Settings,
    /// Integrators, saves and their archive.
    pub relay: relay::Settings,
    /// Where several gateways keep what they share.
    pub state: state::Settings,
    /// Caps on what clients may hold.
    pub limits: Limits,
    /// What is written to the log, and how.
    pub log: log::Settings,
    /// How long requests may finish when the gateway stops.
    pub drain: Duration,
}

impl Snapshot {
    /// `[jwt]`'s field, and those of the integrators; what an integrator leaves out is as in `[jwt]`.
    pub fn token_fields(&self) -> (TokenField, Vec<TokenField>) {
        let own = TokenField { name: self.tokens.header.clone(), prefix: self.tokens.prefix.clone() };
        let others = self.relay.integrators.iter().map(|integrator| TokenField {
            name: integrator.header.clone().unwrap_or_else(|| own.name.clone()),
            prefix: integrator.prefix.clone().unwrap_or_else(|| own.prefix.clone()),
        });
        let others = others.collect();
        (own, others)
    }

    /// Keeps what only a restart can take up as it is in `running`: the directory of saves is
    /// open, and so are listeners.
    pub fn keep_fixed(&mut self, running: &Self) {
        self.relay.saves.directory.clone_from(&running.relay.saves.directory);
        self.site.relay.clone_from(&running.site.relay);
    }

    /// Which pages may open editor sockets: of `public_url`, where the editor's own page comes from, of the integrators,
    /// and those listed.
    pub fn origins(&self) -> Origins {
        let own = self.site.public.iter().filter_map(|url| url.host_value().to_str().ok());
        let own = own.map(|host| format!("https://{host}"));
        let theirs = self.relay.integrators.iter().map(relay::Integrator::origin);
        let listed = own.chain(theirs).chain(self.sockets.origins.iter().cloned()).collect();
        Origins { listed, without: self.sockets.without_origin }
    }

    /// What a token is judged by besides its signature and its times.
    pub fn rules(&self) -> Rules {
        let in_brackets = |host: &String| if host.contains(':') { format!("[{host}]") } else { host.clone() };
        let integrators = &self.relay.integrators;
        let public = self.site.public.iter().map(|url| url.host().to_owned());
        let relay = self.site.relay.iter().map(|ip| in_brackets(&ip.to_string()));
        let theirs = integrators.iter().flat_map(|one| [&one.host].into_iter().chain(&one.hosts));
        Rules {
            mode: self.mode,
            backend_networks: self.site.backend_networks.clone(),
            // The relay's and the Document Server's own links lead to the public URL.
            hosts: public.chain(relay).chain(theirs.map(in_brackets)).collect(),
            host_rule: match integrators.iter().any(|one| !one.hosts.is_empty()) {
                true => HostRule::Refuse,
                false => HostRule::Log,
            },
        }
    }
}

/// How the site is called from outside, and what its pages carry.
#[derive(Debug)]
pub struct Site {
    /// `public_url`: what browsers see; at least one.
    pub public: Vec<PublicUrl>,
    /// Networks whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Networks that may ask on the public listener how the gateway is.
    pub health_networks: Vec<IpNet>,
    /// Names by which the admin listener may be asked, besides addresses and names without a dot; in lower case.
    pub admin_names: Vec<String>,
    /// Webroot served on port 80 before the redirect, for ACME clients.
    pub acme_challenge: Option<PathBuf>,
    /// `Strict-Transport-Security` on pages; `None` when switched off.
    pub hsts: Option<HeaderValue>,
    /// `Content-Security-Policy: frame-ancestors …` on pages.
    pub frame_ancestors: Option<HeaderValue>,
    /// Who may call routes of backends (`/command`, `/converter`); empty: anyone with a token.
    pub backend_networks: Vec<IpNet>,
    /// Where the container finds the relay; applications write these into their URLs.
    pub relay: Vec<IpAddr>,
}

/// Caps on what clients may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections in all.
    pub connections: usize,
    /// Connections of one address.
    pub connections_per_address: usize,
}

/// What only a restart can change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fixed {
    /// Public listeners with TLS.
    pub https: Vec<SocketAddr>,
    /// Listeners that redirect to `https`.
    pub http: Vec<SocketAddr>,
    /// Metrics, health and status page.
    pub admin: SocketAddr,
    /// Plain listeners for the container alone, which serve `/relay/` only.
    pub relay: Vec<SocketAddr>,
    /// How many cores carry traffic; `None`: all there are.
    pub workers: Option<NonZeroUsize>,
}

/// What runs now: the configuration, and what it was built into.
#[derive(Debug)]
pub struct Running {
    /// The configuration.
    pub settings: Snapshot,
    /// The Document Servers with their health, which outlives reloads.
    pub servers: Servers,
    /// What the Document Server is told of each public URL, in their order.
    pub forwarded: Vec<Forwarded>,
    /// Fields that tokens may come in.
    pub fields: TokenFields,
    /// Which pages may open editor sockets.
    pub origins: Origins,
    /// What a token is judged by besides its signature and its times.
    pub rules: Rules,
    /// The editor's files in memory, which outlive reloads; `None` when they are not kept.
    pub assets: Option<Arc<Cache>>,
    metrics: Arc<Metrics>,
}

impl Running {
    fn new(settings: Snapshot, metrics: Arc<Metrics>, before: Option<&Self>) -> Self {
        let servers = Servers::new(&settings.upstream, before.map(|before| &before.servers));
        let kept = before.and_then(|before| before.assets.clone());
        let assets = match kept.filter(|kept| kept.settings() == settings.assets) {
            None => Cache::new(settings.assets, metrics.clone()),
            kept => kept,
        };
        let (own, others) = settings.token_fields();
        let headers: Vec<HeaderName> = others.iter().chain([&own]).map(|field| field.name.clone()).collect();
        let forwarded = settings.site.public.iter().map(|url| Forwarded::new(url, &headers)).collect();
        Self {
            rules: settings.rules(),
            origins: settings.origins(),
            fields: TokenFields::new(own, others),
            settings,
            servers,
            forwarded,
            assets,
            metrics,
        }
    }
}

impl House for Running {
    fn relay(&self) -> &relay::Settings {
        &self.settings.relay
    }

    fn servers(&self) -> &Servers {
        &self.servers
    }

    fn public(&self) -> &[PublicUrl] {
        &self.settings.site.public
    }

    fn routes(&self) -> route::Switches {
        self.settings.routes
    }

    fn own_field(&self) -> TokenField {
        TokenField { name: self.settings.tokens.header.clone(), prefix: self.settings.tokens.prefix.clone() }
    }
}

/// The place where the running snapshot hangs, and what became of the last change of it.
#[derive(Debug)]
pub struct Live {
    running: ArcSwap<Running>,
    outcome: ArcSwapOption<Outcome>,
}

impl Live {
    /// Hangs up the first snapshot.
    pub fn new(settings: Snapshot, metrics: Arc<Metrics>) -> Self {
        let running = Running::new(settings, metrics, None);
        Self { running: ArcSwap::from_pointee(running), outcome: ArcSwapOption::empty() }
    }

    /// The snapshot of this moment. A request calls this once.
    pub fn load(&self) -> Arc<Running> {
        self.running.load_full()
    }

    /// Replaces the snapshot for every request that begins from now on. Returns what ran before.
    pub fn swap(&self, settings: Snapshot) -> Arc<Running> {
        let before = self.load();
        let next = Running::new(settings, before.metrics.clone(), Some(&before));
        self.running.swap(Arc::new(next))
    }

    /// What became of the last change; `None` while what runs is what the gateway was started with.
    pub fn outcome(&self) -> Option<Arc<Outcome>> {
        self.outcome.load_full()
    }

    /// What a person should look at, for monitors: a last change that was refused, certificates that end or have ended.
    pub fn complaints(&self, now: SystemTime) -> Vec<String> {
        /// Certificates of six days are renewed with a third of that left.
        const SOON: Duration = Duration::from_secs(24 * 3600);
        let running = self.load();
        let pairs = running.settings.tls.iter().flat_map(|tls| tls.certificates.pairs());
        let ending = pairs.filter(|pair| pair.validity().until < now + SOON).map(|pair| {
            let until = humantime::format_rfc3339_seconds(pair.validity().until);
            format!("certificate \"{}\" ends at {until}", pair.label())
        });
        let of_change = self.outcome().map(|outcome| outcome.complaints()).unwrap_or_default();
        of_change.into_iter().chain(ending).collect()
    }

    /// Keeps what became of a change.
    pub fn ended(&self, outcome: Arc<Outcome>) {
        self.outcome.store(Some(outcome));
    }
}
