//! The public listener: sockets in, one snapshot a request, answers out.

mod asset;
mod body;
mod conn;
mod core;
mod cork;
mod exchange;
mod handler;
mod handshake;
mod inherited;
mod listener;
mod own;
mod polling;
mod pulse;
mod redirect;
mod relay;
mod respond;
mod socket;
mod stream;
mod upgrade;

pub use core::{Core, House, Stage};
pub use inherited::Inherited;
pub use listener::{Arrival, Census, Door, Listener, Load, Seat, accept, listen};
pub use pulse::Deadlines;
