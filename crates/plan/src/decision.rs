//! The decision about one leaf.

use pki::{Certificate, LeafRequest};

/// The decision about one leaf.
#[derive(Debug, Clone)]
pub enum LeafDecision {
    /// The pair on the node is right.
    Keep { certificate: Box<Certificate> },
    /// A pair that was issued earlier is still on the CA node.
    Fetch {
        reasons: Vec<String>,
        certificate: Box<Certificate>,
    },
    /// A new pair is needed.
    Issue {
        reasons: Vec<String>,
        request: Box<LeafRequest>,
    },
}
