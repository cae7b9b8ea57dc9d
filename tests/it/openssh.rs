//! Debian's OpenSSH server as an archive: keys of its own, `internal-sftp` alone, one process for each connection, and a wire
//! that can be cut. The port belongs to the test, so it is free, and closing it is an outage.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::task::JoinHandle;

/// Where Debian puts it; it must be called by its full path.
const SSHD: &str = "/usr/sbin/sshd";

/// An SFTP server. Dropping it ends its processes.
pub struct Sshd {
    pub folder: tempfile::TempDir,
    pub address: SocketAddr,
    /// How many bytes of each connection reach the server before the wire is cut.
    cut: Arc<Mutex<Option<usize>>>,
    serving: Option<JoinHandle<()>>,
    /// The largest file the server may write, in blocks of 512 bytes.
    largest: Arc<Mutex<Option<u32>>>,
}

impl Sshd {
    /// Starts one with a host key of each of these kinds. `None`: it is not installed, and nothing but this can be missing.
    pub async fn start(kinds: &[&str]) -> Option<Self> {
        if !Path::new(SSHD).exists() {
            assert!(std::env::var_os("CI").is_none(), "{SSHD} is missing: install openssh-server");
            println!("skipped: {SSHD} is not installed (Debian: openssh-server)");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("files")).unwrap();
        if is_root() {
            std::fs::create_dir_all("/run/sshd").unwrap(); // where it locks itself up before a client is known
        }
        let at = |name: &str| folder.path().join(name).display().to_string();
        let mut config = format!(
            "UsePAM no\nStrictModes no\nPidFile none\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
             PermitRootLogin prohibit-password\nAuthorizedKeysFile {}\nSubsystem sftp internal-sftp\nForceCommand internal-sftp\n",
            at("authorized_keys")
        );
        for kind in kinds {
            make_key(&folder.path().join(format!("host_{kind}")), kind);
            config.push_str(&format!("HostKey {}\n", at(&format!("host_{kind}"))));
        }
        make_key(&folder.path().join("user_key"), "ed25519");
        std::fs::copy(folder.path().join("user_key.pub"), folder.path().join("authorized_keys")).unwrap();
        std::fs::write(folder.path().join("sshd_config"), config).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut sshd = Self { folder, address, cut: Arc::default(), serving: None, largest: Arc::default() };
        sshd.know(kinds);
        sshd.serve(listener);
        Some(sshd)
    }

    fn serve(&mut self, listener: TcpListener) {
        let (config, cut, largest) = (self.file("sshd_config"), self.cut.clone(), self.largest.clone());
        self.serving = Some(tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let (cut, largest) = (*cut.lock().unwrap(), *largest.lock().unwrap());
                connections.spawn(carry(client, config.clone(), cut, largest));
            }
        }));
    }

    /// An outage: the port is closed, and so is every connection.
    pub async fn stop(&mut self) {
        if let Some(serving) = self.serving.take() {
            serving.abort();
            serving.await.ok();
        }
    }

    /// Its end.
    pub async fn start_again(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.serve(listener);
    }

    /// From now on each connection breaks after so many bytes to the server.
    pub fn cut_after(&self, bytes: Option<usize>) {
        *self.cut.lock().unwrap() = bytes;
    }

    /// From now on the server's disk takes no file larger than this.
    pub fn limit_files(&self, blocks: Option<u32>) {
        *self.largest.lock().unwrap() = blocks;
    }

    /// Something in its folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes down these host keys as `known_hosts`.
    pub fn know(&self, kinds: &[&str]) {
        let lines = kinds.iter().map(|kind| {
            let key = std::fs::read_to_string(self.file(&format!("host_{kind}.pub"))).unwrap();
            format!("[127.0.0.1]:{} {key}", self.address.port())
        });
        std::fs::write(self.file("known_hosts"), lines.collect::<String>()).unwrap();
    }

    /// `[archive]` for it.
    pub fn table(&self) -> String {
        self.table_with("user_key")
    }

    /// The same with another key.
    pub fn table_with(&self, key: &str) -> String {
        format!(
            "[archive]\nsftp = \"sftp://{}@{}{}\"\nkey = {{ file = {:?} }}\nknown_hosts = {:?}\n",
            whoami(),
            self.address,
            self.file("files").display(),
            self.file(key),
            self.file("known_hosts")
        )
    }

    /// Every file that was stored, with its path below the archive's folder, sorted.
    pub fn stored(&self) -> Vec<(String, Vec<u8>)> {
        let root = self.file("files");
        let (mut found, mut folders) = (Vec::new(), vec![root.clone()]);
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => folders.push(path),
                    false => {
                        let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
                        found.push((name, std::fs::read(&path).unwrap()));
                    }
                }
            }
        }
        found.sort();
        found
    }
}

/// A key as ssh-keygen makes it.
pub fn make_key(file: &Path, kind: &str) {
    let made =
        std::process::Command::new("ssh-keygen").args(["-q", "-N", "", "-t", kind, "-f"]).arg(file).status();
    assert!(made.unwrap().success());
}

fn whoami() -> String {
    let said = std::process::Command::new("id").arg("-un").output().unwrap();
    String::from_utf8(said.stdout).unwrap().trim().to_owned()
}

pub fn is_root() -> bool {
    whoami() == "root"
}

/// One connection and the process that serves it.
async fn carry(client: TcpStream, config: PathBuf, cut: Option<usize>, largest: Option<u32>) {
    let limit = largest.map_or(String::new(), |blocks| format!("trap '' XFSZ; ulimit -f {blocks}; "));
    let script = format!("{limit}exec {SSHD} -i -f \"$0\"");
    let mut command = Command::new("sh");
    command.args(["-c", &script]).arg(config).kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let (mut into, mut out) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let (mut reads, mut writes) = client.into_split();
    let to_server = async {
        let (mut left, mut piece) = (cut.unwrap_or(usize::MAX), vec![0; 16 << 10]);
        loop {
            let read = match reads.read(&mut piece).await {
                Ok(0) | Err(_) => return,
                Ok(read) => read.min(left),
            };
            if into.write_all(&piece[..read]).await.is_err() || read == left {
                return;
            }
            left -= read;
        }
    };
    let to_client = async { drop(tokio::io::copy(&mut out, &mut writes).await) };
    tokio::select! {
        () = to_server => {}
        () = to_client => {}
    }
}
