//! The other side of the relay, byte for byte: gives a document for every GET and the answer that a test wrote for every POST.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How a POST is answered.
#[derive(Debug, Clone)]
pub enum Says {
    /// With these bytes.
    Bytes(String),
    /// With these bytes, after this time.
    After(Duration, String),
    /// Not at all: the connection is reset.
    Reset,
    /// Never.
    Nothing,
}

impl Says {
    /// An answer of that status line and JSON.
    pub fn json(status: &str, body: &str) -> Self {
        Self::Bytes(answer(status, "application/json", body))
    }
}

/// A whole answer.
pub fn answer(status: &str, kind: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
}

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Asked {
    pub head: String,
    pub body: Vec<u8>,
}

impl Asked {
    /// The first line.
    pub fn line(&self) -> &str {
        self.head.lines().next().unwrap_or_default()
    }

    /// The fields, names in lower case.
    pub fn fields(&self) -> Vec<(String, String)> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        lines.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect()
    }

    /// A field.
    pub fn field(&self, name: &str) -> Option<String> {
        self.fields().into_iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }
}

fn is_command(asked: &Asked) -> bool {
    asked.line().contains("/command") || asked.line().contains("CommandService")
}

/// A listener that answers. Dropped, it is gone.
pub struct Stub {
    pub address: SocketAddr,
    says: Arc<Mutex<Says>>,
    asked: watch::Sender<Vec<Asked>>,
    task: JoinHandle<()>,
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Stub {
    pub async fn start(document: &'static [u8], says: Says) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (says, asked) = (Arc::new(Mutex::new(says)), watch::Sender::new(Vec::new()));
        let (answers, record) = (says.clone(), asked.clone());
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (answers, record) = (answers.clone(), record.clone());
                tokio::spawn(async move { serve(stream, document, &answers, &record).await });
            }
        });
        Self { address, says, asked, task }
    }

    pub fn say(&self, says: Says) {
        *self.says.lock().unwrap() = says;
    }

    /// Every callback so far: as a Document Server it is also told what it may forget.
    pub fn posts(&self) -> Vec<Asked> {
        let is_callback = |asked: &&Asked| asked.head.starts_with("POST") && !is_command(asked);
        self.asked.borrow().iter().filter(is_callback).cloned().collect()
    }

    /// Every request so far.
    pub fn all(&self) -> Vec<Asked> {
        self.asked.borrow().clone()
    }

    /// Waits until so many POSTs have come.
    pub async fn wait_for_posts(&self, count: usize) -> Vec<Asked> {
        let mut changed = self.asked.subscribe();
        loop {
            changed.borrow_and_update();
            let posts = self.posts();
            if posts.len() >= count {
                return posts;
            }
            changed.changed().await.unwrap();
        }
    }
}

async fn serve(
    stream: TcpStream,
    document: &'static [u8],
    says: &Mutex<Says>,
    record: &watch::Sender<Vec<Asked>>,
) {
    let mut stream = stream;
    let Some(asked) = read(&mut stream).await else { return };
    let is_post = asked.head.starts_with("POST");
    record.send_modify(|all| all.push(asked));
    let text = if is_post {
        let says = says.lock().unwrap().clone();
        match says {
            Says::Bytes(text) => text,
            Says::After(time, text) => {
                tokio::time::sleep(time).await;
                text
            }
            Says::Reset => return socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap(),
            Says::Nothing => return std::future::pending().await,
        }
    } else {
        answer("200 OK", "application/octet-stream", std::str::from_utf8(document).unwrap())
    };
    stream.write_all(text.as_bytes()).await.ok();
    stream.shutdown().await.ok();
}

/// One request from any stream.
pub async fn read<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) -> Option<Asked> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
            let asked = Asked { head, body: bytes[end + 4..].to_vec() };
            let length = asked.field("content-length").map_or(0, |length| length.parse().unwrap());
            if asked.body.len() >= length {
                return Some(asked);
            }
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}
