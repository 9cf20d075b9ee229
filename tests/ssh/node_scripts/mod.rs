//! The scripts of a transaction in a temporary root, checked from outside:
//! what comes of a step that is done twice, and in which order bytes reach the
//! disk. No lab is needed; root is, because scripts act as accounts.

mod accounts;
mod edits;
mod fixture;
mod order;
mod refusals;
mod repeat;
mod same_daemon;
mod shutdown;
mod statements;
mod without_systemd;
