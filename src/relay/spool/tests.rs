//! The spool at each point where a disk can fail or a process can die.

use std::sync::atomic::AtomicUsize;

use serde_json::Map;

use super::*;

/// A disk that fails at one step.
struct Failing {
    at: usize,
    steps: AtomicUsize,
}

impl Disk for Failing {
    fn before(&self, _: Step) -> io::Result<()> {
        match self.steps.fetch_add(1, Ordering::Relaxed) == self.at {
            true => Err(io::Error::from_raw_os_error(5)), // EIO
            false => Ok(()),
        }
    }
}

fn record() -> Record {
    Record {
        name: "k\n2".into(),
        key: "k".into(),
        integrator: "rapidpm".into(),
        target: "callback?id=1".into(),
        kind: "final".into(),
        status: 2,
        since: 7,
        claims: Map::new(),
        documents: Vec::new(),
        trace: None,
    }
}

fn keep(spool: &Arc<Spool>, id: u64) -> io::Result<()> {
    let mut draft = spool.begin(Id(id), 1 << 20)?;
    let mut file = draft.file(Role::Document)?;
    draft.write(&mut file, b"words")?;
    let document = draft.end(file, "output.docx".into())?;
    draft.commit(&Record { documents: vec![document], ..record() })
}

#[test]
fn what_was_kept_is_there_and_what_was_not_is_not() {
    let mut failures = 0;
    for at in 0.. {
        let folder = tempfile::tempdir().unwrap();
        let disk = Arc::new(Failing { at, steps: AtomicUsize::new(0) });
        let spool = Arc::new(Spool::new(folder.path().into(), disk));
        let kept = spool.open().and_then(|_| keep(&spool, 1));
        spool.close();
        let again = Arc::new(Spool::new(folder.path().into(), Arc::new(RealDisk)));
        let found = again.open().unwrap();
        assert_eq!(found.len(), usize::from(kept.is_ok()), "failed at step {at}");
        match kept {
            Ok(()) => {
                assert!(failures > 8, "{failures}");
                return;
            }
            Err(_) => {
                failures += 1;
                assert_eq!(spool.usage(), (0, 0), "step {at}: what failed takes no room");
                keep(&again, 2).unwrap();
            }
        }
    }
}

#[test]
fn a_state_torn_at_any_byte_counts_as_none() {
    let folder = tempfile::tempdir().unwrap();
    let spool = Arc::new(Spool::new(folder.path().into(), Arc::new(RealDisk)));
    spool.open().unwrap();
    keep(&spool, 1).unwrap();
    let state =
        State { phase: "reserve".into(), at: 1, answer: Some((200, "{\"error\":0}".into())), newer: true };
    spool.store(Id(1), &state).unwrap();
    assert_eq!(spool.list().unwrap()[0].state, Some(state));
    for name in ["state", "record"] {
        let path = spool.folder(Id(1)).join(name);
        let whole = fs::read(&path).unwrap();
        for cut in 0..whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            let found = spool.list().unwrap().remove(0);
            assert_eq!(
                (found.state.is_none(), found.record.is_none()),
                (true, name == "record"),
                "{name} {cut}"
            );
        }
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            fs::write(&path, &flipped).unwrap();
            let found = spool.list().unwrap().remove(0);
            assert!(found.state.is_none() && found.record.is_none() == (name == "record"), "{name} {at}");
        }
        if name == "record" {
            fs::write(&path, &whole).unwrap();
        }
    }
}

#[test]
fn settled_saves_give_their_room_back() {
    let folder = tempfile::tempdir().unwrap();
    let spool = Arc::new(Spool::new(folder.path().into(), Arc::new(RealDisk)));
    spool.open().unwrap();
    keep(&spool, 1).unwrap();
    let before = spool.usage().0;
    spool.store(Id(1), &State { phase: "delivered".into(), at: 1, answer: None, newer: false }).unwrap();
    assert_eq!(spool.usage(), (before - 5, 1));
    assert!(!spool.document(Id(1), Role::Document).exists());
    spool.forget(Id(1)).unwrap();
    assert_eq!(spool.usage().1, 0);
    assert!(spool.begin(Id(2), 0).is_err(), "no room, no entry");
}

#[test]
fn one_gateway_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let open = || {
        let spool = Spool::new(folder.path().into(), Arc::new(RealDisk));
        spool.open().map(|_| spool)
    };
    let first = open().unwrap();
    let refused = open().err().unwrap();
    assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
    let text = refused.to_string();
    assert!(text.contains(&format!("process {}", std::process::id())) && text.contains("saves.directory"));
    assert!(Spool::new(folder.path().into(), Arc::new(RealDisk)).list().is_ok(), "a look is free");
    drop(first);
    open().unwrap().close();
    open().unwrap();
}

#[test]
fn an_order_stays_until_it_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let spool = Spool::new(folder.path().into(), Arc::new(RealDisk));
    spool.open().unwrap();
    spool.order("retry", Id(9)).unwrap();
    for _ in 0..2 {
        assert_eq!(spool.orders().unwrap(), [("retry".to_owned(), Id(9))]);
    }
    spool.take_order("retry", Id(9)).unwrap();
    assert_eq!(spool.orders().unwrap(), []);
    assert!(spool.take_order("retry", Id(9)).is_err(), "whoever cannot take it must not carry it out");
}

/// A disk that fails to make a folder durable, once.
struct Forgetful {
    at: usize,
    syncs: AtomicUsize,
}

impl Disk for Forgetful {
    fn before(&self, step: Step) -> io::Result<()> {
        let fails = step == Step::SyncFolder && self.syncs.fetch_add(1, Ordering::Relaxed) == self.at;
        if fails { Err(io::Error::from_raw_os_error(5)) } else { Ok(()) } // EIO
    }
}

/// The next try found the directory there, and never came back to the folders above it.
#[test]
fn folders_whose_sync_failed_are_synced_at_the_next_try() {
    for at in 0..4 {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("a/b");
        let disk = Arc::new(Forgetful { at, syncs: AtomicUsize::new(0) });
        let spool = Spool::new(root.clone(), disk.clone());
        assert!(spool.open().is_err(), "{at}");
        let before = disk.syncs.load(Ordering::Relaxed);
        spool.open().unwrap();
        let after = disk.syncs.load(Ordering::Relaxed) - before;
        assert!(after >= root.ancestors().count(), "{at}: {after}");
    }
}
