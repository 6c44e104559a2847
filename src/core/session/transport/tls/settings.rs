//! What the section `tls` means (contract C42), as rustls takes it. What it cannot honour is an error, never weaker.

use std::sync::Arc;

use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ClientConfig, Error, RootCertStore, SupportedProtocolVersion};

use super::ciphers;
use super::files::{self, KeyError};
use super::verifier::{NoVerification, Verifier};
use crate::core::config::Tls;

/// A setting of the section `tls` that cannot be used.
#[derive(Debug, Clone, thiserror::Error)]
#[error("'{key}' in the section `tls`: {message}")]
pub struct SettingError {
    /// The setting.
    pub key: &'static str,
    /// What is wrong with it, and what to do.
    pub message: String,
}

impl SettingError {
    fn new(key: &'static str, message: impl Into<String>) -> Self {
        Self { key, message: message.into() }
    }
}

/// Reads the files and makes of the settings what a connection needs. `insecure`: the certificate may be for
/// another host.
///
/// # Errors
/// The setting that cannot be honoured.
pub fn client_config(tls: &Tls, insecure: bool) -> Result<ClientConfig, SettingError> {
    let mut provider = ring::default_provider();
    if let Some(list) = &tls.ciphers {
        provider.cipher_suites = ciphers::allowed(list).map_err(|text| SettingError::new("ciphers", text))?;
    }
    let provider = Arc::new(provider);
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&versions(tls)?)
        .map_err(|_| {
            SettingError::new("ciphers", "none of them is of a TLS version that is allowed; add some")
        })?;
    let builder = if verifies(tls) {
        let verifier = verifier(tls, !insecure, provider)?;
        builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
    } else {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(NoVerification(provider)))
    };
    let mut config = match &tls.certfile {
        None => builder.with_no_client_auth(),
        Some(certfile) => {
            let chain = files::certificates(certfile).map_err(|text| SettingError::new("certfile", text))?;
            let (at, keyfile) = match &tls.keyfile {
                Some(keyfile) => ("keyfile", keyfile),
                None => ("certfile", certfile),
            };
            let key =
                files::private_key(keyfile, tls.keyfile_password.as_deref()).map_err(
                    |error| match error {
                        KeyError::File(text) => SettingError::new(at, text),
                        KeyError::Password(text) => SettingError::new("keyfile_password", text),
                    },
                )?;
            builder.with_client_auth_cert(chain, key).map_err(|error| match error {
                Error::InconsistentKeys(_) => SettingError::new(
                    at,
                    format!("the key in {keyfile} is not that of the certificate in {certfile}; correct the one or the other"),
                ),
                error => SettingError::new(
                    at,
                    format!(
                        "the key in {keyfile} cannot be used ({error}); RSA of 2048 to 8192 bits, the curves P-256 \
                         and P-384, and Ed25519 can"
                    ),
                ),
            })?
        }
    };
    if let Some(protocols) = &tls.alpn {
        config.alpn_protocols = protocols
            .split(',')
            .map(|name| name.trim().as_bytes().to_vec())
            .filter(|name| !name.is_empty())
            .collect();
    }
    Ok(config)
}

/// Whether the broker's certificate is looked at. On this side `CERT_OPTIONAL` is as good as `CERT_REQUIRED`: a broker
/// always shows one, and OpenSSL checks it then.
pub fn verifies(tls: &Tls) -> bool {
    tls.cert_reqs.as_deref() != Some("CERT_NONE")
}

fn versions(tls: &Tls) -> Result<Vec<&'static SupportedProtocolVersion>, SettingError> {
    let oldest_is_13 = tls.minimum_version.as_deref() == Some("TLSv1_3");
    match tls.tls_version.as_deref() {
        Some(old @ ("PROTOCOL_TLSv1" | "PROTOCOL_TLSv1_1")) => Err(SettingError::new(
            "tls_version",
            format!(
                "{old} is broken, and not spoken here; remove the setting, or write PROTOCOL_TLSv1_2, and let the broker \
                 speak TLS 1.2 or newer"
            ),
        )),
        Some("PROTOCOL_TLSv1_2") if oldest_is_13 => Err(SettingError::new(
            "minimum_version",
            "it is over the version in 'tls_version', which is the only one that is spoken; remove one of the two",
        )),
        Some("PROTOCOL_TLSv1_2") => Ok(vec![&TLS12]),
        _ if oldest_is_13 => Ok(vec![&TLS13]),
        _ => Ok(vec![&TLS13, &TLS12]),
    }
}

fn verifier(tls: &Tls, check_name: bool, provider: Arc<CryptoProvider>) -> Result<Verifier, SettingError> {
    let mut roots = RootCertStore::empty();
    let mut trusted = Vec::new();
    if let Some(file) = &tls.ca_certs {
        let of_setting = |text: String| SettingError::new("ca_certs", text);
        trusted = files::certificates(file).map_err(of_setting)?;
        for (number, certificate) in trusted.iter().enumerate() {
            roots.add(certificate.clone()).map_err(|error| {
                let number = number + 1;
                of_setting(format!(
                    "certificate {number} in {file} cannot be used ({error}); remove it, or make it anew"
                ))
            })?;
        }
    } else {
        // Single ones that cannot be read are nothing new: systems have some that are too old.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            return Err(SettingError::new(
                "ca_certs",
                "it is not set, and this system has no certificates of authorities to go by; install them (on Debian: \
                 the package ca-certificates), or write the path of the certificate of the broker's authority here",
            ));
        }
    }
    let usual =
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().map_err(|error| {
            SettingError::new("ca_certs", format!("these certificates cannot be used ({error})"))
        })?;
    Ok(Verifier { usual, trusted, check_name })
}
