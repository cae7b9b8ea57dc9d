//! The questions of `doctor`, with names that scripts may rely on, and what can be answered to one.

/// What users see when it goes wrong, in the words of RapidPM's troubleshooting page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// Tokens are refused.
    Jwt,
    /// The editor stays empty.
    Load,
    /// Work does not arrive.
    Save,
}

impl Trouble {
    /// The words.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Jwt => "JWT validation failed",
            Self::Load => "Document won't load",
            Self::Save => "Save callback fails",
        }
    }
}

/// Declares the questions: name in the code, name for people and scripts, what is asked, what users see.
macro_rules! questions {
    ($($name:ident $id:literal $asks:literal $trouble:expr;)*) => {
        /// A question of `doctor`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Question { $(#[doc = $asks] $name,)* }

        impl Question {
            /// All of them, in the order of the report.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// Its name; stays the same for ever.
            pub const fn id(self) -> &'static str {
                match self { $(Self::$name => $id),* }
            }

            /// What is asked.
            pub const fn asks(self) -> &'static str {
                match self { $(Self::$name => $asks),* }
            }

            /// What users see when it fails.
            pub const fn trouble(self) -> Option<Trouble> {
                match self { $(Self::$name => $trouble),* }
            }
        }
    };
}

questions! {
    Server "document_server" "does the Document Server answer /healthcheck with true" Some(Trouble::Load);
    Secret "secret" "has the Document Server the same secret" Some(Trouble::Jwt);
    Jwt "jwt_on" "does the Document Server refuse what others signed" None;
    Header "jwt_header" "are header and prefix of tokens those of the Document Server" Some(Trouble::Jwt);
    Clock "clock" "do the Document Server's clock and ours agree" Some(Trouble::Jwt);
    Links "links" "does the Document Server make https links from the forwarded headers" Some(Trouble::Load);
    Socket "socket" "does an editor socket open at the Document Server" Some(Trouble::Load);
    Exposed "exposed" "is the Document Server's own port closed to other machines" None;
    WayBack "way_back" "does the Document Server reach the gateway, and its relay, by public_url" Some(Trouble::Save);
    Gateway "gateway" "does the gateway run, and is it ready" Some(Trouble::Load);
    Refused "tokens_refused" "do all applications sign with our secret" Some(Trouble::Jwt);
    Previous "previous_secret" "is a previous secret still in use" None;
    GatewaySocket "gateway_socket" "does an editor socket open through the running gateway" Some(Trouble::Load);
    Limits "limits" "may the gateway open as many files as limits.connections needs" None;
    Watchdog "watchdog" "does systemd watch over the gateway" None;
    Certificate "certificate" "are certificate, names, chain and times right for public_url" Some(Trouble::Load);
    Served "certificate_served" "does the listener serve the certificate that is configured" None;
    Dns "dns" "does the name of public_url lead anywhere" Some(Trouble::Load);
    Public "public_url" "does public_url lead to this gateway" Some(Trouble::Load);
    PublicLinks "public_links" "are links that browsers get https links to public_url" Some(Trouble::Load);
    Closed "closed" "are /info/config, /internal and /docbuilder closed from outside" None;
    Integrator "integrator" "does the gateway reach the application" Some(Trouble::Save);
    Callback "callback" "does the application answer at its callback URL" Some(Trouble::Save);
    IntegratorClock "integrator_clock" "do the application's clock and ours agree" Some(Trouble::Jwt);
    Spool "spool" "can saves be kept, and by nobody else be read" Some(Trouble::Save);
    Space "spool_space" "is there room for saves that wait" None;
    Fsync "spool_fsync" "does the disk keep what it says it has kept" None;
    Archive "archive" "does the SFTP archive answer, is its key known, does it let us in" None;
    Redis "redis" "does Redis answer" None;
}

/// What is answered. Whatever is wrong comes with what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// As it should be.
    Ok(String),
    /// It works, but should be looked at: what was seen, what to do.
    Warning(String, String),
    /// It does not work: what was seen, what to do.
    Failed(String, String),
    /// It could not be asked, and why.
    Skipped(String),
}

impl Verdict {
    /// As it should be.
    pub fn ok(seen: impl Into<String>) -> Self {
        Self::Ok(seen.into())
    }

    /// Works, but should be looked at.
    pub fn warning(seen: impl Into<String>, cure: impl Into<String>) -> Self {
        Self::Warning(seen.into(), cure.into())
    }

    /// Does not work.
    pub fn failed(seen: impl Into<String>, cure: impl Into<String>) -> Self {
        Self::Failed(seen.into(), cure.into())
    }

    /// Could not be asked.
    pub fn skipped(why: impl Into<String>) -> Self {
        Self::Skipped(why.into())
    }

    /// Its name.
    pub const fn state(&self) -> &'static str {
        match self {
            Self::Ok(_) => "ok",
            Self::Warning(..) => "warning",
            Self::Failed(..) => "failed",
            Self::Skipped(_) => "skipped",
        }
    }

    /// What was seen, or why nothing was.
    pub fn seen(&self) -> &str {
        match self {
            Self::Ok(seen) | Self::Warning(seen, _) | Self::Failed(seen, _) | Self::Skipped(seen) => seen,
        }
    }

    /// What to do.
    pub fn cure(&self) -> Option<&str> {
        match self {
            Self::Warning(_, cure) | Self::Failed(_, cure) => Some(cure),
            Self::Ok(_) | Self::Skipped(_) => None,
        }
    }
}

/// A question with its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What was asked.
    pub question: Question,
    /// Of whom: a server, an application, a name. Empty where there is only one.
    pub of: String,
    /// The answer.
    pub verdict: Verdict,
}

impl Question {
    /// The answer to it.
    pub fn is(self, of: impl Into<String>, verdict: Verdict) -> Finding {
        Finding { question: self, of: of.into(), verdict }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_distinct_and_plain() {
        let mut names: Vec<_> = Question::ALL.iter().map(|question| question.id()).collect();
        assert!(names.iter().all(|name| name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Question::ALL.len());
    }

    #[test]
    fn each_of_the_three_troubles_can_be_found() {
        for trouble in [Trouble::Jwt, Trouble::Load, Trouble::Save] {
            assert!(Question::ALL.iter().any(|question| question.trouble() == Some(trouble)), "{trouble:?}");
        }
    }
}
