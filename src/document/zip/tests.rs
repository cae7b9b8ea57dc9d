//! Archives that contradict themselves, and bombs.

use std::io::Cursor;
use std::time::{Duration, Instant};

use super::super::samples::{Entry, archive, deflated, docx, finish, local, ooxml, record, stored};
use super::super::{Fault, Kind, Limits, Reason, check};

fn judge(bytes: &[u8]) -> Result<Kind, String> {
    check(&mut Cursor::new(bytes), "docx", &Limits::default(), &|| false).map_err(|fault| match fault {
        Fault::Rejected(rejection) => rejection.to_string(),
        other => panic!("{other:?}"),
    })
}

fn refused(bytes: &[u8], what: &str) {
    let found = judge(bytes);
    assert!(
        found.as_ref().is_err_and(|text| text.starts_with("zip_integrity") && text.contains(what)),
        "{what}: {found:?}"
    );
}

/// A document with one more entry.
fn with(entry: Entry) -> Vec<u8> {
    let mut entries = ooxml("docx", "<a/>");
    entries.push(entry);
    archive(&entries)
}

#[test]
fn whole_archives() {
    assert_eq!(judge(&docx()), Ok(Kind::Docx));
    let mut entries = ooxml("docx", "<a/>");
    for entry in &mut entries {
        entry.flags = 8;
    }
    let mut streamed = (Vec::new(), Vec::new());
    for entry in &entries {
        let at = streamed.0.len() as u64;
        local(entry, &mut streamed.0);
        record(entry, at, &mut streamed.1);
    }
    assert_eq!(judge(&finish(streamed.0, &streamed.1, 4, false)), Ok(Kind::Docx), "sizes behind the bytes");
    for entry in &mut entries {
        (entry.flags, entry.long) = (0, true);
    }
    assert_eq!(judge(&archive(&entries)), Ok(Kind::Docx), "ZIP64");
    let mut commented = docx();
    let size = commented.len();
    commented[size - 2] = 5;
    commented.extend(b"PK\x05\x06!");
    assert_eq!(judge(&commented), Ok(Kind::Docx), "a comment that looks like an end");
    assert_eq!(judge(&with(stored("word/", b""))), Ok(Kind::Docx), "a folder");
    assert_eq!(
        judge(&with(stored("__MACOSX/word/._document.xml", b"\0\x05\x16\x07"))),
        Ok(Kind::Docx),
        "no part"
    );
}

#[test]
fn contradictions() {
    let good = deflated("a.bin", &[7; 500]);
    refused(&with(Entry { crc: good.crc ^ 1, ..good.clone() }), "another CRC");
    refused(&with(Entry { size: 499, ..good.clone() }), "more than its 499 bytes");
    refused(&with(Entry { size: 501, ..good.clone() }), "another size");
    refused(&with(Entry { flags: 1, ..good.clone() }), "encrypted");
    refused(&with(Entry { flags: 1 << 13, ..good.clone() }), "encrypted");
    refused(&with(Entry { method: 9, ..good.clone() }), "method 9");
    refused(&with(Entry { method: 0, ..good.clone() }), "sizes differ");
    refused(&with(Entry { packed: b"\xff\xff\xff\xff".to_vec(), ..good.clone() }), "does not inflate");
    refused(
        &with(Entry { packed: good.packed[..good.packed.len() - 3].to_vec(), ..good.clone() }),
        "breaks off",
    );
    refused(&with(Entry { packed: [&good.packed[..], b"more"].concat(), ..good.clone() }), "another size");
    refused(&with(stored("word/DOCUMENT.xml", b"")), "twice");
    refused(&with(stored("_rels/.rels", b"")), "twice");
    for name in ["../a", "a/../../b", "/a", "\\a", "C:\\a", "a\\..\\b", "a\0", ""] {
        refused(&with(stored(name, b"")), "leads out");
    }
    let bytes = docx();
    refused(&bytes[..bytes.len() - 1], "missing");
    refused(&[&bytes[..], b"!"].concat(), "missing");
    refused(&[b"PK\x03\x04", &bytes[..]].concat(), "not where");
    refused(b"PK\x03\x04", "missing");
}

#[test]
fn a_local_header_says_what_the_directory_says() {
    let bytes = docx();
    let name = bytes.windows(17).position(|window| window == b"word/document.xml").unwrap();
    let header = name - 30;
    for at in [
        header,
        header + 6,
        header + 8,
        header + 14,
        header + 18,
        header + 22,
        header + 26,
        header + 28,
        name,
    ] {
        let mut bytes = bytes.clone();
        bytes[at] ^= 1;
        let found = judge(&bytes).unwrap_err();
        assert!(found.starts_with("zip_integrity"), "{at}: {found}");
    }
}

/// Zeros that deflate to almost nothing, for a large entry without a large memory.
fn zeros(name: &str, size: u64) -> Entry {
    use std::io::Write as _;
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
    let mut crc = flate2::Crc::new();
    let block = vec![0; 1 << 20];
    for _ in 0..size >> 20 {
        encoder.write_all(&block).unwrap();
        crc.update(&block);
    }
    Entry {
        name: name.into(),
        packed: encoder.finish().unwrap(),
        size,
        crc: crc.sum(),
        method: 8,
        ..Entry::default()
    }
}

#[test]
fn bombs() {
    let bomb = zeros("word/document2.xml", 1 << 30);
    let timed = |bytes: &[u8], what: &str| {
        let start = Instant::now();
        refused(bytes, what);
        let took = start.elapsed();
        assert!(took < Duration::from_millis(50), "{what}: {took:?}");
    };
    timed(&with(bomb.clone()), "more than 200 times");
    timed(&with(Entry { size: 1000, ..bomb.clone() }), "more than its 1000 bytes");
    timed(&with(Entry { size: 5 << 30, long: true, ..zeros("a", 0) }), "at most 4294967296");
    // Many headers quoted by one another (D. Fifield's construction): each entry's bytes hold the next one's header.
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for n in 0..1000_u64 {
        let entry = Entry { packed: vec![0; 60], size: 60, ..stored(&format!("{n:04}"), b"") };
        record(&entry, out.len() as u64, &mut directory);
        local(&Entry { packed: Vec::new(), ..entry }, &mut out);
    }
    out.extend([0; 60]);
    timed(&finish(out, &directory, 1000, false), "overlaps");
    let mut same = (Vec::new(), Vec::new());
    local(&stored("a", b"x"), &mut same.0);
    for name in ["a", "b"] {
        record(&stored(name, b"x"), 0, &mut same.1);
    }
    timed(&finish(same.0, &same.1, 2, false), "overlaps");
    let mut many = (Vec::new(), Vec::new());
    for n in 0..70_000_u64 {
        let entry = stored(&format!("{n}"), b"");
        record(&entry, many.0.len() as u64, &mut many.1);
        local(&entry, &mut many.0);
    }
    timed(&finish(many.0, &many.1, 70_000, true), "70000 entries");
}

#[test]
fn time_runs_out_and_readers_fail_without_blame() {
    let bytes = with(zeros("word/large.bin", 60 << 20));
    let asked = std::cell::Cell::new(0);
    let late = || {
        asked.set(asked.get() + 1);
        asked.get() > 20
    };
    let found = check(&mut Cursor::new(&bytes), "docx", &Limits::default(), &late);
    assert!(matches!(found, Err(Fault::OutOfTime)), "{found:?}");
    assert_eq!(judge(&bytes), Ok(Kind::Docx), "60 MiB of zeros alone are no bomb");

    struct Broken(Cursor<Vec<u8>>);
    impl std::io::Read for Broken {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            if self.0.position() > 4 { Err(std::io::Error::other("disk")) } else { self.0.read(buffer) }
        }
    }
    impl std::io::Seek for Broken {
        fn seek(&mut self, to: std::io::SeekFrom) -> std::io::Result<u64> {
            self.0.seek(to)
        }
    }
    let found = check(&mut Broken(Cursor::new(bytes)), "docx", &Limits::default(), &|| false);
    assert!(matches!(found, Err(Fault::Unreadable(_))), "{found:?}");
    assert_eq!(Reason::ALL.map(Reason::label), ["file_content", "zip_integrity", "xml_wellformedness"]);
}
