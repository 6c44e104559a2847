//! [`crate::core::session::message::Properties`] for Python.
#![expect(clippy::doc_markdown, reason = "these comments are docstrings for Python, in Google style")]

use bytes::Bytes;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyDictMethods};

use crate::core::session::message::Properties as CoreProperties;

/// What MQTT 5 lets a message say besides its payload.
///
/// Args:
///     expiry: Seconds that it is worth delivering.
///     content_type: What the payload is, as the application calls it.
///     response_topic: Where the answer is expected.
///     correlation_data: By which the asker knows the answer.
///     user_properties: Names and values of the application: a dict, or a list of pairs.
///     is_text: Whether the payload is UTF-8 text.
///
/// Raises:
///     ValueError: MQTT cannot carry one of them.
#[pyclass(frozen, eq, module = "miqro._native")]
#[derive(PartialEq)]
pub struct Properties {
    pub(super) inner: CoreProperties,
}

#[pymethods]
impl Properties {
    #[new]
    #[pyo3(signature = (
        *,
        expiry=None,
        content_type=None,
        response_topic=None,
        correlation_data: "bytes | str | None" = None,
        user_properties: "dict[str, str] | list[tuple[str, str]] | None" = None,
        is_text=None,
    ))]
    fn new(
        expiry: Option<u32>,
        content_type: Option<String>,
        response_topic: Option<String>,
        correlation_data: Option<Bound<'_, PyAny>>,
        user_properties: Option<Bound<'_, PyAny>>,
        is_text: Option<bool>,
    ) -> PyResult<Self> {
        let correlation_data = match correlation_data {
            None => None,
            Some(data) => Some(match data.extract::<String>() {
                Ok(text) => Bytes::from(text),
                Err(_) => Bytes::from(data.extract::<Vec<u8>>()?),
            }),
        };
        let user = match user_properties {
            None => Vec::new(),
            Some(given) => match given.cast::<PyDict>() {
                Ok(dict) => dict.items().extract()?,
                Err(_) => given.extract()?,
            },
        };
        let inner = CoreProperties {
            is_text,
            expiry,
            content_type,
            response_topic,
            correlation_data,
            user,
            subscription_ids: Vec::new(),
        };
        inner.check().map_err(PyValueError::new_err)?;
        Ok(Self { inner })
    }

    /// Seconds that the message is still worth delivering.
    #[getter]
    fn expiry(&self) -> Option<u32> {
        self.inner.expiry
    }

    /// What the payload is, as the application calls it.
    #[getter]
    fn content_type(&self) -> Option<&str> {
        self.inner.content_type.as_deref()
    }

    /// Where the answer is expected.
    #[getter]
    fn response_topic(&self) -> Option<&str> {
        self.inner.response_topic.as_deref()
    }

    /// By which the asker knows the answer.
    #[getter]
    fn correlation_data<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        self.inner.correlation_data.as_ref().map(|data| PyBytes::new(py, data))
    }

    /// Names and values of the application, in order.
    #[getter]
    fn user_properties(&self) -> Vec<(String, String)> {
        self.inner.user.clone()
    }

    /// Whether the payload is UTF-8 text, as far as the publisher says.
    #[getter]
    fn is_text(&self) -> Option<bool> {
        self.inner.is_text
    }

    fn __repr__(&self) -> String {
        let CoreProperties { expiry, content_type, response_topic, correlation_data, user, is_text, .. } =
            &self.inner;
        let mut set = Vec::new();
        set.extend(expiry.map(|expiry| format!("expiry={expiry}")));
        set.extend(content_type.as_ref().map(|text| format!("content_type={text:?}")));
        set.extend(response_topic.as_ref().map(|text| format!("response_topic={text:?}")));
        set.extend(correlation_data.as_ref().map(|data| format!("correlation_data of {} bytes", data.len())));
        set.extend((!user.is_empty()).then(|| format!("{} user properties", user.len())));
        set.extend(is_text.map(|truth| format!("is_text={}", if truth { "True" } else { "False" })));
        format!("Properties({})", set.join(", "))
    }
}
