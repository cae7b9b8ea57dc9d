//! What is open: elements, the namespaces they declare, and the start tag that is being read.

use std::ops::Range;

use super::Profile;
use super::chars::{is_plain_name, is_qualified_name};

/// Bytes of one start tag's names, which are all kept, and of its values, of which what fits is.
const TAG: usize = 1 << 20;
/// Bytes of one value that are kept. Targets of relationships and names of namespaces are shorter.
const VALUE: usize = 4096;
/// Attributes of one element.
const ATTRIBUTES: usize = 65_536;
/// Bytes of the names of all open elements, and of all namespaces declared by them.
const OPEN: usize = 4 << 20;

/// Namespaces declared by all open elements: every prefix is looked for among them. Word declares 35 at its root.
const BINDINGS: usize = 4096;

const XML: &[u8] = b"http://www.w3.org/XML/1998/namespace";
const XMLNS: &[u8] = b"http://www.w3.org/2000/xmlns/";

#[derive(Debug)]
struct Attribute {
    name: Range<usize>,
    value: Range<usize>,
}

impl Attribute {
    /// The prefix that it declares, if it is a declaration; `""` for the default namespace.
    fn declares<'a>(&self, text: &'a [u8]) -> Option<&'a [u8]> {
        let name = text.get(self.name.clone())?;
        if name == b"xmlns" { Some(b"") } else { name.strip_prefix(b"xmlns:") }
    }
}

#[derive(Debug)]
struct Open {
    name: usize,
    bindings: usize,
    text: usize,
}

#[derive(Debug)]
struct Binding {
    prefix: Range<usize>,
    namespace: Range<usize>,
}

/// Open elements and the current start tag.
#[derive(Debug)]
pub(super) struct Tags {
    profile: Profile,
    open: Vec<Open>,
    names: Vec<u8>,
    bindings: Vec<Binding>,
    bound: Vec<u8>,
    name: Range<usize>,
    attributes: Vec<Attribute>,
    /// Names and values, as they come.
    text: Vec<u8>,
    /// How many of its bytes are values.
    values: usize,
}

/// An element whose start tag has been read.
#[derive(Debug)]
pub struct Element<'a> {
    tags: &'a Tags,
}

impl Element<'_> {
    /// How many elements it stands in.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.tags.open.len().saturating_sub(1)
    }

    /// Its name without prefix.
    #[must_use]
    pub fn local(&self) -> &[u8] {
        split(self.tags.part(&self.tags.name)).1
    }

    /// The namespace of its name, empty for none.
    #[must_use]
    pub fn namespace(&self) -> &[u8] {
        self.tags.namespace(split(self.tags.part(&self.tags.name)).0).unwrap_or_default()
    }

    /// The value of the attribute with this local name, references replaced; only the first 4,096 bytes of it.
    #[must_use]
    pub fn attribute(&self, local: &[u8]) -> Option<&[u8]> {
        let found = self.tags.attributes.iter().find(|attribute| {
            attribute.declares(&self.tags.text).is_none() && split(self.tags.part(&attribute.name)).1 == local
        });
        found.map(|attribute| self.tags.part(&attribute.value))
    }
}

/// Prefix (empty for none) and local name.
fn split(name: &[u8]) -> (&[u8], &[u8]) {
    match name.iter().position(|byte| *byte == b':') {
        Some(colon) => (name.get(..colon).unwrap_or_default(), name.get(colon + 1..).unwrap_or_default()),
        None => (b"", name),
    }
}

impl Tags {
    pub(super) const fn new(profile: Profile) -> Self {
        Self {
            profile,
            open: Vec::new(),
            names: Vec::new(),
            bindings: Vec::new(),
            bound: Vec::new(),
            name: 0..0,
            attributes: Vec::new(),
            text: Vec::new(),
            values: 0,
        }
    }

    pub(super) fn depth(&self) -> usize {
        self.open.len()
    }

    fn part(&self, range: &Range<usize>) -> &[u8] {
        self.text.get(range.clone()).unwrap_or_default()
    }

    fn checked(&self, name: &[u8]) -> Result<(), &'static str> {
        let good =
            if self.profile.namespaces { is_qualified_name(name) } else { super::chars::is_name(name) };
        if good { Ok(()) } else { Err("a name that is none") }
    }

    /// A start tag begins.
    pub(super) fn begin(&mut self, name: &[u8]) -> Result<(), &'static str> {
        self.checked(name)?;
        self.attributes.clear();
        self.text.clear();
        self.values = 0;
        self.text.extend_from_slice(name);
        self.name = 0..name.len();
        Ok(())
    }

    /// An attribute begins.
    pub(super) fn attribute(&mut self, name: &[u8]) -> Result<(), &'static str> {
        self.checked(name)?;
        if self.attributes.len() == ATTRIBUTES || self.text.len() - self.values + name.len() > TAG {
            return Err("a start tag beyond all measure");
        }
        let start = self.text.len();
        self.text.extend_from_slice(name);
        let end = self.text.len();
        self.attributes.push(Attribute { name: start..end, value: end..end });
        Ok(())
    }

    /// More of the attribute's value.
    pub(super) fn value(&mut self, more: &[u8]) {
        let Some(attribute) = self.attributes.last_mut() else { return };
        let room = VALUE.saturating_sub(attribute.value.len()).min(TAG.saturating_sub(self.values));
        let kept = more.get(..more.len().min(room)).unwrap_or_default();
        self.text.extend_from_slice(kept);
        self.values += kept.len();
        attribute.value.end = self.text.len();
    }

    /// The start tag ends; `listen` is told of it.
    pub(super) fn open(&mut self, listen: &mut dyn FnMut(&Element<'_>)) -> Result<(), &'static str> {
        if self.open.len() >= self.profile.depth {
            return Err("elements nested beyond all measure");
        }
        self.unlike()?;
        self.open.push(Open {
            name: self.names.len(),
            bindings: self.bindings.len(),
            text: self.bound.len(),
        });
        if self.names.len() + self.name.len() > OPEN {
            return Err("names beyond all measure");
        }
        self.names.extend_from_slice(self.text.get(self.name.clone()).unwrap_or_default());
        if self.profile.namespaces {
            self.bind()?;
            self.resolve()?;
        }
        listen(&Element { tags: self });
        Ok(())
    }

    /// An end tag, or the end of an empty element (`None`).
    pub(super) fn close(&mut self, name: Option<&[u8]>) -> Result<(), &'static str> {
        let last = self.open.pop().ok_or("an end tag without a start")?;
        if let Some(name) = name
            && self.names.get(last.name..) != Some(name)
        {
            return Err("an end tag that ends another element");
        }
        self.names.truncate(last.name);
        self.bindings.truncate(last.bindings);
        self.bound.truncate(last.text);
        Ok(())
    }

    /// No attribute may be there twice.
    fn unlike(&self) -> Result<(), &'static str> {
        const TWICE: &str = "an attribute that is there twice";
        // Pairs are quicker for the few that elements have; sorting keeps thousands from taking forever.
        if self.attributes.len() <= 16 {
            for (at, one) in self.attributes.iter().enumerate() {
                let rest = self.attributes.get(at + 1..).unwrap_or_default();
                if rest.iter().any(|other| self.part(&one.name) == self.part(&other.name)) {
                    return Err(TWICE);
                }
            }
            return Ok(());
        }
        let mut names: Vec<&[u8]> =
            self.attributes.iter().map(|attribute| self.part(&attribute.name)).collect();
        names.sort_unstable();
        if names.windows(2).any(|pair| matches!(pair, [a, b] if a == b)) { Err(TWICE) } else { Ok(()) }
    }

    /// Takes up the namespaces that this element declares.
    fn bind(&mut self) -> Result<(), &'static str> {
        for attribute in &self.attributes {
            let Some(prefix) = attribute.declares(&self.text) else { continue };
            let namespace = self.text.get(attribute.value.clone()).unwrap_or_default();
            match prefix {
                b"xmlns" => return Err("the prefix xmlns is declared"),
                b"xml" if namespace == XML => continue,
                b"xml" => return Err("the prefix xml is declared as something else"),
                _ if namespace == XML || namespace == XMLNS => {
                    return Err("a reserved namespace is declared");
                }
                [_, ..] if namespace.is_empty() => return Err("a prefix is declared without a namespace"),
                _ => {}
            }
            if self.bindings.len() == BINDINGS || self.bound.len() + prefix.len() + namespace.len() > OPEN {
                return Err("namespaces beyond all measure");
            }
            let start = self.bound.len();
            self.bound.extend_from_slice(prefix);
            let middle = self.bound.len();
            self.bound.extend_from_slice(namespace);
            self.bindings.push(Binding { prefix: start..middle, namespace: middle..self.bound.len() });
        }
        Ok(())
    }

    fn namespace(&self, prefix: &[u8]) -> Option<&[u8]> {
        if prefix == b"xml" {
            return Some(XML);
        }
        let found = self.bindings.iter().rfind(|b| self.bound.get(b.prefix.clone()) == Some(prefix))?;
        self.bound.get(found.namespace.clone())
    }

    /// Every prefix must be declared, and no two attributes may mean the same.
    fn resolve(&self) -> Result<(), &'static str> {
        const UNKNOWN: &str = "a prefix that is not declared";
        let (prefix, _) = split(self.part(&self.name));
        if !prefix.is_empty() && self.namespace(prefix).is_none() {
            return Err(UNKNOWN);
        }
        let prefixed = |attribute: &&Attribute| {
            attribute.declares(&self.text).is_none() && self.part(&attribute.name).contains(&b':')
        };
        let mut last: Option<&[u8]> = None;
        let mut several = false; // attributes with the same prefix differ in name already
        for attribute in self.attributes.iter().filter(prefixed) {
            let (prefix, _) = split(self.part(&attribute.name));
            if last == Some(prefix) {
                continue;
            }
            if self.namespace(prefix).is_none() {
                return Err(UNKNOWN);
            }
            several |= last.is_some();
            last = Some(prefix);
        }
        if several {
            let mut meant: Vec<(&[u8], &[u8])> = self
                .attributes
                .iter()
                .filter(prefixed)
                .map(|attribute| {
                    let (prefix, local) = split(self.part(&attribute.name));
                    (self.namespace(prefix).unwrap_or_default(), local)
                })
                .collect();
            meant.sort_unstable();
            if meant.windows(2).any(|pair| matches!(pair, [a, b] if a == b)) {
                return Err("two attributes that mean the same");
            }
        }
        Ok(())
    }

    /// A processing instruction's target: any name but `xml`.
    pub(super) fn target(&self, name: &[u8]) -> Result<(), &'static str> {
        if name.eq_ignore_ascii_case(b"xml") {
            return Err("an XML declaration that does not stand at the start");
        }
        let good = if self.profile.namespaces { is_plain_name(name) } else { super::chars::is_name(name) };
        if good { Ok(()) } else { Err("a processing instruction without a name") }
    }
}
