//! One entry of an archive, unpacked to its CRC and read as XML where it is XML.

use super::xml::{Element, Flaw, Profile, Reader};
use super::zip::{Directory, Unpacker, shown};
use super::{Fault, File, Reason};

/// Reads an entry to its end; as XML if there is a profile.
pub(super) fn read(
    file: &mut File<'_>,
    unpacker: &mut Unpacker,
    directory: &Directory,
    index: usize,
    profile: Option<Profile>,
) -> Result<(), Fault> {
    match (profile, directory.entries().get(index)) {
        (Some(profile), _) => listen(file, unpacker, directory, index, profile, &mut |_| ()),
        (None, Some(entry)) => unpacker.unpack(file, directory, entry, &mut |_| ()),
        (None, None) => Ok(()),
    }
}

/// Reads an XML entry to its end and tells of its elements. What it told counts only if this succeeds.
pub(super) fn listen(
    file: &mut File<'_>,
    unpacker: &mut Unpacker,
    directory: &Directory,
    index: usize,
    profile: Profile,
    listen: &mut dyn FnMut(&Element<'_>),
) -> Result<(), Fault> {
    let Some(entry) = directory.entries().get(index) else { return Ok(()) };
    let mut reader = Reader::new(profile);
    let mut flaw = None;
    // A flaw waits until the CRC is known: a damaged archive shows as bad XML first, but it is the archive that is damaged.
    unpacker.unpack(file, directory, entry, &mut |bytes| {
        if flaw.is_none() {
            flaw = reader.feed(bytes, listen).err();
        }
    })?;
    let flaw = match flaw {
        Some(flaw) => flaw,
        None => match reader.finish(listen) {
            Ok(()) => return Ok(()),
            Err(flaw) => flaw,
        },
    };
    Err(rejected(&shown(directory.name(entry)), &flaw))
}

/// The first bytes of an entry, of which no more are kept than asked for.
pub(super) fn bytes(
    file: &mut File<'_>,
    unpacker: &mut Unpacker,
    directory: &Directory,
    index: usize,
    most: usize,
) -> Result<Vec<u8>, Fault> {
    let mut kept = Vec::new();
    if let Some(entry) = directory.entries().get(index) {
        unpacker.unpack(file, directory, entry, &mut |bytes| {
            kept.extend_from_slice(bytes.get(..bytes.len().min(most - kept.len())).unwrap_or_default());
        })?;
    }
    Ok(kept)
}

pub(super) fn rejected(name: &str, flaw: &Flaw) -> Fault {
    Fault::new(Reason::XmlWellformedness, format!("{name}, byte {}: {}", flaw.offset, flaw.what))
}
