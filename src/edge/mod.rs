//! The public listener: sockets in, one snapshot a request, answers out.

mod body;
mod conn;
mod core;
mod exchange;
mod handler;
mod listener;
mod own;
mod pulse;
mod redirect;
mod relay;
mod respond;
mod stream;
mod upgrade;

pub use core::{Core, Stage};
pub use listener::{Arrival, Census, Door, Listener, Load, Seat, accept};
pub use pulse::Deadlines;
