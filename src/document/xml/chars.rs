//! Which characters XML 1.0 (fifth edition) allows where: productions 2, 4, 4a, 5 and "Namespaces in XML 1.0" 7.

/// White space, production 3.
pub(super) const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// Production 2.
pub(super) const fn is_char(code: u32) -> bool {
    matches!(code, 0x9 | 0xa | 0xd | 0x20..=0xd7ff | 0xe000..=0xfffd | 0x1_0000..=0x10_ffff)
}

/// Where a text that is UTF-8 holds its first character that XML does not allow at all: a control, U+FFFE or U+FFFF.
pub(super) fn first_illegal(text: &[u8]) -> Option<usize> {
    // Without a branch for each byte, so that it becomes vector instructions: nearly always the answer is "nowhere".
    let suspect = text.iter().fold(0_u8, |found, byte| {
        found | u8::from(*byte < 0x20 && !matches!(byte, b'\t' | b'\n' | b'\r')) | u8::from(*byte == 0xef)
    });
    if suspect == 0 {
        return None;
    }
    text.iter().enumerate().position(|(at, byte)| match byte {
        b'\t' | b'\n' | b'\r' => false,
        0..0x20 => true,
        0xef => matches!(text.get(at + 1..at + 3), Some([0xbf, 0xbe | 0xbf])),
        _ => false,
    })
}

fn starts_name(c: char) -> bool {
    matches!(c, ':' | '_' | 'A'..='Z' | 'a'..='z'
        | '\u{c0}'..='\u{d6}' | '\u{d8}'..='\u{f6}' | '\u{f8}'..='\u{2ff}' | '\u{370}'..='\u{37d}'
        | '\u{37f}'..='\u{1fff}' | '\u{200c}'..='\u{200d}' | '\u{2070}'..='\u{218f}' | '\u{2c00}'..='\u{2fef}'
        | '\u{3001}'..='\u{d7ff}' | '\u{f900}'..='\u{fdcf}' | '\u{fdf0}'..='\u{fffd}' | '\u{1_0000}'..='\u{e_ffff}')
}

fn continues_name(c: char) -> bool {
    starts_name(c)
        || matches!(c, '-' | '.' | '0'..='9' | '\u{b7}' | '\u{300}'..='\u{36f}' | '\u{203f}'..='\u{2040}')
}

/// Production 5.
pub(super) fn is_name(text: &[u8]) -> bool {
    // Nearly every name of an office document is ASCII.
    if text.is_ascii() {
        let mut bytes = text.iter();
        return bytes.next().is_some_and(|byte| starts_name(char::from(*byte)))
            && bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b':'));
    }
    let Ok(text) = std::str::from_utf8(text) else { return false };
    let mut chars = text.chars();
    chars.next().is_some_and(starts_name) && chars.all(continues_name)
}

/// A name without a colon.
pub(super) fn is_plain_name(text: &[u8]) -> bool {
    !text.contains(&b':') && is_name(text)
}

/// A name, or two with a colon between them.
pub(super) fn is_qualified_name(text: &[u8]) -> bool {
    match text.iter().position(|byte| *byte == b':') {
        None => is_name(text),
        Some(colon) => {
            let (prefix, local) = text.split_at(colon);
            is_plain_name(prefix) && local.get(1..).is_some_and(is_plain_name)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (text, name, qualified) in [
            ("a", true, true),
            ("w:p", true, true),
            ("_a-1.b", true, true),
            ("a:b:c", true, false),
            (":a", true, false),
            ("a:", true, false),
            ("a:1", true, false),
            ("1a", false, false),
            ("-a", false, false),
            ("", false, false),
            ("a b", false, false),
            ("äöü", true, true),
            ("a×b", false, false),
            ("a\u{b7}", true, true),
            ("\u{b7}a", false, false),
            ("名前", true, true),
        ] {
            assert_eq!(is_name(text.as_bytes()), name, "{text}");
            assert_eq!(is_qualified_name(text.as_bytes()), qualified, "{text}");
        }
    }

    #[test]
    fn illegal_characters_are_found_wherever_they_stand() {
        for (text, at) in [
            ("ab\u{1}", Some(2)),
            ("a\u{fffe}", Some(1)),
            ("\u{ffff}", Some(0)),
            ("\u{fffd}\u{feff}\t\r\n\u{7f}\u{85}", None),
        ] {
            assert_eq!(first_illegal(text.as_bytes()), at, "{text:?}");
        }
    }
}
