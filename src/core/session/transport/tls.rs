//! TLS 1.2 and 1.3, by rustls on ring.

mod ciphers;
mod files;
pub mod settings;
mod verifier;
pub(super) mod words;

use std::fs;
use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, Error};

use super::Stream;
use crate::core::config::Tls;
use crate::core::session::options::SessionOptions;
use settings::SettingError;

/// What connections need of the settings, as long as these and the files behind them stay as they are.
pub(super) struct Loaded {
    config: Arc<ClientConfig>,
    of: (Tls, bool, Vec<Option<SystemTime>>),
}

/// Gives what is loaded, or loads it anew where a file has changed: certificates are renewed while services run.
pub(super) fn load(
    loaded: &mut Option<Loaded>,
    tls: &Tls,
    insecure: bool,
) -> Result<Arc<ClientConfig>, SettingError> {
    let of = (tls.clone(), insecure, stamps(tls));
    if let Some(loaded) = loaded.as_ref().filter(|loaded| loaded.of == of) {
        return Ok(Arc::clone(&loaded.config));
    }
    let config = Arc::new(settings::client_config(tls, insecure)?);
    *loaded = Some(Loaded { config: Arc::clone(&config), of });
    Ok(config)
}

fn stamps(tls: &Tls) -> Vec<Option<SystemTime>> {
    let changed = |path: &String| fs::metadata(path).and_then(|file| file.modified()).ok();
    [&tls.ca_certs, &tls.certfile, &tls.keyfile].into_iter().flatten().map(changed).collect()
}

/// Makes the handshake on a connection.
///
/// # Errors
/// The certificate is not to be trusted, the broker refuses us, or it does not speak TLS.
pub(super) async fn connect(
    stream: Box<dyn Stream>,
    config: Arc<ClientConfig>,
    options: &SessionOptions,
) -> Result<TlsStream<Box<dyn Stream>>, String> {
    let settings = options.tls.clone().unwrap_or_default();
    let name = settings.server_name.as_deref().unwrap_or(&options.host);
    let server_name = ServerName::try_from(name.to_owned()).map_err(|_| {
        format!("no certificate can be for {name:?}: write the name of the broker into `server_name` in the section `tls`")
    })?;
    TlsConnector::from(config).connect(server_name, stream).await.map_err(|error| match inner(&error) {
        Some(inner) => words::of(inner, &settings, options),
        None => words::of_handshake(&error, options),
    })
}

/// The error of TLS in one of the stream.
pub(super) fn inner(error: &io::Error) -> Option<&Error> {
    error.get_ref().and_then(|inner| inner.downcast_ref())
}
