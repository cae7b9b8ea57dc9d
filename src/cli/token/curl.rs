//! A command line that tries a token out: the very request that the rules were asked with.

use super::Known;
use super::explain::{Explanation, LONGEST_IN_HEADER};
use super::openings::Opening;
use crate::rules::class::Class;
use crate::rules::route::Route;
use crate::rules::table::Carrier;

/// Routes that show the most with the least, first.
const ORDER: [Route; 9] = [
    Route::Command,
    Route::Converter,
    Route::DocBuilder,
    Route::Upload,
    Route::PrintFile,
    Route::DownloadFile,
    Route::DownloadAs,
    Route::SaveFile,
    Route::AiProxy,
];

/// The command line. Tokens for an application go to that application, not to the gateway.
pub fn line(
    token: &str,
    explained: &Explanation,
    callback_url: Option<&str>,
    known: &Known,
) -> Result<String, String> {
    if let Some(line) = for_application(token, explained, callback_url, known)? {
        return Ok(line);
    }
    let Some(public) = &known.public else {
        return Err("--curl needs a configuration: public_url stands there".to_owned());
    };
    let wrapped = explained.says.as_ref().is_some_and(|says| says.wrapped);
    let carriers: [Carrier; 6] = match wrapped && explained.length <= LONGEST_IN_HEADER {
        true => [
            Carrier::Header,
            Carrier::Bearer,
            Carrier::Body,
            Carrier::Query,
            Carrier::CmdDownload,
            Carrier::CmdSession,
        ],
        false => [
            Carrier::Body,
            Carrier::Bearer,
            Carrier::Header,
            Carrier::Query,
            Carrier::CmdDownload,
            Carrier::CmdSession,
        ],
    };
    let opens = |route: Route, carrier: Carrier| {
        explained.openings.iter().find(|opening| {
            opening.route == route && opening.carrier == Some(carrier) && opening.answer.is_ok()
        })
    };
    let best = ORDER
        .into_iter()
        .flat_map(|route| carriers.into_iter().map(move |carrier| (route, carrier)))
        .find_map(|(route, carrier)| opens(route, carrier));
    match best {
        Some(opening) => Ok(request(public, opening)),
        None => Err("--curl: no route of the gateway takes this token by HTTP; \
                     an editor shows it in its socket, or `token verify` says what is wrong with it"
            .to_owned()),
    }
}

fn request(public: &str, opening: &Opening) -> String {
    let sample = &opening.sample;
    let query = sample.query.as_ref().map(|query| format!("?{query}")).unwrap_or_default();
    let mut words = vec!["curl -sS".to_owned()];
    if sample.method != hyper::Method::GET {
        words.push(format!("-X {}", sample.method));
    }
    if let Some((name, value)) = &sample.header {
        words.push(format!("-H {}", quoted(&format!("{}: {value}", title(name.as_str())))));
    }
    match &sample.body {
        Some(body) => {
            words.push("-H 'Content-Type: application/json'".to_owned());
            words.push(format!("-d {}", quoted(body)));
        }
        None => match opening.route {
            Route::Upload => {
                words.push("-H 'Content-Type: image/png' --data-binary @image.png".to_owned());
            }
            // With an empty body the claims are all there is to the request.
            _ if sample.method != hyper::Method::GET => {
                words.push("-H 'Content-Type: application/json' -d '{}'".to_owned());
            }
            _ => {}
        },
    }
    words.push(quoted(&format!("{public}{}{query}", sample.path)));
    words.join(" ")
}

/// Callbacks and downloads are what the Document Server asks of an application.
fn for_application(
    token: &str,
    explained: &Explanation,
    callback_url: Option<&str>,
    known: &Known,
) -> Result<Option<String>, String> {
    let value = format!("{}: {}{token}", title(known.tokens.header.as_str()), known.tokens.prefix);
    match explained.class() {
        Some(Class::Download) => {
            let url = explained.says.as_ref().and_then(|says| says.claims.pointer("/payload/url")?.as_str());
            let url = url.ok_or("--curl: this token names no URL")?;
            Ok(Some(format!("curl -sS -H {} {}", quoted(&value), quoted(url))))
        }
        Some(Class::Callback) => {
            let url = callback_url
                .ok_or("--curl: a callback goes to the application; --callback-url says where")?;
            let body = serde_json::json!({ "token": token }).to_string();
            let kind = "-H 'Content-Type: application/json'";
            Ok(Some(format!("curl -sS -X POST {kind} -d {} {}", quoted(&body), quoted(url))))
        }
        _ => Ok(None),
    }
}

/// `authorization-jwt` as people write it.
fn title(name: &str) -> String {
    let mut start = true;
    let letter = |c: char| {
        let written = if start { c.to_ascii_uppercase() } else { c };
        start = c == '-';
        written
    };
    name.chars().map(letter).collect()
}

/// One word for a shell, whatever is in it.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::explain::explain;
    use super::super::found::Found;
    use super::super::guess::tests::{NOW, at, known, sign};
    use super::*;

    fn line_for(claims: &Value, callback_url: Option<&str>) -> Result<String, String> {
        let mut known = known();
        known.public = Some("https://office.example:8443/x".to_owned());
        known.tokens.header = hyper::header::HeaderName::from_static("authorizationjwt");
        known.tokens.prefix = "JWT ".to_owned();
        let token = sign(claims);
        let found = Found { token: token.clone(), from: String::new(), note: None };
        let explained = explain(&found, &mut known, at(NOW));
        line(&token, &explained, callback_url, &known).map(|line| line.replace(&token, "TOKEN"))
    }

    #[test]
    fn carriers_headers_and_prefixes_are_those_of_the_route() {
        let json = "-H 'Content-Type: application/json'";
        let at = "https://office.example:8443/x";
        let session = json!({"document": {"key": "k"}, "editorConfig": {"ds_sessionTimeConnect": 1}});
        let url = "https://a.example/it's.docx";
        let table = [
            (
                json!({"c": "version"}),
                format!("curl -sS -X POST {json} -d '{{\"token\":\"TOKEN\"}}' '{at}/command'"),
            ),
            (
                json!({"payload": {"c": "version"}}),
                format!("curl -sS -X POST -H 'Authorizationjwt: JWT TOKEN' {json} -d '{{}}' '{at}/command'"),
            ),
            (
                json!({"url": url, "outputtype": "pdf"}),
                format!("curl -sS -X POST {json} -d '{{\"token\":\"TOKEN\"}}' '{at}/converter'"),
            ),
            (
                session,
                format!(
                    "curl -sS -X POST -H 'Authorization: Bearer TOKEN' -H 'Content-Type: image/png' --data-binary @image.png '{at}/upload/k'"
                ),
            ),
            (
                json!({"document": {"key": "k"}}),
                format!("curl -sS '{at}/printfile/k/document.pdf?token=TOKEN'"),
            ),
            (
                json!({"document": {"key": "k", "url": url}}),
                format!("curl -sS -X POST {json} -d '{{\"token\":\"TOKEN\"}}' '{at}/downloadfile/k'"),
            ),
            (
                json!({"payload": {"url": url}}),
                r"curl -sS -H 'Authorizationjwt: JWT TOKEN' 'https://a.example/it'\''s.docx'".to_owned(),
            ),
            (
                json!({"key": "k", "status": 1}),
                format!("curl -sS -X POST {json} -d '{{\"token\":\"TOKEN\"}}' 'https://a.example/save?x=1'"),
            ),
        ];
        for (claims, expected) in table {
            assert_eq!(line_for(&claims, Some("https://a.example/save?x=1")), Ok(expected), "{claims}");
        }
    }

    #[test]
    fn what_opens_nothing_has_no_command_line() {
        for (claims, words) in [
            (json!({"async": true, "url": "https://a.example/b"}), "no route"),
            (json!({"x": 1}), "no route"),
            (json!({"c": "version", "exp": 1}), "no route"),
            (json!({"key": "k", "status": 1}), "--callback-url"),
        ] {
            let fault = line_for(&claims, None).unwrap_err();
            assert!(fault.contains(words), "{claims}: {fault}");
        }
    }

    #[test]
    fn a_shell_reads_one_word() {
        assert_eq!(quoted("a b"), "'a b'");
        assert_eq!(quoted("it's; rm -rf ~"), r"'it'\''s; rm -rf ~'");
        assert_eq!(title("authorizationjwt"), "Authorizationjwt");
        assert_eq!(title("x-own-token"), "X-Own-Token");
    }
}
