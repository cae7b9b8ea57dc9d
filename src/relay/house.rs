//! What the relay needs of the running configuration, which it cannot see itself: the floor above hands it in, whole.

use super::{Integrator, Settings};
use crate::rules::carrier::TokenField;
use crate::rules::host::PublicUrl;
use crate::rules::route::Switches;
use crate::rules::save::Limits;
use crate::upstream::Servers;

/// The running configuration as the relay sees it. Loaded once for each step, used to its end.
pub trait House: Send + Sync {
    /// Integrators and saves.
    fn relay(&self) -> &Settings;
    /// Document Servers.
    fn servers(&self) -> &Servers;
    /// What browsers and integrators see; the first is what links are made from.
    fn public(&self) -> &[PublicUrl];
    /// Which closed routes are open.
    fn routes(&self) -> Switches;
    /// `[jwt]`'s header and prefix.
    fn own_field(&self) -> TokenField;
}

/// The integrator of that name.
pub fn integrator<'h>(house: &'h dyn House, name: &str) -> Option<&'h Integrator> {
    house.relay().integrators.iter().find(|integrator| integrator.name == name)
}

/// The header and prefix that an integrator knows.
pub fn field(house: &dyn House, integrator: &Integrator) -> TokenField {
    let own = house.own_field();
    TokenField {
        name: integrator.header.clone().unwrap_or(own.name),
        prefix: integrator.prefix.clone().unwrap_or(own.prefix),
    }
}

/// `[saves]` as the machine takes it.
pub fn limits(house: &dyn House) -> Limits {
    let saves = &house.relay().saves;
    let millis = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    Limits {
        answer_within: millis(saves.answer_within),
        keep_trying: millis(saves.keep_trying),
        hold_editors: millis(saves.hold_editors),
    }
}
