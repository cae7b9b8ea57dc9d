//! `[assets]`: how much of the editor is kept in memory.

use super::{Context, Part};
use crate::assets::Settings;
use crate::config::raw;
use crate::config::values::Memory;

/// Everything that one kind of editor asks for, as gzip and as brotli, takes 15 MB; three kinds share half of it.
const DEFAULT: u64 = 64 << 20;
/// Below it nothing of use fits: the largest script alone has 4.3 MB, and one file may have a quarter.
const LEAST: u64 = 16 << 20;
/// More than the whole container has.
const MOST: u64 = 1 << 30;

/// How much is kept.
pub fn build(assets: &Part<raw::Assets>, context: &mut Context<'_>) -> Settings {
    let Some(written) = assets.get_ref().memory.as_ref() else { return Settings { memory: DEFAULT } };
    let Memory(memory) = *written.get_ref();
    if memory != 0 && !(LEAST..=MOST).contains(&memory) {
        let message = "`assets.memory` must be \"off\" or from 16MiB to 1GiB: below it the editor's scripts do not fit, \
            and beyond it there is nothing more to keep";
        context.report.fault(written.span(), message);
    }
    Settings { memory }
}
