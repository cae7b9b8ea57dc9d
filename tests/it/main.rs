//! The promises of the gateway, one file each, against real sockets on ports that the system chose.

mod faults;
mod forwarding;
mod layout;
mod limits;
mod logging;
mod process;
mod restart;
mod rig;
mod sockets;
mod streaming;
mod wire;
