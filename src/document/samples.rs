//! Documents made for tests: small, whole, and with every screw accessible.

use std::io::Write as _;

use flate2::Crc;
use flate2::write::DeflateEncoder;

/// One entry of an archive to be written, with the lies it is to tell.
#[derive(Debug, Clone, Default)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Its bytes as they stand in the archive.
    pub packed: Vec<u8>,
    /// Said in both headers.
    pub size: u64,
    /// Said in both headers.
    pub crc: u32,
    /// 0 or 8.
    pub method: u16,
    /// Said in both headers.
    pub flags: u16,
    /// Sizes in ZIP64 extra fields.
    pub long: bool,
}

pub fn deflated(name: &str, bytes: &[u8]) -> Entry {
    let mut encoder = DeflateEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    Entry { packed: encoder.finish().unwrap(), method: 8, ..stored(name, bytes) }
}

pub fn stored(name: &str, bytes: &[u8]) -> Entry {
    let mut crc = Crc::new();
    crc.update(bytes);
    Entry {
        name: name.into(),
        packed: bytes.to_vec(),
        size: bytes.len() as u64,
        crc: crc.sum(),
        ..Entry::default()
    }
}

/// The archive, with ZIP64 ends if an entry is long.
pub fn archive(entries: &[Entry]) -> Vec<u8> {
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for entry in entries {
        let at = out.len() as u64;
        local(entry, &mut out);
        record(entry, at, &mut directory);
    }
    finish(out, &directory, entries.len() as u64, entries.iter().any(|entry| entry.long))
}

pub fn local(entry: &Entry, out: &mut Vec<u8>) {
    out.extend(b"PK\x03\x04");
    common(entry, out);
    out.extend(u16::try_from(entry.name.len()).unwrap().to_le_bytes());
    out.extend(if entry.long { 20_u16 } else { 0 }.to_le_bytes());
    out.extend(entry.name.as_bytes());
    long(entry, None, out);
    out.extend(&entry.packed);
    if entry.flags & 8 != 0 {
        out.extend(b"PK\x07\x08");
        out.extend(entry.crc.to_le_bytes());
        out.extend(u32::try_from(entry.packed.len()).unwrap().to_le_bytes());
        out.extend(u32::try_from(entry.size).unwrap().to_le_bytes());
    }
}

pub fn record(entry: &Entry, at: u64, out: &mut Vec<u8>) {
    out.extend(b"PK\x01\x02\x14\x00");
    common(&Entry { flags: entry.flags & !8, ..entry.clone() }, out);
    let flags = out.len() - 22;
    out[flags..flags + 2].copy_from_slice(&entry.flags.to_le_bytes());
    out.extend(u16::try_from(entry.name.len()).unwrap().to_le_bytes());
    out.extend(if entry.long { 28_u16 } else { 0 }.to_le_bytes());
    out.extend([0; 10]);
    out.extend(if entry.long { u32::MAX } else { u32::try_from(at).unwrap() }.to_le_bytes());
    out.extend(entry.name.as_bytes());
    long(entry, Some(at), out);
}

/// From "version needed" to the two sizes.
fn common(entry: &Entry, out: &mut Vec<u8>) {
    out.extend(20_u16.to_le_bytes());
    out.extend(entry.flags.to_le_bytes());
    out.extend(entry.method.to_le_bytes());
    out.extend(0x5b76_0000_u32.to_le_bytes());
    let follows = entry.flags & 8 != 0;
    let number = |value: u64| {
        if follows {
            0
        } else if entry.long {
            u32::MAX
        } else {
            u32::try_from(value).unwrap()
        }
    };
    out.extend(if follows { 0 } else { entry.crc }.to_le_bytes());
    out.extend(number(entry.packed.len() as u64).to_le_bytes());
    out.extend(number(entry.size).to_le_bytes());
}

fn long(entry: &Entry, at: Option<u64>, out: &mut Vec<u8>) {
    if entry.long {
        out.extend(1_u16.to_le_bytes());
        out.extend(if at.is_some() { 24_u16 } else { 16 }.to_le_bytes());
        out.extend(entry.size.to_le_bytes());
        out.extend((entry.packed.len() as u64).to_le_bytes());
        out.extend(at.map(u64::to_le_bytes).into_iter().flatten());
    }
}

pub fn finish(mut out: Vec<u8>, directory: &[u8], count: u64, long: bool) -> Vec<u8> {
    let (start, size) = (out.len() as u64, directory.len() as u64);
    out.extend(directory);
    if long {
        let at = out.len() as u64;
        out.extend(b"PK\x06\x06");
        out.extend(44_u64.to_le_bytes());
        out.extend([45, 0, 45, 0]);
        out.extend([0; 8]);
        for value in [count, count, size, start] {
            out.extend(value.to_le_bytes());
        }
        out.extend(b"PK\x06\x07\0\0\0\0");
        out.extend(at.to_le_bytes());
        out.extend(1_u32.to_le_bytes());
    }
    out.extend(b"PK\x05\x06\0\0\0\0");
    let short = u16::try_from(count).unwrap_or(u16::MAX).to_le_bytes();
    out.extend(short);
    out.extend(short);
    out.extend(u32::try_from(size).unwrap().to_le_bytes());
    out.extend(if long { u32::MAX } else { u32::try_from(start).unwrap() }.to_le_bytes());
    out.extend([0; 2]);
    out
}

const XML: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"yes\"?>\n";

/// The entries of an OOXML document of a family, its main part's XML given.
pub fn ooxml(kind: &str, main: &str) -> Vec<Entry> {
    let (part, content) = match kind {
        "docx" => ("word/document.xml", "wordprocessingml.document"),
        "xlsx" => ("xl/workbook.xml", "spreadsheetml.sheet"),
        _ => ("ppt/presentation.xml", "presentationml.presentation"),
    };
    let types = format!(
        "{XML}<Types xmlns=\"http://schemas.openxmlformats.org/package/2006/content-types\"><Default Extension=\"rels\" ContentType=\"application/vnd.openxmlformats-package.relationships+xml\"/><Default Extension=\"xml\" ContentType=\"application/xml\"/><Override PartName=\"/{part}\" ContentType=\"application/vnd.openxmlformats-officedocument.{content}.main+xml\"/></Types>"
    );
    let rels = format!(
        "{XML}<Relationships xmlns=\"http://schemas.openxmlformats.org/package/2006/relationships\"><Relationship Id=\"rId1\" Type=\"http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument\" Target=\"{part}\"/></Relationships>"
    );
    vec![
        stored("[Content_Types].xml", types.as_bytes()),
        stored("_rels/.rels", rels.as_bytes()),
        deflated(part, main.as_bytes()),
        deflated("word/media/image1.bin", &(0..=255).cycle().take(2000).collect::<Vec<u8>>()),
    ]
}

/// A whole DOCX.
pub fn docx() -> Vec<u8> {
    let text = "<w:p><w:r><w:t>Wer &amp; was, öfter</w:t></w:r></w:p>".repeat(40);
    let main = format!("{XML}<w:document xmlns:w=\"u\"><w:body>{text}</w:body></w:document>");
    archive(&ooxml("docx", &main))
}

/// The entries of an OpenDocument text.
pub fn odt(content: &str) -> Vec<Entry> {
    let manifest = format!(
        "{XML}<!DOCTYPE manifest:manifest PUBLIC \"-//OpenOffice.org//DTD Manifest 1.0//EN\" \"Manifest.dtd\"><manifest:manifest xmlns:manifest=\"urn:oasis:names:tc:opendocument:xmlns:manifest:1.0\"><manifest:file-entry manifest:full-path=\"/\" manifest:media-type=\"application/vnd.oasis.opendocument.text\"/><manifest:file-entry manifest:full-path=\"content.xml\" manifest:media-type=\"text/xml\"/><manifest:file-entry manifest:full-path=\"secret.xml\" manifest:media-type=\"text/xml\"><manifest:encryption-data/></manifest:file-entry><manifest:file-entry manifest:full-path=\"Configurations2/accelerator/current.xml\" manifest:media-type=\"text/xml\"/></manifest:manifest>"
    );
    vec![
        stored("mimetype", b"application/vnd.oasis.opendocument.text"),
        deflated("content.xml", content.as_bytes()),
        stored("secret.xml", b"\0\x01\x02 only the password makes XML of it"),
        stored("Configurations2/accelerator/current.xml", b""),
        deflated("META-INF/manifest.xml", manifest.as_bytes()),
    ]
}

/// The entries of an EPUB.
pub fn epub(page: &str) -> Vec<Entry> {
    vec![
        stored("mimetype", b"application/epub+zip"),
        deflated("META-INF/container.xml", b"<container xmlns='urn:oasis:names:tc:opendocument:xmlns:container'><rootfiles><rootfile full-path='OEBPS/content.opf' media-type='application/oebps-package+xml'/></rootfiles></container>"),
        deflated("OEBPS/content.opf", b"<package xmlns='http://www.idpf.org/2007/opf'><manifest><item id='a' href='text/a%20b.xhtml' media-type='application/xhtml+xml'/><item id='b' href='b.css' media-type='text/css'/></manifest></package>"),
        deflated("OEBPS/text/a b.xhtml", page.as_bytes()),
        deflated("OEBPS/b.css", b"p < q & r"),
    ]
}

pub fn pdf() -> Vec<u8> {
    b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\ntrailer <<>>\nstartxref\n9\n%%EOF\n".to_vec()
}

/// An OLE container of some sectors: its table of sectors, its folder and contents.
pub fn ole(sectors: usize) -> Vec<u8> {
    let mut out = vec![0; 512 * (1 + sectors)];
    out[..8].copy_from_slice(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1");
    out[24..34].copy_from_slice(&[0x3e, 0, 3, 0, 0xfe, 0xff, 9, 0, 6, 0]);
    out[44] = 1;
    out[48] = u8::try_from(sectors - 1).unwrap(); // the folder comes last, so that a missing end shows
    out[76..512].fill(0xff);
    out[76..80].fill(0);
    out
}
