//! Documents of each kind, whole and damaged by seeds: the right reason, no panic, no wait.

use std::io::Cursor;
use std::time::{Duration, Instant};

use super::samples::{archive, docx, epub, odt, ole, ooxml, pdf, stored};
use super::{Fault, Kind, Limits, Reason, check};

fn judge(declared: &str, bytes: &[u8]) -> Result<Kind, Reason> {
    check(&mut Cursor::new(bytes), declared, &Limits::default(), &|| false).map_err(|fault| match fault {
        Fault::Rejected(rejection) => rejection.reason,
        other => panic!("{other:?}"),
    })
}

#[test]
fn packages() {
    let page = "<!DOCTYPE html PUBLIC \"-//W3C//DTD XHTML 1.1//EN\" \"x\"><p>&nbsp;</p>";
    let (content, xml, zip) =
        (Err(Reason::FileContent), Err(Reason::XmlWellformedness), Err(Reason::ZipIntegrity));
    let without = |mut entries: Vec<super::samples::Entry>, at: usize| {
        entries.remove(at);
        archive(&entries)
    };
    let mut part = ooxml("docx", "<a/>");
    part.push(stored("word/x.xml", b"not XML, and not named"));
    let mut vml = ooxml("xlsx", "<a/>");
    vml.push(stored("xl/vmlDrawing1.vml", b"<xml><br></xml>"));
    type Case = (&'static str, &'static str, Vec<u8>, Result<Kind, Reason>);
    let cases: [Case; 24] = [
        ("docx", "docx", archive(&ooxml("docx", "<a/>")), Ok(Kind::Docx)),
        ("template", "dotm", archive(&ooxml("docx", "<a/>")), Ok(Kind::Docx)),
        ("xlsx", "xlsx", archive(&ooxml("xlsx", "<a/>")), Ok(Kind::Xlsx)),
        ("pptx", "ppsx", archive(&ooxml("pptx", "<a/>")), Ok(Kind::Pptx)),
        ("another family", "xlsx", archive(&ooxml("docx", "<a/>")), content),
        ("ODT as DOCX", "docx", archive(&odt("<a/>")), content),
        ("DOCX as ODT", "odt", archive(&ooxml("docx", "<a/>")), content),
        ("no types", "docx", without(ooxml("docx", "<a/>"), 0), content),
        ("no relationships", "docx", without(ooxml("docx", "<a/>"), 1), content),
        ("no main part", "docx", without(ooxml("docx", "<a/>"), 2), content),
        ("broken part", "docx", archive(&ooxml("docx", "<a>")), xml),
        ("DOCTYPE", "docx", archive(&ooxml("docx", "<!DOCTYPE a><a/>")), xml),
        ("entry that is no part", "docx", archive(&part), Ok(Kind::Docx)),
        ("Excel's VML", "xlsx", archive(&vml), Ok(Kind::Xlsx)),
        ("no entry", "docx", archive(&[]), content),
        ("odt", "odt", archive(&odt("<!DOCTYPE a><a/>")), Ok(Kind::Odt)),
        ("odt as ods", "ods", archive(&odt("<a/>")), content),
        ("broken odt", "ott", archive(&odt("<a></b>")), xml),
        ("odt without content", "odt", without(odt("<a/>"), 1), content),
        ("odt without manifest", "odt", without(odt("<a/>"), 4), content),
        ("epub", "epub", archive(&epub(page)), Ok(Kind::Epub)),
        ("broken page", "epub", archive(&epub("<p>")), xml),
        ("epub without package", "epub", without(epub(page), 2), content),
        ("an end alone", "docx", b"PK\x05\x06".to_vec(), zip),
    ];
    for (name, declared, bytes, expected) in cases {
        assert_eq!(judge(declared, &bytes), expected, "{name}");
    }
    let root = "xmlns:office='urn:oasis:names:tc:opendocument:xmlns:office:1.0'";
    for (text, expected) in [
        (format!("<office:document {root}/>"), Ok(Kind::Ods)),
        (format!("<office:document {root}>"), xml),
        ("<document/>".to_owned(), content),
    ] {
        assert_eq!(judge("fods", text.as_bytes()), expected, "{text}");
    }
}

#[test]
fn case_tells_names_apart_in_opendocument_only() {
    let with = |mut entries: Vec<super::samples::Entry>, names: [&str; 2]| {
        entries.extend(names.map(|name| stored(name, b"x")));
        archive(&entries)
    };
    assert_eq!(judge("odt", &with(odt("<a/>"), ["Pictures/a.png", "Pictures/A.png"])), Ok(Kind::Odt));
    assert_eq!(
        judge("odt", &with(odt("<a/>"), ["Pictures/a.png", "Pictures/a.png"])),
        Err(Reason::ZipIntegrity)
    );
    assert_eq!(judge("docx", &with(ooxml("docx", "<a/>"), ["a.png", "A.png"])), Err(Reason::ZipIntegrity));
}

/// Bytes of an archive that no reader of documents believes: times, versions, attributes, most flags.
fn unimportant(bytes: &[u8]) -> Vec<bool> {
    let mut free = vec![false; bytes.len()];
    for at in 0..bytes.len() {
        let ranges: &[std::ops::Range<usize>] = match bytes.get(at..at + 4) {
            Some(b"PK\x03\x04") => &[4..6, 6..8, 10..14],
            Some(b"PK\x01\x02") => &[4..8, 8..10, 12..16, 36..42],
            _ => continue,
        };
        // Behind a deflated entry's last block, up to the end of its byte, stand bits that mean nothing.
        if at > 0 {
            free[at - 1] = true;
        }
        for range in ranges {
            free[at + range.start..at + range.end].fill(true);
        }
    }
    free
}

#[test]
fn every_flipped_bit_of_an_archive_is_seen_as_what_it_is() {
    let good = docx();
    let free = unimportant(&good);
    for at in 0..good.len() {
        for bit in 0..8 {
            let mut bytes = good.clone();
            bytes[at] ^= 1 << bit;
            match judge("docx", &bytes) {
                Ok(Kind::Docx) => assert!(free[at], "byte {at} bit {bit} went unseen"),
                Err(Reason::FileContent) => assert!(at < 4, "byte {at} bit {bit}"),
                Err(Reason::ZipIntegrity) => {}
                other => panic!("byte {at} bit {bit}: {other:?}"),
            }
        }
    }
}

#[test]
fn every_flipped_bit_of_xml_is_seen_as_what_it_is() {
    let main = "<w:d xmlns:w='u'><!-- x --><w:p w:a=\"1\" b='&amp;'>Text &#65; ö</w:p><![CDATA[x]]><?p i?><w:e/></w:d>";
    let mut refused = 0;
    for at in 0..main.len() {
        for bit in 0..8 {
            let mut entries = ooxml("docx", main);
            entries[2] = stored(&entries[2].name, main.as_bytes());
            entries[2].packed[at] ^= 1 << bit;
            assert_eq!(judge("docx", &archive(&entries)), Err(Reason::ZipIntegrity), "byte {at} bit {bit}");
            entries[2] = stored(&entries[2].name, &entries[2].packed);
            match judge("docx", &archive(&entries)) {
                Ok(Kind::Docx) => {}
                Err(Reason::XmlWellformedness) => refused += 1,
                other => panic!("byte {at} bit {bit}: {other:?}"),
            }
        }
    }
    // Letters become other letters now and then; everything else is markup, UTF-8 or forbidden.
    assert!(refused * 2 > main.len() * 8, "{refused} of {}", main.len() * 8);
}

#[test]
fn every_truncation_is_seen_as_what_it_is() {
    let good = docx();
    for end in 0..good.len() {
        let expected = if end < 4 { Reason::FileContent } else { Reason::ZipIntegrity };
        assert_eq!(judge("docx", &good[..end]), Err(expected), "{end}");
    }
}

#[test]
fn ten_thousand_documents_by_chance() {
    const KINDS: [&str; 12] =
        ["docx", "xlsx", "odt", "epub", "fodt", "pdf", "doc", "rtf", "html", "txt", "oform", "xls"];
    let seeds = [
        docx(),
        archive(&odt("<a>x</a>")),
        archive(&epub("<p/>")),
        pdf(),
        ole(3),
        b"{\\rtf1}".to_vec(),
        Vec::new(),
    ];
    let mut random = fastrand::Rng::with_seed(9);
    let mut slowest = Duration::ZERO;
    let mut accepted = 0;
    for _ in 0..10_000 {
        let mut bytes = random.choice(&seeds).unwrap().clone();
        for _ in 0..random.usize(0..8) {
            let at = random.usize(0..=bytes.len());
            match random.u8(0..5) {
                0 => bytes.truncate(at),
                1 => bytes.extend((0..random.usize(0..300)).map(|_| random.u8(..))),
                2 if at < bytes.len() => bytes[at] = random.u8(..),
                3 if at < bytes.len() => bytes[at..].iter_mut().take(4).for_each(|byte| *byte = 0xff),
                _ => {
                    let piece: Vec<u8> = bytes[at..].iter().take(random.usize(0..200)).copied().collect();
                    bytes.splice(at..at, piece);
                }
            }
        }
        let start = Instant::now();
        accepted += usize::from(judge(random.choice(KINDS).unwrap(), &bytes).is_ok());
        slowest = slowest.max(start.elapsed());
    }
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    assert!((100..9_000).contains(&accepted), "{accepted}: the damage does not test both ways");
}
