//! The router for Python, with a cache of finished answers (contract C13).
#![expect(clippy::doc_markdown, reason = "these comments are docstrings for Python, in Google style")]

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple};

use crate::core::router::{self, HandlerId};

/// How many answers each of the two generations of the cache holds.
const CACHED_TOPICS: usize = 16_384;

/// Topics longer than this, in bytes, are not cached: with the count, the bound of the cache's memory.
const CACHED_BYTES: usize = 256;

type Answers = HashMap<Box<str>, Py<PyTuple>>;

#[derive(Default)]
struct State {
    router: router::Router,
    /// Counts the changes, so that an answer made before one is not stored after it.
    changes: u64,
    /// Answers given since `older` was filled. When full it becomes `older`, and what nobody asked for goes.
    newer: Answers,
    older: Answers,
}

impl State {
    /// Forgets the cached answers. They are returned, to be dropped when the lock is free.
    fn changed(&mut self) -> (Answers, Answers) {
        self.changes += 1;
        (std::mem::take(&mut self.newer), std::mem::take(&mut self.older))
    }

    /// Caches an answer. What is returned is to be dropped when the lock is free.
    fn store(&mut self, topic: &str, answer: Py<PyTuple>) -> Answers {
        let mut dropped = Answers::new();
        if topic.len() <= CACHED_BYTES {
            if self.newer.len() >= CACHED_TOPICS {
                let full = std::mem::take(&mut self.newer);
                dropped = std::mem::replace(&mut self.older, full);
            }
            self.newer.insert(topic.into(), answer);
        }
        dropped
    }
}

/// Which handlers a topic belongs to. May be used from several threads at once.
#[pyclass(frozen, module = "miqro._native")]
#[derive(Default)]
pub struct Router {
    state: Mutex<State>,
}

impl Router {
    /// The lock is never held while Python code runs, so waiting for it is short and cannot deadlock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[pymethods]
impl Router {
    /// A router without handlers.
    #[new]
    fn new() -> Self {
        Self::default()
    }

    /// Register a handler.
    ///
    /// Args:
    ///     filter: The topic filter, with `+`, `#` and `$share/group/` as in MQTT.
    ///     global_: Whether it is called before the service's own handlers.
    ///
    /// Returns:
    ///     The handler's id, never used again.
    ///
    /// Raises:
    ///     ValueError: If the filter is invalid.
    fn add(&self, filter: &str, global_: bool) -> PyResult<u32> {
        let mut state = self.lock();
        let added = state.router.add(filter, global_);
        let forgotten = state.changed();
        drop(state);
        drop(forgotten);
        added.map(|id| id.0).map_err(|err| PyValueError::new_err(err.to_string()))
    }

    /// Forget the handler with this id; without one, nothing happens.
    fn remove(&self, id: u32) {
        let mut state = self.lock();
        state.router.remove(HandlerId(id));
        let forgotten = state.changed();
        drop(state);
        drop(forgotten);
    }

    /// Every filter in use, each once, in order of registration: what to subscribe to.
    fn filters(&self) -> Vec<String> {
        self.lock().router.filters().into_iter().map(str::to_owned).collect()
    }

    /// The handlers of a topic, in the order they are to be called.
    ///
    /// Args:
    ///     topic: The topic of a message.
    ///
    /// Returns:
    ///     A pair for each handler: its id, and the part of the topic that the `#` at the end of its filter stands
    ///     for, or `None` where there is no `#`.
    #[pyo3(signature = (topic) -> "tuple[tuple[int, str | None], ...]")]
    pub fn route<'py>(&self, py: Python<'py>, topic: &str) -> PyResult<Bound<'py, PyTuple>> {
        let mut state = self.lock();
        if let Some(answer) = state.newer.get(topic) {
            return Ok(answer.bind(py).clone());
        }
        if let Some(answer) = state.older.remove(topic) {
            let dropped = state.store(topic, answer.clone_ref(py));
            drop(state);
            drop(dropped);
            return Ok(answer.into_bound(py));
        }
        let (found, changes) = (state.router.route(topic), state.changes);
        drop(state);
        let pairs = found.into_iter().map(|it| {
            let remainder = it.remainder.map(|at| PyString::new(py, &topic[at..]));
            (it.id.0, remainder)
        });
        let answer = PyTuple::new(py, pairs.collect::<Vec<_>>())?;
        let mut state = self.lock();
        if state.changes == changes {
            let dropped = state.store(topic, answer.clone().unbind());
            drop(state);
            drop(dropped);
        }
        Ok(answer)
    }

    fn __len__(&self) -> usize {
        self.lock().router.len()
    }
}
