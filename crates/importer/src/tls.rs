//! Whose certificates are believed, and our own.

use crate::secret;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use std::path::Path;
use std::sync::Arc;

/// The cryptography that is linked in.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// The certificates in a PEM file, or without one those the system believes.
///
/// # Errors
/// What is wrong with the file; or there is no certificate at all.
pub fn authorities(ca_file: Option<&Path>) -> Result<Vec<CertificateDer<'static>>, String> {
    let found = match ca_file {
        Some(file) => certificates(file, "ca_file")?,
        None => rustls_native_certs::load_native_certs().certs,
    };
    if found.is_empty() {
        return Err("there is no certificate that could vouch for the server: name a ca_file".to_owned());
    }
    Ok(found)
}

/// A certificate chain and the PEM text of its private key, which has to be a secret.
///
/// # Errors
/// What is wrong with a file, or that they do not belong together.
pub fn own(cert_file: &Path, key_file: &Path) -> Result<(Vec<CertificateDer<'static>>, String), String> {
    let chain = certificates(cert_file, "cert_file")?;
    let wrong = |e: &dyn std::fmt::Display| format!("the key_file {}: {e}", key_file.display());
    let text = secret::read_text(key_file).map_err(|e| e.to_string())?;
    let key = PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|e| wrong(&e))?;
    CertifiedKey::from_der(chain.clone(), key, &provider()).map_err(|e| wrong(&e))?;
    Ok((chain, text))
}

fn certificates(file: &Path, key: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let wrong = |e: &dyn std::fmt::Display| format!("the {key} {}: {e}", file.display());
    CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|e| wrong(&e))
}
