//! The decisions of the gateway as functions over plain data: no sockets, files, clocks, logs or metrics below this line.

pub mod asset;
pub mod callback;
pub mod carrier;
pub mod class;
pub mod client;
pub mod copies;
pub mod follower;
pub mod frame;
pub mod headers;
pub mod host;
pub mod looked;
pub mod monitor;
pub mod objection;
pub mod origin;
pub mod packet;
pub mod path;
pub mod pick;
pub mod plain;
pub mod policy;
pub mod purpose;
pub mod query;
pub mod refusal;
pub mod retry;
pub mod route;
pub mod save;
pub mod shape;
pub mod socket;
pub mod strict;
pub mod table;
pub mod token;
pub mod trace;
pub mod urlhost;
pub mod visitor;

#[cfg(test)]
mod flows;
#[cfg(test)]
mod forged;
#[cfg(test)]
mod matrix;
#[cfg(test)]
mod seeded;
#[cfg(test)]
mod specimens;
