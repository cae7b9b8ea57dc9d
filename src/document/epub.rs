//! EPUB: `mimetype`, a container that names the package document, and that one's manifest, which says what is XML
//! (EPUB Open Container Format). DOCTYPEs are allowed: EPUB 2 has them in every page. What `encryption.xml` names is let be.

use super::odf::{entry_of, is_xml};
use super::xml::{Element, Profile};
use super::zip::{Directory, Unpacker};
use super::{Fault, File, parts};

const CONTAINER: &[u8] = b"META-INF/container.xml";
const ENCRYPTION: &[u8] = b"META-INF/encryption.xml";
const TYPE: &[u8] = b"application/epub+zip";

pub(super) fn check(file: &mut File<'_>) -> Result<(), Fault> {
    let directory = Directory::read(file, false)?;
    let mut unpacker = Unpacker::new();
    let profile = Profile { doctype: true, namespaces: true, depth: file.limits.depth };
    let count = directory.entries().len();
    let mimetype = directory.find(b"mimetype").ok_or_else(|| Fault::content("no mimetype in it"))?;
    let bytes = parts::bytes(file, &mut unpacker, &directory, mimetype, 256)?;
    if bytes.trim_ascii() != TYPE {
        return Err(Fault::content(format!(
            "declared epub, but its mimetype is {}",
            super::zip::shown(&bytes)
        )));
    }
    let container =
        directory.find(CONTAINER).ok_or_else(|| Fault::content("no META-INF/container.xml in it"))?;
    let mut packages = vec![false; count];
    parts::listen(file, &mut unpacker, &directory, container, profile, &mut |element: &Element<'_>| {
        if element.local() == b"rootfile"
            && let Some(index) =
                element.attribute(b"full-path").and_then(|path| entry_of(&directory, b"", path))
        {
            set(&mut packages, index, true);
        }
    })?;
    let mut xml = vec![false; count];
    for index in (0..count).filter(|index| packages.get(*index) == Some(&true) && *index != container) {
        manifest(file, &mut unpacker, &directory, index, profile, &mut xml)?;
    }
    if !packages.contains(&true) {
        return Err(Fault::content("the container names no package document, or has not got it"));
    }
    if let Some(encryption) = directory.find(ENCRYPTION) {
        parts::listen(file, &mut unpacker, &directory, encryption, profile, &mut |element: &Element<'_>| {
            if element.local() == b"CipherReference"
                && let Some(index) =
                    element.attribute(b"URI").and_then(|path| entry_of(&directory, b"", path))
            {
                set(&mut xml, index, false);
            }
        })?;
    }
    for index in 0..count {
        let read = index == container || packages.get(index) == Some(&true);
        if !read {
            let is_xml = xml.get(index) == Some(&true);
            parts::read(file, &mut unpacker, &directory, index, is_xml.then_some(profile))?;
        }
    }
    Ok(())
}

/// Takes from a package document which entries are XML.
fn manifest(
    file: &mut File<'_>,
    unpacker: &mut Unpacker,
    directory: &Directory,
    index: usize,
    profile: Profile,
    xml: &mut [bool],
) -> Result<(), Fault> {
    let own = directory.entries().get(index).map_or(&b""[..], |entry| directory.name(entry));
    let folder = own.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
    let base = own.get(..folder).unwrap_or_default();
    parts::listen(file, unpacker, directory, index, profile, &mut |element: &Element<'_>| {
        if element.local() == b"item"
            && element.attribute(b"media-type").is_some_and(is_xml)
            && let Some(index) = element.attribute(b"href").and_then(|path| entry_of(directory, base, path))
        {
            set(xml, index, true);
        }
    })
}

fn set(flags: &mut [bool], index: usize, value: bool) {
    if let Some(flag) = flags.get_mut(index) {
        *flag = value;
    }
}
