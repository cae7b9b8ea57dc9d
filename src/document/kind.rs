//! Types of documents: which first bytes each declared `filetype` may have.

/// First bytes that are looked at. A PDF may have up to 1,024 bytes before its header (PDF 1.7, implementation note 13).
pub(crate) const HEAD: usize = 1024;

/// What a document was found to be. Macro and template forms count as their family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Kind {
    Docx,
    Xlsx,
    Pptx,
    Odt,
    Ods,
    Odp,
    Pdf,
    Doc,
    Xls,
    Ppt,
    Rtf,
    Txt,
    Csv,
    Html,
    Epub,
    /// Password-protected OOXML: an OLE container whose contents only the password opens.
    Encrypted,
    /// A type that is not known here: nothing was looked at.
    Unknown,
}

/// One shape in which a declared type may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Ooxml(Kind),
    Odf(Kind),
    FlatOdf(Kind),
    Epub,
    Ole(Kind),
    Biff,
    Pdf,
    Rtf,
    Html,
    Text(Kind),
}

/// The shapes of a declared type, in lower case; `None` for a type that is not known here.
pub(crate) fn forms(declared: &str) -> Option<&'static [Form]> {
    Some(match declared {
        "docx" | "docm" | "dotx" | "dotm" => &[Form::Ooxml(Kind::Docx), Form::Ole(Kind::Encrypted)],
        "xlsx" | "xlsm" | "xltx" | "xltm" | "xlsb" => &[Form::Ooxml(Kind::Xlsx), Form::Ole(Kind::Encrypted)],
        "pptx" | "pptm" | "potx" | "potm" | "ppsx" | "ppsm" => {
            &[Form::Ooxml(Kind::Pptx), Form::Ole(Kind::Encrypted)]
        }
        // Forms were DOCX before version 8 of the Document Server and have been PDF since.
        "docxf" | "oform" => &[Form::Pdf, Form::Ooxml(Kind::Docx), Form::Ole(Kind::Encrypted)],
        "odt" | "ott" => &[Form::Odf(Kind::Odt)],
        "ods" | "ots" => &[Form::Odf(Kind::Ods)],
        "odp" | "otp" => &[Form::Odf(Kind::Odp)],
        "fodt" => &[Form::FlatOdf(Kind::Odt)],
        "fods" => &[Form::FlatOdf(Kind::Ods)],
        "fodp" => &[Form::FlatOdf(Kind::Odp)],
        "epub" => &[Form::Epub],
        "pdf" => &[Form::Pdf],
        // Word itself has always written RTF under the name .doc when asked for old formats.
        "doc" | "dot" => &[Form::Ole(Kind::Doc), Form::Rtf],
        // Excel 2 to 4 wrote their records without a container.
        "xls" | "xlt" => &[Form::Ole(Kind::Xls), Form::Biff],
        "ppt" | "pot" | "pps" => &[Form::Ole(Kind::Ppt)],
        "rtf" => &[Form::Rtf],
        "txt" => &[Form::Text(Kind::Txt)],
        "csv" => &[Form::Text(Kind::Csv)],
        "html" | "htm" => &[Form::Html],
        _ => return None,
    })
}

impl Form {
    pub(crate) fn begins_with(self, magic: Magic, head: &[u8]) -> bool {
        match self {
            Self::Ooxml(_) | Self::Odf(_) | Self::Epub => magic == Magic::Zip,
            Self::Ole(_) => magic == Magic::Ole,
            Self::Biff => magic == Magic::Biff,
            Self::Pdf => {
                magic == Magic::Pdf || (magic == Magic::Other && head.windows(5).any(|w| w == b"%PDF-"))
            }
            Self::Rtf => magic == Magic::Rtf,
            // UTF-16 begins with its mark; of UTF-8 the first sign that is no space must open a tag.
            Self::FlatOdf(_) => magic == Magic::Other && opens_a_tag(head),
            // A page may begin with text, but none goes on for a kilobyte without a tag.
            Self::Html => magic == Magic::Other && head.contains(&b'<'),
            // Text is whatever no other format claims; it is never asked what it says.
            Self::Text(_) => matches!(magic, Magic::Other | Magic::Biff | Magic::Rtf),
        }
    }

    pub(crate) fn kind(self) -> Kind {
        match self {
            Self::Ooxml(kind)
            | Self::Odf(kind)
            | Self::FlatOdf(kind)
            | Self::Ole(kind)
            | Self::Text(kind) => kind,
            Self::Epub => Kind::Epub,
            Self::Biff => Kind::Xls,
            Self::Pdf => Kind::Pdf,
            Self::Rtf => Kind::Rtf,
            Self::Html => Kind::Html,
        }
    }
}

fn opens_a_tag(head: &[u8]) -> bool {
    let head = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
    if head.starts_with(b"\xff\xfe") || head.starts_with(b"\xfe\xff") {
        return true;
    }
    head.iter().find(|byte| !byte.is_ascii_whitespace() && **byte != 0) == Some(&b'<')
}

/// What first bytes say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Magic {
    Zip,
    Ole,
    Pdf,
    Rtf,
    Biff,
    Other,
}

impl Magic {
    pub(crate) fn of(head: &[u8]) -> Self {
        // An archive without a single entry begins with the end of its directory.
        if head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06") {
            Self::Zip
        } else if head.starts_with(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1") {
            Self::Ole
        } else if head.starts_with(b"{\\rtf") {
            Self::Rtf
        } else if is_biff(head) {
            Self::Biff
        } else if head.starts_with(b"%PDF-") {
            Self::Pdf
        } else {
            Self::Other
        }
    }

    pub(crate) fn sentence(self, head: &[u8], declared: &str) -> String {
        match self {
            Self::Zip => "its bytes are a ZIP archive".into(),
            Self::Ole => "its bytes are an OLE container".into(),
            Self::Pdf => "its bytes are a PDF".into(),
            Self::Rtf => "its bytes are RTF".into(),
            Self::Biff => "its bytes are a worksheet of Excel 4 or older".into(),
            Self::Other => {
                let shown: Vec<String> = head.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
                format!("no {declared} begins with the bytes {}", shown.join(" "))
            }
        }
    }
}

/// BOF records of BIFF 2, 3 and 4: number, length, then version and type of the sheet ([MS-XLS] has 5 and later only; these
/// are in OpenOffice's "Documentation of the Microsoft Excel File Format", 5.8).
fn is_biff(head: &[u8]) -> bool {
    matches!(head, [0x09, 0x00, 0x04, 0x00, ..] | [0x09, 0x02, 0x06, 0x00, ..] | [0x09, 0x04, 0x06, 0x00, ..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_bytes_and_declared_types() {
        let cases: [(&str, &[u8], bool); 28] = [
            ("docx", b"PK\x03\x04....", true),
            ("docx", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", true),
            ("docx", b"%PDF-1.7", false),
            ("docx", b"{\"error\":1}", false),
            ("docx", b"<html>", false),
            ("oform", b"%PDF-1.7", true),
            ("oform", b"PK\x03\x04", true),
            ("pdf", b"junk before\n%PDF-1.4", true),
            ("pdf", b"PK\x03\x04", false),
            ("doc", b"{\\rtf1", true),
            ("doc", b"PK\x03\x04", false),
            ("xls", b"\x09\x04\x06\x00\x00\x00", true),
            ("xls", b"a;b", false),
            ("odt", b"PK\x03\x04", true),
            ("odt", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", false),
            ("fodt", b"<?xml version", true),
            ("fodt", b"PK\x03\x04", false),
            ("rtf", b"{\\rtf1", true),
            ("rtf", b"{rtf1", false),
            ("html", b"\xef\xbb\xbf \n<p>", true),
            ("html", b"\xff\xfe<\0", true),
            ("html", b"plain <b>text</b>", true),
            ("html", b"plain", false),
            ("txt", b"plain", true),
            ("txt", b"PK\x03\x04", false),
            ("csv", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", false),
            ("csv", b"\x09\x00\x04\x00", true),
            ("epub", b"PK\x03\x04", true),
        ];
        for (declared, head, good) in cases {
            let magic = Magic::of(head);
            let found = forms(declared).unwrap().iter().any(|form| form.begins_with(magic, head));
            assert_eq!(found, good, "{declared} {head:?}");
        }
    }

    #[test]
    fn each_named_type_is_known_and_others_are_not() {
        let named = "docx xlsx pptx odt ods odp pdf doc xls ppt rtf txt csv html htm epub docm dotx dotm xlsm xltx xltm \
                     xlsb pptm potx potm ppsx ppsm ott ots otp fodt fods fodp oform docxf dot xlt pot pps";
        for declared in named.split_whitespace() {
            assert!(forms(declared).is_some(), "{declared}");
        }
        for declared in ["", "vsdx", "djvu", "docx ", "exe"] {
            assert!(forms(declared).is_none(), "{declared}");
        }
    }
}
