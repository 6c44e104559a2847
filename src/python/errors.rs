//! From errors of the engine to the exception classes of `miqro._errors`.

use std::io;
use std::path::Path;

use nix::errno::Errno;
use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;

use crate::core::config::SectionError;
use crate::core::yaml::YamlError;

static CONFIG_ERROR: PyOnceLock<Py<PyType>> = PyOnceLock::new();

/// `miqro._errors.ConfigError` with a text. Where the class cannot be had, the reason why is raised instead.
pub(super) fn config_error(py: Python<'_>, text: String) -> PyErr {
    raise(py, &CONFIG_ERROR, "ConfigError", text)
}

fn raise(py: Python<'_>, class: &PyOnceLock<Py<PyType>>, name: &str, text: String) -> PyErr {
    match class.import(py, "miqro._errors", name) {
        Ok(class) => PyErr::from_type(class.clone(), (text,)),
        Err(error) => error,
    }
}

/// `OSError` with its number, from which Python chooses the subclass, the system's text and the file.
pub(super) fn os_error(error: &io::Error, path: &Path) -> PyErr {
    match error.raw_os_error() {
        Some(number) => PyOSError::new_err((number, Errno::from_raw(number).desc(), path.to_path_buf())),
        None => PyOSError::new_err(error.to_string()),
    }
}

impl From<YamlError> for PyErr {
    fn from(error: YamlError) -> Self {
        Python::attach(|py| config_error(py, error.to_string()))
    }
}

impl From<SectionError> for PyErr {
    /// The exception carries the key as its second argument, so that Python can say where the key stands.
    fn from(error: SectionError) -> Self {
        Python::attach(|py| match CONFIG_ERROR.import(py, "miqro._errors", "ConfigError") {
            Ok(class) => PyErr::from_type(class.clone(), (error.message, error.key, error.in_key)),
            Err(error) => error,
        })
    }
}
