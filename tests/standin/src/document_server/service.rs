//! The services for integrators and editors: commands, conversions, uploads, downloads, each with its own place for a token.

use super::{State, cache, saving, session};
use crate::answer::{self, Answer, object};
use crate::path::{self, Target};
use crate::record::Counted;
use crate::server::Life;
use crate::token::{self, Refusal};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Limited};
use hyper::header::HeaderMap;
use hyper::{Method, Request};
use serde_json::{Map, Value, json};
use std::sync::Arc;

const JSON: &str = "application/json; charset=UTF-8";
/// The largest image.
const IMAGE: usize = 26_214_400;
/// The largest body of any service.
const BODY: usize = 104_857_600;
/// How much of an upload is kept.
const KEPT: usize = 4 << 20;

/// The parameters of a service request: whatever the token claims, or why it was refused and what the request said itself.
fn parameters(
    state: &State,
    target: &Target,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Value, (Refusal, Value)> {
    let plain = serde_json::from_slice::<Value>(body).ok().filter(Value::is_object);
    let plain = plain.unwrap_or_else(|| {
        path::fields(&target.query)
            .into_iter()
            .map(|(name, value)| (name, Value::from(value)))
            .collect::<Map<_, _>>()
            .into()
    });
    let in_body = plain["token"].as_str().filter(|token| !token.is_empty());
    if !state.options.jwt {
        return Ok(plain);
    }
    // A token in the body is the only one that counts, even when it is bad and the header's is good.
    let found = in_body.or_else(|| header_token(headers, &state.options.header, &state.options.prefix));
    let claims = token::verify(found, &state.options.secret, &state.options.now)
        .map_err(|refusal| (refusal, plain))?;
    let mut merged = claims.as_object().cloned().unwrap_or_default();
    for name in ["payload", "query"] {
        if let Some(inner) = claims[name].as_object() {
            merged.extend(inner.clone());
        }
    }
    Ok(merged.into())
}

fn header_token<'a>(headers: &'a HeaderMap, name: &str, prefix: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()?.strip_prefix(prefix)
}

/// Reads a whole body, or answers as nginx does to one that is too long.
async fn whole(request: Request<Counted>, most: usize) -> Result<Bytes, Answer> {
    let body = Limited::new(request.into_body(), most).collect().await;
    body.map(http_body_util::Collected::to_bytes).map_err(|_| answer::nginx(413))
}

/// Reads a body of any size and keeps no more than its first part: 100 MiB cost 4.
async fn sink(request: Request<Counted>) -> Result<(Vec<u8>, u64), Answer> {
    let mut body = Limited::new(request.into_body(), BODY);
    let (mut kept, mut length) = (Vec::new(), 0);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| answer::nginx(413))?;
        let Some(data) = frame.data_ref() else { continue };
        length += data.len() as u64;
        let room = KEPT - kept.len().min(KEPT);
        kept.extend_from_slice(&data[..data.len().min(room)]);
    }
    Ok((kept, length))
}

/// `/command` and `/coauthoring/CommandService.ashx`.
pub(super) async fn command(
    state: &Arc<State>,
    life: &Life,
    target: &Target,
    request: Request<Counted>,
) -> Answer {
    let headers = request.headers().clone();
    let body = match whole(request, BODY).await {
        Ok(body) => body,
        Err(answer) => return answer,
    };
    let said = match parameters(state, target, &headers, &body) {
        Ok(said) => said,
        Err((refusal, plain)) => {
            let code = if refusal == Refusal::Expired { 7 } else { 6 };
            return answer::express(
                200,
                "application/json",
                object(&[("key", plain["key"].clone()), ("error", code.into())]),
            );
        }
    };
    answer::express(200, "application/json", order(state, life, &headers, &said))
}

/// Carries a command out and gives the body of its answer.
fn order(state: &Arc<State>, life: &Life, headers: &HeaderMap, said: &Value) -> String {
    let key = said["key"].as_str().unwrap_or_default();
    let result = |code: u32| object(&[("key", said["key"].clone()), ("error", code.into())]);
    let known =
        || state.documents.lock().unwrap().get(key).is_some_and(|document| !document.participants.is_empty());
    match said["c"].as_str().unwrap_or_default() {
        "version" => object(&[
            ("error", 0.into()),
            ("version", format!("{}.{}", state.options.version, state.options.build).into()),
        ]),
        "license" => license(state),
        "getForgottenList" => {
            let keys: Vec<String> = state.forgotten.borrow().keys().cloned().collect();
            object(&[("error", 0.into()), ("keys", keys.into())])
        }
        "getForgotten" => {
            let Some(bytes) = state.forgotten.borrow().get(key).cloned() else { return result(1) };
            let stored = cache::put(state, &format!("forgotten/{key}/output.docx"), bytes);
            let link = cache::link(state, &stored, "output.docx", key, 900);
            let url = format!("{}{link}", super::host::base(headers));
            object(&[("key", key.into()), ("error", 0.into()), ("url", url.into())])
        }
        "deleteForgotten" => {
            let known = state.forgotten.send_if_modified(|all| all.remove(key).is_some());
            result(u32::from(!known))
        }
        "info" | "meta" | "drop" | "forcesave" | "saved" if !known() => result(1),
        "info" => {
            let (users, first) =
                state.documents.lock().unwrap().get(key).map_or_else(Default::default, |document| {
                    let users = document.editor_ids();
                    let first = users.first().cloned().unwrap_or_default();
                    (users, first)
                });
            drop(saving::report(state, life, key, 1, &first, None));
            object(&[("key", key.into()), ("error", 0.into()), ("users", users.into())])
        }
        "drop" => {
            let users: Vec<&str> =
                said["users"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            if let Some(document) = state.documents.lock().unwrap().get(key) {
                document
                    .drop_users(&users, &session::message(&[("type", "drop".into()), ("code", "".into())]));
            }
            result(0)
        }
        "forcesave" if !saving::has_unsaved(state, key) => result(4),
        "forcesave" => {
            let (state, key, userdata) =
                (Arc::clone(state), key.to_owned(), said["userdata"].as_str().map(str::to_owned));
            life.spawn(async move {
                saving::force(&state, &key, 0, "", userdata.as_deref()).await;
            });
            result(0)
        }
        "meta" | "saved" => {
            if let Some(document) = state.documents.lock().unwrap().get(key) {
                document
                    .push(&session::message(&[("type", "meta".into()), ("messages", said["meta"].clone())]));
            }
            result(0)
        }
        _ => object(&[("error", 1.into())]),
    }
}

fn license(state: &State) -> String {
    let license = json!({
        "start_date": "2026-11-01T00:00:00.000Z", "end_date": null, "timelimited": false, "trial": false, "developer": false,
        "branding": false, "customization": false, "advanced_api": false, "connections": 20, "connections_view": 20,
        "users_count": 0, "users_view_count": 0, "users_expire": 1, "customer_id": "", "alias": "", "multitenancy": false,
    });
    let server = json!({
        "workersCount": 1, "resultType": 3, "packageType": 0, "buildDate": "2016-06-29T00:00:00.000Z",
        "buildVersion": state.options.version, "buildNumber": state.options.build,
    });
    object(&[
        ("error", 0.into()),
        ("license", license),
        ("server", server),
        ("quota", json!({"users": [], "users_view": []})),
    ])
}

/// `/converter` and `/ConvertService.ashx`; the latter answers XML unless JSON is asked for.
pub(super) async fn convert(state: &Arc<State>, target: &Target, request: Request<Counted>) -> Answer {
    let headers = request.headers().clone();
    let accepts_json = headers
        .get("accept")
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("application/json"));
    let xml = target.path.to_lowercase().contains("convertservice.ashx") && !accepts_json;
    let base = super::host::base(&headers);
    let body = match whole(request, BODY).await {
        Ok(body) => body,
        Err(answer) => return answer,
    };
    let Ok(said) = parameters(state, target, &headers, &body) else { return conversion(xml, &Err(-8)) };
    let text = |name: &str| said[name].as_str().unwrap_or_default().to_owned();
    let kind = if said["outputtype"].is_string() { text("outputtype") } else { text("outputType") };
    let folder = format!("data/conv_{}_513", text("key"));
    let title = text("title");
    let stem = title.rsplit_once('.').map_or(title.as_str(), |(stem, _)| stem).to_owned();
    let name = format!("{}.{kind}", if stem.is_empty() { "output" } else { &stem });
    let stored = format!("{folder}/output.{kind}");
    let known = state.files.lock().unwrap().contains_key(&stored);
    if !known {
        let work = make(Arc::clone(state), text("url"), kind.clone(), stored.clone());
        if said["async"] == true {
            // The first question starts the work, a later one finds its result.
            tokio::spawn(work);
            return answer::express(
                200,
                JSON,
                object(&[("percent", 0.into()), ("endConvert", false.into())]),
            );
        }
        if !work.await {
            return conversion(xml, &Err(-4));
        }
    }
    let shardkey = target.field("shardkey").unwrap_or_else(|| text("key"));
    conversion(xml, &Ok((format!("{base}{}", cache::link(state, &stored, &name, &shardkey, 900)), kind)))
}

/// "Converts": the text of the source in the wanted type.
async fn make(state: Arc<State>, url: String, kind: String, stored: String) -> bool {
    let Some(source) = session::download(&state, &url).await else { return false };
    let output = crate::zip::document(&kind, &crate::zip::text_of(&source));
    cache::put(&state, &stored, output);
    true
}

fn conversion(xml: bool, result: &Result<(String, String), i32>) -> Answer {
    let body = match (xml, result) {
        (false, Err(code)) => object(&[("error", (*code).into())]),
        (false, Ok((url, kind))) => object(&[
            ("fileUrl", url.as_str().into()),
            ("fileType", kind.as_str().into()),
            ("percent", 100.into()),
            ("endConvert", true.into()),
        ]),
        (true, Err(code)) => format!(
            "<?xml version=\"1.0\" encoding=\"utf-8\"?><FileResult><Error>{code}</Error></FileResult>"
        ),
        (true, Ok((url, kind))) => {
            let url = url.replace('&', "&amp;");
            format!(
                "<?xml version=\"1.0\" encoding=\"utf-8\"?><FileResult><FileUrl>{url}</FileUrl><FileType>{kind}</FileType><Percent>100</Percent><EndConvert>True</EndConvert></FileResult>"
            )
        }
    };
    answer::express(200, if xml { "text/xml; charset=UTF-8" } else { JSON }, body)
}

/// `/docbuilder`: any token with the right signature opens it, as in 9.0.4; a gateway has to stand in front.
pub(super) async fn builder(state: &Arc<State>, target: &Target, request: Request<Counted>) -> Answer {
    let headers = request.headers().clone();
    let body = match whole(request, BODY).await {
        Ok(body) => body,
        Err(answer) => return answer,
    };
    match parameters(state, target, &headers, &body) {
        Err(_) => conversion(false, &Err(-8)),
        Ok(said) => {
            let key = said["key"].as_str().unwrap_or("builder").to_owned();
            let stored = cache::put(state, &format!("data/{key}/output.txt"), b"built".to_vec());
            let url = format!(
                "{}{}",
                super::host::base(&headers),
                cache::link(state, &stored, "output.txt", &key, 900)
            );
            answer::express(
                200,
                JSON,
                object(&[("key", key.into()), ("urls", json!({"output.txt": url})), ("end", true.into())]),
            )
        }
    }
}

/// The claims of a token that the Document Server accepts.
fn claims_of(state: &State, token: Option<&str>) -> Option<Value> {
    token::verify(token, &state.options.secret, &state.options.now).ok()
}

/// `/upload/{key}`: `Authorization: Bearer` whatever JWT_HEADER says, else the query.
pub(super) async fn upload(state: &Arc<State>, target: &Target, request: Request<Counted>) -> Answer {
    let in_query = target.field("token");
    let found = header_token(request.headers(), "Authorization", "Bearer ").or(in_query.as_deref());
    let Some(claims) = claims_of(state, found) else { return answer::plain(403) };
    let base = super::host::base(request.headers());
    let image = request
        .headers()
        .get("content-type")
        .and_then(|kind| kind.to_str().ok())
        .is_some_and(|kind| kind.starts_with("image/"));
    let Ok(body) = whole(request, IMAGE).await else { return answer::plain(413) };
    if !image {
        return answer::plain(415);
    }
    let key = claims["document"]["key"].as_str().unwrap_or_default().to_owned();
    let name = format!("media/image{}.png", state.number());
    let stored = cache::put(state, &format!("data/{key}/{name}"), body.to_vec());
    let short = name.rsplit('/').next().unwrap_or_default().to_owned();
    let url = format!("{base}{}", cache::link(state, &stored, &short, &key, 30 * 86_400));
    answer::express(200, "application/json; charset=utf-8", json!({ name: url }).to_string())
}

/// `/downloadas/{key}` and `/savefile/{key}`: the token sits inside `cmd` of the query.
pub(super) async fn with_command(
    state: &Arc<State>,
    target: &Target,
    request: Request<Counted>,
    save: bool,
) -> Answer {
    let Some(order) = target.field("cmd").and_then(|cmd| serde_json::from_str::<Value>(&cmd).ok()) else {
        return answer::plain(400);
    };
    let names: &[&str] = if save { &["tokenSession"] } else { &["tokenDownload", "tokenSession"] };
    let found = names.iter().find_map(|name| order[name].as_str());
    let Some(claims) = claims_of(state, found) else { return answer::plain(403) };
    let base = super::host::base(request.headers());
    let (kept, length) = match sink(request).await {
        Ok(body) => body,
        Err(answer) => return answer,
    };
    let key = claims["document"]["key"].as_str().or(target.segment(1)).unwrap_or_default().to_owned();
    let title = order["title"].as_str().unwrap_or("output.bin").to_owned();
    let kind = title.rsplit('.').next().unwrap_or("bin").to_owned();
    let folder = format!("data/{key}_{}", 1000 + state.number());
    let stored = if kept.len() as u64 == length {
        cache::put(state, &format!("{folder}/output.{kind}"), kept)
    } else {
        format!("{folder}/size-{length}")
    };
    let url = format!("{base}{}", cache::link(state, &stored, &title, &key, 900));
    let said = object(&[
        ("type", "save".into()),
        ("status", "ok".into()),
        ("data", url.into()),
        ("filetype", kind.into()),
    ]);
    if !save {
        // The result comes over the socket; the answer only counts the parts.
        if let Some(document) = state.documents.lock().unwrap().get(&key) {
            document.push(&format!("42[\"message\",{{\"type\":\"documentOpen\",\"data\":{said}}}]"));
        }
    }
    answer::express(
        200,
        "application/json; charset=utf-8",
        object(&[("type", "save".into()), ("status", "ok".into()), ("data", key.into())]),
    )
}

/// `/printfile/{key}/{name}`: the token's key must begin the path's key.
pub(super) fn print(state: &State, target: &Target) -> Answer {
    let in_query = target.field("token");
    let Some(claims) = claims_of(state, in_query.as_deref()) else { return answer::plain(403) };
    let key = claims["document"]["key"].as_str().unwrap_or_default();
    if key.is_empty() || !target.segment(1).unwrap_or_default().starts_with(key) {
        return answer::plain(403);
    }
    let name = target.field("filename").unwrap_or_else(|| "print.pdf".into());
    let mut answer = answer::answer(200, "application/pdf", "%PDF-1.4\n% a print of the stand-in\n");
    answer::set(
        &mut answer,
        "content-disposition",
        &format!("inline; filename*=UTF-8''{}", path::encode(&name)),
    );
    answer
}

/// `/downloadfile/{key}`: the token of the body or of the integrator's header; streams what it names.
pub(super) async fn download(state: &Arc<State>, request: Request<Counted>) -> Answer {
    let headers = request.headers().clone();
    let post = request.method() == Method::POST;
    let body = match whole(request, BODY).await {
        Ok(body) => body,
        Err(answer) => return answer,
    };
    let said = serde_json::from_slice::<Value>(&body).unwrap_or(Value::Null);
    let in_body = if post { said["token"].as_str() } else { None };
    let found = in_body.or_else(|| header_token(&headers, &state.options.header, &state.options.prefix));
    let Some(claims) = claims_of(state, found) else { return answer::plain(403) };
    let url = [&claims["changesUrl"], &claims["url"], &claims["document"]["url"]]
        .into_iter()
        .find_map(Value::as_str);
    let Some(url) = url else { return answer::plain(403) };
    match session::download(state, url).await {
        Some(bytes) => {
            let range = headers.get("range").and_then(|range| range.to_str().ok());
            cache::content_answer(
                &cache::Content::Bytes(bytes.into()),
                "application/octet-stream",
                1_700_000_000,
                range,
            )
        }
        None => answer::plain(404),
    }
}

/// `/ai-proxy`: in 9.0.4 any bearer will do, also one that is nonsense.
pub(super) async fn ai(request: Request<Counted>) -> Answer {
    let bearer =
        header_token(request.headers(), "Authorization", "Bearer ").is_some_and(|token| !token.is_empty());
    if !bearer {
        return answer::express(
            403,
            "application/json; charset=utf-8",
            r#"{"error":{"message":"proxy request failed: no token","code":403}}"#,
        );
    }
    let length = match whole(request, BODY).await {
        Ok(body) => body.len(),
        Err(answer) => return answer,
    };
    answer::express(
        200,
        "application/json; charset=utf-8",
        json!({"reached": "ai-proxy", "bytes": length}).to_string(),
    )
}
