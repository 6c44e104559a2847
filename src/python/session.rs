//! [`crate::core::session`] for Python.
#![expect(clippy::doc_markdown, reason = "these comments are docstrings for Python, in Google style")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyString};

use super::errors;
use super::router::Router;
use super::wake::Wake;
use crate::core::payload;
use crate::core::session::Session as CoreSession;
use crate::core::session::completion::{Completion, Outcome, Settled as CoreSettled};
use crate::core::session::event::Event as CoreEvent;
use crate::core::session::message::{Message as CoreMessage, QoS};
use crate::core::session::options::SessionOptions;
use crate::core::session::protocol::Refusal;
use crate::core::topic;

/// How often a wait looks whether a signal has arrived at another thread than the waiting one.
const SIGNAL_CHECK: Duration = Duration::from_millis(100);

/// The result codes that paho uses for the same things.
const RC_SUCCESS: i32 = 0;
const RC_NO_CONNECTION: i32 = 4;
const RC_QUEUE_FULL: i32 = 15;

fn qos(value: u8) -> PyResult<QoS> {
    QoS::try_from(value).map_err(|value| PyValueError::new_err(format!("qos must be 0, 1 or 2, not {value}")))
}

/// What the session tells. One class for each kind of event.
#[pyclass(frozen, module = "miqro._native")]
pub enum Event {
    /// The broker has accepted us; `outage` is the time in seconds without a connection.
    Connected { session_present: bool, outage: Option<f64> },
    /// The broker said no: the CONNACK code, in words, and the seconds until the next attempt.
    Refused { code: u8, reason: String, retry_in: f64 },
    /// No broker answered.
    Unreachable { reason: String, retry_in: f64 },
    /// The connection has ended.
    Disconnected { reason: String, requested: bool, retry_in: Option<f64> },
    /// A SUBSCRIBE was answered: each filter with the QoS granted, None where it was refused.
    Subscribed { mid: u16, granted: Vec<(String, Option<u8>)> },
    /// An UNSUBSCRIBE was answered.
    Unsubscribed { mid: u16 },
    /// A message was acknowledged.
    Published { mid: u16 },
    /// Messages were dropped while the broker was away; `topics` is None when there were too many.
    Dropped { count: u64, topics: Option<Vec<String>> },
    /// Messages of QoS 0 from the broker were dropped: the inbox is full, and the service waits for an
    /// acknowledgement that is behind them.
    Overrun { count: u64 },
    /// The engine has failed.
    Terminated { reason: String },
}

/// Events that carry no message; a message comes back as the error.
fn translate(event: CoreEvent) -> Result<Event, CoreMessage> {
    Ok(match event {
        CoreEvent::Message(message) => return Err(message),
        CoreEvent::Connected { session_present, outage } => {
            Event::Connected { session_present, outage: outage.map(|outage| outage.as_secs_f64()) }
        }
        CoreEvent::Refused { code, reason, retry_in } => {
            Event::Refused { code, reason, retry_in: retry_in.as_secs_f64() }
        }
        CoreEvent::Unreachable { reason, retry_in } => {
            Event::Unreachable { reason, retry_in: retry_in.as_secs_f64() }
        }
        CoreEvent::Disconnected { reason, requested, retry_in } => Event::Disconnected {
            reason,
            requested,
            retry_in: retry_in.map(|retry_in| retry_in.as_secs_f64()),
        },
        CoreEvent::Subscribed { mid, granted } => Event::Subscribed {
            mid,
            granted: granted.into_iter().map(|(filter, qos)| (filter, qos.map(|qos| qos as u8))).collect(),
        },
        CoreEvent::Unsubscribed { mid } => Event::Unsubscribed { mid },
        CoreEvent::Published { mid } => Event::Published { mid },
        CoreEvent::Dropped { count, topics } => Event::Dropped { count, topics },
        CoreEvent::Overrun { count } => Event::Overrun { count },
        CoreEvent::Terminated { reason } => Event::Terminated { reason },
    })
}

/// A received message, with the attributes of paho's `MQTTMessage`.
#[pyclass(frozen, module = "miqro._native")]
pub struct Message {
    inner: CoreMessage,
}

#[pymethods]
impl Message {
    /// The topic.
    #[getter]
    fn topic(&self) -> &str {
        &self.inner.topic
    }

    /// The payload as the bytes it is.
    #[getter]
    fn payload<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.inner.payload)
    }

    /// The quality of service it came with.
    #[getter]
    fn qos(&self) -> u8 {
        self.inner.qos as u8
    }

    /// Whether the broker had kept it.
    #[getter]
    fn retain(&self) -> bool {
        self.inner.retain
    }

    /// Whether the broker has sent it before.
    #[getter]
    fn dup(&self) -> bool {
        self.inner.dup
    }

    fn __repr__(&self) -> String {
        format!("Message({:?}, {} bytes)", self.inner.topic, self.inner.payload.len())
    }
}

/// What became of a published message. Can be awaited.
///
/// `rc` is 0 when it was accepted, else paho's error code; `mid` its number, 0 when nothing was sent.
#[pyclass(frozen, module = "miqro._native")]
pub struct PublishInfo {
    #[pyo3(get)]
    rc: i32,
    #[pyo3(get)]
    mid: u16,
    pending: Option<(Arc<Completion>, Arc<CoreSession>)>,
}

impl PublishInfo {
    /// What it learns its outcome from; `None` where it was settled from the beginning.
    pub fn completion(&self) -> Option<Arc<Completion>> {
        self.pending.as_ref().map(|(completion, _)| Arc::clone(completion))
    }

    fn outcome(&self) -> Outcome {
        self.pending.as_ref().map_or(Outcome::Done, |(completion, _)| completion.outcome())
    }

    fn check(&self, py: Python<'_>, outcome: Outcome) -> PyResult<()> {
        match outcome {
            _ if self.rc != RC_SUCCESS => Err(errors::not_published(py, self.rc)),
            Outcome::Failed(failure) => Err(errors::publish_failed(py, &failure.to_string())),
            Outcome::Pending | Outcome::Done => Ok(()),
        }
    }
}

#[pymethods]
impl PublishInfo {
    /// Something that is over: accepted and done (`rc` 0), or refused.
    #[new]
    #[pyo3(signature = (rc=0, mid=0))]
    fn new(rc: i32, mid: u16) -> Self {
        Self { rc, mid, pending: None }
    }

    /// Whether the broker has acknowledged it (QoS 0: whether it was written to the socket).
    fn is_published(&self) -> bool {
        self.rc == RC_SUCCESS && self.outcome() == Outcome::Done
    }

    /// Waits until it is published, for `timeout` seconds at most (None: for ever).
    ///
    /// Raises:
    ///     miqro.PublishError: It was refused, or dropped, or the session was closed first.
    #[pyo3(signature = (timeout=None))]
    fn wait_for_publish(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<()> {
        let Some((completion, session)) = &self.pending else { return self.check(py, Outcome::Done) };
        let timeout =
            timeout.map(|seconds| Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX));
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let _waiting = session.waiting_for_broker();
        let _awaited = session.awaiting_answer();
        loop {
            let left = deadline.map_or(SIGNAL_CHECK, |deadline| {
                deadline.saturating_duration_since(Instant::now()).min(SIGNAL_CHECK)
            });
            let outcome = py.detach(|| completion.wait(left));
            py.check_signals()?;
            if outcome != Outcome::Pending || left.is_zero() {
                return self.check(py, outcome);
            }
        }
    }

    /// Whether nothing more will happen; raises what `wait_for_publish` would raise then.
    fn settled(&self, py: Python<'_>) -> PyResult<bool> {
        let outcome = self.outcome();
        self.check(py, outcome)?;
        Ok(outcome != Outcome::Pending)
    }

    /// Puts `token` into `settled` when it is settled; at once if it is. Ends with `unwatch`.
    fn watch(&self, settled: &Settled, token: u64) {
        if let Some((completion, session)) = &self.pending {
            session.await_answer();
            completion.watch(&settled.inner, token);
        }
    }

    /// Nobody waits for `token` any more.
    fn unwatch(&self, settled: &Settled, token: u64) {
        if let Some((completion, session)) = &self.pending {
            completion.unwatch(&settled.inner, token);
            session.await_answer_no_more();
        }
    }

    fn __await__(slf: Bound<'_, Self>) -> PyResult<Bound<'_, PyAny>> {
        let py = slf.py();
        py.import("miqro._awaiting")?.call_method1("published", (slf,))?.call_method0("__await__")
    }

    fn __repr__(&self) -> String {
        format!("PublishInfo(rc={}, mid={})", self.rc, self.mid)
    }
}

/// The messages, of those that are watched, that have been settled.
#[pyclass(frozen, module = "miqro._native")]
pub struct Settled {
    inner: Arc<CoreSettled>,
}

#[pymethods]
impl Settled {
    /// `wake` is notified when there is something to take.
    #[new]
    fn new(wake: &Wake) -> Self {
        Self { inner: Arc::new(CoreSettled::new(Arc::clone(&wake.inner))) }
    }

    /// The tokens of what was settled since the last call, in that order.
    fn take(&self) -> Vec<u64> {
        self.inner.take()
    }
}

/// A session with a broker, on a thread of its own.
#[pyclass(frozen, module = "miqro._native")]
pub struct Session {
    inner: Arc<CoreSession>,
}

#[pymethods]
impl Session {
    /// A session that has not started. `wake` is notified of each event.
    ///
    /// Raises:
    ///     miqro.ConfigError: An option is not known or of the wrong type.
    #[new]
    #[pyo3(signature = (options: "dict[str, object]", wake))]
    fn new(options: &Bound<'_, PyDict>, wake: &Wake) -> PyResult<Self> {
        let options: SessionOptions = pythonize::depythonize(options)
            .map_err(|error| errors::config(options.py(), &error.to_string()))?;
        Ok(Self { inner: Arc::new(CoreSession::new(options, Arc::clone(&wake.inner))) })
    }

    /// Starts the network thread; does nothing when it runs.
    ///
    /// Raises:
    ///     OSError: The operating system gives no thread or no descriptors.
    fn start(&self, py: Python<'_>) -> PyResult<()> {
        Ok(py.detach(|| self.inner.start())?)
    }

    /// Accepts a message for delivery; waits while the queue is full and the broker there.
    ///
    /// Raises:
    ///     ValueError: Topic, size or qos cannot be sent.
    ///     TypeError: The payload is neither text nor bytes.
    #[pyo3(signature = (topic, payload: "str | bytes | bytearray", qos=0, retain=false))]
    fn publish(
        &self,
        py: Python<'_>,
        topic: &str,
        payload: &Bound<'_, PyAny>,
        qos: u8,
        retain: bool,
    ) -> PyResult<PublishInfo> {
        let payload = if let Ok(text) = payload.cast::<PyString>() {
            Bytes::copy_from_slice(text.to_str()?.as_bytes())
        } else if let Ok(bytes) = payload.cast::<PyBytes>() {
            Bytes::copy_from_slice(bytes.as_bytes())
        } else if let Ok(bytes) = payload.extract::<Vec<u8>>() {
            Bytes::from(bytes)
        } else {
            return Err(PyTypeError::new_err("a payload is text or bytes"));
        };
        let qos = self::qos(qos)?;
        topic::check_topic(topic).map_err(|error| PyValueError::new_err(error.to_string()))?;
        CoreSession::check_size(topic, &payload).map_err(PyValueError::new_err)?;
        loop {
            match self.inner.publish(topic.to_owned(), payload.clone(), qos, retain) {
                Ok(receipt) => {
                    let pending = Some((receipt.completion, Arc::clone(&self.inner)));
                    return Ok(PublishInfo { rc: RC_SUCCESS, mid: receipt.mid, pending });
                }
                Err(Refusal::Closed) => return Ok(PublishInfo::new(RC_NO_CONNECTION, 0)),
                Err(Refusal::FullWhileOffline) => return Ok(PublishInfo::new(RC_QUEUE_FULL, 0)),
                Err(Refusal::FullWhileConnected) => {
                    if !py.detach(|| self.inner.wait_for_room(topic.len() + payload.len(), SIGNAL_CHECK)) {
                        return Ok(PublishInfo::new(RC_QUEUE_FULL, 0));
                    }
                    py.check_signals()?;
                }
            }
        }
    }

    /// Subscribes to filters, each with its qos, now and on every connect. Returns the number of the request.
    ///
    /// Raises:
    ///     ValueError: A filter or a qos is not valid.
    fn subscribe(&self, filters: Vec<(String, u8)>) -> PyResult<u16> {
        let filters = filters.into_iter().map(|(filter, value)| {
            topic::check_filter(&filter).map_err(|error| PyValueError::new_err(error.to_string()))?;
            Ok((filter, qos(value)?))
        });
        Ok(self.inner.subscribe(filters.collect::<PyResult<_>>()?))
    }

    /// Ends subscriptions. Returns the number of the request.
    fn unsubscribe(&self, filters: Vec<String>) -> u16 {
        self.inner.unsubscribe(filters)
    }

    /// What this thread publishes from now on is the greeting, until `greeted`: it is sent ahead of the queue.
    fn begin_greeting(&self) {
        self.inner.begin_greeting();
    }

    /// What this thread publishes from now on is the farewell: a full queue does not keep it waiting.
    fn begin_farewell(&self) {
        self.inner.begin_farewell();
    }

    /// A turn of work begins: what is published may be held back for a millisecond, to go out in one write.
    fn cork(&self) {
        self.inner.cork();
    }

    /// The turn is over: out with it.
    fn uncork(&self) {
        self.inner.uncork();
    }

    /// The greeting is said: what was queued may be sent.
    fn greeted(&self) {
        self.inner.greeted();
    }

    /// Up to `limit` events, in order.
    #[pyo3(signature = (limit) -> "list[Event | Message]")]
    fn take<'py>(&self, py: Python<'py>, limit: usize) -> PyResult<Bound<'py, PyList>> {
        let mut events = Vec::new();
        self.inner.take_events(limit, &mut events);
        let list = PyList::empty(py);
        for event in events {
            match translate(event) {
                Ok(event) => list.append(event)?,
                Err(inner) => list.append(Message { inner })?,
            }
        }
        Ok(list)
    }

    /// As `take`, but messages come as (topic, text, routes): the text of contract C14, and the handlers that
    /// `router` finds for the topic.
    #[pyo3(signature = (limit, router) -> "list[Event | tuple[str, str, tuple[tuple[int, str | None], ...]]]")]
    fn take_routed<'py>(
        &self,
        py: Python<'py>,
        limit: usize,
        router: &Router,
    ) -> PyResult<Bound<'py, PyList>> {
        let mut events = Vec::new();
        self.inner.take_events(limit, &mut events);
        let list = PyList::empty(py);
        for event in events {
            match translate(event) {
                Ok(event) => list.append(event)?,
                Err(message) => {
                    let found = router.route(py, &message.topic)?;
                    list.append((message.topic, payload::text(&message.payload), found))?;
                }
            }
        }
        Ok(list)
    }

    /// Sends what is owed, says goodbye and ends the network thread, within `timeout` seconds. Idempotent.
    ///
    /// Returns:
    ///     How many messages were still owed to the broker.
    fn close(&self, py: Python<'_>, timeout: f64) -> usize {
        let timeout = Duration::try_from_secs_f64(timeout).unwrap_or(Duration::ZERO);
        py.detach(|| self.inner.close(timeout))
    }

    /// Whether the broker has accepted us and the connection stands.
    fn is_connected(&self) -> bool {
        self.inner.is_connected()
    }

    /// Whether the network thread runs.
    fn is_running(&self) -> bool {
        self.inner.is_running()
    }

    /// Messages owed to the broker, and their bytes.
    fn owed(&self) -> (usize, usize) {
        self.inner.owed()
    }

    /// Messages that wait for the service.
    fn waiting(&self) -> usize {
        self.inner.waiting()
    }
}
