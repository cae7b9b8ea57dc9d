//! What a route wants of a token besides a signature that holds: data for the table, and how a token is weighed against it.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::Value;

use super::class::{Class, Holder, Reading, inner};
use super::objection::{Ground, Objection};
use super::refusal::Refusal;
use super::table::Carrier;
use super::urlhost::{self, ShownHost};

/// What a route wants of a token.
#[derive(Debug)]
pub struct Purpose {
    /// The classes that may pass.
    pub takes: &'static [Class],
    /// How the route's handler reads claims.
    pub reading: Reading,
    /// Whose route it is.
    pub door: Door,
}

/// Whose route it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// Editors in browsers.
    Browser,
    /// Integrators' servers: closed in every mode to what browsers and strangers come to hold.
    Backend,
    /// A builder of documents runs what it is sent, and the token need not cover it (protocol.md 1.2, DocumentBuilder#147):
    /// closed in every mode to whatever is not its own.
    Builder,
}

impl Purpose {
    /// No token is asked for.
    pub const NONE: Self = Self { takes: &[], reading: Reading::Plain, door: Door::Browser };

    /// An editor's route that reads claims as they are.
    pub const fn browser(takes: &'static [Class]) -> Self {
        Self { takes, reading: Reading::Plain, door: Door::Browser }
    }

    /// A backend's route.
    pub const fn backend(takes: &'static [Class]) -> Self {
        Self { takes, reading: Reading::Merged, door: Door::Backend }
    }
}

/// `mode` of gateway.toml.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Every rule refuses.
    #[default]
    Enforce,
    /// Class, origin, binding and host rules only say what they would refuse.
    Observe,
}

/// Whether a URL that leads to a foreign host is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HostRule {
    /// It is only objected to: no integrator has named `hosts`, so nobody has said yet that the list is complete.
    #[default]
    Log,
    /// It is refused, under [`Mode::Enforce`].
    Refuse,
}

/// The rules of the configuration, ready to use.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rules {
    /// Whether the softer rules refuse.
    pub mode: Mode,
    /// Who may call a backend's routes; empty: anyone.
    pub backend_networks: Vec<IpNet>,
    /// Hosts that URL claims may name: of every `public_url` (the relay's and the Document Server's own links), of every
    /// integrator's `url`, and `hosts`. In lower case, IPv6 in brackets.
    pub hosts: Vec<String>,
    /// [`HostRule::Refuse`] as soon as one integrator names `hosts`.
    pub host_rule: HostRule,
}

/// A token in the place where it was found.
#[derive(Debug, Clone, Copy)]
pub struct Shown<'r> {
    /// Its claims, as signed.
    pub claims: &'r Value,
    /// Where it was.
    pub carrier: Carrier,
    /// The document key in the path.
    pub key: Option<&'r str>,
    /// Who shows it.
    pub client: IpAddr,
}

/// How hard an objection is.
enum Force {
    /// In every mode.
    Always,
    /// As `mode` says.
    ByMode,
    /// Only said.
    Never,
}

impl Purpose {
    /// The class of a token, and the objections to it that do not refuse it; or the first that does.
    pub fn weigh(&self, shown: &Shown<'_>, rules: &Rules) -> Result<(Class, Vec<Objection>), Refusal> {
        let class = Class::of(shown.claims, self.reading);
        let mut objections = Vec::new(); // allocates nothing until there is one
        let mut object = |ground, force: Force| {
            let objection = Objection { class, carrier: shown.carrier, ground };
            match (force, rules.mode) {
                (Force::Always, _) | (Force::ByMode, Mode::Enforce) => Err(Refusal::Objected(objection)),
                (Force::ByMode, Mode::Observe) | (Force::Never, _) => {
                    objections.push(objection);
                    Ok(())
                }
            }
        };
        if !self.takes.contains(&class) {
            object(Ground::Class { takes: self.takes }, self.force(class))?;
        }
        let claims = self.reading.of(shown.claims);
        if shown.key.is_some_and(|key| !is_bound(class, &claims, key)) {
            object(Ground::Key, Force::ByMode)?;
        }
        for claim in UrlClaim::of(class) {
            if let Some(ground) = foreign(*claim, &claims, &rules.hosts) {
                let force = match rules.host_rule {
                    HostRule::Refuse => Force::ByMode,
                    HostRule::Log => Force::Never,
                };
                object(ground, force)?;
            }
        }
        let client = shown.client.to_canonical();
        let outside = !rules.backend_networks.is_empty()
            && !rules.backend_networks.iter().any(|network| network.contains(&client));
        if self.door != Door::Browser && outside {
            object(Ground::Address(client), Force::Always)?; // a network list is a door, not a rule to get used to
        }
        Ok((class, objections))
    }

    /// How hard it is that `class` is not one of those that the route takes.
    fn force(&self, class: Class) -> Force {
        match (self.door, class.holder()) {
            (Door::Builder, _) | (Door::Backend, Holder::Browser | Holder::Server) => Force::Always,
            (Door::Backend, Holder::Backend | Holder::Unknown) | (Door::Browser, _) => Force::ByMode,
        }
    }
}

/// Whether a token is for the document in the path. Only those that the Document Server makes for one document are bound.
fn is_bound(class: Class, claims: &Value, key: &str) -> bool {
    let own = inner(claims, "document", "key").and_then(Value::as_str).unwrap_or_default();
    match class {
        Class::Session => own == key,
        // What is printed lies under the document's key or under a key made from it, `key_1234` (S: taskresult.js
        // addRandomKeyTask). The server asks for a prefix only (S: canvasservice.js:1583-1662), which would also let a
        // token for `a` print `abc`.
        Class::Print => key.strip_prefix(own).is_some_and(|rest| rest.is_empty() || rest.starts_with('_')),
        _ => true,
    }
}

/// A claim that the Document Server fetches or calls (design.md 3.3).
#[derive(Clone, Copy)]
enum UrlClaim {
    Url,
    DocumentUrl,
    CallbackUrl,
}

impl UrlClaim {
    /// Those of a class.
    const fn of(class: Class) -> &'static [Self] {
        match class {
            Class::Convert => &[Self::Url],
            Class::Open => &[Self::DocumentUrl, Self::CallbackUrl],
            _ => &[],
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Url => "url",
            Self::DocumentUrl => "document.url",
            Self::CallbackUrl => "editorConfig.callbackUrl",
        }
    }

    fn value(self, claims: &Value) -> Option<&Value> {
        match self {
            Self::Url => claims.get("url"),
            Self::DocumentUrl => inner(claims, "document", "url"),
            Self::CallbackUrl => inner(claims, "editorConfig", "callbackUrl"),
        }
    }
}

/// What speaks against a URL claim, if it is there at all.
fn foreign(claim: UrlClaim, claims: &Value, hosts: &[String]) -> Option<Ground> {
    let host = match claim.value(claims) {
        None | Some(Value::Null) => return None,
        Some(Value::String(url)) if url.is_empty() => return None,
        Some(Value::String(url)) => urlhost::of(url),
        Some(_) => None,
    };
    match host {
        Some(host) if hosts.iter().any(|known| host.is_host(known)) => None,
        host => Some(Ground::Host { claim: claim.name(), host: host.map(|host| ShownHost::new(host.host)) }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::route::Route;
    use super::*;

    fn reasons(purpose: &Purpose, claims: &Value, key: Option<&str>, client: &str, rules: &Rules) -> String {
        let shown = Shown { claims, carrier: Carrier::Body, key, client: client.parse().unwrap() };
        match purpose.weigh(&shown, rules) {
            Ok((_, objections)) => objections.iter().map(Objection::reason).collect::<Vec<_>>().join(" "),
            Err(refusal) => format!("! {}", refusal.reason()),
        }
    }

    #[test]
    fn backends_may_be_known_by_their_network() {
        let networks = vec!["10.0.0.0/8".parse().unwrap(), "2001:db8::/32".parse().unwrap()];
        let enforce = Rules { backend_networks: networks, ..Rules::default() };
        let observe = Rules { mode: Mode::Observe, ..enforce.clone() };
        let command = json!({"c": "version"});
        for route in [Route::Command, Route::CommandService] {
            let purpose = &route.rule().purpose;
            for inside in ["10.1.2.3", "::ffff:10.1.2.3", "2001:db8::7"] {
                assert_eq!(reasons(purpose, &command, None, inside, &enforce), "");
            }
            for outside in ["11.1.2.3", "::ffff:11.1.2.3", "2001:db9::7", "127.0.0.1"] {
                assert_eq!(reasons(purpose, &command, None, outside, &enforce), "! backend_address");
                assert_eq!(
                    reasons(purpose, &command, None, outside, &observe),
                    "! backend_address",
                    "in every mode"
                );
                assert_eq!(reasons(purpose, &command, None, outside, &Rules::default()), "");
            }
        }
        // Editors come from anywhere.
        let session = json!({"document": {"key": "k"}, "editorConfig": {"ds_sessionTimeConnect": 1}});
        assert_eq!(reasons(&Route::Upload.rule().purpose, &session, Some("k"), "11.1.2.3", &enforce), "");
        // A wrong class says so first, wherever it comes from.
        let purpose = &Route::Converter.rule().purpose;
        assert_eq!(reasons(purpose, &command, None, "11.1.2.3", &enforce), "! class_not_allowed");
        assert_eq!(reasons(purpose, &session, None, "11.1.2.3", &observe), "! class_not_allowed");
    }

    #[test]
    fn tokens_of_one_document_stay_there() {
        let session = json!({"document": {"key": "k1"}, "editorConfig": {"ds_sessionTimeConnect": 1}});
        let print = json!({"document": {"key": "k1"}, "exp": 1});
        let (upload, printfile) = (&Route::Upload.rule().purpose, &Route::PrintFile.rule().purpose);
        let table = [
            (upload, &session, "k1", ""),
            (upload, &session, "k", "! key_mismatch"),
            (upload, &session, "K1", "! key_mismatch"),
            (upload, &session, "k1_1234", "! key_mismatch"),
            (printfile, &print, "k1", ""),
            (printfile, &print, "k1_1234", ""),
            (printfile, &print, "k12", "! key_mismatch"),
            (printfile, &print, "k", "! key_mismatch"),
        ];
        for (purpose, claims, key, expected) in table {
            assert_eq!(reasons(purpose, claims, Some(key), "::1", &Rules::default()), expected, "{key}");
            let observed = reasons(
                purpose,
                claims,
                Some(key),
                "::1",
                &Rules { mode: Mode::Observe, ..Rules::default() },
            );
            assert_eq!(observed, expected.trim_start_matches("! "), "{key}");
        }
        // What is read plainly is bound plainly: a layer that only other routes read changes nothing.
        let mut layered = session.clone();
        layered["payload"] = json!({"document": {"key": "k2"}});
        assert_eq!(reasons(upload, &layered, Some("k1"), "::1", &Rules::default()), "");
        assert_eq!(reasons(upload, &layered, Some("k2"), "::1", &Rules::default()), "! key_mismatch");
    }

    #[test]
    fn hosts_are_only_logged_until_somebody_names_them() {
        let (converter, download) = (&Route::Converter.rule().purpose, &Route::DownloadFile.rule().purpose);
        let convert = |url: Value| json!({"outputtype": "pdf", "url": url});
        let open = |url: &str, callback: Value| json!({"document": {"key": "k", "url": url}, "editorConfig": {"callbackUrl": callback}});
        let table = [
            (converter, convert(json!("https://rapidpm.uk/a")), ""),
            (converter, convert(json!("https://RAPIDPM.uk.:8443/a")), ""),
            (converter, convert(json!("https://rapidpm.uk.evil.example/a")), "host_not_allowed"),
            (converter, convert(json!("https://evil.example/rapidpm.uk")), "host_not_allowed"),
            (converter, convert(json!("https://rapidpm.uk@evil.example/")), "host_not_allowed"),
            (converter, convert(json!("http://127.0.0.1/info/config")), "host_not_allowed"),
            (converter, convert(json!("http://2130706433/")), "host_not_allowed"),
            (converter, convert(json!("http://0x7f.1/")), "host_not_allowed"),
            (converter, convert(json!("http://[::ffff:127.0.0.1]/")), "host_not_allowed"),
            (converter, convert(json!(["https://rapidpm.uk/a"])), "host_not_allowed"),
            (converter, convert(json!("file:///etc/passwd")), "host_not_allowed"),
            (converter, convert(json!(null)), ""),
            (download, open("https://rapidpm.uk/a", json!("https://rapidpm.uk/c")), ""),
            (download, open("https://rapidpm.uk/a", json!("")), ""),
            (download, open("https://rapidpm.uk/a", json!("http://evil.example/c")), "host_not_allowed"),
            (
                download,
                open("https://evil.example/a", json!("http://evil.example/c")),
                "host_not_allowed host_not_allowed",
            ),
        ];
        let hosts = vec!["rapidpm.uk".to_owned()];
        for (purpose, claims, expected) in table {
            let with = |mode, host_rule| Rules { mode, hosts: hosts.clone(), host_rule, ..Rules::default() };
            let ask = |rules| reasons(purpose, &claims, Some("k"), "::1", &rules);
            assert_eq!(ask(with(Mode::Enforce, HostRule::Log)), expected, "{claims}");
            assert_eq!(ask(with(Mode::Observe, HostRule::Refuse)), expected, "{claims}");
            let refused = if expected.is_empty() { "" } else { "! host_not_allowed" };
            assert_eq!(ask(with(Mode::Enforce, HostRule::Refuse)), refused, "{claims}");
        }
    }

    #[test]
    fn sentences_hold_no_token_and_no_query() {
        let claims = json!({"outputtype": "pdf", "url": "https://evil.example/path?secret=7"});
        let shown =
            Shown { claims: &claims, carrier: Carrier::Header, key: None, client: "::1".parse().unwrap() };
        let (_, objections) = Route::Converter.rule().purpose.weigh(&shown, &Rules::default()).unwrap();
        let sentence = objections[0].to_string();
        assert!(
            sentence.contains("evil.example") && sentence.contains("convert") && sentence.contains("header"),
            "{sentence}"
        );
        assert!(!sentence.contains("secret") && !sentence.contains("/path"), "{sentence}");
    }
}
