//! `[document_server]`: where the Document Servers are, and which of their closed routes are opened.

use std::time::Duration;

use super::context::value;
use super::{Context, Part};
use crate::config::{raw, url};
use crate::rules::route::Switches;
use crate::upstream::{Address, Settings};

/// Routes that stay closed unless opened by name.
pub fn switches(raw: &raw::DocumentServer) -> Switches {
    Switches {
        docbuilder: value(raw.docbuilder.as_ref(), false),
        ai_proxy: value(raw.ai_proxy.as_ref(), false),
        wopi: value(raw.wopi.as_ref(), false),
        example: value(raw.example.as_ref(), false),
    }
}

/// Servers and how their health is followed.
pub fn build(document_server: &Part<raw::DocumentServer>, context: &mut Context<'_>) -> Settings {
    let raw = document_server.get_ref();
    if let Some(example) = raw.example.as_ref().filter(|example| *example.get_ref()) {
        let message = "`document_server.example` opens the test pages, where anybody can upload and edit";
        context.report.warn(example.span(), message);
    }
    Settings {
        servers: servers(raw, context),
        health: context.duration(
            "document_server.health",
            raw.health.as_ref(),
            Duration::from_secs(5),
            Duration::from_millis(10)..=Duration::from_secs(60),
            "a server that is down must be noticed before its users give up",
        ),
        wait: context.duration(
            "document_server.wait",
            raw.wait.as_ref(),
            Duration::from_secs(5),
            Duration::ZERO..=Duration::from_secs(60),
            "browsers and users do not wait longer for an answer",
        ),
    }
}

fn servers(raw: &raw::DocumentServer, context: &mut Context<'_>) -> Vec<Address> {
    let Some(list) = raw.servers.as_ref() else {
        return vec![Address { host: "127.0.0.1".into(), port: 8088 }];
    };
    if list.get_ref().is_empty() {
        context.report.fault(list.span(), "`document_server.servers` is empty; name at least one");
    }
    let mut servers: Vec<Address> = Vec::new();
    for server in list.get_ref() {
        let address = &server.get_ref().0;
        if servers.contains(address) {
            context
                .report
                .fault(server.span(), "`document_server.servers`: this server stands there already");
        }
        if url::is_far(&address.host) {
            let message =
                "`document_server.servers`: documents travel there without encryption; use a private network";
            context.report.warn(server.span(), message);
        }
        servers.push(address.clone());
    }
    servers
}
