//! YAML documents as live Python objects.
#![expect(clippy::doc_markdown, reason = "the docstrings are for Python's help()")]

use std::collections::VecDeque;
use std::path::PathBuf;

use pyo3::prelude::*;
use pyo3::types::{
    PyBool, PyBytes, PyComplex, PyDate, PyDateTime, PyDelta, PyDict, PyFloat, PyInt, PyList, PySet, PyString,
    PyTuple, PyTzInfo,
};

use crate::core::config::System;
use crate::core::yaml::{self, Date, DateTime, Document, Int, Limits, Mark, NodeId, Step, Value};

/// A YAML document: its value as Python objects, and where each of them stands in the text.
#[pyclass(frozen, module = "miqro._native")]
pub(super) struct YamlDocument {
    document: Document,
    value: Py<PyAny>,
    problems: Vec<String>,
}

#[pymethods]
impl YamlDocument {
    /// The document as live Python objects, the same that PyYAML's FullLoader gives; None for an empty text.
    #[getter]
    fn value(&self, py: Python<'_>) -> Py<PyAny> {
        self.value.clone_ref(py)
    }

    /// A sentence for each tag of a configuration that leads nowhere; its value is None.
    #[getter]
    fn problems(&self) -> Vec<String> {
        self.problems.clone()
    }

    /// Where the value at a path stands in the text.
    ///
    /// Args:
    ///     path: The keys and list positions that lead from the root to the value; () is the root.
    ///
    /// Returns:
    ///     Line and column, counted from 1, or None where the path leads nowhere.
    #[pyo3(signature = (path: "tuple[object, ...]"))]
    fn mark(&self, path: &Bound<'_, PyTuple>) -> Option<(u32, u32)> {
        self.locate(path).map(|(_, value)| (value.line, value.column))
    }

    /// Where the key at the end of a path stands in the text; else as `mark`.
    #[pyo3(signature = (path: "tuple[object, ...]"))]
    fn key_mark(&self, path: &Bound<'_, PyTuple>) -> Option<(u32, u32)> {
        self.locate(path).map(|(key, _)| (key.line, key.column))
    }

    /// The file that the value at a path, or its key, comes from.
    ///
    /// Args:
    ///     path: As for `mark`.
    ///     key: Whether the key is asked for.
    ///
    /// Returns:
    ///     The included file or the file of the secrets, or None where it is the document itself.
    #[pyo3(signature = (path: "tuple[object, ...]", key))]
    fn file(&self, path: &Bound<'_, PyTuple>, key: bool) -> Option<String> {
        let (of_key, of_value) = self.locate(path)?;
        let file = usize::from(if key { of_key.file } else { of_value.file });
        self.document.files().get(file).filter(|_| file > 0).cloned()
    }
}

impl YamlDocument {
    fn locate(&self, path: &Bound<'_, PyTuple>) -> Option<(Mark, Mark)> {
        let steps: Option<Vec<_>> = path.iter().map(|key| step(&key)).collect();
        self.document.locate(&steps?)
    }
}

fn step(key: &Bound<'_, PyAny>) -> Option<Step> {
    if key.is_none() {
        Some(Step::Constant(None))
    } else if let Ok(truth) = key.cast::<PyBool>() {
        Some(Step::Constant(Some(truth.is_true())))
    } else if let Ok(text) = key.extract() {
        Some(Step::Key(text))
    } else {
        key.extract().ok().map(Step::Index)
    }
}

/// Reads a YAML document as PyYAML's FullLoader does.
///
/// Args:
///     data: The text, in UTF-8, or in UTF-16 with a byte order mark.
///     name: The file as the user knows it, for error texts.
///
/// Returns:
///     The document.
///
/// Raises:
///     ConfigError: The text is refused. The error says `file:line:column: what, and what to do`.
#[pyfunction]
#[pyo3(signature = (data, name))]
pub(super) fn yaml_load(py: Python<'_>, data: &[u8], name: &str) -> PyResult<YamlDocument> {
    let document = py.detach(|| yaml::load(data, name, &Limits::default()))?;
    let value = to_python(py, &document)?.unbind();
    Ok(YamlDocument { document, value, problems: Vec::new() })
}

/// Reads a configuration file: YAML with the tags `!env`, `!secret` and `!include`.
///
/// Args:
///     data: The content of the file.
///     path: Where it is; other files are looked for beside it.
///
/// Returns:
///     The document. Values from `!env` and `!secret` are instances of `miqro._secret.Hidden`.
///
/// Raises:
///     ConfigError: The text is refused. The error says `file:line:column: what, and what to do`.
#[pyfunction]
#[pyo3(signature = (data, path: "str"))]
#[expect(clippy::needless_pass_by_value, reason = "pyo3 makes the path for this call")]
pub(super) fn config_load(py: Python<'_>, data: &[u8], path: PathBuf) -> PyResult<YamlDocument> {
    let (document, problems) =
        py.detach(|| yaml::load_with_tags(data, &path, &Limits::default(), &System))?;
    let value = to_python(py, &document)?.unbind();
    Ok(YamlDocument { document, value, problems: problems.iter().map(ToString::to_string).collect() })
}

/// Builds the Python objects of a document. A node that is referenced twice becomes one object; collections are
/// made empty and filled in order of appearance, so they may contain themselves.
fn to_python<'py>(py: Python<'py>, document: &Document) -> PyResult<Bound<'py, PyAny>> {
    let Some(root) = document.root() else { return Ok(py.None().into_bound(py)) };
    let mut maker =
        Maker { py, document, made: vec![None; document.len()], nan: None, waiting: VecDeque::new() };
    let value = maker.make(root)?;
    while let Some(collection) = maker.waiting.pop_front() {
        maker.fill(collection)?;
    }
    Ok(value)
}

enum Unfilled<'a, 'py> {
    List(Bound<'py, PyList>, &'a [NodeId]),
    Dict(Bound<'py, PyDict>, &'a [(NodeId, NodeId)]),
    Set(Bound<'py, PySet>, &'a [NodeId]),
    Pairs(Bound<'py, PyList>, &'a [(NodeId, NodeId)]),
}

struct Maker<'a, 'py> {
    py: Python<'py>,
    document: &'a Document,
    made: Vec<Option<Bound<'py, PyAny>>>,
    /// The one not-a-number of the document: as with PyYAML, two such keys of a mapping are the same key.
    nan: Option<Bound<'py, PyAny>>,
    waiting: VecDeque<Unfilled<'a, 'py>>,
}

impl<'py> Maker<'_, 'py> {
    fn make(&mut self, id: NodeId) -> PyResult<Bound<'py, PyAny>> {
        if let Some(object) = &self.made[id.index()] {
            return Ok(object.clone());
        }
        let py = self.py;
        let document = self.document;
        let object = match document.value(id) {
            Value::Null => py.None().into_bound(py),
            Value::Bool(truth) => PyBool::new(py, *truth).to_owned().into_any(),
            Value::Int(int) => whole_number(py, int)?,
            Value::Float(float) if float.is_nan() => {
                self.nan.get_or_insert_with(|| PyFloat::new(py, *float).into_any()).clone()
            }
            Value::Float(float) => float.into_pyobject(py)?.into_any(),
            Value::Complex(real, imaginary) => PyComplex::from_doubles(py, *real, *imaginary).into_any(),
            Value::Str(text) => PyString::new(py, text).into_any(),
            Value::Bytes(bytes) => PyBytes::new(py, bytes).into_any(),
            Value::Date(date) => day(py, *date)?,
            Value::DateTime(time) => moment(py, time)?,
            Value::Seq(items) => {
                let list = PyList::empty(py);
                self.waiting.push_back(Unfilled::List(list.clone(), items));
                list.into_any()
            }
            Value::Map(pairs) => {
                let dict = PyDict::new(py);
                self.waiting.push_back(Unfilled::Dict(dict.clone(), pairs));
                dict.into_any()
            }
            Value::Set(keys) => {
                let set = PySet::empty(py)?;
                self.waiting.push_back(Unfilled::Set(set.clone(), keys));
                set.into_any()
            }
            Value::Pairs(pairs) => {
                let list = PyList::empty(py);
                self.waiting.push_back(Unfilled::Pairs(list.clone(), pairs));
                list.into_any()
            }
            Value::Tuple(items) => {
                let items: PyResult<Vec<_>> = items.iter().map(|item| self.make(*item)).collect();
                PyTuple::new(py, items?)?.into_any()
            }
        };
        let object = match document.origin(id) {
            None => object,
            Some(origin) => py.import("miqro._secret")?.call_method1("hide", (object, origin))?,
        };
        self.made[id.index()] = Some(object.clone());
        Ok(object)
    }

    fn fill(&mut self, collection: Unfilled<'_, 'py>) -> PyResult<()> {
        match collection {
            Unfilled::List(list, items) => items.iter().try_for_each(|item| list.append(self.make(*item)?)),
            Unfilled::Dict(dict, pairs) => {
                pairs.iter().try_for_each(|(key, value)| dict.set_item(self.make(*key)?, self.make(*value)?))
            }
            Unfilled::Set(set, keys) => keys.iter().try_for_each(|key| set.add(self.make(*key)?)),
            Unfilled::Pairs(list, pairs) => {
                pairs.iter().try_for_each(|(key, value)| list.append((self.make(*key)?, self.make(*value)?)))
            }
        }
    }
}

fn whole_number<'py>(py: Python<'py>, int: &Int) -> PyResult<Bound<'py, PyAny>> {
    match int {
        Int::Small(small) => Ok(small.into_pyobject(py)?.into_any()),
        Int::Big(big) => {
            let magnitude = PyBytes::new(py, &big.magnitude_le());
            let number = py.get_type::<PyInt>().call_method1("from_bytes", (magnitude, "little"))?;
            if big.is_negative() { number.neg() } else { Ok(number) }
        }
    }
}

fn day(py: Python<'_>, date: Date) -> PyResult<Bound<'_, PyAny>> {
    Ok(PyDate::new(py, date.year.into(), date.month, date.day)?.into_any())
}

fn moment<'py>(py: Python<'py>, time: &DateTime) -> PyResult<Bound<'py, PyAny>> {
    let zone = match time.offset {
        None => None,
        Some(0) => Some(PyTzInfo::utc(py)?.to_owned()),
        Some(minutes) => {
            Some(PyTzInfo::fixed_offset(py, PyDelta::new(py, 0, i32::from(minutes) * 60, 0, true)?)?)
        }
    };
    let (year, month, day) = (time.date.year.into(), time.date.month, time.date.day);
    let (hour, minute, second) = (time.hour, time.minute, time.second);
    let datetime =
        PyDateTime::new(py, year, month, day, hour, minute, second, time.microsecond, zone.as_ref())?;
    Ok(datetime.into_any())
}
