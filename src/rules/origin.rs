//! Which pages may open editor sockets. A token lies in the page that shows the editor; a foreign page that got hold of one could
//! edit with it from any visitor's browser (threats.md T12), and browsers do not ask before they open a socket.

/// Origins that are let in, as browsers write them: lower case, no port where it is the scheme's own.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Origins {
    /// Those listed, `null` only if it is.
    pub listed: Vec<String>,
    /// Whether an upgrade without any passes: programs send none, browsers always do.
    pub without: bool,
}

/// Why a request for a socket may not be made from where it comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OriginFault {
    /// From a page that is not listed, from two at once, or from nothing that is an origin.
    Foreign,
    /// From nowhere, on an upgrade.
    Missing,
}

impl Origins {
    /// Judges the `Origin` fields of a request. A browser's polling GET carries none, since it is a GET to the page's own host, and
    /// passes; an upgrade carries one always (RFC 6455 4.1). Compared byte for byte: what only looks alike is another.
    ///
    /// # Errors
    /// When the request may not be made from there.
    pub fn check<'v>(
        &self,
        mut fields: impl Iterator<Item = &'v [u8]>,
        upgrade: bool,
    ) -> Result<(), OriginFault> {
        match (fields.next(), fields.next()) {
            (None, _) if upgrade && !self.without => Err(OriginFault::Missing),
            (None, _) => Ok(()),
            (Some(origin), None) if self.listed.iter().any(|known| known.as_bytes() == origin) => Ok(()),
            (Some(_), _) => Err(OriginFault::Foreign),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listed_origins_pass() {
        let listed = ["https://localhost", "https://rapidpm.uk:8443"].map(str::to_owned).to_vec();
        let strict = Origins { listed: listed.clone(), without: false };
        let open = Origins { listed: [listed, vec!["null".to_owned()]].concat(), without: true };
        let foreign = Err(OriginFault::Foreign);
        let table: [(&[&str], _, _, _); 16] = [
            (&[], Err(OriginFault::Missing), Ok(()), Ok(())),
            (&["https://localhost"], Ok(()), Ok(()), Ok(())),
            (&["https://rapidpm.uk:8443"], Ok(()), Ok(()), Ok(())),
            (&["null"], foreign, foreign, Ok(())),
            (&[""], foreign, foreign, foreign),
            (&["https://rapidpm.uk"], foreign, foreign, foreign),
            (&["https://localhost:443"], foreign, foreign, foreign),
            (&["https://localhost/"], foreign, foreign, foreign),
            (&["http://localhost"], foreign, foreign, foreign),
            (&["https://LOCALHOST"], foreign, foreign, foreign),
            (&["https://localhost.evil.example"], foreign, foreign, foreign),
            (&["https://evil.example/https://localhost"], foreign, foreign, foreign),
            (&["https://xlocalhost"], foreign, foreign, foreign),
            (&["https://localhost https://evil.example"], foreign, foreign, foreign),
            (&["https://localhost", "https://evil.example"], foreign, foreign, foreign),
            (&["https://localhost", "https://localhost"], foreign, foreign, foreign),
        ];
        for (fields, upgrade, poll, lenient) in table {
            let fields = || fields.iter().map(|field| field.as_bytes());
            assert_eq!(strict.check(fields(), true), upgrade);
            assert_eq!(strict.check(fields(), false), poll);
            assert_eq!(open.check(fields(), true), lenient);
        }
    }
}
