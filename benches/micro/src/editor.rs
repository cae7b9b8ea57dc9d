//! An editor's socket: its first packet, judged at the door, and what comes behind it.

#![expect(clippy::unwrap_used, reason = "a bench that cannot be set up shall not run")]

use hyper::Method;
use rapidpm_gateway::rules::frame::{Kind, say_masked};
use rapidpm_gateway::rules::packet::Connect;
use rapidpm_gateway::rules::path::canonical;
use rapidpm_gateway::rules::policy::{Caller, Knock, Pass, Rules, knock};
use rapidpm_gateway::rules::route::{Switches, find};
use rapidpm_gateway::rules::token::Settings;

use crate::token::{KEY, now, open, sign};

/// A knock at the document's door.
pub fn at_door() -> Knock {
    let path = format!("/9.0.4-6c2544b8e86a3707c9cd6d6691fb2b5c/doc/{KEY}/c/");
    knock(&find(&canonical(&path).unwrap(), Switches::default()), &Method::GET).unwrap()
}

/// The CONNECT of an editor that opens a document: with the same token twice, as one was captured.
pub fn connect() -> String {
    let token = sign(&open());
    let data = serde_json::json!({
        "type": "auth", "docid": KEY, "documentCallbackUrl": "https://rapidpm.example/callback", "token": "fghhfgsjdgfjs",
        "user": {"id": "u1", "username": "User u1", "firstname": null, "lastname": null, "indexUser": -1},
        "editorType": 0, "lastOtherSaveTime": -1, "block": [], "sessionId": null, "sessionTimeConnect": null,
        "sessionTimeIdle": 0, "documentFormatSave": 65, "isCloseCoAuthoring": false,
        "openCmd": {
            "c": "open", "id": KEY, "userid": "u1", "format": "docx", "url": "https://rapidpm.example/files/t.docx",
            "title": "t.docx", "nobase64": true, "outputformat": 8193, "convertToOrigin": ".pdf.xps.oxps.djvu"
        },
        "lang": "en", "mode": "edit", "permissions": {"edit": true, "download": true, "print": true},
        "encrypted": false, "IsAnonymousUser": false, "timezoneOffset": 0, "headingsColor": null,
        "coEditingMode": "fast", "jwtOpen": token, "time": 2932, "supportAuthChangesAck": true
    });
    format!("40{}", serde_json::json!({"data": data, "token": token}))
}

/// Whether its packet lets an editor in.
pub fn judge(knock: &Knock, packet: &str, settings: &Settings) -> Option<Pass> {
    let caller = Caller { address: [192, 0, 2, 1].into(), now: now() };
    knock.admit(&Connect::parse(packet).ok()?, settings, &Rules::default(), caller).ok()
}

/// A frame that an editor sends again and again: where its cursor is.
pub fn cursor() -> Vec<u8> {
    say_masked(Kind::Text, br#"42["message",{"type":"cursor","cursor":"10;AgAAADEAAAAAAAAAAAAAAA=="}]"#)
}
