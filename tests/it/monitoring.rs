//! Alerts and dashboard speak of series that exist, and a real Prometheus understands both.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::metrics::{families, there_is};
use crate::relay;
use crate::rig::Rig;
use crate::wire::{self, soon};

const ALERTS: &str = include_str!("../../monitoring/alerts.yml");
const CASES: &str = include_str!("../../monitoring/alerts.test.yml");
const DASHBOARD: &str = include_str!("../../monitoring/dashboard.json");
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/monitoring");

/// The three examples that RapidPM's own pages give.
const EXAMPLES: [&str; 3] = [
    "rate(onlyoffice_callback_duration_seconds_sum[5m]) / rate(onlyoffice_callback_duration_seconds_count[5m])",
    "rate(onlyoffice_save_total{status=\"failure\"}[1h])",
    "rate(onlyoffice_session_events_total{event=\"join\"}[1h])",
];

/// Every query of the dashboard, with its variables filled in.
fn queries() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    let annotations = dashboard["annotations"]["list"].as_array().unwrap().iter();
    let queries = targets.chain(annotations).filter_map(|target| target["expr"].as_str());
    let filled = |query: &str| {
        query.replace("$__rate_interval", "1m").replace("$job", ".*").replace("$instance", ".*")
    };
    queries.map(filled).collect()
}

/// Names of series in a text.
fn names(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let ours =
        |word: &&str| ["gateway_", "onlyoffice_", "process_"].iter().any(|start| word.starts_with(start));
    words.filter(ours).collect()
}

#[tokio::test]
async fn every_series_that_an_alert_or_a_panel_names_exists() {
    let rig = Rig::start().await;
    let families = families(&wire::admin(rig.admin, "/metrics").await);
    let series: BTreeSet<&str> = families
        .values()
        .flat_map(|family| family.series.keys())
        .map(|series| series.split('{').next().unwrap())
        .collect();
    let dashboard = queries().join("\n");
    let alerts: String = ALERTS.lines().filter(|line| line.trim_start().starts_with("expr: ")).collect();
    let cases: String = CASES.lines().filter(|line| line.contains("series: '")).collect();
    for (place, text) in [("dashboard", &dashboard), ("alerts", &alerts), ("their cases", &cases)] {
        let named = names(text);
        assert!(named.len() >= 10, "{place}: {named:?}");
        let missing: Vec<_> = named.iter().filter(|name| !series.contains(**name)).collect();
        assert!(missing.is_empty(), "{place}: {missing:?}");
    }
    // And the other way round: who looks at the dashboard sees every number there is.
    let shown = names(&dashboard);
    let unseen: Vec<_> = families
        .keys()
        .filter(|name| {
            !name.starts_with("process_") && !shown.iter().any(|shown| shown.starts_with(name.as_str()))
        })
        .collect();
    assert_eq!(unseen, [&"gateway_redirects_total"]);
}

#[test]
fn every_alert_says_what_to_do_and_has_its_cases() {
    let alerts: Vec<_> = ALERTS.split("- alert: ").skip(1).collect();
    assert!(alerts.len() >= 14);
    for alert in alerts {
        let name = alert.lines().next().unwrap();
        for part in ["expr: ", "severity: ", "summary: ", "description: "] {
            assert_eq!(alert.matches(part).count(), 1, "{name}: {part}");
        }
        let description = alert.split("description: ").nth(1).unwrap();
        assert!(description.len() > 150, "{name}: what is an operator to do?");
        let case = format!("expr: ALERTS{{alertname=\"{name}\", alertstate=\"firing\"}}");
        assert!(CASES.contains(&case), "{name}: no case");
    }
    if there_is("promtool") {
        for arguments in [["check", "rules", "alerts.yml"], ["test", "rules", "alerts.test.yml"]] {
            let output = Command::new("promtool").args(arguments).current_dir(FOLDER).output().unwrap();
            let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
            assert!(output.status.success(), "{said}");
        }
    }
}

#[test]
fn the_dashboard_is_one_that_grafana_takes() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    assert_eq!(dashboard["uid"], "rapidpm-gateway");
    assert!(dashboard["schemaVersion"].as_u64().unwrap() >= 41);
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    assert_eq!((&variables[0]["name"], &variables[0]["type"]), (&json!("datasource"), &json!("datasource")));
    let panels = dashboard["panels"].as_array().unwrap();
    let mut ids = BTreeSet::new();
    let mut places: Vec<[u64; 4]> = Vec::new();
    for panel in panels {
        assert!(ids.insert(panel["id"].as_u64().unwrap()) && panel["title"].is_string());
        let side = |name: &str| panel["gridPos"][name].as_u64().unwrap();
        let [x, y, w, h] = ["x", "y", "w", "h"].map(side);
        assert!(x + w <= 24, "{}", panel["title"]);
        let apart = |[a, b, c, d]: &[u64; 4]| a + c <= x || x + w <= *a || b + d <= y || y + h <= *b;
        assert!(places.iter().all(apart), "{} covers another", panel["title"]);
        places.push([x, y, w, h]);
        if panel["type"] != "row" {
            assert_eq!(panel["datasource"]["uid"], "${datasource}", "{}", panel["title"]);
        }
    }
}

/// A Prometheus of the test's own. Dropping it ends it.
struct Prometheus {
    child: Child,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Prometheus {
    /// Starts one that asks a gateway every second; `None`, with a word, where there is none.
    fn start(gateway: SocketAddr) -> Option<Self> {
        if !there_is("prometheus") {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let config = format!(
            "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\nrule_files: ['{FOLDER}/alerts.yml']\n\
             scrape_configs:\n  - job_name: rapidpm-gateway\n    metrics_path: /api/metrics\n    static_configs: [{{ targets: ['{gateway}'] }}]\n"
        );
        std::fs::write(folder.path().join("prometheus.yml"), config).unwrap();
        let mut child = Command::new("prometheus")
            .args([
                "--config.file=prometheus.yml",
                "--storage.tsdb.path=data",
                "--web.listen-address=127.0.0.1:0",
            ])
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        // It says where it listens once it does; a process that ends first ends the loop.
        let address = log.by_ref().map_while(Result::ok).find_map(|line| {
            line.contains("Listening on")
                .then(|| line.split("address=").nth(1)?.trim().parse().ok())
                .flatten()
        });
        std::thread::spawn(move || log.map_while(Result::ok).for_each(drop)); // a full pipe would stop it
        Some(Self { child, address: address.expect("an address in the log of Prometheus"), _folder: folder })
    }

    async fn get(&self, target: &str) -> Value {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request = format!("GET {target} HTTP/1.0\r\nhost: prometheus\r\n\r\n");
        let answer = wire::exchange(&mut stream, request.as_bytes()).await;
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        serde_json::from_str(body).unwrap_or(Value::Null) // it may not be ready yet
    }

    async fn ask(&self, query: &str) -> Value {
        let encoded: String = query.bytes().map(|byte| format!("%{byte:02x}")).collect();
        self.get(&format!("/api/v1/query?query={encoded}")).await
    }

    /// Asks until there is a number that fits.
    async fn becomes(&self, query: &str, fits: impl Fn(f64) -> bool) -> f64 {
        let wait = async {
            loop {
                let answer = self.ask(query).await;
                let value = answer["data"]["result"][0]["value"][1].as_str().and_then(|v| v.parse().ok());
                if let Some(value) = value.filter(|value| fits(*value)) {
                    return value;
                }
                sleep(Duration::from_millis(100)).await; // it asks once a second, and tells nobody when
            }
        };
        soon(query, wait).await
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prometheus_understands_page_examples_alerts_and_dashboard() {
    let app = relay::application().await;
    let rig = Rig::with(relay::setup(&app, vec![])).await;
    app.set_public_url(&format!("https://localhost:{}/relay/rapidpm", rig.https.port()));
    let Some(prometheus) = Prometheus::start(rig.admin) else { return };
    prometheus.becomes("up{job=\"rapidpm-gateway\"}", |up| up == 1.0).await;
    prometheus.becomes("onlyoffice_save_total{status=\"failure\"}", |failures| failures == 0.0).await;
    // A save that is refused, and an editor: both were 0 when they were first seen.
    app.set_reply(standin::integrator::Reply::Error(1));
    let link = rig.server.cache("x", "output.txt", &b"x"[..]);
    let fields = json!({"key": "x", "status": 2, "url": format!("{}{link}", rig.server.url()), "users": ["u"],
        "lastsave": "2026-11-22T04:07:11.000Z", "filetype": "txt"});
    rig.send(relay::posted(rig.https.port(), "callback?id=x", &fields)).await;
    rig.gateway.as_ref().unwrap().ops.metrics.joins.increment(1);
    for example in EXAMPLES {
        let value = prometheus.becomes(example, |value| value > 0.0).await;
        println!("{example} = {value}");
    }
    let dashboard = queries();
    for query in &dashboard {
        let answer = prometheus.ask(query).await;
        assert_eq!(answer["status"], "success", "{query}: {answer}");
    }
    let rules = async {
        loop {
            let rules = prometheus.get("/api/v1/rules").await;
            let groups = rules["data"]["groups"].as_array().cloned().unwrap_or_default();
            let rules: Vec<Value> =
                groups.iter().flat_map(|group| group["rules"].as_array().unwrap()).cloned().collect();
            if !rules.is_empty() && rules.iter().all(|rule| rule["health"] != "unknown") {
                return rules;
            }
            sleep(Duration::from_millis(100)).await;
        }
    };
    let rules = soon("the rules to be looked at", rules).await;
    assert_eq!(rules.len(), ALERTS.matches("- alert: ").count());
    for rule in &rules {
        assert_eq!(rule["health"], "ok", "{rule}");
    }
    // One save is parked, so that alert fires by itself.
    prometheus
        .becomes("ALERTS{alertname=\"SavesParked\",alertstate=\"firing\"}", |firing| firing == 1.0)
        .await;
    println!("{} queries of the dashboard, {} alerts", dashboard.len(), rules.len());
}
