//! Accepted saves reach the SFTP archive, once and whole, beside the delivery; what stands in the way is said with its cure.

use std::time::Duration;

use serde_json::{Value, json};
use standin::Integrator;
use standin::integrator::Reply;

use crate::openssh::{Sshd, is_root, make_key};
use crate::relay::{application, posted, setup};
use crate::rig::{Got, Rig};
use crate::wire::soon;

struct House {
    rig: Rig,
    app: Integrator,
}

async fn house(archive: &str) -> House {
    let app = application().await;
    let mut setup = setup(&app, vec![]);
    setup.tables.push_str(archive);
    House { rig: Rig::with(setup).await, app }
}

impl House {
    fn save(&self, key: &str, status: u32, bytes: &[u8]) -> Value {
        let link = self.rig.server.cache(key, "output.docx", bytes);
        json!({"key": key, "status": status, "url": format!("{}{link}", self.rig.server.url()), "users": ["u"],
            "lastsave": "2026-11-22T04:07:11.000Z", "filetype": "docx"})
    }

    async fn post(&self, fields: &Value) -> Got {
        let target = format!("callback?id={}-{}", fields["key"], fields["status"]).replace('"', "");
        self.rig.send(posted(self.rig.https.port(), &target, fields)).await
    }

    /// Waits for the archive's word about the `number`th copy.
    async fn archived(&self, key: &'static str) -> String {
        let line =
            self.rig.log.wait_for(move |line| line["message"] == "a save was archived" && line["key"] == key);
        line.await["path"].as_str().unwrap().to_owned()
    }

    /// Waits for a complaint of the archive that has these words.
    async fn complaint(&self, words: &'static str) -> String {
        let fits = move |line: &Value| {
            line["event"] == "archive" && line["error"].as_str().is_some_and(|error| error.contains(words))
        };
        self.rig.log.wait_for(fits).await["error"].as_str().unwrap().to_owned()
    }

    fn numbers(&self) -> String {
        self.rig.gateway.as_ref().unwrap().ops.metrics.render()
    }

    /// Waits until the numbers have these lines: they are written behind the words in the log.
    async fn numbers_become(&self, series: &[&str]) {
        let all = async {
            while !series.iter().all(|line| self.numbers().contains(line)) {
                tokio::task::yield_now().await;
            }
        };
        soon("the numbers", all).await;
    }

    /// Waits until so many copies lie in the directory of saves: they are written behind the answer.
    async fn kept(&self, copies: usize) {
        while self.waiting() < copies {
            tokio::task::yield_now().await;
        }
    }

    fn waiting(&self) -> usize {
        std::fs::read_dir(self.rig.folder.path().join("saves/archive")).map_or(0, Iterator::count)
    }
}

fn stored(sshd: &Sshd) -> Vec<(String, String)> {
    sshd.stored().into_iter().map(|(name, bytes)| (name, String::from_utf8(bytes).unwrap())).collect()
}

#[tokio::test]
async fn every_accepted_save_is_archived_once() {
    let Some(sshd) = Sshd::start(&["ed25519"]).await else { return };
    let house = house(&sshd.table()).await;
    // Taken by the application.
    house.post(&house.save("final", 2, b"the end")).await;
    house.post(&house.save("broken", 3, b"half")).await;
    house.post(&house.save("forced", 6, b"so far")).await;
    // Taken over by the gateway, and delivered later.
    house.app.reply_times(2, Reply::Status(500), 1);
    assert_eq!(house.post(&house.save("late", 2, b"later")).await.text(), "{\"error\":0}");
    soon("the later delivery", house.app.wait_for_save("late")).await;
    // Accepted by nobody.
    house.app.set_reply(Reply::Error(1));
    house.post(&house.save("refused", 2, b"no")).await;
    house.post(&house.save("unsaved", 6, b"no")).await;
    for key in ["final", "broken", "forced", "late"] {
        let path = house.archived(key).await;
        assert!(path.starts_with(sshd.file("files").to_str().unwrap()), "{path}");
    }
    let stored = stored(&sshd);
    assert_eq!(stored.len(), 4, "{stored:?}");
    for ((name, bytes), (key, status, expected)) in stored.iter().zip([
        ("broken", 3, "half"),
        ("final", 2, "the end"),
        ("forced", 6, "so far"),
        ("late", 2, "later"),
    ]) {
        let parts: Vec<&str> = name.split('/').collect();
        assert_eq!((parts[0], parts[1], bytes.as_str()), ("rapidpm", key, expected), "{name}");
        let (time, rest) = parts[2].split_once('-').unwrap();
        assert_eq!(
            (time.len(), rest),
            ("20261125T014639.123Z".len(), format!("{status}.docx").as_str()),
            "{name}"
        );
    }
    let numbers = house.numbers();
    for series in [
        "onlyoffice_upload_duration_seconds_count 4",
        "gateway_archive_copies_total{outcome=\"stored\"} 4",
        "gateway_archive_copies_total{outcome=\"given_up\"} 0",
        "gateway_archive_up 1",
    ] {
        assert!(numbers.contains(series), "{series}\n{numbers}");
    }
}

#[tokio::test]
async fn an_outage_is_waited_for_and_the_delivery_does_not_wait() {
    let Some(mut sshd) = Sshd::start(&["ed25519"]).await else { return };
    sshd.stop().await;
    let house = house(&sshd.table()).await;
    assert_eq!(house.post(&house.save("k", 2, b"words")).await.text(), "{\"error\":0}");
    soon("the delivery", house.app.wait_for_save("k")).await;
    house.complaint("refused").await;
    house.numbers_become(&["gateway_archive_up 0", "gateway_archive_waiting 1"]).await;
    let (code, told) = crate::health::ask_for(&house.rig, "degraded").await;
    let sftp = &told["components"]["sftp"];
    assert_eq!((code, &sftp["status"]), (200, &json!("unhealthy")));
    assert!(sftp["detail"].as_str().is_some_and(|detail| detail.contains("refused")), "{told}");
    // Its bytes are the save's own, until that is forgotten or the copy is all that needs them.
    let held = async { while house.numbers().contains("gateway_archive_bytes 0\n") {} };
    soon("gateway_archive_bytes", held).await;
    sshd.start_again().await;
    house.archived("k").await;
    assert_eq!(stored(&sshd).len(), 1);
    assert_eq!(house.waiting(), 0, "the bytes are let go");
    house.rig.log.wait_for(|line| line["message"] == "the archive takes saves again").await;
    let (_, told) = crate::health::ask_for(&house.rig, "healthy").await;
    let sftp = &told["components"]["sftp"];
    assert_eq!((&sftp["status"], &sftp["detail"]), (&json!("healthy"), &json!(null)));
    assert!(sftp["since"].is_string(), "{told}");
}

/// What waits survives the gateway.
#[tokio::test]
async fn an_outage_longer_than_the_gateways_life() {
    let Some(mut sshd) = Sshd::start(&["ed25519"]).await else { return };
    sshd.stop().await;
    let app = application().await;
    let mut setup = setup(&app, vec![]);
    setup.tables.push_str(&sshd.table());
    let mut process = crate::process::Process::start(setup).await;
    let link = process.server.cache("k", "output.docx", b"words".as_slice());
    let fields = json!({"key": "k", "status": 2, "url": format!("{}{link}", process.server.url()), "filetype": "docx"});
    let request = posted(process.https.port(), "callback", &fields);
    let got = crate::relay_crash::send(process.https, request).await.unwrap();
    assert_eq!(got.text(), "{\"error\":0}");
    // The journal is written behind the answer.
    let copy = process.folder.path().join("saves/archive");
    while std::fs::read_dir(&copy).map_or(0, Iterator::count) == 0 {
        tokio::task::yield_now().await;
    }
    process.signal("KILL");
    sshd.start_again().await;
    process.again().await;
    while stored(&sshd).iter().all(|(name, _)| name.contains(".part")) {
        tokio::time::sleep(Duration::from_millis(5)).await; // nobody tells when a file appears
    }
    assert_eq!(stored(&sshd)[0].1, "words");
}

#[tokio::test]
async fn a_server_that_is_not_the_one_it_should_be_gets_nothing() {
    let Some(sshd) = Sshd::start(&["ed25519", "ecdsa", "rsa"]).await else { return };
    let line = |name: &str| {
        let key = std::fs::read_to_string(sshd.file(name)).unwrap();
        format!("[127.0.0.1]:{} {key}", sshd.address.port())
    };
    make_key(&sshd.file("other"), "ed25519");
    for (known, words) in [
        (String::new(), "which"),
        (line("host_ed25519.pub").replace("[127", "[128"), "does not have. If its administrator"),
        (line("other.pub"), "somebody may stand in between"),
        (format!("@revoked {}{}", line("host_ed25519.pub"), line("host_ed25519.pub")), "@revoked"),
        (line("host_rsa.pub"), "by an RSA key alone"),
    ] {
        std::fs::write(sshd.file("known_hosts"), &known).unwrap();
        let house = house(&sshd.table()).await;
        house.post(&house.save("k", 2, b"words")).await;
        let text = house.complaint(words).await;
        assert!(text.contains(sshd.file("known_hosts").to_str().unwrap()), "{text}");
        assert!(known.starts_with('@') || text.contains("ssh-keyscan -p"), "the cure is named: {text}");
        house.kept(1).await;
        assert!(stored(&sshd).is_empty(), "{words}");
    }
}

#[tokio::test]
async fn a_server_is_known_by_any_of_its_keys_hashed_or_not() {
    let Some(sshd) = Sshd::start(&["ed25519", "ecdsa", "rsa"]).await else { return };
    sshd.know(&["ecdsa"]);
    let file = sshd.file("known_hosts").display().to_string();
    let hashed = std::process::Command::new("ssh-keygen").args(["-q", "-H", "-f", &file]).output().unwrap();
    assert!(hashed.status.success() && std::fs::read_to_string(&file).unwrap().starts_with("|1|"));
    let house = house(&sshd.table()).await;
    house.post(&house.save("k", 2, b"words")).await;
    house.archived("k").await;
}

#[tokio::test]
async fn each_kind_of_user_key_signs_in() {
    let Some(sshd) = Sshd::start(&["ed25519"]).await else { return };
    for kind in ["rsa", "ecdsa"] {
        make_key(&sshd.file(kind), kind);
        let house = house(&sshd.table_with(kind)).await;
        house.post(&house.save("k", 2, b"words")).await;
        let text = house.complaint("authorized_keys there needs the line").await;
        let public = std::fs::read_to_string(sshd.file(&format!("{kind}.pub"))).unwrap();
        let words: Vec<&str> = public.split(' ').take(2).collect();
        assert!(text.contains(&words.join(" ")) || text.contains("ssh-keygen -y -f KEY"), "{text}");
        std::fs::copy(sshd.file(&format!("{kind}.pub")), sshd.file("authorized_keys")).unwrap();
        house.archived("k").await;
    }
}

/// A disk that takes no more, and a folder that is not ours: the temporary name never becomes the final one.
#[tokio::test]
async fn a_server_that_cannot_write_is_asked_again() {
    let Some(sshd) = Sshd::start(&["ed25519"]).await else { return };
    sshd.limit_files(Some(64));
    let house = house(&sshd.table()).await;
    house.post(&house.save("large", 2, &[b'x'; 300_000])).await;
    house.complaint("is the disk there full?").await;
    assert!(stored(&sshd).iter().all(|(name, _)| name.ends_with(".part")), "{:?}", sshd.stored());
    // Another document is not held up by it.
    house.post(&house.save("small", 2, b"words")).await;
    house.archived("small").await;
    sshd.limit_files(None);
    house.archived("large").await;
    let stored = stored(&sshd);
    assert_eq!(stored.len(), 2, "{:?}", stored.iter().map(|(name, _)| name).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_folder_that_is_not_ours() {
    use std::os::unix::fs::PermissionsExt as _;
    let Some(sshd) = Sshd::start(&["ed25519"]).await else { return };
    let folder = sshd.file("files/rapidpm");
    if is_root() {
        // Nothing is forbidden to root; a file in the folder's place stands in its way all the same.
        std::fs::write(&folder, "").unwrap();
    } else {
        std::fs::create_dir(&folder).unwrap();
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o500)).unwrap();
    }
    let house = house(&sshd.table()).await;
    house.post(&house.save("k", 2, b"words")).await;
    house.complaint(if is_root() { "is no folder" } else { "cannot be made" }).await;
    if is_root() {
        std::fs::remove_file(&folder).unwrap();
    } else {
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o700)).unwrap();
    }
    house.archived("k").await;
}

#[tokio::test]
async fn a_wire_that_is_cut_in_mid_upload() {
    let Some(sshd) = Sshd::start(&["ed25519"]).await else { return };
    sshd.cut_after(Some(200_000));
    let house = house(&sshd.table()).await;
    let bytes: Vec<u8> = (0..1_000_000_u32).map(|at| b'a' + (at % 23) as u8).collect();
    house.post(&house.save("k", 2, &bytes)).await;
    house.complaint("k/.").await;
    assert!(sshd.stored().iter().all(|(name, _)| name.ends_with(".part")));
    sshd.cut_after(None);
    house.archived("k").await;
    let stored = sshd.stored();
    assert_eq!(stored.len(), 1, "nothing is left of the first try");
    assert!(stored[0].0.ends_with(".docx") && stored[0].1 == bytes);
}

/// A final name that is taken: by the document itself, whose storing was not heard of, or by another.
#[tokio::test]
async fn a_name_that_is_taken() {
    let Some(mut sshd) = Sshd::start(&["ed25519"]).await else { return };
    sshd.stop().await;
    let house = house(&sshd.table()).await;
    for key in ["same", "other"] {
        house.post(&house.save(key, 2, b"words")).await;
    }
    house.kept(2).await;
    for entry in std::fs::read_dir(house.rig.folder.path().join("saves/archive")).unwrap() {
        let record = std::fs::read_to_string(entry.unwrap().path().join("record")).unwrap();
        let record: Value = serde_json::from_str(&record[9..]).unwrap();
        let key = record["key"].as_str().unwrap();
        let folder = sshd.file("files/rapidpm").join(key);
        std::fs::create_dir_all(&folder).unwrap();
        let bytes = if key == "same" { "words" } else { "sword" };
        std::fs::write(folder.join(name(record["since"].as_u64().unwrap())), bytes).unwrap();
    }
    sshd.start_again().await;
    assert!(!house.archived("same").await.contains("-2-2"));
    assert!(house.archived("other").await.ends_with("-2-2.docx"));
    let stored = stored(&sshd);
    let words: Vec<&str> = stored.iter().map(|(_, bytes)| bytes.as_str()).collect();
    assert_eq!(words, ["words", "sword", "words"], "{stored:?}");
}

fn name(since: u64) -> String {
    use rapidpm_gateway::rules::{copies, save::Id};
    copies::place(Id(1), "", "", since, 2, "docx").name(1)
}

/// Copies never take the room of saves: they are given up first, and that is said.
#[tokio::test]
async fn copies_that_wait_make_room_for_saves() {
    let Some(mut sshd) = Sshd::start(&["ed25519"]).await else { return };
    sshd.stop().await;
    let app = application().await;
    let mut setup = setup(&app, vec![("saves", "max_size = \"100KiB\"\nmax_document = \"50KiB\"".into())]);
    setup.tables.push_str(&sshd.table());
    let house = House { rig: Rig::with(setup).await, app };
    for at in 0..6 {
        let key = format!("k{at}");
        let got = house.post(&house.save(&key, 2, &[b'x'; 40_000])).await;
        assert_eq!(got.text(), "{\"error\":0}");
        assert_eq!(house.app.saved(&key).unwrap().bytes.len(), 40_000);
    }
    let given_up = |line: &Value| line["message"] == "an accepted save has no copy in the archive";
    house.rig.log.wait_for(given_up).await;
    sshd.start_again().await;
    house.archived("k5").await;
}
