//! Documents of office suites, none of which may be refused: a folder named by RAPIDPM_DOCUMENTS (run.sh fills one). What
//! was made on purpose to be refused has `.bad.` in its name.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rapidpm_gateway::document::{self, Fault, Kind, Limits};

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    let mut inside: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    inside.sort();
    for path in inside {
        if path.is_dir() { files(&path, found) } else { found.push(path) }
    }
}

#[test]
fn documents_of_office_suites() {
    let Some(folder) = std::env::var_os("RAPIDPM_DOCUMENTS") else {
        println!("skipped: RAPIDPM_DOCUMENTS names no folder (tests/documents/run.sh makes one)");
        return;
    };
    let mut found = Vec::new();
    files(Path::new(&folder), &mut found);
    let (mut counts, mut wrong, mut slowest) =
        (BTreeMap::new(), Vec::new(), (Duration::ZERO, PathBuf::new()));
    for path in found {
        let declared =
            path.extension().and_then(|text| text.to_str()).unwrap_or_default().to_ascii_lowercase();
        let start = Instant::now();
        let answer =
            document::check(&mut File::open(&path).unwrap(), &declared, &Limits::default(), &|| false);
        let took = start.elapsed();
        if took > slowest.0 {
            slowest = (took, path.clone());
        }
        let bad = path.to_string_lossy().contains(".bad.");
        match answer {
            Ok(Kind::Unknown) => continue,
            Err(Fault::Rejected(rejection)) if !bad => wrong.push(format!("{}: {rejection}", path.display())),
            Err(Fault::Rejected(_)) => {}
            Ok(kind) if bad => wrong.push(format!("{}: taken for {kind:?}", path.display())),
            Ok(_) => {}
            Err(other) => wrong.push(format!("{}: {other:?}", path.display())),
        }
        *counts.entry(declared).or_insert(0) += 1;
    }
    println!("looked at {counts:?}; slowest {:?} ({})", slowest.0, slowest.1.display());
    assert!(!counts.is_empty(), "the folder holds no document");
    assert!(wrong.is_empty(), "{} wrong answers:\n{}", wrong.len(), wrong.join("\n"));
}
