//! The CA: what it promises, what it keeps, and what the real `openssl` makes
//! of it.

mod adopt;
mod agent;
mod authority;
mod crash;
mod openssl;
mod rollover;
mod serve;
