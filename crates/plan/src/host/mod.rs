//! One host as docker and systemd see it: the paths, units and contexts from its facts and the
//! inventory. Used by the plan, every module and every report; plans nothing.

pub mod address;
pub mod ca;
pub mod client;
pub mod daemon_json;
pub mod generations;
pub mod guard;
pub mod in_use;
pub mod init_script;
pub mod leaf;
pub mod loaded_unit;
pub mod read;
pub mod socket;
pub mod unit;
