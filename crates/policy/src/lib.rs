//! What a guard allows: the policy file, its roles, and the decision about one
//! request. Pure, and without HTTP: the guard and the controller share it.

mod decision;
mod document;
pub mod endpoints;
#[cfg(test)]
#[path = "../../../tests/support/page.rs"]
mod page;
mod path;
mod role;
mod serial;

pub use decision::{Client, Decision, Reason, Request, Verdict, decide};
pub use document::{
    Document, Identity, OwnRole, Policy, Problem, Revoked, Rule, WithoutCertificate,
};
pub use path::{Abnormal, ApiPath};
pub use role::Role;
pub use serial::Serial;
