//! Certificates, keys, the certificate authority and its agent.
