//! From errors of the engine to the exception classes of `miqro._errors`.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;

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

impl From<YamlError> for PyErr {
    fn from(error: YamlError) -> Self {
        Python::attach(|py| config_error(py, error.to_string()))
    }
}
