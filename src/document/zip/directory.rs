//! The central directory, held in memory as it stands in the file; entries are views into it.

use std::cmp::Ordering;
use std::ops::Range;

use super::super::{Fault, File};
use super::{bad, end, number, shown};

const RECORD: &[u8] = b"PK\x01\x02";
const RECORD_SIZE: usize = 46;
const LOCAL: &[u8] = b"PK\x03\x04";
const LOCAL_SIZE: usize = 30;
const SIGNATURE: &[u8] = b"PK\x05\x05";
/// Encrypted, patch data, strongly encrypted, hidden headers: none of which an office format allows.
const REFUSED_FLAGS: u64 = 1 | 1 << 5 | 1 << 6 | 1 << 13;
/// Sizes and CRC follow the bytes instead of standing before them.
const DESCRIPTOR: u64 = 1 << 3;
/// How often the clock is asked while headers are compared.
const HEADERS_A_LOOK: usize = 256;

/// What the directory says of one entry.
#[derive(Debug, Clone)]
pub(in crate::document) struct Entry {
    name: Range<usize>,
    pub(super) deflated: bool,
    pub(super) crc: u32,
    pub(super) packed: u64,
    /// Bytes that it inflates to.
    pub(in crate::document) size: u64,
    at: u64,
    /// Where its bytes begin.
    pub(super) data: u64,
}

/// An archive's directory, its entries in the order in which they stand in the file.
#[derive(Debug)]
pub(in crate::document) struct Directory {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    /// Indices of `entries`, ordered by name without regard to case, then by name.
    by_name: Vec<usize>,
    start: u64,
}

impl Directory {
    /// Reads and checks it. `folded`: names that differ in case only are the same.
    pub(in crate::document) fn read(file: &mut File<'_>, folded: bool) -> Result<Self, Fault> {
        let end = end::find(file)?;
        if end.entries > file.limits.entries {
            return Err(bad(format!("{} entries; at most {} are allowed", end.entries, file.limits.entries)));
        }
        if end.size > file.limits.directory {
            return Err(bad(format!(
                "a directory of {} bytes; at most {} are allowed",
                end.size, file.limits.directory
            )));
        }
        let mut bytes = vec![0; usize::try_from(end.size).unwrap_or(0)];
        if file.read_at(end.start, &mut bytes)? < bytes.len() {
            return Err(bad("the archive's directory reaches beyond its end"));
        }
        let entries = parse(&bytes, end.entries)?;
        let mut directory = Self { bytes, entries, by_name: Vec::new(), start: end.start };
        directory.within_limits(file)?;
        directory.names_differ(folded)?;
        directory.entries_apart()?;
        for index in 0..directory.entries.len() {
            if index % HEADERS_A_LOOK == 0 {
                file.in_time()?;
            }
            let data = directory.compare(file, index)?;
            if let Some(entry) = directory.entries.get_mut(index) {
                entry.data = data;
            }
        }
        Ok(directory)
    }

    pub(in crate::document) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The entry's name as it stands in the archive.
    pub(in crate::document) fn name(&self, entry: &Entry) -> &[u8] {
        self.bytes.get(entry.name.clone()).unwrap_or_default()
    }

    /// The index of the entry with this name, case and the direction of slashes disregarded.
    pub(in crate::document) fn find(&self, name: &[u8]) -> Option<usize> {
        let found = self.by_name.binary_search_by(|index| {
            let entry = self.entries.get(*index);
            entry.map_or(Ordering::Less, |entry| compare_folded(self.name(entry), name))
        });
        found.ok().and_then(|at| self.by_name.get(at)).copied()
    }

    /// What the directory promises to inflate to. Whether it keeps its promise is seen while inflating.
    fn within_limits(&self, file: &File<'_>) -> Result<(), Fault> {
        let total = self.entries.iter().fold(0_u64, |sum, entry| sum.saturating_add(entry.size));
        if total > file.limits.inflated {
            return Err(bad(format!(
                "{total} bytes when inflated; at most {} are allowed",
                file.limits.inflated
            )));
        }
        if total > file.limits.ratio_from && total / file.limits.ratio.max(1) > file.length {
            return Err(bad(format!(
                "{} bytes inflate to {total}: more than {} times",
                file.length, file.limits.ratio
            )));
        }
        Ok(())
    }

    /// No name twice, and none that leads out of the archive.
    fn names_differ(&mut self, folded: bool) -> Result<(), Fault> {
        let mut order: Vec<usize> = (0..self.entries.len()).collect();
        let name = |index: &usize| self.entries.get(*index).map_or(&b""[..], |entry| self.name(entry));
        order.sort_unstable_by(|a, b| compare_folded(name(a), name(b)).then_with(|| name(a).cmp(name(b))));
        for pair in order.windows(2) {
            let [a, b] = pair else { continue };
            if name(a) == name(b) || (folded && compare_folded(name(a), name(b)).is_eq()) {
                return Err(bad(format!("the entry {} is there twice", shown(name(a)))));
            }
        }
        if let Some(strange) = order.iter().map(name).find(|name| leads_out(name)) {
            return Err(bad(format!("the entry {} leads out of the archive", shown(strange))));
        }
        self.by_name = order;
        Ok(())
    }

    /// Entries must not share bytes: that is how a small file inflates to terabytes without a high ratio anywhere.
    fn entries_apart(&mut self) -> Result<(), Fault> {
        let mut order: Vec<usize> = (0..self.entries.len()).collect();
        order.sort_by_key(|index| self.entries.get(*index).map_or(0, |entry| entry.at));
        let mut place = vec![0; order.len()];
        for (new, old) in order.iter().enumerate() {
            if let Some(slot) = place.get_mut(*old) {
                *slot = new;
            }
        }
        for index in &mut self.by_name {
            *index = place.get(*index).copied().unwrap_or_default();
        }
        self.entries.sort_by_key(|entry| entry.at);
        for (index, entry) in self.entries.iter().enumerate() {
            let least = LOCAL_SIZE as u64 + entry.name.len() as u64;
            let end = entry.at.checked_add(least).and_then(|end| end.checked_add(entry.packed));
            if end.is_none_or(|end| end > self.end_of(index)) {
                return Err(bad(format!("the entry {} overlaps what follows it", shown(self.name(entry)))));
            }
        }
        Ok(())
    }

    /// Where the next entry, or the directory, begins.
    fn end_of(&self, index: usize) -> u64 {
        self.entries.get(index + 1).map_or(self.start, |next| next.at)
    }

    /// The local header must say what the directory says: some readers believe the one, some the other. Where the bytes begin.
    fn compare(&self, file: &mut File<'_>, index: usize) -> Result<u64, Fault> {
        let Some(entry) = self.entries.get(index) else { return Ok(0) };
        let name = self.name(entry);
        let mut header = vec![0; LOCAL_SIZE + name.len()];
        let count = file.read_at(entry.at, &mut header)?;
        let flags = number(&header, 6, 2);
        // Zero where the numbers follow later, all ones where ZIP64 has them.
        let says = |at: usize, expected: u64| {
            let said = number(&header, at, 4);
            said == expected || (flags & DESCRIPTOR != 0 && said == 0) || (at != 14 && said == 0xffff_ffff)
        };
        let agrees = count == header.len()
            && header.starts_with(LOCAL)
            && header.get(LOCAL_SIZE..) == Some(name)
            && number(&header, 26, 2) == name.len() as u64
            && number(&header, 8, 2) == if entry.deflated { 8 } else { 0 }
            && flags & REFUSED_FLAGS == 0
            && says(14, u64::from(entry.crc))
            && says(18, entry.packed)
            && says(22, entry.size);
        if !agrees {
            return Err(bad(format!("the entry {} and its directory contradict each other", shown(name))));
        }
        let data = entry.at + header.len() as u64 + number(&header, 28, 2);
        match data.checked_add(entry.packed) {
            Some(end) if end <= self.end_of(index) => Ok(data),
            _ => Err(bad(format!("the entry {} overlaps what follows it", shown(name)))),
        }
    }
}

fn parse(bytes: &[u8], count: u64) -> Result<Vec<Entry>, Fault> {
    let mut entries = Vec::new(); // the count is not believed before its records are there
    let mut at = 0;
    for _ in 0..count {
        let record = bytes.get(at..).unwrap_or_default();
        if !record.starts_with(RECORD) || record.len() < RECORD_SIZE {
            return Err(bad(format!(
                "the archive's directory breaks off after {} of {count} entries",
                entries.len()
            )));
        }
        let [name, extra, comment] =
            [28, 30, 32].map(|at| usize::try_from(number(record, at, 2)).unwrap_or(0));
        let size = RECORD_SIZE + name + extra + comment;
        if record.len() < size {
            return Err(bad(format!(
                "the archive's directory breaks off after {} of {count} entries",
                entries.len()
            )));
        }
        let extra = record.get(RECORD_SIZE + name..RECORD_SIZE + name + extra).unwrap_or_default();
        let name = at + RECORD_SIZE..at + RECORD_SIZE + name;
        let text = bytes.get(name.clone()).unwrap_or_default();
        entries.push(entry(record, extra, name, text)?);
        at += size;
    }
    match bytes.get(at..) {
        None | Some([]) => Ok(entries),
        Some(rest) if rest.starts_with(SIGNATURE) && number(rest, 4, 2) + 6 == rest.len() as u64 => {
            Ok(entries)
        }
        Some(_) => Err(bad(format!("the archive's directory holds more than its {count} entries"))),
    }
}

fn entry(record: &[u8], extra: &[u8], name: Range<usize>, text: &[u8]) -> Result<Entry, Fault> {
    if number(record, 8, 2) & REFUSED_FLAGS != 0 {
        return Err(bad(format!("the entry {} is encrypted", shown(text))));
    }
    let deflated = match number(record, 10, 2) {
        0 => false,
        8 => true,
        method => return Err(bad(format!("the entry {} is packed by method {method}", shown(text)))),
    };
    let crc = u32::try_from(number(record, 16, 4)).unwrap_or_default();
    let mut long = Zip64::of(extra);
    let mut wide = |at: usize| match number(record, at, 4) {
        0xffff_ffff => long.next(),
        short => Some(short),
    };
    // In this order they stand in the extra field.
    let (size, packed, at) = (wide(24), wide(20), wide(42));
    let (Some(size), Some(packed), Some(at)) = (size, packed, at) else {
        return Err(bad(format!("the entry {} lacks its ZIP64 sizes", shown(text))));
    };
    let disk = number(record, 34, 2);
    if disk != 0 && disk != 0xffff {
        return Err(bad("the archive is a part of several"));
    }
    if !deflated && packed != size {
        return Err(bad(format!("the entry {} is stored, but its two sizes differ", shown(text))));
    }
    Ok(Entry { name, deflated, crc, packed, size, at, data: 0 })
}

/// The numbers of the ZIP64 extra field (APPNOTE 4.5.3), one by one.
struct Zip64<'a> {
    rest: &'a [u8],
}

impl<'a> Zip64<'a> {
    fn of(mut extra: &'a [u8]) -> Self {
        while extra.len() >= 4 {
            let (id, size) = (number(extra, 0, 2), usize::try_from(number(extra, 2, 2)).unwrap_or(0));
            let field = extra.get(4..4 + size).unwrap_or_default();
            if id == 1 {
                return Self { rest: field };
            }
            extra = extra.get(4 + size..).unwrap_or_default();
        }
        Self { rest: &[] }
    }

    fn next(&mut self) -> Option<u64> {
        let (value, rest) = self.rest.split_at_checked(8)?;
        self.rest = rest;
        Some(number(value, 0, 8))
    }
}

/// Names as OPC compares them: ASCII case does not matter (ECMA-376-2, 6.2.2.3); some writers turn slashes round.
fn compare_folded(one: &[u8], other: &[u8]) -> Ordering {
    let fold = |byte: &u8| if *byte == b'\\' { b'/' } else { byte.to_ascii_lowercase() };
    one.iter().map(fold).cmp(other.iter().map(fold))
}

fn leads_out(name: &[u8]) -> bool {
    name.is_empty()
        || name.contains(&0)
        || matches!(name, [b'/' | b'\\', ..] | [_, b':', ..])
        || name.split(|byte| matches!(byte, b'/' | b'\\')).any(|segment| segment == b"..")
}
