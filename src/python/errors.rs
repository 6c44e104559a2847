//! The engine's errors as the exceptions of `miqro._errors`.

use std::io;
use std::path::Path;

use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use pyo3::types::PyType;

use crate::core::config::SectionError;
use crate::core::session::transport::tls::settings::SettingError;
use crate::core::state_file;
use crate::core::yaml::YamlError;

/// An exception class of `miqro._errors`. Imported on use: errors are rare, and the module needs this one.
fn exception<'py>(py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyType>> {
    Ok(py.import("miqro._errors")?.getattr(name)?.cast_into::<PyType>()?)
}

fn new(py: Python<'_>, name: &str, text: &str) -> PyErr {
    match exception(py, name) {
        Ok(class) => PyErr::from_type(class, (text.to_owned(),)),
        Err(error) => error,
    }
}

/// The options of a session are wrong.
pub fn config(py: Python<'_>, text: &str) -> PyErr {
    new(py, "ConfigError", text)
}

/// An accepted message will never be acknowledged.
pub fn publish_failed(py: Python<'_>, text: &str) -> PyErr {
    new(py, "PublishError", text)
}

/// The session is the parent's.
pub fn forked(py: Python<'_>) -> PyErr {
    let text = "this connection to the broker was made before a fork(), in the parent of this process, and is of no use \
                here: make the service or client in this process, or call run() only after the fork";
    new(py, "ForkError", text)
}

/// A message was refused with a result code of paho's.
pub fn not_published(py: Python<'_>, rc: i32) -> PyErr {
    let words = py.import("miqro.mqtt").and_then(|mqtt| mqtt.call_method1("error_string", (rc,)));
    let words = words.map_or_else(|_| String::new(), |words| format!(": {words}"));
    new(py, "PublishError", &format!("the message was not accepted (rc {rc}){words}"))
}

/// `OSError` with its number, from which Python chooses the subclass, the system's text and the file.
pub fn os_error(error: &io::Error, path: &Path) -> PyErr {
    match state_file::reason(error) {
        (Some(number), text) => PyOSError::new_err((number, text, path.to_path_buf())),
        (None, text) => PyOSError::new_err(text),
    }
}

impl From<YamlError> for PyErr {
    fn from(error: YamlError) -> Self {
        Python::attach(|py| config(py, &error.to_string()))
    }
}

/// The exception carries the key as its second argument, so that Python can say where the key stands.
fn setting(message: String, key: String, in_key: bool) -> PyErr {
    Python::attach(|py| match exception(py, "ConfigError") {
        Ok(class) => PyErr::from_type(class, (message, key, in_key)),
        Err(error) => error,
    })
}

impl From<SectionError> for PyErr {
    fn from(error: SectionError) -> Self {
        setting(error.message, error.key, error.in_key)
    }
}

impl From<SettingError> for PyErr {
    fn from(error: SettingError) -> Self {
        setting(error.message, error.key.into(), false)
    }
}
