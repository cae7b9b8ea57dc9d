//! What benches and the counter of instructions share: requests as browsers send them, ready to be asked.

pub mod asked;
pub mod cases;
pub mod editor;
pub mod fields;
pub mod line;
pub mod numbers;
pub mod path;
pub mod token;
