//! The typed sections of the configuration, from and to Python dicts.

#![expect(clippy::doc_markdown, reason = "the docstrings are for Python's help()")]

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use pythonize::{depythonize, pythonize};
use serde::Serialize;

use crate::core::config::{Auth, Broker, Section, Setting, Tls, nearest};

/// Checks the section `broker` of a configuration.
///
/// Args:
///     section: The section as it was loaded.
///     tls: Whether there is TLS: it decides the default port.
///
/// Returns:
///     The section with every key set, defaults included.
///
/// Raises:
///     ConfigError: An unknown key or a wrong value. Its arguments are the sentence, the key, and whether the key
///         itself is wrong.
#[pyfunction]
#[pyo3(signature = (section: "dict[typing.Any, typing.Any]", tls = false) -> "dict[str, typing.Any]")]
pub(super) fn check_broker<'py>(section: &Bound<'py, PyDict>, tls: bool) -> PyResult<Bound<'py, PyAny>> {
    let mut broker = Broker::read(section_of(section)?)?;
    broker.port = Some(broker.port_or_default(tls));
    to_dict(section.py(), &broker)
}

/// Checks the section `auth` of a configuration; see `check_broker`.
#[pyfunction]
#[pyo3(signature = (section: "dict[typing.Any, typing.Any]") -> "dict[str, typing.Any]")]
pub(super) fn check_auth<'py>(section: &Bound<'py, PyDict>) -> PyResult<Bound<'py, PyAny>> {
    to_dict(section.py(), &Auth::read(section_of(section)?)?)
}

/// Checks the section `tls` of a configuration; see `check_broker`.
#[pyfunction]
#[pyo3(signature = (section: "dict[typing.Any, typing.Any]") -> "dict[str, typing.Any]")]
pub(super) fn check_tls<'py>(section: &Bound<'py, PyDict>) -> PyResult<Bound<'py, PyAny>> {
    to_dict(section.py(), &Tls::read(section_of(section)?)?)
}

/// The known name that a mistyped one is nearest to, or None where none is near.
#[pyfunction]
#[pyo3(signature = (name, known))]
#[expect(clippy::needless_pass_by_value, reason = "pyo3 makes the list for this call")]
pub(super) fn nearest_name(name: &str, known: Vec<String>) -> Option<String> {
    nearest(name, known.iter().map(String::as_str)).map(str::to_owned)
}

fn section_of(dict: &Bound<'_, PyDict>) -> PyResult<Section> {
    let mut section = Section::default();
    for item in dict.items() {
        let (key, value): (Bound<'_, PyAny>, Bound<'_, PyAny>) = item.extract()?;
        section.push(key.str()?.to_string_lossy(), setting_of(&value)?);
    }
    Ok(section)
}

fn setting_of(value: &Bound<'_, PyAny>) -> PyResult<Setting> {
    match depythonize(value) {
        Ok(setting) => Ok(setting),
        Err(_) if value.is_instance_of::<PyDict>() => Ok(Setting::Other("a mapping".into())),
        Err(_) if value.is_instance_of::<PyList>() => Ok(Setting::Other("a list".into())),
        Err(_) => Ok(Setting::Other(format!("a value of type {}", value.get_type().name()?))),
    }
}

fn to_dict<'py>(py: Python<'py>, section: &impl Serialize) -> PyResult<Bound<'py, PyAny>> {
    Ok(pythonize(py, section)?)
}
