//! Where a token was found, or looked for in vain: in the words that log, answers and `token verify` have in common.

use std::fmt;

use super::carrier::{TokenField, TokenFields};
use super::table::Carrier;

/// Where the token is that a refusal is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// It was there.
    In(Carrier),
    /// There is none.
    Nowhere(Looked),
}

impl Place {
    /// The carrier that held the token.
    pub const fn carrier(self) -> Option<Carrier> {
        match self {
            Self::In(carrier) => Some(carrier),
            Self::Nowhere(_) => None,
        }
    }
}

/// Where a token was looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Looked {
    carriers: &'static [Carrier],
    /// Whether integrators' own fields count as well; else `[jwt]`'s alone.
    integrators: bool,
}

impl Looked {
    /// By a route of the table: in its carriers, in every field that is configured.
    pub const fn of_route(carriers: &'static [Carrier]) -> Self {
        Self { carriers, integrators: true }
    }

    /// By the relay, to which only the Document Server speaks: in `[jwt]`'s field.
    pub const fn of_relay(carriers: &'static [Carrier]) -> Self {
        Self { carriers, integrators: false }
    }

    /// Each place by its name, joined: fields as they are configured, parameters and fields of a body as they are written.
    pub fn places(self, fields: &TokenFields) -> String {
        let mut places: Vec<String> = Vec::new();
        let mut add = |place: String| {
            if !places.contains(&place) {
                places.push(place);
            }
        };
        let field = |name: &str, prefix: &str| match prefix {
            "" => format!("the field {name}"),
            prefix => format!("the field {name} behind \"{prefix}\""),
        };
        for carrier in self.carriers {
            match carrier {
                Carrier::Header => {
                    let fields = fields.all().take(if self.integrators { usize::MAX } else { 1 });
                    fields.for_each(|TokenField { name, prefix }| add(field(name.as_str(), prefix)));
                }
                Carrier::Bearer => add(field("authorization", "Bearer ")),
                Carrier::Query => add("`token` in the query".into()),
                Carrier::Body => add("`token` in the body (in the query, if the body is not JSON)".into()),
                Carrier::CmdDownload => {
                    add("`tokenDownload` or `tokenSession` in the query's `cmd`".into());
                }
                Carrier::CmdSession => add("`tokenSession` in the query's `cmd`".into()),
                Carrier::Packet => add("`session` or `token` in the socket's first packet".into()),
            }
        }
        places.join(", ")
    }

    /// What is wrong, with each place by its name.
    pub fn missing(self, fields: &TokenFields) -> String {
        match self.carriers {
            [] => self.to_string(),
            _ => format!("{MISSING}; looked at: {}", self.places(fields)),
        }
    }
}

/// What all have in common who show no token.
pub const MISSING: &str = "the request carries no token";

/// What is wrong, for who does not know the configuration.
impl fmt::Display for Looked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.carriers.iter().map(|carrier| carrier.name()).collect();
        match names[..] {
            [] => f.write_str(MISSING),
            _ => write!(f, "{MISSING} (looked in: {})", names.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderName;

    use super::*;

    #[test]
    fn every_place_has_its_name() {
        let field = |name, prefix: &str| TokenField {
            name: HeaderName::from_static(name),
            prefix: prefix.to_owned(),
        };
        let fields = TokenFields::new(
            field("authorization", "Bearer "),
            [field("authorizationjwt", "Bearer "), field("x-own", "")],
        );
        let route = Looked::of_route;
        let table = [
            (
                route(&[Carrier::Body, Carrier::Header]),
                "`token` in the body (in the query, if the body is not JSON), the field authorization behind \"Bearer \", \
                 the field authorizationjwt behind \"Bearer \", the field x-own",
                "body, header",
            ),
            (Looked::of_relay(&[Carrier::Header]), "the field authorization behind \"Bearer \"", "header"),
            (
                route(&[Carrier::Bearer, Carrier::Query]),
                "the field authorization behind \"Bearer \", `token` in the query",
                "authorization, query",
            ),
            (route(&[Carrier::CmdDownload]), "`tokenDownload` or `tokenSession` in the query's `cmd`", "cmd"),
            (route(&[Carrier::CmdSession]), "`tokenSession` in the query's `cmd`", "cmd"),
            (route(&[Carrier::Packet]), "`session` or `token` in the socket's first packet", "packet"),
        ];
        for (looked, places, names) in table {
            assert_eq!(looked.missing(&fields), format!("{MISSING}; looked at: {places}"));
            assert_eq!(looked.to_string(), format!("{MISSING} (looked in: {names})"));
        }
        // `[jwt]`'s own field is named once where a route looks there in two ways.
        let both = route(&[Carrier::Bearer, Carrier::Header]).places(&fields);
        assert_eq!(both.matches("field authorization ").count(), 1, "{both}");
        assert_eq!(route(&[]).missing(&fields), MISSING);
    }
}
