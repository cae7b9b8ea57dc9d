//! The promises of the gateway, one file each, against real sockets on ports that the system chose.

mod forwarded;
mod forwarding;
mod hosts;
mod layout;
mod own;
mod paths;
mod raw;
mod rig;
mod tokens;
