//! The decision about one leaf.

use std::collections::BTreeSet;

use pki::{Certificate, LeafRequest, San};

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

impl LeafDecision {
    /// The names of the certificate that the host has then.
    pub(super) fn sans(&self) -> &BTreeSet<San> {
        match self {
            Self::Keep { certificate } | Self::Fetch { certificate, .. } => certificate.sans(),
            Self::Issue { request, .. } => &request.sans,
        }
    }
}
