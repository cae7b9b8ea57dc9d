//! Documents that are no archives: what shows without understanding them that their end is missing.

use super::{Fault, File};

/// Where the last marks of PDF and RTF are looked for: "within the last 1,024 bytes" (PDF 1.7, implementation note 18).
const TAIL: usize = 1024;

fn tail<'b>(file: &mut File<'_>, buffer: &'b mut [u8; TAIL]) -> Result<&'b [u8], Fault> {
    let start = file.length.saturating_sub(TAIL as u64);
    let count = file.read_at(start, buffer)?;
    Ok(buffer.get(..count).unwrap_or_default())
}

/// A PDF ends with its mark of the end.
pub(super) fn pdf(file: &mut File<'_>) -> Result<(), Fault> {
    let mut buffer = [0; TAIL];
    if tail(file, &mut buffer)?.windows(5).any(|window| window == b"%%EOF") {
        Ok(())
    } else {
        Err(Fault::content("the PDF's end is missing: no %%EOF in its last 1,024 bytes"))
    }
}

/// RTF is one group; the brace that closes it is the last sign but white space and the NUL that some writers leave.
pub(super) fn rtf(file: &mut File<'_>) -> Result<(), Fault> {
    let mut buffer = [0; TAIL];
    let tail = tail(file, &mut buffer)?;
    match tail.iter().rfind(|byte| !byte.is_ascii_whitespace() && **byte != 0) {
        Some(b'}') => Ok(()),
        _ => Err(Fault::content("the RTF's end is missing: its last sign closes no group")),
    }
}

/// The header of an OLE container ([MS-CFB] 2.2): its sizes make sense, and every table it names lies inside the file.
pub(super) fn ole(file: &mut File<'_>) -> Result<(), Fault> {
    let mut header = [0; 512];
    if file.read_at(0, &mut header)? < header.len() {
        return Err(Fault::content("the OLE container ends within its header"));
    }
    let short = |at: usize| {
        header.get(at..at + 2).map_or(0, |b| b.iter().rev().fold(0, |n, b| n << 8 | u32::from(*b)))
    };
    let long = |at: usize| {
        header.get(at..at + 4).map_or(0, |b| b.iter().rev().fold(0, |n, b| n << 8 | u32::from(*b)))
    };
    let shift = short(30);
    if !matches!((short(26), shift), (3, 9) | (4, 12)) {
        return Err(Fault::content("the OLE container's version and sector size do not belong together"));
    }
    // A sector's number counts from behind the header, which takes the place of one.
    let sectors = file.length.div_ceil(1 << shift).saturating_sub(1);
    let tables = (0..109).map(|n| long(76 + 4 * n)).take_while(|sector| *sector < 0xffff_fffa);
    for sector in tables.chain([long(48)]) {
        if u64::from(sector) >= sectors {
            return Err(Fault::content(format!(
                "the OLE container names sector {sector} of {sectors}: its end is missing"
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::{Fault, Kind, Limits, Reason, check, samples};
    use std::io::Cursor;

    fn judge(declared: &str, bytes: &[u8]) -> Result<Kind, Reason> {
        check(&mut Cursor::new(bytes), declared, &Limits::default(), &|| false).map_err(|fault| match fault {
            Fault::Rejected(rejection) => rejection.reason,
            other => panic!("{other:?}"),
        })
    }

    #[test]
    fn ends_that_are_missing() {
        let ole = samples::ole(3);
        let pdf = samples::pdf();
        let cases: [(&str, &[u8], Result<Kind, Reason>); 15] = [
            ("pdf", &pdf, Ok(Kind::Pdf)),
            ("pdf", &pdf[..pdf.len() - 6], Err(Reason::FileContent)),
            ("rtf", b"{\\rtf1 Hello {\\b you}}\r\n\0", Ok(Kind::Rtf)),
            ("rtf", b"{\\rtf1 Hello {\\b you", Err(Reason::FileContent)),
            ("doc", b"{\\rtf1 Hello}", Ok(Kind::Rtf)),
            ("doc", &ole, Ok(Kind::Doc)),
            ("xlsx", &ole, Ok(Kind::Encrypted)),
            ("xlsx", &ole[..ole.len() - 512], Err(Reason::FileContent)),
            ("ppt", &ole[..100], Err(Reason::FileContent)),
            ("txt", b"", Ok(Kind::Txt)),
            ("csv", b"", Ok(Kind::Csv)),
            ("docx", b"", Err(Reason::FileContent)),
            ("html", b"", Err(Reason::FileContent)),
            ("vsdx", b"", Ok(Kind::Unknown)),
            (".HTML", b"<p>", Ok(Kind::Html)),
        ];
        for (declared, bytes, expected) in cases {
            assert_eq!(judge(declared, bytes), expected, "{declared} {:?}", bytes.get(..20));
        }
    }
}
