//! From a raw path to its row of the table.

use rapidpm_gateway::rules::path::{PathFault, canonical};
use rapidpm_gateway::rules::route::{Route, Switches, find};

/// A script of the editor.
pub const VERSIONED: &str =
    "/9.0.4-6c2544b8e86a3707c9cd6d6691fb2b5c/web-apps/apps/documenteditor/main/app.js";

/// One spelling, then the route.
///
/// # Errors
/// When there is no one spelling.
pub fn decide(raw: &str) -> Result<Route, PathFault> {
    canonical(raw).map(|path| find(&path, Switches::default()).route())
}
