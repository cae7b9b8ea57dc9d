//! What a large document costs: memory and time, measured in a process of its own, because tests of one process share theirs.

#[allow(dead_code, reason = "shared with the room's own tests")]
#[path = "../../src/document/samples.rs"]
mod samples;

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use rapidpm_gateway::document::{self, Fault, Limits};
use samples::{Entry, archive, deflated, ooxml, stored};

const FILE: &str = "RAPIDPM_DOCUMENT_TO_MEASURE";

/// What a check in a fresh process took and said.
#[derive(Debug)]
struct Measured {
    kib: u64,
    micros: u64,
    answer: String,
}

fn measured(name: &str, bytes: &[u8]) -> Measured {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    let out = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "size::a_small_document_is_small_work", "--nocapture"])
        .env(FILE, &path)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&out.stdout);
    let line =
        text.lines().find_map(|line| line.split_once("measured ")).unwrap_or_else(|| panic!("{out:?}")).1;
    let mut words = line.splitn(3, ' ');
    let mut number = || words.next().unwrap().parse().unwrap();
    let (kib, micros) = (number(), number());
    let found = Measured { kib, micros, answer: words.next().unwrap().to_owned() };
    println!("{name}, {} bytes: {found:?}", bytes.len());
    found
}

/// A field of /proc/self/status in KiB.
fn status(field: &str) -> u64 {
    let text = fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Also what the tests below run in a process of its own, which has a file to measure.
#[test]
fn a_small_document_is_small_work() {
    let Some(path) = std::env::var_os(FILE) else {
        let found = measured("small.docx", &archive(&ooxml("docx", "<a/>")));
        assert_eq!(found.answer, "Docx");
        assert!(found.kib < 4 << 10, "{found:?}");
        return;
    };
    let path = Path::new(&path);
    let declared = path.extension().unwrap().to_str().unwrap();
    let mut file = File::open(path).unwrap();
    let before = status("VmRSS");
    let start = Instant::now();
    let answer = document::check(&mut file, declared, &Limits::default(), &|| false);
    let took = start.elapsed().as_micros();
    let answer = match answer {
        Ok(kind) => format!("{kind:?}"),
        Err(Fault::Rejected(rejection)) => rejection.to_string(),
        Err(other) => panic!("{other:?}"),
    };
    println!("measured {} {took} {answer}", status("VmHWM").saturating_sub(before));
}

fn noise(size: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(5);
    std::iter::repeat_with(|| random.u8(..)).take(size).collect()
}

#[test]
fn a_document_of_100_mb_takes_less_than_32_mib() {
    // One text of 10 MB, so that a reader that hands out texts whole would show; 60,000 elements; a picture that is the rest.
    let letters: String = noise(10 << 20).iter().map(|byte| char::from(b'A' + byte % 26)).collect();
    let rows = "<r a=\"1\"><c/></r>".repeat(30_000);
    let mut entries = ooxml("docx", &format!("<d>{letters}{rows}</d>"));
    entries.push(stored("word/media/image2.png", &noise(92 << 20)));
    let bytes = archive(&entries);
    assert!(bytes.len() > 100_000_000, "{}", bytes.len());
    let found = measured("large.docx", &bytes);
    assert_eq!(found.answer, "Docx");
    assert!(found.kib < 32 << 10, "{found:?}");
}

#[test]
fn one_text_and_one_value_of_100_mb_take_no_more() {
    let letters = "A".repeat(50 << 20);
    let text = format!(
        "<office:document xmlns:office='urn:oasis:names:tc:opendocument:xmlns:office:1.0' a='{letters}'>{letters}</office:document>"
    );
    let found = measured("flat.fodt", text.as_bytes());
    assert_eq!(found.answer, "Odt");
    assert!(found.kib < 8 << 10, "{found:?}");
}

#[test]
fn as_many_entries_as_are_allowed_take_less_than_32_mib() {
    let mut entries = ooxml("docx", "<a/>");
    entries.extend(
        (0..65_500).map(|n| stored(&format!("word/media/a-picture-with-a-longer-name-{n}.png"), b"x")),
    );
    let found = measured("many.docx", &archive(&entries));
    assert_eq!(found.answer, "Docx");
    assert!(found.kib < 32 << 10, "{found:?}");
}

/// 1 GiB of zeros, deflated.
fn bomb() -> Entry {
    use std::io::Write as _;
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
    let block = vec![0; 1 << 20];
    (0..1024).for_each(|_| encoder.write_all(&block).unwrap());
    Entry {
        name: "word/document1.xml".into(),
        packed: encoder.finish().unwrap(),
        size: 1 << 30,
        method: 8,
        ..Entry::default()
    }
}

#[test]
fn a_bomb_of_1_gib_is_refused_within_50_ms_and_8_mib() {
    let bomb = bomb();
    let with = |bomb: Entry| {
        let mut entries = ooxml("docx", "<a/>");
        entries.push(bomb);
        archive(&entries)
    };
    let inner = with(bomb.clone());
    for (name, bytes, what) in [
        ("honest.docx", with(bomb.clone()), Some("times")),
        ("lying.docx", with(Entry { size: 60_000, ..bomb.clone() }), Some("more than its")),
        // An archive in an archive is bytes, which nobody unpacks.
        ("nested.docx", with(deflated("word/embeddings/a.docx", &inner)), None),
    ] {
        let found = measured(name, &bytes);
        match what {
            Some(what) => {
                assert!(found.answer.starts_with("zip_integrity") && found.answer.contains(what), "{found:?}")
            }
            None => assert_eq!(found.answer, "Docx"),
        }
        assert!(found.micros < 50_000 && found.kib < 8 << 10, "{found:?}");
    }
}
