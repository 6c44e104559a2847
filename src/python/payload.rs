//! One Python value as a payload, a payload as text, and the check of a topic (contract C14, C31, C37).
#![expect(clippy::doc_markdown, reason = "these comments are docstrings for Python, in Google style")]

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyByteArray, PyBytes, PyFloat, PyInt, PyString};

use super::json::{decimals, int_text, overflow, round};
use crate::core::payload::{push_int, push_rounded, text};
use crate::core::topic;

/// The payload that a scalar is published as.
///
/// Args:
///     message: `str`, `bytes` and `bytearray` are sent as they are; `True` and `False` as `payload_on` and
///         `payload_off`; `None` as the empty text; an `int` in decimal; a `float` as `str(round(x, precision))`;
///         numpy's scalars as the number or truth value they are.
///     payload_on: What stands for `True`: any of the above, itself turned into a payload.
///     payload_off: What stands for `False`, likewise.
///     precision: Decimals of a float; `None` for all it has.
///
/// Returns:
///     `str` for text, `bytes` for bytes.
///
/// Raises:
///     TypeError: For a message of any other type, dict and list included.
///     OverflowError: For a float beyond all range once rounded to a negative precision.
#[pyfunction]
#[pyo3(signature = (
    message: "object",
    payload_on: "object",
    payload_off: "object",
    precision: "int | None"
) -> "str | bytes")]
pub fn payload<'py>(
    message: &Bound<'py, PyAny>,
    payload_on: &Bound<'py, PyAny>,
    payload_off: &Bound<'py, PyAny>,
    precision: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    if message.is_exact_instance_of::<PyString>() {
        return Ok(message.clone());
    }
    let scalar = Scalar { precision, truth: Some((payload_on, payload_off)) };
    scalar.convert(message)
}

struct Scalar<'a, 'py> {
    precision: Option<&'a Bound<'py, PyAny>>,
    /// What stands for `True` and for `False`; without it, their names.
    truth: Option<(&'a Bound<'py, PyAny>, &'a Bound<'py, PyAny>)>,
}

impl<'py> Scalar<'_, 'py> {
    fn convert(&self, message: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = message.py();
        if message.is_exact_instance_of::<PyFloat>() {
            self.float(py, message.extract()?)
        } else if message.is_exact_instance_of::<PyInt>() {
            int(message)
        } else if message.is_exact_instance_of::<PyBool>() {
            self.truth(message)
        } else if message.is_none() {
            Ok(PyString::new(py, "").into_any())
        } else if message.is_instance_of::<PyString>() || message.is_instance_of::<PyBytes>() {
            Ok(message.clone())
        } else if let Ok(array) = message.cast::<PyByteArray>() {
            // A copy, which its owner cannot change before it is sent.
            Ok(PyBytes::new(py, &array.to_vec()).into_any())
        } else if message.is_instance_of::<PyFloat>() {
            let rounded = match self.precision {
                Some(precision) => round(message, precision)?,
                None => message.clone(),
            };
            Ok(rounded.str()?.into_any())
        } else if message.is_instance_of::<PyInt>() {
            // An enumeration's text is what 1.x sent, too.
            Ok(message.str()?.into_any())
        } else {
            self.array_scalar(message)
        }
    }

    fn float(&self, py: Python<'py>, value: f64) -> PyResult<Bound<'py, PyAny>> {
        let digits = self.precision.map(decimals).transpose()?;
        let mut out = Vec::with_capacity(32);
        push_rounded(&mut out, value, digits).map_err(overflow)?;
        ascii(py, &out)
    }

    fn truth(&self, message: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let Some((on, off)) = self.truth else {
            return Ok(message.str()?.into_any());
        };
        let stands_for = if message.is_truthy()? { on } else { off };
        Scalar { precision: self.precision, truth: None }.convert(stands_for)
    }

    /// A scalar of numpy, or of a library that follows it: no dimensions, and a data type that says which kind of
    /// number it is. Asked by protocol, so that nothing here imports numpy.
    fn array_scalar(&self, message: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = message.py();
        let kind = match message.getattr_opt(intern!(py, "dtype"))? {
            Some(dtype) => dtype.getattr_opt(intern!(py, "kind"))?,
            None => None,
        };
        let scalar = match message.getattr_opt(intern!(py, "ndim"))? {
            Some(dimensions) => dimensions.eq(0)?,
            None => false,
        };
        let kind = kind.filter(|_| scalar).and_then(|kind| kind.extract::<String>().ok());
        match kind.as_deref() {
            Some("b") => self.truth(&PyBool::new(py, message.is_truthy()?).to_owned().into_any()),
            Some("i" | "u") => int(&message.call_method0(intern!(py, "__index__"))?),
            Some("f") => self.float(py, message.extract()?),
            _ => {
                let name = message.get_type().fully_qualified_name()?;
                Err(PyTypeError::new_err(format!(
                    "a payload cannot be made of an object of type `{name}`: publish a str, bytes, a number, a bool, \
                     None, a dict or a list, or convert it first, for example with str()"
                )))
            }
        }
    }
}

fn int<'py>(value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let Ok(number) = value.extract() else {
        return Ok(int_text(value)?.into_any());
    };
    let mut out = Vec::with_capacity(20);
    push_int(&mut out, number);
    ascii(value.py(), &out)
}

fn ascii<'py>(py: Python<'py>, text: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    let text = str::from_utf8(text).map_err(|err| PyValueError::new_err(err.to_string()))?;
    Ok(PyString::new(py, text).into_any())
}

/// A received payload as text: `data.decode("utf-8", errors="replace").strip()`.
///
/// Args:
///     data: The bytes of the message.
///
/// Returns:
///     The text, malformed bytes replaced by U+FFFD, without white space at its ends.
#[pyfunction]
pub fn payload_text<'py>(py: Python<'py>, data: &[u8]) -> Bound<'py, PyString> {
    PyString::new(py, &text(data))
}

/// Check that a topic may be published to.
///
/// Args:
///     topic: The topic.
///
/// Raises:
///     ValueError: If it is empty, contains `+`, `#`, a NUL or text that UTF-8 cannot hold, or has more than 65,535
///         bytes; with a sentence that says so.
#[pyfunction]
pub fn check_topic(topic: &Bound<'_, PyString>) -> PyResult<()> {
    match topic.to_str() {
        Ok(topic) => topic::check_topic(topic).map_err(|err| PyValueError::new_err(err.to_string())),
        Err(_) => Err(PyValueError::new_err(format!(
            "the topic {} contains half a surrogate pair, which is not text: remove it",
            topic.repr()?
        ))),
    }
}
