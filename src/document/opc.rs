//! DOCX, XLSX and PPTX: packages whose relationships say which entries are parts, and whose content types say what these are
//! (ECMA-376-2). What no relationship names is no part, only bytes: Finder's `__MACOSX/word/._document.xml` is not XML.

use std::collections::BTreeMap;

use super::xml::{Element, Profile};
use super::zip::{Directory, Unpacker};
use super::{Fault, File, Kind};

const TYPES: &[u8] = b"[Content_Types].xml";
const ROOT_RELS: &[u8] = b"_rels/.rels";
/// Extensions with a type of their own that are remembered; a document has a dozen.
const DEFAULTS: usize = 1024;

/// What a content type says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Content {
    #[default]
    Unsaid,
    Xml,
    Other,
    /// Something of a family, and whether it is XML: XLSB's parts and embedded documents are not.
    Of(Kind, bool),
}

impl Content {
    fn of(text: &[u8]) -> Self {
        let text = text.split(|byte| *byte == b';').next().unwrap_or_default().to_ascii_lowercase();
        let text = String::from_utf8_lossy(&text);
        let text = text.trim();
        let xml = text.ends_with("+xml") || text == "application/xml" || text == "text/xml";
        // "…wordprocessingml.document.main+xml", "…ms-word.document.macroEnabled.main+xml", "…ms-excel.sheet.binary.…main"
        let families = [
            ("wordprocessingml", "ms-word", Kind::Docx),
            ("spreadsheetml", "ms-excel", Kind::Xlsx),
            ("presentationml", "ms-powerpoint", Kind::Pptx),
        ];
        for (one, other, kind) in families {
            if text.contains(one) || text.contains(other) {
                return Self::Of(kind, xml);
            }
        }
        if xml { Self::Xml } else { Self::Other }
    }

    const fn is_xml(self) -> bool {
        matches!(self, Self::Xml | Self::Of(_, true))
    }
}

/// What the package says of each entry.
#[derive(Debug)]
struct Package {
    directory: Directory,
    overrides: Vec<Content>,
    defaults: BTreeMap<Vec<u8>, Content>,
    named: Vec<bool>,
    main: Option<usize>,
}

pub(super) fn check(file: &mut File<'_>, kind: Kind) -> Result<(), Fault> {
    let directory = Directory::read(file, true)?;
    let count = directory.entries().len();
    let mut package = Package {
        directory,
        overrides: vec![Content::Unsaid; count],
        defaults: BTreeMap::new(),
        named: vec![false; count],
        main: None,
    };
    let mut unpacker = Unpacker::new();
    let types =
        package.directory.find(TYPES).ok_or_else(|| Fault::content("no [Content_Types].xml in it"))?;
    let mut read = vec![false; count];
    package.types(file, &mut unpacker, types)?;
    mark(&mut read, types);
    for index in 0..count {
        if package.is_relationships(index) && index != types {
            package.relationships(file, &mut unpacker, index)?;
            mark(&mut read, index);
        }
    }
    package.holds(kind)?;
    for index in (0..count).filter(|index| read.get(*index) == Some(&false)) {
        let xml = package.named.get(index) == Some(&true) && package.content(index).is_xml();
        super::parts::read(file, &mut unpacker, &package.directory, index, xml.then(|| profile(file)))?;
    }
    Ok(())
}

fn mark(flags: &mut [bool], index: usize) {
    if let Some(flag) = flags.get_mut(index) {
        *flag = true;
    }
}

fn profile(file: &File<'_>) -> Profile {
    Profile { doctype: false, namespaces: true, depth: file.limits.depth }
}

impl Package {
    fn name(&self, index: usize) -> &[u8] {
        self.directory.entries().get(index).map_or(b"", |entry| self.directory.name(entry))
    }

    /// Whether an entry holds relationships: `_rels/.rels` or `…/_rels/<part>.rels`.
    fn is_relationships(&self, index: usize) -> bool {
        let name = folded(self.name(index));
        let mut segments = name.rsplit(|byte| *byte == b'/');
        segments.next().is_some_and(|last| last.ends_with(b".rels")) && segments.next() == Some(b"_rels")
    }

    fn types(&mut self, file: &mut File<'_>, unpacker: &mut Unpacker, index: usize) -> Result<(), Fault> {
        let profile = profile(file);
        let Self { directory, overrides, defaults, .. } = self;
        super::parts::listen(file, unpacker, directory, index, profile, &mut |element: &Element<'_>| {
            let Some(content) = element.attribute(b"ContentType").map(Content::of) else { return };
            match element.local() {
                b"Default" => {
                    if let Some(extension) = element.attribute(b"Extension")
                        && defaults.len() < DEFAULTS
                    {
                        defaults.insert(extension.to_ascii_lowercase(), content);
                    }
                }
                b"Override" => {
                    let part = element.attribute(b"PartName").and_then(|name| resolve(b"", name));
                    if let Some(index) = part.and_then(|name| directory.find(&name))
                        && let Some(slot) = overrides.get_mut(index)
                    {
                        *slot = content;
                    }
                }
                _ => {}
            }
        })
    }

    fn relationships(
        &mut self,
        file: &mut File<'_>,
        unpacker: &mut Unpacker,
        index: usize,
    ) -> Result<(), Fault> {
        let profile = profile(file);
        let own = folded(self.name(index));
        let root = own == ROOT_RELS;
        // Targets are seen from the folder above `_rels`.
        let base =
            own.strip_suffix(own.rsplit(|byte| *byte == b'/').next().unwrap_or_default()).unwrap_or_default();
        let base = base.strip_suffix(b"_rels/").unwrap_or_default().to_vec();
        let Self { directory, named, main, .. } = self;
        super::parts::listen(file, unpacker, directory, index, profile, &mut |element: &Element<'_>| {
            if element.local() != b"Relationship" || element.attribute(b"TargetMode") == Some(b"External") {
                return;
            }
            let target = element.attribute(b"Target").and_then(|target| resolve(&base, target));
            let Some(target) = target.and_then(|name| directory.find(&name)) else { return };
            mark(named, target);
            // Both namespaces, transitional and strict, end so.
            if root && element.attribute(b"Type").is_some_and(|text| text.ends_with(b"/officeDocument")) {
                *main = Some(target);
            }
        })
    }

    /// What the package says of an entry: by its name, else by its extension.
    fn content(&self, index: usize) -> Content {
        match self.overrides.get(index) {
            Some(Content::Unsaid) | None => {
                let name = folded(self.name(index));
                let extension = name.rsplit(|byte| *byte == b'.').next().unwrap_or_default();
                self.defaults.get(extension).copied().unwrap_or_default()
            }
            Some(content) => *content,
        }
    }

    /// The main part is there, and of the declared family.
    fn holds(&self, kind: Kind) -> Result<(), Fault> {
        let Some(main) = self.main else {
            return Err(Fault::content("the package names no main part, or has not got it"));
        };
        match self.content(main) {
            Content::Of(found, _) if found == kind => Ok(()),
            Content::Of(found, _) => {
                Err(Fault::content(format!("declared as {kind:?}, but the package is {found:?}")))
            }
            _ => Err(Fault::content(format!("the package's main part is not that of {kind:?}"))),
        }
    }
}

/// A name as this module compares it: in lower case, slashes forward.
fn folded(name: &[u8]) -> Vec<u8> {
    name.iter().map(|byte| if *byte == b'\\' { b'/' } else { byte.to_ascii_lowercase() }).collect()
}

/// The entry that a target means, seen from a folder (`""` or with a slash at its end): fragment cut, `%` and dots resolved.
pub(super) fn resolve(base: &[u8], target: &[u8]) -> Option<Vec<u8>> {
    let target = target.split(|byte| matches!(byte, b'#' | b'?')).next().unwrap_or_default();
    let full: Vec<u8> = if target.starts_with(b"/") { target.to_vec() } else { [base, target].concat() };
    let mut segments: Vec<&[u8]> = Vec::new();
    for segment in full.split(|byte| matches!(byte, b'/' | b'\\')) {
        match segment {
            b"" | b"." => {}
            b".." => {
                segments.pop()?;
            }
            _ => segments.push(segment),
        }
    }
    let path = decoded(&segments.join(&b'/'));
    (!path.is_empty()).then_some(path)
}

fn decoded(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((first, others)) = rest.split_first() {
        let digit = |at: usize| others.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        match (first, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                out.push(u8::try_from(high << 4 | low).unwrap_or_default());
                rest = others.get(2..).unwrap_or_default();
            }
            _ => {
                out.push(*first);
                rest = others;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets() {
        for (base, target, expected) in [
            ("", "word/document.xml", Some("word/document.xml")),
            ("word/", "../docProps/app.xml", Some("docProps/app.xml")),
            ("word/", "/word/styles.xml", Some("word/styles.xml")),
            ("word/", "./a%20b.xml#x", Some("word/a b.xml")),
            ("word/", "theme\\theme1.xml", Some("word/theme/theme1.xml")),
            ("word/", "../../etc/passwd", None),
            ("", "#bookmark", None),
            ("", "a%2", Some("a%2")),
        ] {
            let found = resolve(base.as_bytes(), target.as_bytes());
            assert_eq!(found.as_deref(), expected.map(str::as_bytes), "{base} {target}");
        }
    }

    #[test]
    fn content_types() {
        let vnd = "application/vnd.openxmlformats-officedocument.";
        for (text, expected) in [
            (format!("{vnd}wordprocessingml.document.main+xml"), Content::Of(Kind::Docx, true)),
            (format!("{vnd}wordprocessingml.template.main+xml"), Content::Of(Kind::Docx, true)),
            (format!("{vnd}spreadsheetml.sheet.main+xml; charset=utf-8"), Content::Of(Kind::Xlsx, true)),
            (format!("{vnd}presentationml.slideshow.main+xml"), Content::Of(Kind::Pptx, true)),
            ("application/vnd.ms-word.document.macroEnabled.main+xml".into(), Content::Of(Kind::Docx, true)),
            (
                "application/vnd.ms-excel.sheet.binary.macroEnabled.main".into(),
                Content::Of(Kind::Xlsx, false),
            ),
            (
                "application/vnd.ms-powerpoint.presentation.macroEnabled.main+xml".into(),
                Content::Of(Kind::Pptx, true),
            ),
            (format!("{vnd}spreadsheetml.worksheet+xml"), Content::Of(Kind::Xlsx, true)),
            (format!("{vnd}spreadsheetml.sheet"), Content::Of(Kind::Xlsx, false)),
            // Excel writes HTML's <br> into these; nobody may hold them to XML.
            (format!("{vnd}vmlDrawing"), Content::Other),
            ("Application/XML".into(), Content::Xml),
            ("image/png".into(), Content::Other),
        ] {
            assert_eq!(Content::of(text.as_bytes()), expected, "{text}");
        }
    }
}
