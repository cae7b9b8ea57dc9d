#![doc = include_str!("ARCHITECTURE.md")]

pub mod admin;
pub mod app;
pub mod cli;
pub mod config;
pub mod document;
pub mod edge;
pub mod live;
pub mod ops;
pub mod relay;
pub mod reload;
pub mod rules;
pub mod secret;
pub mod sockets;
pub mod state;
pub mod tls;
pub mod upstream;
