//! A document type declaration, skipped: only so much is understood as it takes to find its end.

/// Where in the declaration the reader stands.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Doctype {
    /// Between `[` and `]`.
    subset: bool,
    /// Inside a declaration of the subset.
    declaration: bool,
    inner: Inner,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Inner {
    #[default]
    Plain,
    Quoted(u8),
    /// Behind `<`.
    Opening,
    /// Behind `<!`, and how many hyphens followed.
    Bang(u8),
    /// In a comment, and how many hyphens came last.
    Comment(u8),
    /// In a processing instruction, and whether `?` came last.
    Instruction(bool),
}

impl Doctype {
    /// `true` at the `>` that ends it all.
    pub(super) fn step(&mut self, byte: u8) -> Result<bool, &'static str> {
        const BAD: &str = "a document type declaration that is none";
        self.inner = match (self.inner, byte) {
            (Inner::Quoted(quote), _) if quote == byte => Inner::Plain,
            (Inner::Quoted(quote), _) => Inner::Quoted(quote),
            (Inner::Comment(hyphens), b'-') => Inner::Comment((hyphens + 1).min(2)),
            (Inner::Comment(2), b'>') => Inner::Plain,
            (Inner::Comment(_), _) => Inner::Comment(0),
            (Inner::Instruction(true), b'>') => Inner::Plain,
            (Inner::Instruction(_), _) => Inner::Instruction(byte == b'?'),
            (Inner::Opening, b'?') => Inner::Instruction(false),
            (Inner::Opening, b'!') => Inner::Bang(0),
            (Inner::Opening, _) => return Err(BAD),
            (Inner::Bang(0), b'-') => Inner::Bang(1),
            (Inner::Bang(1), b'-') => Inner::Comment(0),
            (Inner::Bang(0), b'A'..=b'Z') => {
                self.declaration = true;
                Inner::Plain
            }
            (Inner::Bang(_), _) => return Err(BAD),
            (Inner::Plain, b'"' | b'\'') => Inner::Quoted(byte),
            (Inner::Plain, b'<') if self.subset && !self.declaration => Inner::Opening,
            (Inner::Plain, b'[') if !self.subset => {
                self.subset = true;
                Inner::Plain
            }
            (Inner::Plain, b']') if self.subset && !self.declaration => {
                self.subset = false;
                Inner::Plain
            }
            (Inner::Plain, b'>') if self.declaration => {
                self.declaration = false;
                Inner::Plain
            }
            (Inner::Plain, b'>') if !self.subset => return Ok(true),
            (Inner::Plain, b'<' | b'>' | b'[' | b']') => return Err(BAD),
            (Inner::Plain, _) => Inner::Plain,
        };
        Ok(false)
    }
}
