//! What was last sent on each topic, as the live mapping `Service.last_key_values` (contract C4, C35).
#![expect(clippy::doc_markdown, reason = "these comments are docstrings for Python, in Google style")]

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pyo3::exceptions::{PyKeyError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyString, PyTuple};

use super::session::PublishInfo;
use super::wake::to_duration;
use crate::core::clock::{Clock, ServiceClock};
use crate::core::dedup::Dedup;
use crate::core::session::completion::Completion;

/// Makes `isinstance(last_key_values, collections.abc.Mapping)` true.
pub fn register(py: Python<'_>) -> PyResult<()> {
    // `collections.abc` is this module by another name, and would import the package `collections` too.
    let mapping = py.import("_collections_abc")?.getattr("Mapping")?;
    mapping.call_method1("register", (py.get_type::<LastKeyValues>(),))?;
    Ok(())
}

/// The payload last sent on each topic that is published with `only_if_changed`, in the order in which the topics
/// came. A live mapping: take a topic out, and its next message is sent, changed or not. May be used from several
/// threads at once.
#[pyclass(frozen, mapping, module = "miqro._native")]
#[derive(Default)]
pub struct LastKeyValues {
    last: Mutex<Dedup>,
    clock: ServiceClock,
}

impl LastKeyValues {
    /// The lock is never held while Python code runs, so waiting for it is short and cannot deadlock.
    fn lock(&self) -> MutexGuard<'_, Dedup> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn items_owned(&self) -> Vec<(String, Vec<u8>)> {
        let last = self.lock();
        last.items().into_iter().map(|(topic, payload)| (topic.to_owned(), payload.to_owned())).collect()
    }

    fn as_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let dict = PyDict::new(py);
        for (topic, payload) in self.items_owned() {
            dict.set_item(topic, to_python(py, &payload))?;
        }
        Ok(dict)
    }
}

/// A payload as text, or as bytes where it is not UTF-8.
#[derive(IntoPyObject)]
enum Payload<'py> {
    Text(Bound<'py, PyString>),
    Bytes(Bound<'py, PyBytes>),
}

fn to_python<'py>(py: Python<'py>, payload: &[u8]) -> Payload<'py> {
    match str::from_utf8(payload) {
        Ok(text) => Payload::Text(PyString::new(py, text)),
        Err(_) => Payload::Bytes(PyBytes::new(py, payload)),
    }
}

/// The bytes of a payload, borrowed from the Python object.
#[inline]
fn to_bytes<'a>(payload: &'a Bound<'_, PyAny>) -> PyResult<&'a [u8]> {
    if let Ok(text) = payload.cast::<PyString>() {
        Ok(text.to_str()?.as_bytes())
    } else if let Ok(bytes) = payload.cast::<PyBytes>() {
        Ok(bytes.as_bytes())
    } else {
        let name = payload.get_type().name()?;
        Err(PyTypeError::new_err(format!("a payload here is str or bytes, not `{name}`: convert it first")))
    }
}

/// Where `info` is of a client of another library, nothing is known of what becomes of the message.
fn fate_of(info: &Bound<'_, PyAny>) -> Option<Arc<Completion>> {
    info.cast::<PublishInfo>().ok()?.get().completion()
}

fn no_such_topic(topic: &str) -> PyErr {
    PyKeyError::new_err(topic.to_owned())
}

#[pymethods]
impl LastKeyValues {
    /// A mapping without topics.
    #[new]
    fn new() -> Self {
        Self::default()
    }

    /// Whether a message need not be sent, because it is what was last sent on its topic. Remembers nothing: that
    /// is `note`'s, once the message is sent.
    ///
    /// Args:
    ///     topic: The full topic.
    ///     payload: The payload.
    ///     max_age: After so many seconds it is to be sent all the same; `None` for never.
    ///
    /// Returns:
    ///     `True` if it need not be sent.
    ///
    /// Raises:
    ///     ValueError: If `max_age` is NaN.
    #[pyo3(signature = (topic, payload: "str | bytes", max_age))]
    fn unchanged(&self, topic: &str, payload: &Bound<'_, PyAny>, max_age: Option<f64>) -> PyResult<bool> {
        let payload = to_bytes(payload)?;
        let Some(seconds) = max_age else {
            return Ok(self.lock().unchanged(topic, payload, None, Duration::ZERO));
        };
        if seconds.is_nan() {
            return Err(PyValueError::new_err("max_age is not a number: give it in seconds"));
        }
        // Below zero everything is too old; what no Duration can hold is never reached.
        let age = to_duration(seconds);
        Ok(self.lock().unchanged(topic, payload, Some(age), self.clock.now()))
    }

    /// Remember a message as the last one sent on its topic, which is tracked from now on.
    ///
    /// Args:
    ///     topic: The full topic.
    ///     payload: The payload.
    ///     info: What `Session.publish` returned: should the message be dropped after all, it does not count as sent.
    #[pyo3(signature = (topic, payload: "str | bytes", info: "object" = None))]
    fn note(&self, topic: &str, payload: &Bound<'_, PyAny>, info: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let payload = to_bytes(payload)?;
        let fate = info.and_then(fate_of);
        let mut last = self.lock();
        last.note(topic, payload, self.clock.now());
        if let Some(fate) = fate {
            last.follow(topic, fate);
        }
        Ok(())
    }

    /// Remember a message that was sent without `only_if_changed`, if its topic is tracked.
    ///
    /// Args:
    ///     topic: The full topic.
    ///     payload: The payload.
    ///     info: As for `note`.
    ///
    /// Returns:
    ///     Whether it is.
    #[pyo3(signature = (topic, payload: "str | bytes", info: "object" = None))]
    fn note_if_tracked(
        &self,
        topic: &str,
        payload: &Bound<'_, PyAny>,
        info: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<bool> {
        let payload = to_bytes(payload)?;
        let fate = info.and_then(fate_of);
        let mut last = self.lock();
        let tracked = last.note_if_tracked(topic, payload, self.clock.now());
        if let (true, Some(fate)) = (tracked, fate) {
            last.follow(topic, fate);
        }
        Ok(tracked)
    }

    fn __getitem__<'py>(&self, py: Python<'py>, topic: &str) -> PyResult<Payload<'py>> {
        let payload = self.lock().get(topic).map(<[u8]>::to_vec);
        payload.map(|payload| to_python(py, &payload)).ok_or_else(|| no_such_topic(topic))
    }

    fn __setitem__(&self, topic: &str, payload: &Bound<'_, PyAny>) -> PyResult<()> {
        self.note(topic, payload, None)
    }

    fn __delitem__(&self, topic: &str) -> PyResult<()> {
        let forgotten = self.lock().forget(topic);
        forgotten.map(drop).ok_or_else(|| no_such_topic(topic))
    }

    fn __len__(&self) -> usize {
        self.lock().len()
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        Ok(self.keys(py)?.try_iter()?.into_any())
    }

    fn __contains__(&self, topic: &Bound<'_, PyAny>) -> bool {
        let topic = topic.cast::<PyString>().ok().and_then(|topic| topic.to_str().ok());
        topic.is_some_and(|topic| self.lock().get(topic).is_some())
    }

    fn __eq__<'py>(&self, py: Python<'py>, other: &Bound<'py, PyAny>) -> PyResult<bool> {
        match other.cast::<Self>() {
            Ok(other) => self.as_dict(py)?.eq(other.get().as_dict(py)?),
            Err(_) => self.as_dict(py)?.eq(other),
        }
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(format!("LastKeyValues({})", self.as_dict(py)?.repr()?))
    }

    /// The payload last sent on a topic: text, or bytes where it is not UTF-8. `default` for a topic not tracked.
    #[pyo3(signature = (topic, default: "object" = None) -> "object")]
    fn get<'py>(
        &self,
        py: Python<'py>,
        topic: &str,
        default: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let payload = self.lock().get(topic).map(<[u8]>::to_vec);
        match payload {
            Some(payload) => Ok(Some(to_python(py, &payload).into_pyobject(py)?)),
            None => Ok(default),
        }
    }

    /// Forget a topic, so that its next message is sent.
    ///
    /// Returns:
    ///     The payload last sent on it; for a topic not tracked, the second argument.
    ///
    /// Raises:
    ///     KeyError: If the topic is not tracked and there is no second argument.
    #[pyo3(signature = (topic, *default: "object") -> "object")]
    fn pop<'py>(
        &self,
        py: Python<'py>,
        topic: &str,
        default: &Bound<'py, PyTuple>,
    ) -> PyResult<Bound<'py, PyAny>> {
        if default.len() > 1 {
            let count = default.len() + 1;
            return Err(PyTypeError::new_err(format!("pop expected at most 2 arguments, got {count}")));
        }
        let forgotten = self.lock().forget(topic);
        match forgotten {
            Some(payload) => to_python(py, &payload).into_pyobject(py),
            None => default.get_item(0).map_err(|_| no_such_topic(topic)),
        }
    }

    /// Forget every topic, so that the next message of each is sent.
    fn clear(&self) {
        self.lock().clear();
    }

    /// The tracked topics: a list, made when it is asked for.
    #[pyo3(signature = () -> "list[str]")]
    fn keys<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let topics: Vec<String> =
            self.lock().items().into_iter().map(|(topic, _)| topic.to_owned()).collect();
        PyList::new(py, topics)
    }

    /// The payloads last sent: a list, made when it is asked for.
    #[pyo3(signature = () -> "list[str | bytes]")]
    fn values<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        PyList::new(py, self.items_owned().iter().map(|(_, payload)| to_python(py, payload)))
    }

    /// The tracked topics and the payloads last sent on them: a list of pairs, made when it is asked for.
    #[pyo3(signature = () -> "list[tuple[str, str | bytes]]")]
    fn items<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let pairs = self.items_owned();
        PyList::new(py, pairs.iter().map(|(topic, payload)| (topic, to_python(py, payload))))
    }
}
