//! Requests with a session token, and the whole decision about them.

#![expect(clippy::unwrap_used, reason = "a bench that cannot be set up shall not run")]

use std::time::Duration;

use hyper::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use hyper::{Method, Uri};
use rapidpm_gateway::rules::carrier::Carried;
use rapidpm_gateway::rules::path::canonical;
use rapidpm_gateway::rules::policy::{Caller, Permit, Refusal, Rules, admit};
use rapidpm_gateway::rules::route::{Switches, find};
use rapidpm_gateway::rules::token::{Algorithm, Settings, VerifyingKey};
use rapidpm_gateway::secret::Secret;

use crate::token::{KEY, now};

/// A POST, as far as the decision looks at it.
#[derive(Debug)]
pub struct Asked {
    target: Uri,
    headers: HeaderMap,
}

impl Asked {
    /// An image for a document: the token is in a header.
    pub fn upload(token: &str) -> Self {
        let value = HeaderValue::try_from(format!("Bearer {token}")).unwrap();
        Self {
            target: format!("/upload/{KEY}").parse().unwrap(),
            headers: HeaderMap::from_iter([(AUTHORIZATION, value)]),
        }
    }

    /// The same, with whatever is in the query.
    pub fn upload_by_query(query: &str) -> Self {
        Self { target: format!("/upload/{KEY}?{query}").parse().unwrap(), headers: HeaderMap::new() }
    }

    /// Download as: the token is in JSON in the query.
    pub fn download_as(token: &str) -> Self {
        let cmd = format!(
            "%7B%22c%22%3A%22save%22%2C%22id%22%3A%22{KEY}%22%2C%22userid%22%3A%22u1%22%2C%22tokenSession%22%3A%22{token}%22%2C\
             %22outputformat%22%3A65%2C%22title%22%3A%22a.docx%22%2C%22savetype%22%3A3%2C%22saveindex%22%3A1%7D"
        );
        Self { target: format!("/downloadas/{KEY}?cmd={cmd}").parse().unwrap(), headers: HeaderMap::new() }
    }

    /// The whole decision.
    ///
    /// # Errors
    /// When the request is refused.
    pub fn decide(&self, settings: &Settings) -> Result<Permit, Refusal> {
        let path = canonical(self.target.path()).map_err(Refusal::Path)?;
        let matched = find(&path, Switches::default());
        let carried = Carried { headers: &self.headers, query: self.target.query(), body: &[] };
        let caller = Caller { address: [192, 0, 2, 1].into(), now: now() };
        let admitted = admit(&matched, &Method::POST, &carried, settings, &Rules::default(), caller)?;
        Ok(admitted.permit)
    }
}

/// `[jwt]` with these secrets.
pub fn settings(secrets: &[&[u8]]) -> Settings {
    Settings {
        keys: secrets.iter().map(|secret| VerifyingKey::new(&Secret::new(secret.to_vec()))).collect(),
        algorithms: vec![Algorithm::Hs256],
        leeway: Duration::from_secs(60),
        header: AUTHORIZATION,
        prefix: "Bearer ".to_owned(),
    }
}
