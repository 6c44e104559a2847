//! Certificates and private keys out of PEM files.

use std::path::Path;

use pkcs8::EncryptedPrivateKeyInfoRef;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::core::config::System;
use crate::core::state_file::reason;
use crate::core::yaml::Surroundings;

/// More than all authorities of a system together.
const MOST: usize = 16 << 20;

const ENCRYPTED: &str = "ENCRYPTED PRIVATE KEY";

fn read(path: &str) -> Result<Vec<u8>, String> {
    let content = System.read(Path::new(path), MOST).map_err(|error| {
        format!("{path} cannot be read: {}; correct the path, or the rights", reason(&error).1)
    })?;
    if content.len() > MOST {
        return Err(format!("{path} is too large for certificates; correct the path"));
    }
    Ok(content)
}

/// The certificates in a file.
///
/// # Errors
/// A sentence: it cannot be read, or has none.
pub(super) fn certificates(path: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let content = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&content).collect();
    let found =
        found.map_err(|error| format!("{path} is not PEM as it should be ({error}); make it anew"))?;
    if !found.is_empty() {
        return Ok(found);
    }
    // A DER file begins as every sequence of ASN.1 does.
    let advice = if content.first() == Some(&0x30) {
        format!("it looks like DER: convert it with `openssl x509 -inform der -in {path}`")
    } else {
        "it has to be PEM, with a line -----BEGIN CERTIFICATE-----".into()
    };
    Err(format!("there is no certificate in {path}; {advice}"))
}

/// Why there is no private key.
pub(super) enum KeyError {
    /// The file is to blame.
    File(String),
    /// The password is.
    Password(String),
}

/// The private key in a file, in PKCS#1, SEC 1 or PKCS#8, the last also encrypted.
///
/// # Errors
/// It cannot be read, has no key, or one that the password does not open. The password is in no sentence.
pub(super) fn private_key(path: &str, password: Option<&str>) -> Result<PrivateKeyDer<'static>, KeyError> {
    let content = read(path).map_err(KeyError::File)?;
    let text = String::from_utf8_lossy(&content);
    if text.contains("Proc-Type: 4,ENCRYPTED") {
        return Err(KeyError::File(format!(
            "the key in {path} is encrypted in OpenSSL's old way, which cannot be read here; convert it with \
             `openssl pkcs8 -topk8 -in {path}`"
        )));
    }
    if text.contains(&format!("-----BEGIN {ENCRYPTED}-----")) {
        return decrypted(path, &text, password);
    }
    PrivateKeyDer::from_pem_slice(&content).map_err(|_| {
        let advice = if content.first() == Some(&0x30) {
            format!("it looks like DER: convert it with `openssl pkey -inform der -in {path}`")
        } else {
            "it has to be PEM, with a line -----BEGIN PRIVATE KEY-----".into()
        };
        KeyError::File(format!("there is no private key in {path}; {advice}"))
    })
}

fn decrypted(path: &str, text: &str, password: Option<&str>) -> Result<PrivateKeyDer<'static>, KeyError> {
    let Some(password) = password else {
        return Err(KeyError::File(format!("the key in {path} is encrypted; add 'keyfile_password'")));
    };
    let broken = || KeyError::File(format!("the encrypted key in {path} is damaged; make it anew"));
    // The reader of PEM does not know this label; the frame around the bytes is the same.
    let plain = text.replace(ENCRYPTED, "PRIVATE KEY");
    let sealed = PrivatePkcs8KeyDer::from_pem_slice(plain.as_bytes()).map_err(|_| broken())?;
    let sealed = EncryptedPrivateKeyInfoRef::try_from(sealed.secret_pkcs8_der()).map_err(|error| {
        KeyError::File(format!(
            "the key in {path} is encrypted in a way that cannot be read here ({error}); convert it with `openssl pkcs8 \
             -topk8 -v2 aes-256-cbc -in {path}`"
        ))
    })?;
    match sealed.decrypt(password) {
        Ok(opened) => Ok(PrivatePkcs8KeyDer::from(opened.as_bytes().to_vec()).into()),
        Err(pkcs8::Error::EncryptedPrivateKey(
            pkcs8::pkcs5::Error::UnsupportedAlgorithm { .. } | pkcs8::pkcs5::Error::NoPbes1CryptSupport,
        )) => Err(KeyError::File(format!(
            "the key in {path} is encrypted with a cipher that cannot be read here; convert it with `openssl pkcs8 \
             -topk8 -v2 aes-256-cbc -in {path}`"
        ))),
        Err(_) => Err(KeyError::Password(format!("it does not open the key in {path}; correct it"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str, password: Option<&str>) -> Result<Vec<u8>, String> {
        let path = format!("{}/tests/golden/keys/{name}.pem", env!("CARGO_MANIFEST_DIR"));
        match private_key(&path, password) {
            Ok(key) => Ok(key.secret_der().to_vec()),
            Err(KeyError::File(text)) => Err(text),
            Err(KeyError::Password(text)) => Err(format!("password: {text}")),
        }
    }

    /// C42: what `openssl pkcs8 -topk8` makes, today and in its older versions.
    #[test]
    fn encrypted_keys_open_with_their_password() {
        let plain = key("plain", None).unwrap();
        for name in ["pbkdf2-sha256-aes256", "pbkdf2-sha1-aes128", "3des", "scrypt"] {
            assert_eq!(key(name, Some("sesame")).as_ref(), Ok(&plain), "{name}");
            let error = key(name, Some("wrong")).unwrap_err();
            assert!(error.starts_with("password: it does not open the key"), "{name}: {error}");
            let error = key(name, None).unwrap_err();
            assert!(error.contains("is encrypted; add 'keyfile_password'"), "{name}: {error}");
        }
        // OpenSSL too does not mind a password too many.
        assert_eq!(key("plain", Some("sesame")), Ok(plain));
    }

    #[test]
    fn what_cannot_be_opened_is_told_with_the_remedy() {
        for name in ["pkcs12", "traditional"] {
            let error = key(name, Some("sesame")).unwrap_err();
            assert!(error.contains("convert it with `openssl pkcs8 -topk8"), "{name}: {error}");
        }
    }
}
