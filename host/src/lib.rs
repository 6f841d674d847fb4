//! Wirepost: a programmable message router between e-mail and SMS.
//!
//! Modules are declared in the order in which a message meets them; what stands beside its path
//! follows.

pub mod inbound;
pub mod intake;
pub mod plugin;
pub mod plugins;
pub mod pipeline;
pub mod route;
pub mod convert;
pub mod conversation;
pub mod loops;
pub mod plan;
pub mod spooler;
pub mod queue;
pub mod target;
pub mod outbound;
pub mod settle;
pub mod receipt;

pub mod router;
pub mod delivery;
pub mod ledger;
pub mod config;
pub mod generation;
pub mod rehearsal;
pub mod last_good;
pub mod lookup;
pub mod reload;
pub mod startup;
pub mod app;
pub mod platform;
pub mod observe;
pub mod admin;
pub mod sms;
pub mod tls;
pub mod wire;
pub mod cli;
