//! `[sockets]`: which pages may open editor sockets.

use super::context::value;
use super::site::origin;
use super::{Context, Part};
use crate::config::raw;
use crate::config::read::{Wrong, report_wrong};
use crate::config::suggest::nearest;
use crate::sockets::{KeyBinding, Settings};

/// Sockets with their cap, which stands in `[limits]`.
pub fn build(
    sockets: &Part<raw::Sockets>,
    limits: &Part<raw::Limits>,
    context: &mut Context<'_>,
) -> Settings {
    let raw = sockets.get_ref();
    let mut origins: Vec<String> = Vec::new();
    let mut without_origin = false;
    for entry in raw.origins.iter().flat_map(|list| list.get_ref()) {
        match allowed(entry.get_ref()) {
            Ok(None) => without_origin = true,
            Ok(Some(origin)) if origins.contains(&origin) => {}
            Ok(Some(origin)) => origins.push(origin),
            Err(wrong) => {
                report_wrong("sockets.origins", entry.get_ref(), wrong, entry.span(), context.report)
            }
        }
    }
    Settings {
        key_binding: value(raw.key_binding.as_ref(), KeyBinding::Log),
        origins,
        without_origin,
        polling: value(raw.polling.as_ref(), true),
        per_document: context.number(
            "limits.sockets_per_document",
            limits.get_ref().sockets_per_document.as_ref(),
            500,
            1..=100_000,
            "the Document Server sends every change to each of them",
        ),
    }
}

/// An origin; `None` for `"none"`.
fn allowed(entry: &str) -> Result<Option<String>, Wrong> {
    match entry {
        "none" => Ok(None),
        // Sandboxed frames and files say it, foreign pages can as well: only where somebody wrote it down.
        "null" => Ok(Some(entry.to_owned())),
        "*" => Err(Wrong::new("would let every page on the web open sockets; name the origins")),
        _ if entry.contains("://") => origin(entry).map(Some),
        _ => Err(Wrong::meaning(
            "is neither \"none\" nor \"null\" nor an origin such as \"https://rapidpm.uk\"",
            nearest(entry, ["none"]),
        )),
    }
}
