//! A headless Chromium, driven over its DevTools protocol: pages, clicks of the keyboard, pictures.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

/// Where Debian and others put it.
const PROGRAMS: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "chrome"];
/// How long a page may take to do what it is asked. Generous: machines of CI are slow, and nothing is measured here.
const PATIENCE: Duration = Duration::from_secs(60);

/// A browser. Dropping it ends its process.
pub struct Chromium {
    child: Child,
    socket: WebSocketStream<TcpStream>,
    number: u64,
    /// What pages asked for, in the order in which they did: the tab's session and the address.
    asked: Vec<(String, String)>,
    /// What consoles said that was an error, with the tab's session.
    errors: Vec<(String, Value)>,
    _profile: tempfile::TempDir,
}

/// A tab, or a frame in one.
#[derive(Clone)]
pub struct Tab {
    target: String,
    session: String,
    /// Where expressions run: a frame's own world, else the page.
    context: Option<u64>,
}

impl Chromium {
    /// Starts one; `None`, with a word, where there is none. With `CI` set a missing browser fails the test.
    pub async fn start() -> Option<Self> {
        let Some(program) = PROGRAMS.iter().find(|program| is_there(program)) else {
            assert!(std::env::var_os("CI").is_none(), "no Chromium here; install the package `chromium`");
            eprintln!("skipped: no Chromium here; install the package `chromium` to run this test");
            return None;
        };
        let profile = tempfile::tempdir().unwrap();
        let mut child = Command::new(program)
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
            .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
            .args(["--disable-dev-shm-usage", "--ignore-certificate-errors"])
            // Frames of other origins stay in their page's process, where a test can look into them.
            .args(["--disable-site-isolation-trials", "--disable-features=IsolateOrigins,site-per-process"])
            .args(["--remote-debugging-port=0", "--window-size=1100,700", "about:blank"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let address = listening(&mut child);
        let host = address.trim_start_matches("ws://").split('/').next().unwrap().to_owned();
        let stream = TcpStream::connect(host).await.unwrap();
        let (socket, _) = tokio_tungstenite::client_async(address, stream).await.unwrap();
        Some(Self { child, socket, number: 0, asked: Vec::new(), errors: Vec::new(), _profile: profile })
    }

    /// Opens a page.
    pub async fn open(&mut self, url: &str) -> Tab {
        self.open_with(url, &[]).await
    }

    /// Opens a page after these commands: another size, other colours, no script.
    pub async fn open_with(&mut self, url: &str, commands: &[(&str, Value)]) -> Tab {
        let made =
            self.call(None, "Target.createTarget", json!({"url": "about:blank", "newWindow": true})).await;
        let target = made["targetId"].as_str().unwrap().to_owned();
        let attached =
            self.call(None, "Target.attachToTarget", json!({"targetId": target, "flatten": true})).await;
        let tab = Tab { session: attached["sessionId"].as_str().unwrap().to_owned(), target, context: None };
        // A tab in the background would have its timers slowed down.
        self.call(Some(&tab), "Emulation.setFocusEmulationEnabled", json!({"enabled": true})).await;
        for domain in ["Network.enable", "Runtime.enable", "Log.enable", "Page.enable"] {
            self.call(Some(&tab), domain, json!({})).await;
        }
        for (method, parameters) in commands {
            self.call(Some(&tab), method, parameters.clone()).await;
        }
        self.call(Some(&tab), "Page.navigate", json!({"url": url})).await;
        tab
    }

    /// The first frame of a page, once it is there: whatever its origin, a test may look into it.
    pub async fn frame(&mut self, tab: &Tab) -> Tab {
        let end = Instant::now() + PATIENCE;
        loop {
            let tree = self.call(Some(tab), "Page.getFrameTree", json!({})).await;
            let frame = &tree["frameTree"]["childFrames"][0]["frame"];
            if frame["url"].as_str().is_some_and(|url| url.starts_with("http")) {
                let world =
                    self.call(Some(tab), "Page.createIsolatedWorld", json!({"frameId": frame["id"]})).await;
                return Tab { context: world["executionContextId"].as_u64(), ..tab.clone() };
            }
            assert!(Instant::now() < end, "the page never got a frame: {tree}");
        }
    }

    /// Closes it, as a person does.
    pub async fn close(&mut self, tab: Tab) {
        self.call(None, "Target.closeTarget", json!({"targetId": tab.target})).await;
    }

    /// The value of an expression; promises are awaited.
    pub async fn evaluate(&mut self, tab: &Tab, expression: &str) -> Value {
        let mut parameters = json!({"expression": expression, "awaitPromise": true, "returnByValue": true});
        if let Some(context) = tab.context {
            parameters["contextId"] = context.into();
        }
        let answer = self.call(Some(tab), "Runtime.evaluate", parameters).await;
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    /// Waits until an expression is true.
    pub async fn until(&mut self, tab: &Tab, expression: &str) {
        let waiting = format!(
            "new Promise((done, late) => {{ const end = Date.now() + {}; const look = () => {{ \
             let value = false; try {{ value = {expression}; }} catch (e) {{}} \
             if (value) done(true); else if (Date.now() > end) done(document.body ? document.body.innerText : 'nothing'); \
             else setTimeout(look, 20); }}; look(); }})",
            PATIENCE.as_millis()
        );
        let seen = self.evaluate(tab, &waiting).await;
        assert_eq!(seen, true, "never true: {expression}");
    }

    /// Lets this much of the page's own time pass. Its clock jumps from timer to timer, so that nobody waits for it: whatever the
    /// page would do by itself in that time, it has begun when this returns.
    pub async fn pass(&mut self, tab: &Tab, time: Duration) {
        self.call(Some(tab), "Emulation.setVirtualTimePolicy", json!({"policy": "advance"})).await;
        self.evaluate(tab, &format!("new Promise((done) => setTimeout(done, {}))", time.as_millis())).await;
    }

    /// How often a page has asked for addresses with this in them, WebSockets included, up to the last call.
    pub fn asked(&self, tab: &Tab, part: &str) -> usize {
        self.asked.iter().filter(|(session, url)| *session == tab.session && url.contains(part)).count()
    }

    /// Errors in a page's console, up to the last call.
    pub fn errors(&self, tab: &Tab) -> Vec<&Value> {
        self.errors.iter().filter(|(session, _)| *session == tab.session).map(|(_, error)| error).collect()
    }

    /// A picture of the page, as PNG in base64.
    pub async fn picture(&mut self, tab: &Tab) -> String {
        let whole = json!({"format": "png", "captureBeyondViewport": true});
        self.call(Some(tab), "Page.captureScreenshot", whole).await["data"].as_str().unwrap().to_owned()
    }

    /// Types into whatever has the focus.
    pub async fn insert(&mut self, tab: &Tab, text: &str) {
        self.call(Some(tab), "Input.insertText", json!({"text": text})).await;
    }

    async fn call(&mut self, tab: Option<&Tab>, method: &str, parameters: Value) -> Value {
        self.number += 1;
        let mut message = json!({"id": self.number, "method": method, "params": parameters});
        if let Some(tab) = tab {
            message["sessionId"] = tab.session.as_str().into();
        }
        self.socket.send(Message::text(message.to_string())).await.unwrap();
        loop {
            let Message::Text(text) = self.socket.next().await.unwrap().unwrap() else { continue };
            let answer: Value = serde_json::from_str(&text).unwrap();
            let url = match answer["method"].as_str() {
                Some("Network.webSocketCreated") => &answer["params"]["url"],
                Some("Network.requestWillBeSent") => &answer["params"]["request"]["url"],
                _ => &Value::Null,
            };
            if let (Some(session), Some(url)) = (answer["sessionId"].as_str(), url.as_str()) {
                self.asked.push((session.to_owned(), url.to_owned()));
            }
            let parameters = &answer["params"];
            let is_error = match answer["method"].as_str() {
                Some("Runtime.exceptionThrown") => true,
                Some("Runtime.consoleAPICalled") => parameters["type"] == "error",
                Some("Log.entryAdded") => parameters["entry"]["level"] == "error",
                _ => false,
            };
            if let (true, Some(session)) = (is_error, answer["sessionId"].as_str()) {
                self.errors.push((session.to_owned(), parameters.clone()));
            }
            if answer["id"] == self.number {
                assert!(answer["error"].is_null(), "{method}: {answer}");
                return answer["result"].clone();
            }
        }
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn is_there(program: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&paths).any(|folder| folder.join(program).is_file())
}

/// Where the browser listens, from what it says at the start.
fn listening(child: &mut Child) -> String {
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let address = lines
        .by_ref()
        .map_while(Result::ok)
        .find_map(|line| line.strip_prefix("DevTools listening on ").map(str::to_owned));
    std::thread::spawn(move || lines.for_each(drop)); // it must never block on a full pipe
    address.expect("Chromium ended before it listened")
}
