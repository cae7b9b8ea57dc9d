//! What happened on the way, for whoever looks for a fault at night: `log.level = "debug"`.

use std::fmt;

use super::log::{Level, Log};

/// A fact by its name. It is formatted only where it is written.
pub type Fact<'f> = (&'static str, &'f dyn fmt::Display);

impl Log {
    /// Whether anybody reads along.
    pub fn is_debugging(&self) -> bool {
        self.enabled(Level::Debug)
    }

    /// Something happened in a room, whose name is the event's. At another level this costs one look at that.
    pub fn debug(&self, room: &'static str, message: &str, facts: &[Fact<'_>]) {
        if !self.is_debugging() {
            return;
        }
        let texts: Vec<_> = facts.iter().map(|(name, fact)| (*name, fact.to_string())).collect();
        let facts: Vec<_> = texts.iter().map(|(name, text)| (*name, text.as_str())).collect();
        self.event(Level::Debug, room, message, &facts);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::super::log::tests::written;
    use super::super::log::{Format, Settings};
    use super::*;

    /// Counts how often it is formatted.
    struct Counted(Cell<u32>);

    impl fmt::Display for Counted {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            self.0.set(self.0.get() + 1);
            f.write_str("eyJhbGciOiJIUzI1NiJ9.e30.x")
        }
    }

    #[test]
    fn nothing_is_formatted_that_nobody_reads() {
        for (level, times) in [(Level::Info, 0), (Level::Debug, 1)] {
            let fact = Counted(Cell::new(0));
            let text = written(Settings { format: Format::Json, level }, |log| {
                log.debug("tls", "a handshake failed", &[("error", &fact)]);
            });
            assert_eq!((fact.0.get(), text.lines().count()), (times, times as usize));
            assert!(!text.contains("eyJ"), "{text}");
            assert!(
                times == 0
                    || text.contains(r#""level":"debug","event":"tls","message":"a handshake failed""#)
            );
        }
    }
}
