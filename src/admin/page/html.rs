//! Text for browsers: markup is what this program was built with, everything else is escaped.

use std::fmt::{self, Display, Write};
use std::time::{Duration, SystemTime};

use crate::ops::masked::Masked;

/// HTML under construction. Only what is known when the program is built gets in unescaped.
#[derive(Debug, Default)]
pub struct Html(String);

impl Html {
    /// Markup.
    pub fn raw(&mut self, markup: &'static str) -> &mut Self {
        self.0.push_str(markup);
        self
    }

    /// Text, also as the value of an attribute in double quotes.
    pub fn text(&mut self, text: impl Display) -> &mut Self {
        write!(Escaped(&mut self.0), "{text}").ok(); // a string takes everything
        self
    }

    /// Text in which what stands between backticks is to be typed.
    pub fn commands(&mut self, text: &str) -> &mut Self {
        for (at, piece) in text.split('`').enumerate() {
            if at % 2 == 0 {
                self.text(piece)
            } else {
                self.within("<code>", piece, "</code>")
            };
        }
        self
    }

    /// More of it.
    pub fn html(&mut self, other: &Self) -> &mut Self {
        self.0.push_str(&other.0);
        self
    }

    /// An element around text.
    pub fn within(&mut self, open: &'static str, text: impl Display, close: &'static str) -> &mut Self {
        self.raw(open).text(text).raw(close)
    }

    /// A moment in words, for programs as what it is.
    pub fn time(&mut self, at: SystemTime, words: impl Display) -> &mut Self {
        self.raw("<time datetime=\"").text(humantime::format_rfc3339_seconds(at)).raw("\">");
        self.text(words).raw("</time>")
    }

    /// As it is sent.
    pub fn into_string(self) -> String {
        self.0
    }
}

struct Escaped<'s>(&'s mut String);

impl Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            match c {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                '\n' => self.0.push('\n'),
                c if c.is_control() || is_deceptive(c) => write!(self.0, "\\u{{{:x}}}", c as u32)?,
                c => self.0.push(c),
            }
        }
        Ok(())
    }
}

/// Characters that turn text around or hide in it.
fn is_deceptive(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// At most so many characters of a text from outside, which may hold a token.
pub fn short(text: &str, most: usize) -> String {
    let text = Masked(text).to_string();
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// A time span in two units at most.
pub fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match () {
        () if minutes == 0 => format!("{seconds} s"),
        () if hours == 0 => format!("{minutes} min"),
        () if days < 2 => format!("{hours} h {} min", minutes % 60),
        () => format!("{days} d"),
    }
}

/// The same where seconds would only flicker.
pub fn coarse(time: Duration) -> String {
    if time < Duration::from_secs(60) { "< 1 min".to_owned() } else { span(time) }
}

/// How long ago; a clock that was set back makes it now.
pub fn ago(then: SystemTime, now: SystemTime) -> Duration {
    now.duration_since(then).unwrap_or_default()
}

/// `2026-11-25 04:12:07 UTC`.
pub fn date(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string().replace('T', " ").replace('Z', " UTC")
}

/// When it was, for who looks for it in the log: the time today, else the day.
pub fn moment(time: SystemTime, now: SystemTime) -> String {
    let (then, now) = (date(time), date(now));
    match (then.split_once(' '), now.split_once(' ')) {
        (Some((day, clock)), Some((today, _))) if day == today => {
            format!("at {} UTC", clock.get(..5).unwrap_or(clock))
        }
        (Some((day, _)), _) => format!("on {day}"),
        (None, _) => then,
    }
}

/// Bytes as people say them.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let power = (bytes.max(1).ilog2() / 10).min(4);
    let (whole, tenth) =
        (bytes >> (10 * power), ((bytes >> (10 * power.saturating_sub(1))) & 1023) * 10 / 1024);
    let unit = UNITS.get(power as usize).unwrap_or(&"");
    if power == 0 || whole >= 10 { format!("{whole} {unit}") } else { format!("{whole}.{tenth} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_outside_is_markup() {
        let escaped = |text: &str| {
            let mut html = Html::default();
            html.text(text);
            html.into_string()
        };
        for (text, expected) in [
            ("<b onclick=\"x('&')\">", "&lt;b onclick=&quot;x(&#39;&amp;&#39;)&quot;&gt;"),
            ("a\u{202e}b\u{0}\r\u{200b}", "a\\u{202e}b\\u{0}\\u{d}\\u{200b}"),
            ("<!--saves-->", "&lt;!--saves--&gt;"),
            ("Grüße\n日本", "Grüße\n日本"),
        ] {
            assert_eq!(escaped(text), expected);
        }
    }

    #[test]
    fn figures_are_told_as_people_say_them() {
        let seconds = |seconds| span(Duration::from_secs(seconds));
        assert_eq!([0, 59, 60, 3_599].map(seconds), ["0 s", "59 s", "1 min", "59 min"]);
        assert_eq!([3_600, 100_000, 172_800].map(seconds), ["1 h 0 min", "27 h 46 min", "2 d"]);
        assert_eq!(coarse(Duration::from_secs(3)), "< 1 min");
        assert_eq!([0, 1_023, 1_536, 20 << 20].map(size), ["0 B", "1023 B", "1.5 KiB", "20 MiB"]);
        assert_eq!((short("日本語", 2), short("日本", 2)), ("日本…".to_owned(), "日本".to_owned()));
        assert_eq!(date(SystemTime::UNIX_EPOCH), "1970-01-01 00:00:00 UTC");
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        assert_eq!(moment(at(86_399), at(86_399)), "at 23:59 UTC");
        assert_eq!(moment(at(86_399), at(86_400)), "on 1970-01-01");
        let mut html = Html::default();
        html.time(at(7), "7 s ago");
        assert_eq!(html.into_string(), "<time datetime=\"1970-01-01T00:00:07Z\">7 s ago</time>");
    }
}
