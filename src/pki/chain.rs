//! Whether ca.pem is a chain that everybody can follow.
//!
//! Comes in as the certificates of ca.pem in their order; goes out as nothing,
//! or as what is wrong. Called before a CA that was made elsewhere is adopted.

use super::authority::AuthorityError;
use super::certificate::Certificate;

/// The first certificate is the CA's own; where it is an intermediate, the
/// others lead up to one that signed itself. OpenSSL's own tools follow a chain
/// to its end, while Go trusts every certificate of the file.
///
/// # Errors
/// When there is none, when it is not a CA's, or when its issuer is missing.
pub fn check_chain(certificates: &[Certificate]) -> Result<(), AuthorityError> {
    let Some(own) = certificates.first() else {
        return Err(super::certificate::CertificateError::None.into());
    };
    if !own.may_sign_certificates() {
        return Err(AuthorityError::NotAnAuthority(own.subject().to_owned()));
    }
    let mut at = own;
    // A chain is never longer than the file, whatever loops it describes.
    for _ in certificates {
        if at.is_signed_by(at) {
            return Ok(());
        }
        match certificates
            .iter()
            .find(|issuer| issuer.may_sign_certificates() && at.is_signed_by(issuer))
        {
            Some(issuer) => at = issuer,
            None => break,
        }
    }
    Err(AuthorityError::Intermediate {
        subject: own.subject().to_owned(),
        issuer: at.issuer().to_owned(),
    })
}
