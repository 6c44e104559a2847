//! [`crate::core::session`] for Python.
#![expect(clippy::doc_markdown, reason = "these comments are docstrings for Python, in Google style")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyDict, PyList, PyString};

use super::errors;
use super::properties::Properties;
use super::router::Router;
use super::wake::{Wake, to_duration};
use crate::core::payload;
use crate::core::session::Session as CoreSession;
use crate::core::session::completion::{Completion, Outcome, Settled as CoreSettled};
use crate::core::session::event::Event as CoreEvent;
use crate::core::session::message::{Message as CoreMessage, QoS};
use crate::core::session::options::SessionOptions;
use crate::core::session::packet::Subscription;
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

fn to_bytes(payload: &Bound<'_, PyAny>) -> PyResult<Bytes> {
    Ok(if let Ok(text) = payload.cast::<PyString>() {
        Bytes::copy_from_slice(text.to_str()?.as_bytes())
    } else if let Ok(bytes) = payload.cast::<PyBytes>() {
        Bytes::copy_from_slice(bytes.as_bytes())
    } else if let Ok(bytes) = payload.extract::<Vec<u8>>() {
        Bytes::from(bytes)
    } else {
        return Err(PyTypeError::new_err("a payload is text or bytes"));
    })
}

fn to_options(options: &Bound<'_, PyDict>) -> PyResult<SessionOptions> {
    pythonize::depythonize(options).map_err(|error| errors::config(options.py(), &error.to_string()))
}

/// What the session tells. One class for each kind of event.
#[pyclass(frozen, module = "miqro._native")]
pub enum Event {
    /// The broker has accepted us; `outage` is the time in seconds without a connection.
    /// `protocol` is 4 for MQTT 3.1.1, 5 for MQTT 5; `assigned_client_id` is what the broker has chosen.
    Connected { session_present: bool, outage: Option<f64>, protocol: u8, assigned_client_id: Option<String> },
    /// The broker said no: the CONNACK code, in words, and the seconds until the next attempt.
    Refused { code: u8, reason: String, retry_in: f64 },
    /// No broker answered.
    Unreachable { reason: String, retry_in: f64 },
    /// The connection has ended.
    Disconnected { reason: String, requested: bool, retry_in: Option<f64> },
    /// A SUBSCRIBE was answered: each filter with the QoS granted, or with the reason of the refusal.
    Subscribed { mid: u16, granted: Vec<(String, Option<u8>, Option<String>)> },
    /// An UNSUBSCRIBE was answered: filters that the broker did not let go of, and why.
    Unsubscribed { mid: u16, refused: Vec<(String, String)> },
    /// The broker does not take messages: the topic of the first of them, why, and how many.
    Rejected { topic: String, reason: String, count: u64 },
    /// The broker does not do all that was asked for.
    Limited { reason: String },
    /// A message was acknowledged.
    Published { mid: u16 },
    /// Messages were dropped while the broker was away.
    Dropped { count: u64 },
    /// Messages of QoS 0 from the broker were dropped: the inbox is full, and the service waits for an
    /// acknowledgement that is behind them.
    Overrun { count: u64 },
    /// The durable outbox has something to say; `trouble` where something is wrong.
    Storage { text: String, trouble: bool },
    /// The engine has failed.
    Terminated { reason: String },
}

/// Events that carry no message; a message comes back as the error.
fn translate(event: CoreEvent) -> Result<Event, CoreMessage> {
    Ok(match event {
        CoreEvent::Message(message) => return Err(message),
        CoreEvent::Connected { session_present, outage, version, assigned_client_id } => Event::Connected {
            session_present,
            outage: outage.map(|outage| outage.as_secs_f64()),
            protocol: version.level(),
            assigned_client_id,
        },
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
            granted: granted
                .into_iter()
                .map(|(filter, granted)| match granted {
                    Ok(qos) => (filter, Some(qos as u8), None),
                    Err(reason) => (filter, None, Some(reason)),
                })
                .collect(),
        },
        CoreEvent::Unsubscribed { mid, refused } => Event::Unsubscribed { mid, refused },
        CoreEvent::Rejected { topic, reason, count } => {
            Event::Rejected { topic, reason: reason.to_string(), count }
        }
        CoreEvent::Limited { reason } => Event::Limited { reason },
        CoreEvent::Published { mid } => Event::Published { mid },
        CoreEvent::Dropped { count } => Event::Dropped { count },
        CoreEvent::Overrun { count } => Event::Overrun { count },
        CoreEvent::Storage { text, trouble } => Event::Storage { text, trouble },
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

    /// What it says besides its payload; None where it says nothing, and with MQTT 3.1.1.
    #[getter]
    fn properties(&self) -> Option<Properties> {
        self.inner.properties.as_ref().map(|properties| Properties { inner: (**properties).clone() })
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
        let timeout = timeout.map(to_duration);
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        if session.is_of_parent() {
            return Err(errors::forked(py));
        }
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
        let settled = outcome != Outcome::Pending;
        self.check(py, outcome)?;
        Ok(settled)
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

    /// What the session is given from now on may be held back for a millisecond, to go out in one write at `uncork`.
    ///
    /// Returns:
    ///     Whether `uncork` has to follow: it was not so before.
    fn cork(&self) -> bool {
        self.pending.as_ref().is_some_and(|(_, session)| session.cork())
    }

    /// Out with it.
    fn uncork(&self) {
        if let Some((_, session)) = &self.pending {
            session.uncork();
        }
    }

    fn __await__(slf: Bound<'_, Self>) -> PyResult<Bound<'_, PyAny>> {
        static PUBLISHED: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let py = slf.py();
        let published = PUBLISHED.import(py, "miqro._awaiting", "published")?;
        published.call1((slf,))?.call_method0(intern!(py, "__await__"))
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

impl Session {
    /// The session, unless it belongs to the parent of this process.
    fn own(&self, py: Python<'_>) -> PyResult<&Arc<CoreSession>> {
        if self.inner.is_of_parent() { Err(errors::forked(py)) } else { Ok(&self.inner) }
    }
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
        let options = to_options(options)?;
        Ok(Self { inner: Arc::new(CoreSession::new(options, Arc::clone(&wake.inner))) })
    }

    /// Changes the options: those of the connection count from the next one on, those of the queue for messages
    /// still to come. `max_incoming_messages` stays.
    ///
    /// Raises:
    ///     miqro.ConfigError: An option is not known or of the wrong type.
    ///     miqro.MiqroError: It belongs to the parent of this process.
    #[pyo3(signature = (options: "dict[str, object]"))]
    fn configure(&self, options: &Bound<'_, PyDict>) -> PyResult<()> {
        self.own(options.py())?.configure(to_options(options)?);
        Ok(())
    }

    /// Starts the network thread; does nothing when it runs.
    ///
    /// Raises:
    ///     OSError: The operating system gives no thread or no descriptors.
    fn start(&self, py: Python<'_>) -> PyResult<()> {
        let session = self.own(py)?;
        Ok(py.detach(|| session.start())?)
    }

    /// Accepts a message for delivery; waits while the queue is full and the broker there.
    ///
    /// Raises:
    ///     ValueError: Topic, size, qos or properties cannot be sent.
    ///     TypeError: The payload is neither text nor bytes.
    #[pyo3(signature = (topic, payload: "str | bytes | bytearray", qos=0, retain=false, properties=None))]
    fn publish(
        &self,
        py: Python<'_>,
        topic: &str,
        payload: &Bound<'_, PyAny>,
        qos: u8,
        retain: bool,
        properties: Option<&Bound<'_, Properties>>,
    ) -> PyResult<PublishInfo> {
        let session = self.own(py)?;
        let qos = self::qos(qos)?;
        topic::check_topic(topic).map_err(|error| PyValueError::new_err(error.to_string()))?;
        let properties = match properties {
            None => None,
            Some(properties) => {
                session.check_properties().map_err(PyValueError::new_err)?;
                Some(Box::new(properties.get().inner.clone()))
            }
        };
        loop {
            // Made anew after a wait, which is rare; a copy kept for that would cost each message something.
            let (topic, payload, properties) = (topic.to_owned(), to_bytes(payload)?, properties.clone());
            CoreSession::check_size(&topic, &payload, properties.as_deref())
                .map_err(PyValueError::new_err)?;
            let message = CoreMessage { topic, payload, qos, retain, dup: false, properties };
            let size = message.size();
            match session.publish_message(message) {
                Ok(receipt) => {
                    let pending = Some((receipt.completion, Arc::clone(session)));
                    return Ok(PublishInfo { rc: RC_SUCCESS, mid: receipt.mid, pending });
                }
                Err(Refusal::Closed) => return Ok(PublishInfo::new(RC_NO_CONNECTION, 0)),
                Err(Refusal::TooLarge(reason)) => return Err(PyValueError::new_err(reason)),
                Err(Refusal::FullWhileOffline) => return Ok(PublishInfo::new(RC_QUEUE_FULL, 0)),
                Err(Refusal::FullWhileConnected) => {
                    if !py.detach(|| session.wait_for_room(size, SIGNAL_CHECK)) {
                        return Ok(PublishInfo::new(RC_QUEUE_FULL, 0));
                    }
                    py.check_signals()?;
                }
            }
        }
    }

    /// Subscribes to filters, now and on every connect, each with its qos, or with the byte of subscription options
    /// of MQTT 5 (section 3.8.3.1). Returns the number of the request.
    ///
    /// Raises:
    ///     ValueError: A filter or its qos or options are not valid.
    fn subscribe(&self, py: Python<'_>, filters: Vec<(String, u8)>) -> PyResult<u16> {
        let filters = filters.into_iter().map(|(filter, value)| {
            topic::check_filter(&filter).map_err(|error| PyValueError::new_err(error.to_string()))?;
            let how = Subscription::for_filter(&filter, value).map_err(PyValueError::new_err)?;
            Ok((filter, how))
        });
        Ok(self.own(py)?.subscribe(filters.collect::<PyResult<Vec<_>>>()?))
    }

    /// Ends subscriptions. Returns the number of the request.
    fn unsubscribe(&self, py: Python<'_>, filters: Vec<String>) -> PyResult<u16> {
        Ok(self.own(py)?.unsubscribe(filters))
    }

    /// What this thread publishes from now on is the greeting, until `greeted`: it is sent ahead of the queue.
    fn begin_greeting(&self) {
        if !self.inner.is_of_parent() {
            self.inner.begin_greeting();
        }
    }

    /// What this thread publishes from now on is the farewell: a full queue does not keep it waiting.
    fn begin_farewell(&self) {
        if !self.inner.is_of_parent() {
            self.inner.begin_farewell();
        }
    }

    /// A turn of work begins: what is published may be held back for a millisecond, to go out in one write.
    fn cork(&self) {
        if !self.inner.is_of_parent() {
            self.inner.cork();
        }
    }

    /// The turn is over: out with it.
    fn uncork(&self) {
        if !self.inner.is_of_parent() {
            self.inner.uncork();
        }
    }

    /// The greeting is said: what was queued may be sent.
    fn greeted(&self) {
        if !self.inner.is_of_parent() {
            self.inner.greeted();
        }
    }

    /// Up to `limit` events, in order.
    #[pyo3(signature = (limit) -> "list[Event | Message]")]
    fn take<'py>(&self, py: Python<'py>, limit: usize) -> PyResult<Bound<'py, PyList>> {
        let mut events = Vec::new();
        self.own(py)?.take_events(limit, &mut events);
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
    /// `router` finds for the topic. One that has properties is followed by the message itself.
    #[pyo3(signature = (limit, router) -> "list[Event | tuple[str, str, tuple[tuple[int, str | None], ...]] | tuple[str, str, tuple[tuple[int, str | None], ...], Message]]")]
    fn take_routed<'py>(
        &self,
        py: Python<'py>,
        limit: usize,
        router: &Router,
    ) -> PyResult<Bound<'py, PyList>> {
        let mut events = Vec::new();
        self.own(py)?.take_events(limit, &mut events);
        let list = PyList::empty(py);
        for event in events {
            match translate(event) {
                Ok(event) => list.append(event)?,
                Err(message) => {
                    let found = router.route(py, &message.topic)?;
                    let text = payload::text(&message.payload);
                    if message.properties.is_none() {
                        list.append((message.topic, text, found))?;
                    } else {
                        list.append((
                            message.topic.clone(),
                            text.into_owned(),
                            found,
                            Message { inner: message },
                        ))?;
                    }
                }
            }
        }
        Ok(list)
    }

    /// As `Wake.sleep`, and moves the session's bytes meanwhile, so that a message wakes one thread and not two. For
    /// the thread of the service.
    fn sleep(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<()> {
        let timeout = timeout.map(to_duration);
        let session = &self.inner;
        // An interrupted sleep is over: the service looks again, after what the signal has to say.
        py.detach(|| session.sleep(timeout))?;
        py.check_signals()
    }

    /// Whether `take` would find something.
    fn has_events(&self) -> bool {
        !self.inner.is_of_parent() && self.inner.has_events()
    }

    /// Sends what is owed, says goodbye and ends the network thread, within `timeout` seconds. Idempotent.
    ///
    /// Returns:
    ///     How many messages were still owed to the broker.
    fn close(&self, py: Python<'_>, timeout: f64) -> usize {
        let timeout = Duration::try_from_secs_f64(timeout).unwrap_or(Duration::ZERO);
        // What is the parent's is for the parent to end.
        self.own(py).map_or(0, |session| py.detach(|| session.close(timeout)))
    }

    /// Whether the broker has accepted us and the connection stands.
    fn is_connected(&self) -> bool {
        !self.inner.is_of_parent() && self.inner.is_connected()
    }

    /// Whether it was started in a process that this one is a fork() of: then it is of no use here.
    fn is_of_parent(&self) -> bool {
        self.inner.is_of_parent()
    }

    /// The version that the connection speaks, or the next one will: 4 is MQTT 3.1.1, 5 MQTT 5.
    fn protocol(&self) -> u8 {
        self.inner.version().level()
    }

    /// Whether properties of messages can reach the broker: it speaks MQTT 5, or may do so yet.
    fn takes_properties(&self) -> bool {
        self.inner.check_properties().is_ok()
    }

    /// Whether the network thread runs.
    fn is_running(&self) -> bool {
        !self.inner.is_of_parent() && self.inner.is_running()
    }

    /// Messages owed to the broker, and their bytes.
    fn owed(&self, py: Python<'_>) -> PyResult<(usize, usize)> {
        Ok(self.own(py)?.owed())
    }

    /// Messages that wait for the service.
    fn waiting(&self, py: Python<'_>) -> PyResult<usize> {
        Ok(self.own(py)?.waiting())
    }
}
