//! `GET /api/v1/would-refuse`: what a stricter configuration would have refused since the start.

use serde_json::Value;

use super::Admin;
use crate::live::Mode;

/// The page; `doctor --would-refuse` reads it.
pub fn page(admin: &Admin) -> Value {
    let mut page = admin.ops.objections.to_json();
    page["mode"] = match admin.live.load().settings.mode {
        Mode::Enforce => "enforce".into(),
        Mode::Observe => "observe".into(),
    };
    page
}
