//! The promises of the gateway, one file each, against real sockets on ports that the system chose.

// A test that cannot go on fails loudly; the gateway itself never may.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod archive;
mod assets;
mod desk;
mod doctor;
mod editor;
mod faults;
mod forgotten;
mod forwarded;
mod forwarding;
mod handover;
mod health;
mod hold;
mod hosts;
mod layout;
mod leaving;
mod limits;
mod logging;
mod notify;
mod openssh;
mod origins;
mod own;
mod paths;
mod polling;
mod process;
mod raw;
mod readme;
mod relay;
mod relay_answers;
mod relay_captures;
mod relay_crash;
mod relay_disk;
mod relay_documents;
mod relay_door;
mod relay_seeds;
mod relay_stories;
mod relay_tls;
mod reload;
mod reload_load;
mod restart;
mod rig;
mod socket_io;
mod sockets;
mod sockets_again;
mod sockets_gate;
mod sockets_life;
mod streaming;
mod strict;
mod stub;
mod token_cli;
mod tokens;
mod wire;
mod would_refuse;
