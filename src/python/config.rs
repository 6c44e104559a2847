//! The typed sections of the configuration, from and to Python dicts.

#![expect(clippy::doc_markdown, reason = "the docstrings are for Python's help()")]

use std::path::PathBuf;

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyList, PyType};
use pythonize::{depythonize, pythonize};
use serde::Serialize;

use super::errors;
use crate::core::config::{self, Auth, Broker, Section, SectionError, Setting, Tls, nearest};
use crate::core::session::transport::tls::settings;

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
    if let Some(error) = broker.clash_with_tls().filter(|_| tls) {
        return Err(error.into());
    }
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

/// Checks the section `tls` as `check_tls` does, and tries what a connection needs of it: files, keys, ciphers.
///
/// Raises:
///     ConfigError: As `check_tls`; or a file cannot be used, or a setting is beyond what this TLS can do.
#[pyfunction]
#[pyo3(signature = (section: "dict[typing.Any, typing.Any]") -> "dict[str, typing.Any]")]
pub(super) fn try_tls<'py>(section: &Bound<'py, PyDict>) -> PyResult<Bound<'py, PyAny>> {
    let tls = Tls::read(section_of(section)?)?;
    section.py().detach(|| settings::client_config(&tls, false))?;
    to_dict(section.py(), &tls)
}

/// All that is wrong with a section of a configuration.
///
/// Args:
///     name: "broker", "auth" or "tls".
///     section: The section as it was loaded.
///     tls: Whether there is a section `tls` besides.
///
/// Returns:
///     For each problem the sentence, the key, and whether the key itself is wrong, not its value.
#[pyfunction]
#[pyo3(signature = (name, section: "dict[typing.Any, typing.Any]", tls = false))]
pub(super) fn section_problems(
    name: &str,
    section: &Bound<'_, PyDict>,
    tls: bool,
) -> PyResult<Vec<(String, String, bool)>> {
    let section = section_of(section)?;
    let problems: Vec<SectionError> = match name {
        "broker" => {
            let (broker, mut problems) = Broker::read_all(section);
            problems.extend(broker.clash_with_tls().filter(|_| tls));
            problems
        }
        "auth" => Auth::read_all(section).1,
        "tls" => Tls::read_all(section).1,
        _ => Vec::new(),
    };
    Ok(problems.into_iter().map(|error| (error.message, error.key, error.in_key)).collect())
}

/// Reads a password from a file, without the line break at its end.
///
/// Raises:
///     ConfigError: It cannot be read. The text says why.
#[pyfunction]
#[pyo3(signature = (path: "str"))]
#[expect(clippy::needless_pass_by_value, reason = "pyo3 makes the path for this call")]
pub(super) fn read_password(py: Python<'_>, path: PathBuf) -> PyResult<String> {
    py.detach(|| config::read_password(&path)).map_err(|text| errors::config(py, &text))
}

/// The JSON Schema of the configuration file.
#[pyfunction]
#[pyo3(signature = () -> "dict[str, typing.Any]")]
pub(super) fn config_schema(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    Ok(pythonize(py, &config::schema())?)
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
        let key = key.str()?;
        match origin_of(&value)? {
            None => section.push(key.to_string_lossy(), setting_of(&value)?),
            Some(origin) => section.push_hidden(key.to_string_lossy(), setting_of(&value)?, origin),
        }
    }
    Ok(section)
}

/// The tag that a value comes from, where it does.
fn origin_of(value: &Bound<'_, PyAny>) -> PyResult<Option<String>> {
    static HIDDEN: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let hidden = HIDDEN.import(value.py(), "miqro._secret", "Hidden")?;
    if !value.is_instance(hidden)? {
        return Ok(None);
    }
    Ok(Some(value.getattr("origin")?.extract()?))
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
