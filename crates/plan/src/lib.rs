//! The plan: compares the wanted state with the facts, and gives the changes.
//!
//! Contains the rules that modules plan by, and the checks after planning. Nothing here does I/O,
//! so every rule is a table of facts and changes; everything a run does is in the plan before it
//! starts.

pub mod adopt;
mod adopted;
mod anchor;
mod arrived;
mod authority;
mod authority_profile;
mod change;
mod clocks;
mod decision;
mod engine;
mod expiry;
mod files;
pub mod follow;
mod foreign;
mod former_directory;
mod former_role;
pub mod host;
mod issued;
pub mod launch;
mod leaf;
mod left_contexts;
mod lost;
mod marks;
mod modes;
pub mod module;
mod moves;
mod not_followed;
pub mod orchestrator;
mod others;
mod outside;
mod owner;
mod place;
mod planned;
mod planner;
pub mod playbook;
pub mod preflight;
mod reach;
mod readable;
mod readmission;
mod refusal;
mod renewal;
mod resolved;
pub mod revoked;
mod rolling;
mod rollover;
mod shown;
mod undeployed;
mod under_way;
mod unnamed;
mod unrenewed;
pub mod unsettled;
mod unused;
pub mod window;

pub use arrived::{LeftKey, left_keys};
pub use authority::{Authority, AuthorityProblem};
pub use change::{
    Action, AttributeFault, Awaited, Change, Content, FileChange, Forget, LeafPart, Restart,
    Served, ServiceVerb, TextDiff,
};
pub use decision::LeafDecision;
pub use engine::Containers;
pub use files::Desired;
pub use former_directory::{former_described, former_key, former_removal};
pub use former_role::{FormerRole, former_roles};
pub use issued::{check_issued_names, issued_names, leaves_of};
pub use leaf::{
    LookedAt, PairFault, asked_renewal, look_at as look_at_leaf, request as request_leaf,
    wanted_sans,
};
pub use left_contexts::{LeftContext, left_contexts};
pub use lost::{
    accepts_none, before_new_authority, deploy_or_drop, is_undeployed, lost_since,
    request_undeployed,
};
pub use marks::{Marks, Unknown};
pub use not_followed::{NotFollowed, Why};
pub use others::leave_out_shared;
pub use outside::{Outside, declared, outside_of};
pub use owner::{OWNER, record as owner_record};
pub use place::{Kind, Place};
pub use planned::{Batch, Note, Plan, PlanProblem, PlannedHost, PlannedPlay};
pub use planner::{Planner, recorded_input};
pub use readable::readable_by_others;
pub use readmission::{InForce, is_older, judge_older};
pub use refusal::{Refusal, RefusalKind};
pub use renewal::{
    Renewal, authority_warning, clocks, renewal, renewal_window, revoked as revoked_reason,
};
pub use rollover::{Behind, NEXT_ONLY, RESTARTING, Rollover, STEPS, Trust};
pub use shown::ForeignValues;
pub use under_way::{UnderWay, meanwhile};
pub use unnamed::{UPDATE_POLICIES, Unnamed, guards_elsewhere, policies_in, unnamed};
pub use unsettled::by_hand;

pub(crate) use engine::is_swarm_manager;
pub(crate) use former_directory::former;
pub(crate) use renewal::left_to_deploy;
