//! The end of the central directory (APPNOTE 4.3.14-16): where the directory is, and how much of it.

use super::super::{Fault, File};
use super::{bad, number};

const END: &[u8] = b"PK\x05\x06";
const END_64: &[u8] = b"PK\x06\x06";
const LOCATOR_64: &[u8] = b"PK\x06\x07";
const END_SIZE: usize = 22;
const END_64_SIZE: u64 = 56;
const LOCATOR_SIZE: u64 = 20;
/// The end record with the longest comment.
const TAIL: u64 = END_SIZE as u64 + 65_535;

/// Where the directory is.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct End {
    pub(super) entries: u64,
    pub(super) start: u64,
    pub(super) size: u64,
}

pub(super) fn find(file: &mut File<'_>) -> Result<End, Fault> {
    let from = file.length.saturating_sub(TAIL);
    let mut tail = vec![0; usize::try_from(file.length - from).unwrap_or(0)];
    let count = file.read_at(from, &mut tail)?;
    tail.truncate(count);
    let (at, record) =
        last_record(&tail).ok_or_else(|| bad("the directory at the archive's end is missing"))?;
    let position = from + at as u64;
    let disks = (number(record, 4, 2), number(record, 6, 2));
    let (here, entries) = (number(record, 8, 2), number(record, 10, 2));
    let short = End { entries, size: number(record, 12, 4), start: number(record, 16, 4) };
    let overflows =
        here == 0xffff || entries == 0xffff || short.size == 0xffff_ffff || short.start == 0xffff_ffff;
    let long = if position >= LOCATOR_SIZE + END_64_SIZE { long(file, position, &short)? } else { None };
    let (end, before) = match long {
        Some((end, before)) => (end, before),
        None if overflows && entries != 0xffff => return Err(bad("the archive's ZIP64 end is missing")),
        None if disks != (0, 0) || here != entries => return Err(bad("the archive is a part of several")),
        None => (short, position),
    };
    // The directory ends where its end record begins, so that nobody finds another one.
    if end.start.checked_add(end.size) == Some(before) {
        Ok(end)
    } else {
        Err(bad("the archive's directory is not where its end says"))
    }
}

/// The last end record whose comment reaches the file's end.
fn last_record(tail: &[u8]) -> Option<(usize, &[u8])> {
    let last = tail.len().checked_sub(END_SIZE)?;
    (0..=last).rev().find_map(|at| {
        let record = tail.get(at..)?;
        let whole = record.starts_with(END) && END_SIZE as u64 + number(record, 20, 2) == record.len() as u64;
        whole.then_some((at, record))
    })
}

/// The ZIP64 end and its position, if there is one.
fn long(file: &mut File<'_>, position: u64, short: &End) -> Result<Option<(End, u64)>, Fault> {
    let mut locator = [0; LOCATOR_SIZE as usize];
    file.read_at(position - LOCATOR_SIZE, &mut locator)?;
    if !locator.starts_with(LOCATOR_64) {
        return Ok(None);
    }
    let at = number(&locator, 8, 8);
    let mut record = [0; END_64_SIZE as usize];
    file.read_at(at, &mut record)?;
    let size = number(&record, 4, 8).saturating_add(12);
    if !record.starts_with(END_64) || at.checked_add(size) != Some(position - LOCATOR_SIZE) {
        return Err(bad("the archive's ZIP64 end is not where its locator says"));
    }
    if (number(&locator, 4, 4), number(&record, 16, 4), number(&record, 20, 4)) != (0, 0, 0)
        || number(&record, 24, 8) != number(&record, 32, 8)
    {
        return Err(bad("the archive is a part of several"));
    }
    let end =
        End { entries: number(&record, 32, 8), size: number(&record, 40, 8), start: number(&record, 48, 8) };
    let agree = |short: u64, long: u64, most: u64| short == most || short == long;
    if agree(short.entries, end.entries, 0xffff)
        && agree(short.size, end.size, 0xffff_ffff)
        && agree(short.start, end.start, 0xffff_ffff)
    {
        Ok(Some((end, at)))
    } else {
        Err(bad("the archive's two ends contradict each other"))
    }
}
