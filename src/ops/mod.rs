//! What people see of the gateway: log lines and numbers. Every room writes here; this room reads nobody.
pub mod log;
