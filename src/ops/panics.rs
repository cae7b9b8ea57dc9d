//! What is said of a panic: where it happened, never what was in hand there. Its own words may quote that: a slice that is cut in
//! the wrong place quotes the whole text, an `unwrap` the whole error.

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::Write as _;
use std::panic;

/// From now on panics of this process are told without what they quote, on stderr: the log's own thread may be the one.
pub fn watch() {
    panic::set_hook(Box::new(|info| {
        let thread = std::thread::current();
        let place = info.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
        let told = told(thread.name().unwrap_or("without a name"), &place, info.payload());
        let mut stderr = std::io::stderr().lock();
        writeln!(stderr, "{told}").ok(); // there is nobody else to tell
        let trace = Backtrace::capture(); // names of functions, where RUST_BACKTRACE asks for them
        if trace.status() == BacktraceStatus::Captured {
            writeln!(stderr, "{trace}").ok();
        }
    }));
}

fn told(thread: &str, place: &str, payload: &dyn Any) -> String {
    // Words that the program was built with are text of this type; those that were made when it happened are not.
    let words = payload.downcast_ref::<&'static str>();
    let words = words.unwrap_or(&"its words are not shown, since they may quote what was sent here");
    format!("a fault of the gateway, please report it: thread {thread} panicked at {place}: {words}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_panic_quotes_is_not_told() {
        let text = "ä secret".to_owned();
        let panicked = |work: Box<dyn FnOnce() + Send>| std::thread::spawn(work).join().unwrap_err();
        let quoting = panicked(Box::new(move || drop(text[1..].to_owned())));
        assert!(quoting.downcast_ref::<String>().unwrap().contains("secret"), "it would have been told");
        let told_of = |payload: &dyn Any| told("core-0", "src/x.rs:1:2", payload);
        assert!(!told_of(&*quoting).contains("secret"));
        let built_in = panicked(Box::new(|| panic!("a state that cannot be")));
        assert_eq!(
            told_of(&*built_in),
            "a fault of the gateway, please report it: thread core-0 panicked at src/x.rs:1:2: a state that cannot be"
        );
    }
}
