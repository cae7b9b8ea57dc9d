//! The house keeps its floors: no file uses a room above its own, every file says why it exists, none grows too long.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Each room and the rooms it may use. Arrows of `src/ARCHITECTURE.md`, as data.
const MAY_USE: [(&str, &[&str]); 18] = [
    ("secret", &[]),
    ("document", &[]),
    ("rules", &["secret"]),
    ("ops", &["rules"]),
    ("tls", &["rules"]),
    ("state", &["secret", "ops"]),
    ("upstream", &["rules", "ops", "tls"]),
    ("assets", &["upstream", "rules", "ops"]),
    ("sockets", &["upstream", "state", "rules", "ops"]),
    ("relay", &["upstream", "state", "tls", "document", "rules", "secret", "ops"]),
    ("live", &["assets", "relay", "sockets", "upstream", "state", "tls", "rules", "secret", "ops"]),
    ("edge", &["live", "assets", "relay", "sockets", "upstream", "state", "tls", "rules", "ops"]),
    ("admin", &["live", "relay", "sockets", "upstream", "state", "tls", "rules", "ops"]),
    ("config", &["live", "assets", "relay", "sockets", "upstream", "state", "tls", "rules", "secret", "ops"]),
    ("reload", &["config", "live", "tls", "rules", "ops"]),
    (
        "app",
        &[
            "assets", "document", "reload", "config", "edge", "admin", "live", "relay", "sockets",
            "upstream", "state", "tls", "rules", "ops",
        ],
    ),
    (
        "cli",
        &["app", "reload", "config", "live", "relay", "upstream", "state", "tls", "rules", "secret", "ops"],
    ),
    ("main", &["cli"]),
];

/// Longest file, tests in it left out. Two screens of functions; beyond it a file holds two nouns.
const LONGEST: usize = 500;

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            found.push(path);
        }
    }
}

fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    files(&root, &mut found);
    found
        .iter()
        .map(|path| {
            let name = path.strip_prefix(&root).unwrap().to_string_lossy().replace('\\', "/");
            (name, fs::read_to_string(path).unwrap())
        })
        .collect()
}

fn room(file: &str) -> &str {
    file.split('/').next().unwrap().trim_end_matches(".rs")
}

/// The rooms that `text` names behind `crate::` (in `use` lines, in groups and in paths), its unit tests left out.
fn used(text: &str) -> BTreeSet<String> {
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let lines: String =
        code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let mut rooms = BTreeSet::new();
    for (at, _) in lines.match_indices("crate::") {
        let rest = &lines[at + "crate::".len()..];
        let names: Vec<&str> = match rest.strip_prefix('{') {
            Some(group) => top_level(&group[..group.find("};").unwrap_or(group.len())]),
            None => vec![rest],
        };
        for name in names {
            let end = name.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(name.len());
            rooms.insert(name[..end].to_owned());
        }
    }
    rooms
}

/// The members of a group, without what stands in groups inside it.
fn top_level(group: &str) -> Vec<&str> {
    let (mut depth, mut start, mut members) = (0, 0, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                members.push(group[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    members.push(group[start..].trim());
    members.into_iter().filter(|member| !member.is_empty()).collect()
}

#[test]
fn arrows_point_down() {
    let mut upward = Vec::new();
    for (file, text) in sources() {
        let own = room(&file);
        if own == "lib" {
            continue;
        }
        let (_, allowed) = MAY_USE.iter().find(|(name, _)| *name == own).unwrap_or_else(|| {
            panic!(
                "{file}: a new room. Give it a floor in src/ARCHITECTURE.md and a line in tests/it/layout.rs"
            )
        });
        for other in used(&text) {
            if other != own
                && MAY_USE.iter().any(|(name, _)| *name == other)
                && !allowed.contains(&other.as_str())
            {
                upward.push(format!("{file} uses crate::{other}"));
            }
        }
    }
    assert!(upward.is_empty(), "arrows that point up:\n{}", upward.join("\n"));
}

#[test]
fn floors_themselves_have_no_cycle() {
    for (position, (name, allowed)) in MAY_USE.iter().enumerate() {
        for other in *allowed {
            let at = MAY_USE.iter().position(|(known, _)| known == other).unwrap();
            assert!(at < position, "{name} may use {other}, which stands above it");
        }
    }
}

#[test]
fn every_file_says_why_it_exists_and_holds_one_noun() {
    for (file, text) in sources() {
        let first = text.lines().next().unwrap_or_default();
        assert!(first.starts_with("//! ") || file == "lib.rs", "{file}: its first line is no //! sentence");
        let code = text.split("#[cfg(test)]").next().unwrap().lines().count();
        if file == "rules/seeded.rs" {
            continue; // a test as a whole
        }
        assert!(code <= LONGEST, "{file}: {code} lines; does one noun live in it?");
    }
}

#[test]
fn the_check_itself_sees_groups_and_paths() {
    let text = "use crate::{\n    live::Live,\n    ops::{log, metrics},\n};\n// crate::comment\nfn f() { crate::edge::x() }\n";
    let seen: Vec<_> = used(text).into_iter().collect();
    assert_eq!(seen, ["edge", "live", "ops"]);
}
