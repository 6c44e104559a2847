//! The engine's errors as the exceptions of `miqro._errors`.

use pyo3::prelude::*;
use pyo3::types::PyType;

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

/// A message was refused with a result code of paho's.
pub fn not_published(py: Python<'_>, rc: i32) -> PyErr {
    let words = py.import("miqro.mqtt").and_then(|mqtt| mqtt.call_method1("error_string", (rc,)));
    let words = words.map_or_else(|_| String::new(), |words| format!(": {words}"));
    new(py, "PublishError", &format!("the message was not accepted (rc {rc}){words}"))
}
