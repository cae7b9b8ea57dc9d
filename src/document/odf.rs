//! ODT, ODS and ODP: a type in `mimetype`, a manifest that says which entries are XML (OpenDocument 1.3, part 2).
//!
//! What is let be: a `mimetype` that is not the first entry or is packed (the specification wants it otherwise, no office
//! suite insists); DOCTYPEs (LibreOffice writes them into Basic libraries); empty entries (it lists empty key bindings as
//! XML); encrypted entries, whose bytes only the password turns into XML.

use super::xml::{Element, Profile, Reader};
use super::zip::{Directory, Unpacker};
use super::{BLOCK, Fault, File, Kind, opc, parts};

const MANIFEST: &[u8] = b"META-INF/manifest.xml";
/// A type's name is shorter than this.
const TYPE: usize = 256;
/// What an encrypted document holds instead of its contents since LibreOffice 24.2.
const WHOLE: &[u8] = b"encrypted-package";

pub(super) fn check(file: &mut File<'_>, kind: Kind) -> Result<(), Fault> {
    let directory = Directory::read(file, false)?;
    let mut unpacker = Unpacker::new();
    let profile = Profile { doctype: true, namespaces: true, depth: file.limits.depth };
    match directory.find(b"mimetype") {
        Some(index) => has_type(&parts::bytes(file, &mut unpacker, &directory, index, TYPE)?, kind)?,
        None => return Err(Fault::content("no mimetype in it")),
    }
    let manifest =
        directory.find(MANIFEST).ok_or_else(|| Fault::content("no META-INF/manifest.xml in it"))?;
    let mut xml = vec![false; directory.entries().len()];
    let mut last = None;
    parts::listen(file, &mut unpacker, &directory, manifest, profile, &mut |element: &Element<'_>| {
        match element.local() {
            b"file-entry" => {
                last = element.attribute(b"full-path").and_then(|path| directory.find(path));
                let is_xml = element.attribute(b"media-type").is_some_and(is_xml);
                set(&mut xml, last, is_xml);
            }
            b"encryption-data" => set(&mut xml, last, false),
            _ => {}
        }
    })?;
    if directory.find(b"content.xml").is_none() && directory.find(WHOLE).is_none() {
        return Err(Fault::content("no content.xml in it"));
    }
    for (index, entry) in directory.entries().iter().enumerate() {
        if index != manifest {
            let is_xml = entry.size > 0 && xml.get(index) == Some(&true);
            parts::read(file, &mut unpacker, &directory, index, is_xml.then_some(profile))?;
        }
    }
    Ok(())
}

fn set(flags: &mut [bool], index: Option<usize>, value: bool) {
    if let Some(flag) = index.and_then(|index| flags.get_mut(index)) {
        *flag = value;
    }
}

/// XML by its media type.
pub(super) fn is_xml(media: &[u8]) -> bool {
    let media = media.to_ascii_lowercase();
    media == b"text/xml" || media == b"application/xml" || media.ends_with(b"+xml")
}

/// A type and its forms: template, master, web.
fn has_type(bytes: &[u8], kind: Kind) -> Result<(), Fault> {
    let family = match kind {
        Kind::Odt => "text",
        Kind::Ods => "spreadsheet",
        _ => "presentation",
    };
    let text = String::from_utf8_lossy(bytes);
    let form = text
        .trim()
        .strip_prefix("application/vnd.oasis.opendocument.")
        .and_then(|rest| rest.strip_prefix(family));
    match form {
        Some("" | "-template" | "-master" | "-master-template" | "-web") => Ok(()),
        _ => Err(Fault::content(format!(
            "declared as {kind:?}, but its mimetype is {}",
            super::zip::shown(bytes)
        ))),
    }
}

/// The same as one XML file, without an archive.
pub(super) fn check_flat(file: &mut File<'_>) -> Result<(), Fault> {
    let mut reader = Reader::new(Profile { doctype: true, namespaces: true, depth: file.limits.depth });
    let mut root = None;
    let mut listen = |element: &Element<'_>| {
        if root.is_none() {
            root = Some(
                element.local() == b"document"
                    && element.namespace().starts_with(b"urn:oasis:names:tc:opendocument:"),
            );
        }
    };
    let mut buffer = vec![0; BLOCK];
    let mut at = 0;
    let flaw = |flaw| parts::rejected("the file", &flaw);
    loop {
        file.in_time()?;
        let count = file.read_at(at, &mut buffer)?;
        if count == 0 {
            break;
        }
        at += count as u64;
        reader.feed(buffer.get(..count).unwrap_or_default(), &mut listen).map_err(flaw)?;
    }
    reader.finish(&mut listen).map_err(flaw)?;
    match root {
        Some(true) => Ok(()),
        _ => Err(Fault::content("its root is no office:document")),
    }
}

/// The entry that a path from a folder names, as [`opc::resolve`] has it.
pub(super) fn entry_of(directory: &Directory, base: &[u8], path: &[u8]) -> Option<usize> {
    opc::resolve(base, path).and_then(|name| directory.find(&name))
}
