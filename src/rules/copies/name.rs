//! Where a copy lies in the archive: `<integrator>/<key>/<time>-<status>.<ext>`, and never anywhere else.

use std::fmt::Write as _;

use crate::rules::save::{Id, Time};

/// Folders and names of a copy, below the archive's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The integrator's folder.
    pub integrator: String,
    /// The key's folder in it.
    pub key: String,
    /// The document's name without its extension: when it came, and with which status.
    pub stem: String,
    /// Its extension.
    pub extension: String,
    /// What it is called until it is whole: of this save alone, and hidden from `*`.
    pub temporary: String,
}

impl Place {
    /// The name, or the `number`th one where the first is taken by something else.
    pub fn name(&self, number: u32) -> String {
        match number {
            1 => format!("{}.{}", self.stem, self.extension),
            _ => format!("{}-{number}.{}", self.stem, self.extension),
        }
    }
}

/// Where a save's copy lies. `since` is milliseconds since 1970.
pub fn place(id: Id, integrator: &str, key: &str, since: Time, status: u8, extension: &str) -> Place {
    let stem = format!("{}-{status}", utc(since));
    Place {
        integrator: segment(integrator),
        key: segment(key),
        temporary: format!(".{stem}.{:016x}.part", id.0),
        extension: extension.to_owned(),
        stem,
    }
}

/// One name below a folder: the characters of keys as they are, anything else as `%XX`, and never one that means a folder.
/// A longer name than file systems take is the server's to refuse.
fn segment(text: &str) -> String {
    let mut name = String::with_capacity(text.len());
    for (at, byte) in text.bytes().enumerate() {
        let plain =
            byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'=' | b'-') || (byte == b'.' && at > 0);
        match plain {
            true => name.push(char::from(byte)),
            false => drop(write!(name, "%{byte:02X}")),
        }
    }
    if name.is_empty() { "%".into() } else { name }
}

/// The extension of a document: the declared type, else the link's, else `bin`.
pub fn extension(declared: Option<&str>, file: &str) -> String {
    let fits =
        |text: &&str| (1..=10).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric());
    let from_name = file.rsplit_once('.').map(|(_, extension)| extension);
    [declared, from_name].into_iter().flatten().find(fits).unwrap_or("bin").to_ascii_lowercase()
}

/// `20261125T014639.123Z`: sorts as it was, and every file system takes it.
fn utc(millis: Time) -> String {
    let (days, rest) = (millis / 86_400_000, millis % 86_400_000);
    // Days to a date in 400-year eras that begin in March (Howard Hinnant, chrono-compatible date algorithms).
    let shifted = days + 719_468;
    let (era, day) = (shifted / 146_097, shifted % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, year) =
        if month < 10 { (month + 3, era * 400 + year) } else { (month - 9, era * 400 + year + 1) };
    let (hours, minutes, seconds) = (rest / 3_600_000, rest / 60_000 % 60, rest / 1_000 % 60);
    format!("{year:04}{month:02}{day_of_month:02}T{hours:02}{minutes:02}{seconds:02}.{:03}Z", rest % 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_as_on_a_clock() {
        for (millis, text) in [
            (0, "19700101T000000.000Z"),
            (951_782_400_000, "20000229T000000.000Z"),
            (951_868_799_999, "20000229T235959.999Z"),
            (1_709_164_800_007, "20240229T000000.007Z"),
            (1_795_571_199_123, "20261125T014639.123Z"),
            (4_107_542_400_000, "21000301T000000.000Z"),
            (1_798_761_599_000, "20261231T235959.000Z"),
        ] {
            assert_eq!(utc(millis), text, "{millis}");
        }
        assert!(utc(Time::MAX).ends_with('Z'));
    }

    #[test]
    fn no_key_leads_out_of_its_folder() {
        for (key, folder) in [
            ("k1._=-Z", "k1._=-Z"),
            ("..", "%2E."),
            (".", "%2E"),
            (".hidden", "%2Ehidden"),
            ("", "%"),
            ("a/b", "a%2Fb"),
            ("../../etc", "%2E.%2F..%2Fetc"),
            ("a\0\n%", "a%00%0A%25"),
            ("ü", "%C3%BC"),
        ] {
            let place = place(Id(1), "rapidpm", key, 0, 2, "docx");
            assert_eq!(place.key, folder, "{key:?}");
            assert_eq!(place.name(1), "19700101T000000.000Z-2.docx");
            assert_eq!(place.name(3), "19700101T000000.000Z-2-3.docx");
            assert_eq!(place.temporary, ".19700101T000000.000Z-2.0000000000000001.part");
        }
    }

    #[test]
    fn extensions() {
        for (declared, file, expected) in [
            (Some("docx"), "output.pdf", "docx"),
            (Some("DOCX"), "", "docx"),
            (Some("../x"), "output.odt", "odt"),
            (None, "output.xlsx", "xlsx"),
            (None, "output", "bin"),
            (Some(""), "a.", "bin"),
            (Some("averylongextension"), "x.7z", "7z"),
        ] {
            assert_eq!(extension(declared, file), expected);
        }
    }
}
