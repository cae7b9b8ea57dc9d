//! A disk that is full, sick, torn or not there, and clocks that jump: nothing is acknowledged that is not stored, nobody is
//! overrun with tries, health says what is wrong, and all is well again without a restart.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rapidpm_gateway::relay::Trouble;
use rapidpm_gateway::relay::spool::{Disk, RealDisk, Record, Role, Spool, Step};
use rapidpm_gateway::rules::save::Id;
use serde_json::{Map, Value, json};
use standin::document_server::Options;
use standin::integrator::Reply;
use standin::{DocumentServer, Integrator, Network};

use crate::desk::{Desk, Sick};
use crate::relay::{application, setup};
use crate::rig::SECRET;
use crate::wire::soon;

const ENOSPC: i32 = 28;
const EIO: i32 = 5;
const EDQUOT: i32 = 122;

struct Room {
    desk: Desk,
    app: Integrator,
    server: DocumentServer,
    folder: tempfile::TempDir,
}

impl Room {
    async fn with(disk: Arc<dyn Disk>) -> Self {
        let app = application().await;
        let options =
            Options { secret: SECRET.into(), network: Network::default().insecure(), ..Options::default() };
        let server = DocumentServer::start(options).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let desk = Desk::start(&setup(&app, vec![]), server.address(), folder.path(), disk).unwrap();
        Self { desk, app, server, folder }
    }

    fn save(&self, key: &str) -> Value {
        let link = self.server.cache(key, "output.docx", key.as_bytes());
        json!({"key": key, "status": 2, "url": format!("{}{link}", self.server.url()), "filetype": "docx", "lastsave": key})
    }

    async fn post(&self, key: &str) -> (u16, String) {
        let answer = self.desk.post(&format!("callback?id={key}"), &self.save(key)).await.unwrap();
        (answer.status, String::from_utf8(answer.body.to_vec()).unwrap())
    }

    fn kept(&self) -> usize {
        look(&self.folder.path().join("saves")).list().map_or(0, |found| found.len())
    }

    fn tries(&self, key: &str) -> usize {
        self.app.callbacks().iter().filter(|callback| callback.key == key).count()
    }

    async fn until(&self, what: &str, is: impl Fn(&Self) -> bool) {
        let waited = async {
            while !is(self) {
                tokio::time::sleep(Duration::from_millis(5)).await; // a disk has no event for this
            }
        };
        soon(what, waited).await;
    }

    fn troubles(&self) -> Vec<Trouble> {
        self.desk.relay.status().troubles.into_iter().map(|(what, _, _)| what).collect()
    }
}

fn look(root: &Path) -> Spool {
    Spool::new(root.into(), Arc::new(RealDisk))
}

const DELIVERED: (u16, &str) = (200, "{\"error\":0}");

#[tokio::test]
async fn what_a_sick_disk_does_not_take_is_passed_through() {
    for (step, errno) in [
        (Step::Create, ENOSPC),
        (Step::Write, ENOSPC),
        (Step::Write, EDQUOT),
        (Step::SyncFile, EIO),
        (Step::Rename, EIO),
        (Step::SyncFolder, EIO),
    ] {
        let disk = Arc::new(Sick::default());
        let room = Room::with(disk.clone()).await;
        disk.fall_ill(&[step], errno);
        room.app.set_reply(Reply::Error(0));
        let (status, body) = room.post("passed").await;
        assert_eq!((status, body.as_str()), DELIVERED, "{step:?}: the application's own answer");
        room.app.set_reply(Reply::Status(500));
        assert_eq!(
            room.post("lost").await.0,
            500,
            "{step:?}: the truth, so that the Document Server keeps it"
        );
        room.app.set_reply(Reply::Reset);
        assert_eq!(room.post("nobody").await.0, 503, "{step:?}: nobody has it, and nobody says so");
        assert_eq!(room.kept(), 0, "{step:?}");
        for key in ["passed", "lost", "nobody"] {
            assert_eq!(room.tries(key), 1, "{step:?}: what is not kept is tried once");
        }
        assert_eq!(room.troubles(), [Trouble::Keeping], "{step:?}");
        assert!(room.desk.relay.status().complaints()[0].contains("passed through"));
        assert!(room.desk.counts("gateway_saves_not_kept_total 3"));
        assert_eq!(room.desk.relay.status().bytes.0, 0, "{step:?}: what failed takes no room");

        disk.recover();
        room.app.set_reply(Reply::Status(503));
        let (status, body) = room.post("nobody").await;
        assert_eq!((status, body.as_str()), DELIVERED, "{step:?}: asked again, and kept");
        assert_eq!((room.kept(), room.troubles()), (1, vec![]), "{step:?}");
        room.app.set_reply(Reply::Take);
        // Nobody serves the kept document here; that its callback comes again is enough.
        let again =
            room.app.wait_for_callback(|c| c.key == "nobody" && c.header("idempotency-key").is_some());
        soon("a later try", again).await;
    }
}

#[tokio::test]
async fn what_cannot_be_written_down_is_tried_again_every_second() {
    for errno in [EIO, ENOSPC] {
        let disk = Arc::new(Sick::default());
        let room = Room::with(disk.clone()).await;
        room.app.set_reply(Reply::Slow(Duration::ZERO));
        let begun = Instant::now();
        // The save itself is kept; where it stands is what the disk does not take.
        room.app.reply_times(2, Reply::Slow(Duration::from_millis(300)), 1);
        let posted = room.desk.post("callback?id=k", &room.save("k"));
        room.app.wait_for_callback(|callback| callback.key == "k").await;
        disk.fall_ill(&[Step::Create], errno);
        assert_eq!(&posted.await.unwrap().body[..], b"{\"error\":0}");
        if errno == ENOSPC {
            room.until("its room", |room| room.kept() == 0).await;
            assert_eq!(room.troubles(), [], "a full disk gives up what is settled");
        } else {
            room.until("trouble", |room| room.troubles() == [Trouble::Journal]).await;
            room.until("another try", |_| disk.failures() > 1).await;
            assert!(disk.failures() as u64 <= begun.elapsed().as_secs() + 2, "no storm");
            assert_eq!(room.kept(), 1);
        }
        // Repeats are answered from memory, whatever the disk does.
        assert_eq!(room.post("k").await.1, "{\"error\":0}");
        assert_eq!(room.tries("k"), 1);
        disk.recover();
        room.until("no trouble", |room| room.troubles().is_empty()).await;
        if errno == EIO {
            let spool = look(&room.folder.path().join("saves"));
            let found = spool.list().unwrap().remove(0);
            assert_eq!(found.state.unwrap().phase, "delivered");
            assert!(!spool.document(found.id, Role::Document).exists());
        }
    }
}

#[tokio::test]
async fn a_directory_that_comes_later_is_taken_up_without_a_restart() {
    let app = application().await;
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("saves");
    let elsewhere = folder.path().join("elsewhere");
    keep(&elsewhere, 7, UNIX_EPOCH.elapsed().unwrap());
    look(&elsewhere).copy(Id(7)).unwrap().unwrap(); // waits for the archive
    assert_eq!(std::fs::read_dir(elsewhere.join("archive")).unwrap().count(), 1);
    let setup = setup(&app, vec![]);
    let nowhere = "127.0.0.1:9".parse().unwrap();
    std::fs::create_dir(folder.path().join("mount")).unwrap();
    std::os::unix::fs::symlink("mount/missing/far", &root).unwrap(); // nothing can be made behind it
    let desk = Desk::start(&setup, nowhere, folder.path(), Arc::new(RealDisk)).unwrap();
    let troubles = || desk.relay.status().troubles.into_iter().map(|(what, _, _)| what).collect::<Vec<_>>();
    assert_eq!(troubles(), [Trouble::Directory]);
    app.set_reply(Reply::Error(0));
    let posted =
        desk.post("callback?id=a", &json!({"key": "a", "status": 2, "url": "http://x/cache/files/data/a/b"}));
    assert_eq!(posted.await.unwrap().status, 200, "passed through");
    assert!(app.callbacks().iter().all(|callback| callback.key == "a"));
    std::fs::remove_file(&root).unwrap();
    std::fs::rename(&elsewhere, &root).unwrap();
    let taken_up = app.wait_for_callback(|callback| callback.key == "k7");
    assert!(soon("what lay there", taken_up).await.header("idempotency-key").is_some());
    assert!(!troubles().contains(&Trouble::Directory));
    let counted = async {
        while !desk.counts("gateway_archive_waiting 1") {
            tokio::task::yield_now().await;
        }
    };
    soon("the copy", counted).await;
}

/// It was taken away, and nothing came of it.
#[tokio::test]
async fn an_order_to_discard_waits_while_the_save_is_on_its_way() {
    let app = application().await;
    app.set_reply(Reply::Hang);
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("saves");
    keep(&root, 7, UNIX_EPOCH.elapsed().unwrap());
    let nowhere = "127.0.0.1:9".parse().unwrap();
    let _desk = Desk::start(&setup(&app, vec![]), nowhere, folder.path(), Arc::new(RealDisk)).unwrap();
    soon("the delivery", app.wait_for_callback(|callback| callback.key == "k7")).await;
    let spool = look(&root);
    spool.order("discard", Id(7)).unwrap();
    // Orders are looked at one after the other: when two that came later are gone, it was seen as well.
    for _ in 0..2 {
        spool.order("retry", Id(99)).unwrap();
        let taken = async {
            while spool.orders().unwrap().len() > 1 {
                tokio::task::yield_now().await;
            }
        };
        soon("the other order", taken).await;
    }
    assert_eq!(spool.orders().unwrap(), [("discard".to_owned(), Id(7))]);
    assert_eq!(spool.list().unwrap().len(), 1);
}

/// A save that was taken over, and a gateway that is gone.
pub fn keep(root: &Path, id: u64, since: Duration) {
    let spool = Arc::new(look(root));
    spool.open().unwrap();
    let mut draft = spool.begin(Id(id), 1 << 20).unwrap();
    let mut file = draft.file(Role::Document).unwrap();
    draft.write(&mut file, b"words").unwrap();
    let document = draft.end(file, "output.docx".into()).unwrap();
    let mut claims = Map::new();
    claims.extend(
        [("key", json!(format!("k{id}"))), ("status", json!(2)), ("url", json!("x"))]
            .map(|(n, v)| (n.into(), v)),
    );
    let record = Record {
        name: format!("k{id}\n2"),
        key: format!("k{id}"),
        integrator: "rapidpm".into(),
        target: format!("callback?id={id}"),
        kind: "final".into(),
        status: 2,
        since: u64::try_from(since.as_millis()).unwrap(),
        claims,
        documents: vec![document],
        trace: None,
    };
    draft.commit(&record).unwrap();
    spool.close();
}

#[tokio::test]
async fn clocks_that_jump_lose_nothing_and_storm_nobody() {
    const HOUR: Duration = Duration::from_secs(3_600);
    const YEARS: Duration = Duration::from_secs(10 * 365 * 24 * 3_600);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("saves");
    // As if the clock had been wrong by that much when they came, or jumped while the gateway was away.
    for (id, since) in [now - HOUR, now + HOUR, now - YEARS, now + YEARS].into_iter().enumerate() {
        keep(&root, id as u64 + 1, since);
    }
    // Numbers from a clock ten years ahead: what comes now must still count as newer.
    keep(&root, u64::try_from((now + YEARS).as_micros()).unwrap(), now);
    let app = application().await;
    app.set_reply(Reply::Error(0));
    let desk =
        Desk::start(&setup(&app, vec![]), "127.0.0.1:9".parse().unwrap(), folder.path(), Arc::new(RealDisk));
    let desk = desk.unwrap();
    let all = async {
        while desk.relay.status().saves.open > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await; // the journal has no event for this
        }
    };
    soon("all of them", all).await;
    assert_eq!(app.callbacks().len(), 5, "each once");
    assert_eq!(desk.relay.status().saves.parked(), 0);
    assert!(app.callbacks().iter().all(|callback| callback.token.is_ok()));
}

/// Posts saves of that size until `enough`, to an application that is away; the keys of those that were taken over.
async fn pour(desk: &Desk, server: &DocumentServer, size: usize, enough: usize) -> Vec<String> {
    let mut acknowledged = Vec::new();
    for at in 0..enough {
        let key = format!("k{at}");
        let link = server.cache(&key, "output.docx", vec![b'x'; size]);
        let fields =
            json!({"key": key, "status": 2, "url": format!("{}{link}", server.url()), "filetype": "docx"});
        let answer = desk.post(&format!("callback?id={at}"), &fields).await.unwrap();
        match answer.status {
            200 => acknowledged.push(key),
            status => assert_eq!(status, 503, "the truth"),
        }
    }
    acknowledged
}

fn keys(root: &Path) -> Vec<String> {
    look(root).list().unwrap().into_iter().map(|found| found.record.expect("whole").key).collect()
}

/// `tests/saves/disk.sh` gives a file system of 1 MiB.
#[tokio::test]
async fn a_real_disk_that_is_full() {
    let Some(folder) = std::env::var_os("SMALL_DISK").map(std::path::PathBuf::from) else {
        return println!("skipped: SMALL_DISK names no small file system (tests/saves/disk.sh does)");
    };
    let room = Room::with(Arc::new(RealDisk)).await; // for its stand-ins
    room.app.set_reply(Reply::Status(503));
    let desk =
        Desk::start(&setup(&room.app, vec![]), room.server.address(), &folder, Arc::new(RealDisk)).unwrap();
    let acknowledged = pour(&desk, &room.server, 200 << 10, 20).await;
    assert!((2..6).contains(&acknowledged.len()), "{acknowledged:?}");
    assert_eq!(keys(&folder.join("saves")), acknowledged, "what was promised is here, and nothing else");
    let complaints = desk.relay.status().complaints();
    assert!(complaints.iter().any(|one| one.contains("No space left")), "{complaints:?}");
    room.app.set_reply(Reply::Error(0));
    let delivered = async {
        while desk.relay.status().saves.open > 0 || desk.relay.status().bytes.0 > 100 << 10 {
            tokio::time::sleep(Duration::from_millis(10)).await; // a disk has no event for this
        }
    };
    soon("room without a restart", delivered).await;
    assert_eq!(desk.relay.status().saves.parked(), 0);
    let again = pour(&desk, &room.server, 1 << 10, 20).await;
    assert_eq!(again.len(), 20);
    assert_eq!(desk.relay.status().complaints(), Vec::<String>::new());
    println!("{} of 20 saves of 200 KiB kept on 1 MiB, all delivered", acknowledged.len());
}

/// `tests/saves/disk.sh` runs it below `strace`, which lets every seventh fsync fail.
#[tokio::test]
async fn a_real_disk_whose_fsync_fails() {
    if std::env::var_os("SICK_FSYNC").is_none() {
        return println!("skipped: no strace lets fsync fail (tests/saves/disk.sh runs one)");
    }
    let room = Room::with(Arc::new(RealDisk)).await;
    room.app.set_reply(Reply::Status(503));
    let acknowledged = pour(&room.desk, &room.server, 1 << 10, 40).await;
    assert!((1..40).contains(&acknowledged.len()), "{acknowledged:?}");
    let root = room.folder.path().join("saves");
    assert_eq!(keys(&root), acknowledged, "what was promised is here, and nothing else");
    println!("{} of 40 saves kept while every seventh fsync failed", acknowledged.len());
}
