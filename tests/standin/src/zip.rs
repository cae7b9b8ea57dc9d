//! The few bytes of ZIP that a stand-in needs: documents that pass a check, and the text of those it gets.

use flate2::Crc;
use flate2::read::DeflateDecoder;
use std::io::Read as _;

/// An archive with its entries stored, not packed.
pub fn archive(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut directory = Vec::new();
    for (name, bytes) in entries {
        let offset = size(out.len());
        let mut crc = Crc::new();
        crc.update(bytes);
        let mut common = Vec::new();
        common.extend(20u16.to_le_bytes()); // version needed
        common.extend([0; 4]); // flags, stored
        common.extend(0x5b76_0000u32.to_le_bytes()); // a time that does not matter
        common.extend(crc.sum().to_le_bytes());
        common.extend(size(bytes.len()).to_le_bytes());
        common.extend(size(bytes.len()).to_le_bytes());
        common.extend(u16::try_from(name.len()).unwrap_or(0).to_le_bytes());
        common.extend([0; 2]); // no extra field
        out.extend(b"PK\x03\x04");
        out.extend(&common);
        out.extend(name.as_bytes());
        out.extend(*bytes);
        directory.extend(b"PK\x01\x02");
        directory.extend(20u16.to_le_bytes()); // version made by
        directory.extend(&common);
        directory.extend([0; 10]); // comment, disk, attributes
        directory.extend(offset.to_le_bytes());
        directory.extend(name.as_bytes());
    }
    let (start, count) = (size(out.len()), u16::try_from(entries.len()).unwrap_or(0));
    out.extend(&directory);
    out.extend(b"PK\x05\x06");
    out.extend([0; 4]);
    out.extend(count.to_le_bytes());
    out.extend(count.to_le_bytes());
    out.extend(size(directory.len()).to_le_bytes());
    out.extend(start.to_le_bytes());
    out.extend([0; 2]);
    out
}

fn size(length: usize) -> u32 {
    u32::try_from(length).expect("stand-in archives are small")
}

/// A document of a type: a small but whole DOCX, or plain text for every other type.
pub fn document(kind: &str, text: &str) -> Vec<u8> {
    if kind != "docx" {
        return text.as_bytes().to_vec();
    }
    let paragraphs: String = text
        .split('\n')
        .map(|line| format!("<w:p><w:r><w:t xml:space=\"preserve\">{}</w:t></w:r></w:p>", escape(line)))
        .collect();
    let xml = "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"yes\"?>\n";
    let body = format!(
        "{xml}<w:document xmlns:w=\"http://schemas.openxmlformats.org/wordprocessingml/2006/main\"><w:body>{paragraphs}</w:body></w:document>"
    );
    let types = format!(
        "{xml}<Types xmlns=\"http://schemas.openxmlformats.org/package/2006/content-types\"><Default Extension=\"rels\" ContentType=\"application/vnd.openxmlformats-package.relationships+xml\"/><Default Extension=\"xml\" ContentType=\"application/xml\"/><Override PartName=\"/word/document.xml\" ContentType=\"application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml\"/></Types>"
    );
    let rels = format!(
        "{xml}<Relationships xmlns=\"http://schemas.openxmlformats.org/package/2006/relationships\"><Relationship Id=\"rId1\" Type=\"http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument\" Target=\"word/document.xml\"/></Relationships>"
    );
    archive(&[
        ("[Content_Types].xml", types.as_bytes()),
        ("_rels/.rels", rels.as_bytes()),
        ("word/document.xml", body.as_bytes()),
    ])
}

/// The text of a document: of a DOCX its paragraphs, of anything else the bytes.
pub fn text_of(bytes: &[u8]) -> String {
    match entry(bytes, "word/document.xml") {
        Some(xml) => paragraphs(&String::from_utf8_lossy(&xml)),
        None if bytes.starts_with(b"PK") => String::new(),
        None => String::from_utf8_lossy(bytes).into_owned(),
    }
}

/// One entry, found by the directory at the end of the archive.
fn entry(bytes: &[u8], wanted: &str) -> Option<Vec<u8>> {
    let end = bytes.windows(4).rposition(|window| window == b"PK\x05\x06")?;
    let short = |at: usize| Some(usize::from(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?)));
    let long = |at: usize| usize::try_from(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?)).ok();
    let mut at = long(end + 16)?;
    for _ in 0..short(end + 10)? {
        let (name, extra, comment) = (short(at + 28)?, short(at + 30)?, short(at + 32)?);
        if bytes.get(at + 46..at + 46 + name)? == wanted.as_bytes() {
            let (method, packed, local) = (short(at + 10)?, long(at + 20)?, long(at + 42)?);
            let start = local + 30 + short(local + 26)? + short(local + 28)?;
            let content = bytes.get(start..start + packed)?;
            return match method {
                0 => Some(content.to_vec()),
                8 => {
                    let mut out = Vec::new();
                    DeflateDecoder::new(content).take(64 << 20).read_to_end(&mut out).ok()?;
                    Some(out)
                }
                _ => None,
            };
        }
        at += 46 + name + extra + comment;
    }
    None
}

fn paragraphs(xml: &str) -> String {
    let mut out = String::new();
    let mut inside = false;
    for part in xml.split('<') {
        let (tag, text) = part.split_once('>').unwrap_or((part, ""));
        match tag.split([' ', '/']).next() {
            Some("w:t") => inside = true,
            Some("w:tab") => out.push('\t'),
            _ if tag.starts_with("/w:t") => inside = false,
            _ if tag.starts_with("/w:p") && !tag.starts_with("/w:pP") => out.push('\n'),
            _ => {}
        }
        if inside {
            out.push_str(
                &text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&amp;", "&"),
            );
        }
    }
    out.strip_suffix('\n').unwrap_or(&out).to_owned()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_comes_back_as_it_went() {
        let text = "Zwei < drei & vier\n\n  Ende";
        assert_eq!(text_of(&document("docx", text)), text);
        assert_eq!(text_of(&document("txt", text)), text);
    }
}
