//! Documents that are well-formed, and their neighbours that are not.

use super::{Flaw, Profile, Reader, check};

const OOXML: Profile = Profile { doctype: false, namespaces: true, depth: 100 };
const ODF: Profile = Profile { doctype: true, ..OOXML };

/// The answer, which must be the same wherever the bytes are cut.
fn judge(bytes: &[u8], profile: Profile) -> Result<(), &'static str> {
    let whole = check(bytes, profile);
    for step in [1, 2, 3, 7] {
        let mut reader = Reader::new(profile);
        let cut = bytes.chunks(step).try_for_each(|piece| reader.feed(piece, &mut |_| ()));
        let cut = cut.and_then(|()| reader.finish(&mut |_| ()));
        assert_eq!(cut.is_ok(), whole.is_ok(), "in steps of {step}: {}", String::from_utf8_lossy(bytes));
    }
    whole.map_err(|flaw| flaw.what)
}

#[test]
fn well_formed() {
    for text in [
        "<a/>",
        "<a></a >",
        "<?xml version='1.0'?><a/>",
        "\u{feff}<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"yes\"?>\r\n<a/>\n",
        "<!-- one --><?pi?><?pi some ?? text?><a/><!-- - --><?p ??>\n",
        "<a b='1' c = \"2\"\n d='>'/>",
        "<a>]] ]> ] > &amp;&lt;&gt;&quot;&apos;&#65;&#x41;&#X;</a>".replace("&#X;", "").as_str(),
        "<a><![CDATA[<&]] ]]]]>]]&gt;</a>",
        "<w:a xmlns:w='u' w:b='1' b='1' xml:space='preserve'><w:c/></w:a>",
        "<a xmlns='u'><b xmlns=''/></a>",
        "<名 前='値'>語</名>",
        "<a>\u{7f}\u{85}\u{fffd}\u{1f600}</a>",
        "<a b='\t\r\n'/>",
        "<xmla xmlns:xml='http://www.w3.org/XML/1998/namespace'/>",
        "<a><?xml-stylesheet href='x'?></a>",
    ] {
        assert_eq!(judge(text.as_bytes(), OOXML), Ok(()), "{text}");
    }
}

#[test]
fn not_well_formed() {
    for text in [
        "",
        " ",
        "a",
        "<",
        "<a",
        "<a>",
        "<a/",
        "</a>",
        "<a></b>",
        "<a></a><b/>",
        "<a/>x",
        "x<a/>",
        "<a/>&amp;",
        "<a/></a>",
        " <?xml version='1.0'?><a/>",
        "<a><?xml version='1.0'?></a>",
        "<?xml?><a/>",
        "<?XML version='1.0'?><a/>",
        "< a/>",
        "<1a/>",
        "<a b/>",
        "<a b=1/>",
        "<a b='1'c='2'/>",
        "<a b='1' b='2'/>",
        "<a b='<'/>",
        "<a b='&'/>",
        "<a b='1/>",
        "<a /b/>",
        "<a / >",
        "<a b:c='1'/>",
        "<b:a/>",
        "<a:b:c xmlns:a='u'/>",
        "<a xmlns:b=''/>",
        "<a xmlns:xml='u'/>",
        "<a xmlns:xmlns='u'/>",
        "<a xmlns:b='u' xmlns:c='u' b:d='' c:d=''/>",
        "<a>]]></a>",
        "<a>&nbsp;</a>",
        "<a>& </a>",
        "<a>&amp</a>",
        "<a>&#0;</a>",
        "<a>&#x110000;</a>",
        "<a>&#xD800;</a>",
        "<a>&#;</a>",
        "<a>&#x;</a>",
        "<a>&#1a;</a>",
        "<a>&#X41;</a>",
        "<a>&;</a>",
        "<a>&#99999999999999999999;</a>",
        "<a>\u{1}</a>",
        "<a>\u{fffe}</a>",
        "<a b='\u{0}'/>",
        "<!-- -- --><a/>",
        "<!-- ---><a/>",
        "<!-- <a/>",
        "<a><![CDATA[</a>",
        "<![CDATA[]]><a/>",
        "<a><![CData[]]></a>",
        "<!DOCTYPE a><a/>",
        "<!doctype a><a/>",
        "<? pi?><a/>",
        "<??><a/>",
        "<?pi><a/>",
        "<?p?q?><a/>",
        "<?a:b?><a/>",
        "<!ELEMENT a ANY><a/>",
        "<a></a b='1'>",
        "<a></ a>",
        "<a b='1'b/>",
        "<a\u{d7}/>",
        "<?xml version='1.0' encoding='UTF-16'?><a/>",
        "<a b/=''/>",
    ] {
        assert!(judge(text.as_bytes(), OOXML).is_err(), "{text}");
    }
}

#[test]
fn a_doctype_is_skipped_where_a_format_allows_it() {
    for (text, good) in [
        (
            "<!DOCTYPE manifest:manifest PUBLIC \"-//OpenOffice.org//DTD Manifest 1.0//EN\" \"Manifest.dtd\"><a/>",
            true,
        ),
        ("<!DOCTYPE html><a>&nbsp;</a>", true),
        ("<!DOCTYPE a [ <!-- ]> ' --> <?p ]>' ?> <!ENTITY b \"]><\"> %c; ]><a>&b;</a>", true),
        ("<!DOCTYPE a><!DOCTYPE a><a/>", false),
        ("<a/><!DOCTYPE a>", false),
        ("<!DOCTYPE a [<a/>", false),
        ("<!DOCTYPE a [ <b> ]><a/>", false),
        ("<!DOCTYPE a><a>&1;</a>", false),
    ] {
        assert_eq!(judge(text.as_bytes(), ODF).is_ok(), good, "{text}");
    }
}

fn utf16(text: &str, little: bool) -> Vec<u8> {
    text.encode_utf16()
        .flat_map(|unit| if little { unit.to_le_bytes() } else { unit.to_be_bytes() })
        .collect()
}

#[test]
fn encodings() {
    let text = "\u{feff}<?xml version='1.0' encoding='utf-16'?><a b='ä\u{1f600}'>語\u{1f600}</a>";
    for little in [true, false] {
        assert_eq!(judge(&utf16(text, little), OOXML), Ok(()));
        assert_eq!(judge(&utf16("<a/>", little), OOXML), Ok(()), "without a mark");
        let bytes = utf16(text, little);
        assert!(judge(&bytes[..bytes.len() - 1], OOXML).is_err(), "half a unit");
        assert!(judge(&utf16("<?xml version='1.0' encoding='utf-8'?><a/>", little), OOXML).is_err());
        let mut lone = utf16("\u{feff}<a>x</a>", little);
        lone[8..10].copy_from_slice(&if little {
            0xd83d_u16.to_le_bytes()
        } else {
            0xd83d_u16.to_be_bytes()
        });
        assert!(judge(&lone, OOXML).is_err(), "half a pair");
    }
    for (bytes, good) in [
        (&b"<?xml version='1.0' encoding='ISO-8859-1'?><a b='\xe4'>\xfc</a>"[..], true),
        (b"<?xml version='1.0' encoding='windows-1251'?><\xe0/>", true),
        (b"<a>\xe4</a>", false),
        (b"<a>\xc3", false),
        (b"<a>\xed\xa0\x80</a>", false),
        (b"<a>\xc0\xbc</a>", false),
        (b"\xef\xbb\xbf<?xml version='1.0' encoding='ISO-8859-1'?><a>\xe4</a>", false),
        (b"\xef\xbb\xbf<?xml version='1.0' encoding='ISO-8859-1'?><a/>", false),
        (b"\x00\x00\xfe\xff\x00\x00\x00<", false),
    ] {
        assert_eq!(judge(bytes, OOXML).is_ok(), good, "{bytes:?}");
    }
}

#[test]
fn a_flaw_says_where() {
    let flaw = check("<a>\n<b></c>\n</a>".as_bytes(), OOXML);
    assert_eq!(flaw, Err(Flaw { offset: 10, what: "an end tag that ends another element" }));
}

#[test]
fn depth_names_and_attributes_are_bounded() {
    assert!(check("<a>".repeat(101).as_bytes(), OOXML).is_err_and(|flaw| flaw.what.contains("nested")));
    let good = "<a>".repeat(100) + &"</a>".repeat(100);
    assert_eq!(check(good.as_bytes(), OOXML), Ok(()));
    let many: String = (0..70_000).map(|n| format!(" a{n}=''")).collect();
    assert!(check(format!("<a{many}/>").as_bytes(), OOXML).is_err_and(|flaw| flaw.what.contains("measure")));
    let many: String = (0..5_000).map(|n| format!(" xmlns:a{n}='u'")).collect();
    assert!(check(format!("<a{many}/>").as_bytes(), OOXML).is_err_and(|flaw| flaw.what.contains("measure")));
    let large: String = (0..2_000).map(|n| format!(" a{n}='{}'", "v".repeat(5_000))).collect();
    assert_eq!(check(format!("<a{large}/>").as_bytes(), OOXML), Ok(()), "values are not what is bounded");
}

#[test]
fn a_listener_hears_names_namespaces_and_values() {
    let mut heard = Vec::new();
    let text = "<r:a xmlns:r='u'><b xmlns='v' Target='x&amp;y&#x41;' r:id=\"1\"/></r:a>";
    let mut reader = Reader::new(OOXML);
    reader
        .feed(text.as_bytes(), &mut |element| {
            heard.push(format!(
                "{} {} {} {:?} {:?}",
                element.depth(),
                String::from_utf8_lossy(element.local()),
                String::from_utf8_lossy(element.namespace()),
                element.attribute(b"Target").map(String::from_utf8_lossy),
                element.attribute(b"id").map(String::from_utf8_lossy),
            ));
        })
        .unwrap();
    assert_eq!(heard, ["0 a u None None", "1 b v Some(\"x&yA\") Some(\"1\")"]);
}
