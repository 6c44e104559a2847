//! From Python objects to a YAML document, with the path of what could not be read back.
#![expect(clippy::doc_markdown, reason = "the docstrings are for Python's help()")]

use std::collections::HashMap;
use std::fmt::Write as _;

use pyo3::PyTypeInfo;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{
    PyBool, PyBytes, PyComplex, PyDate, PyDateTime, PyDict, PyFloat, PyInt, PyList, PySet, PyString, PyTuple,
    PyType,
};

use crate::core::yaml::{self, BigInt, Document, Int, Limits, NodeId, Value};

/// Writes an object as `yaml.dump` does.
///
/// Args:
///     obj: None, bool, int, float, complex, str, bytes, date, datetime, list, tuple, dict, set, and their
///         subclasses, which are written as the plain type.
///
/// Returns:
///     The text. `yaml_load` and PyYAML read the same object from it.
///
/// Raises:
///     TypeError: A value could not be read back: an Enum, another object, nesting over 100 levels, more than
///         16 MiB of text. The text names the path to it.
#[pyfunction]
#[pyo3(signature = (obj: "object"))]
pub(super) fn yaml_dump(obj: &Bound<'_, PyAny>) -> PyResult<String> {
    let limits = Limits::default();
    let document = document_of(obj, &limits)?;
    obj.py()
        .detach(|| yaml::emit(&document, &limits))
        .map_err(|error| PyTypeError::new_err(format!("this cannot be saved: {error}")))
}

/// How a value is reached from the one that holds it.
enum Step<'py> {
    Key(Bound<'py, PyAny>),
    /// Not the value at the key, but the key itself.
    InKey(Bound<'py, PyAny>),
    Index(usize),
    Member,
}

/// The plain types, and what each is saved as.
#[derive(Clone, Copy)]
enum Plain {
    None,
    Bool,
    Int,
    Float,
    Complex,
    Str,
    Bytes,
    Date,
    DateTime,
    List,
    Tuple,
    Dict,
    Set,
}

/// Makes the document of an object, mappings and sets sorted as `yaml.dump` sorts them.
fn document_of(obj: &Bound<'_, PyAny>, limits: &Limits) -> PyResult<Document> {
    let mut builder = Builder {
        document: Document::new(),
        known: HashMap::new(),
        alive: Vec::new(),
        path: Vec::new(),
        limits,
    };
    let root = builder.node(obj)?;
    builder.document.set_root(root);
    Ok(builder.document)
}

struct Builder<'a, 'py> {
    document: Document,
    /// Objects that become an anchor when they are met again, by address.
    known: HashMap<usize, NodeId>,
    /// They must not be freed, and their addresses used again, while the document is made.
    alive: Vec<Bound<'py, PyAny>>,
    path: Vec<Step<'py>>,
    limits: &'a Limits,
}

type Item<'py> = (Bound<'py, PyAny>, Bound<'py, PyAny>);

impl<'py> Builder<'_, 'py> {
    fn node(&mut self, obj: &Bound<'py, PyAny>) -> PyResult<NodeId> {
        let Some(plain) = plain(obj)? else {
            let name = obj.get_type().name()?;
            return Err(self.refuse(&format!(
                "a {name} could not be read back; store plain values, such as its name or its parts"
            )));
        };
        let value = match plain {
            Plain::None => Value::Null,
            Plain::Bool => Value::Bool(obj.is_truthy()?),
            Plain::Int => Value::Int(self.int(obj)?),
            Plain::Float => Value::Float(obj.cast::<PyFloat>()?.value()),
            Plain::Str => Value::Str(self.text(obj)?),
            Plain::Bytes => Value::Bytes(obj.cast::<PyBytes>()?.as_bytes().to_vec()),
            Plain::Tuple if obj.cast::<PyTuple>()?.is_empty() => Value::Tuple(Vec::new()),
            _ => return self.shareable(obj, plain),
        };
        Ok(self.document.push(value))
    }

    /// A value that is written once, and as an alias wherever it is met again.
    fn shareable(&mut self, obj: &Bound<'py, PyAny>, plain: Plain) -> PyResult<NodeId> {
        let address = obj.as_ptr() as usize;
        if let Some(&id) = self.known.get(&address) {
            return Ok(id);
        }
        let id = self.document.push(Value::Null);
        self.known.insert(address, id);
        self.alive.push(obj.clone());
        let is_collection = matches!(plain, Plain::List | Plain::Tuple | Plain::Dict | Plain::Set);
        if is_collection && self.path.len() >= self.limits.depth {
            let depth = self.limits.depth;
            return Err(self.refuse(&format!("it is nested more than {depth} levels deep; flatten the data")));
        }
        let value = match plain {
            Plain::Dict => Value::Map(self.mapping(obj.cast()?)?),
            Plain::List => Value::Seq(self.items(obj.cast::<PyList>()?.iter())?),
            Plain::Tuple => Value::Tuple(self.items(obj.cast::<PyTuple>()?.iter())?),
            Plain::Set => Value::Set(self.members(obj)?),
            Plain::Complex => {
                let number = obj.cast::<PyComplex>()?;
                Value::Complex(number.real(), number.imag())
            }
            Plain::Date => self.isoformat::<PyDate>(obj, None)?,
            _ => self.isoformat::<PyDateTime>(obj, Some(" "))?,
        };
        self.document.set(id, value);
        Ok(id)
    }

    fn items(&mut self, items: impl Iterator<Item = Bound<'py, PyAny>>) -> PyResult<Vec<NodeId>> {
        let mut nodes = Vec::with_capacity(items.size_hint().0);
        for (index, item) in items.enumerate() {
            nodes.push(self.at(Step::Index(index), &item)?);
        }
        Ok(nodes)
    }

    fn members(&mut self, set: &Bound<'py, PyAny>) -> PyResult<Vec<NodeId>> {
        let none = set.py().None().into_bound(set.py());
        // A snapshot: sorting and making nodes may run Python code, which may change the set.
        let members: Vec<_> =
            PyList::type_object(set.py()).call1((set,))?.try_iter()?.collect::<PyResult<_>>()?;
        let members = members.into_iter().map(|member| (member, none.clone())).collect();
        sorted(members)?.iter().map(|(member, _)| self.at(Step::Member, member)).collect()
    }

    fn mapping(&mut self, dict: &Bound<'py, PyDict>) -> PyResult<Vec<(NodeId, NodeId)>> {
        // A snapshot, for the same reason.
        let items =
            dict.items().iter().map(|item| item.extract::<Item<'py>>()).collect::<PyResult<Vec<_>>>()?;
        let mut pairs = Vec::with_capacity(items.len());
        for (key, value) in sorted(items)? {
            let key_node = self.at(Step::InKey(key.clone()), &key)?;
            pairs.push((key_node, self.at(Step::Key(key), &value)?));
        }
        Ok(pairs)
    }

    fn at(&mut self, step: Step<'py>, obj: &Bound<'py, PyAny>) -> PyResult<NodeId> {
        self.path.push(step);
        let node = self.node(obj)?;
        self.path.pop();
        Ok(node)
    }

    fn int(&self, obj: &Bound<'py, PyAny>) -> PyResult<Int> {
        if let Ok(small) = obj.extract() {
            return Ok(Int::Small(small));
        }
        // The digits by `int` itself: a subclass may print itself otherwise.
        let digits: PyResult<String> =
            PyInt::type_object(obj.py()).call_method1("__repr__", (obj,)).and_then(|digits| digits.extract());
        digits
            .ok()
            .and_then(|digits| BigInt::from_decimal(&digits))
            .map(|big| Int::Big(Box::new(big)))
            .ok_or_else(|| {
                self.refuse("an integer of that many digits could not be read back; store it as a text")
            })
    }

    fn text(&self, obj: &Bound<'py, PyAny>) -> PyResult<String> {
        match obj.cast::<PyString>()?.to_str() {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => {
                Err(self.refuse("half of a surrogate pair in a text could not be read back; remove it"))
            }
        }
    }

    /// The text of a date or time by its plain type: a subclass may write itself otherwise.
    fn isoformat<T: PyTypeInfo>(&self, obj: &Bound<'py, PyAny>, separator: Option<&str>) -> PyResult<Value> {
        let method = T::type_object(obj.py()).getattr("isoformat")?;
        let text = match separator {
            Some(separator) => method.call1((obj, separator)),
            None => method.call1((obj,)),
        };
        Value::from_isoformat(text?.cast::<PyString>()?.to_str()?).ok_or_else(|| {
            self.refuse(
                "a time zone whose offset has seconds could not be read back; convert the time to UTC",
            )
        })
    }

    fn refuse(&self, reason: &str) -> PyErr {
        let mut place = String::new();
        let mut key_of = None;
        for step in &self.path {
            match step {
                Step::Key(key) => drop(write!(place, "[{}]", shown(key))),
                Step::Index(index) => drop(write!(place, "[{index}]")),
                Step::Member => place.push_str(" (a member of this set)"),
                Step::InKey(key) => {
                    key_of = Some(shown(key));
                    break;
                }
            }
        }
        let place = match (key_of, place.is_empty()) {
            (Some(key), true) => format!("the key {key}"),
            (Some(key), false) => format!("the key {key} of {place}"),
            (None, true) => "this".to_owned(),
            (None, false) => format!("the value at {place}"),
        };
        PyTypeError::new_err(format!("{place} cannot be saved: {reason}"))
    }
}

/// A key as Python shows it, cut where it is long.
fn shown(key: &Bound<'_, PyAny>) -> String {
    let text = key.repr().map_or_else(|_| "?".to_owned(), |repr| repr.to_string_lossy().into_owned());
    if text.chars().count() > 80 { text.chars().take(77).chain("...".chars()).collect() } else { text }
}

/// Which plain type an object is, or is a subclass of. An Enum is none, whatever it is mixed with: it would come
/// back as the bare value.
fn plain(obj: &Bound<'_, PyAny>) -> PyResult<Option<Plain>> {
    static ENUM: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let exact = exact(obj);
    if exact.is_some() {
        return Ok(exact);
    }
    if obj.is_instance(ENUM.import(obj.py(), "enum", "Enum")?)? {
        return Ok(None);
    }
    let found = if obj.is_instance_of::<PyString>() {
        Plain::Str
    } else if obj.is_instance_of::<PyInt>() {
        Plain::Int
    } else if obj.is_instance_of::<PyFloat>() {
        Plain::Float
    } else if obj.is_instance_of::<PyBytes>() {
        Plain::Bytes
    } else if obj.is_instance_of::<PyDict>() {
        Plain::Dict
    } else if obj.is_instance_of::<PyList>() {
        Plain::List
    } else if obj.is_instance_of::<PyTuple>() {
        Plain::Tuple
    } else if obj.is_instance_of::<PySet>() {
        Plain::Set
    } else if obj.is_instance_of::<PyDateTime>() {
        Plain::DateTime
    } else if obj.is_instance_of::<PyDate>() {
        Plain::Date
    } else if obj.is_instance_of::<PyComplex>() {
        Plain::Complex
    } else {
        return Ok(None);
    };
    Ok(Some(found))
}

/// The types of almost every value: told by one comparison each.
fn exact(obj: &Bound<'_, PyAny>) -> Option<Plain> {
    if obj.is_exact_instance_of::<PyString>() {
        Some(Plain::Str)
    } else if obj.is_exact_instance_of::<PyInt>() {
        Some(Plain::Int)
    } else if obj.is_exact_instance_of::<PyFloat>() {
        Some(Plain::Float)
    } else if obj.is_exact_instance_of::<PyDict>() {
        Some(Plain::Dict)
    } else if obj.is_exact_instance_of::<PyList>() {
        Some(Plain::List)
    } else if obj.is_exact_instance_of::<PyBool>() {
        Some(Plain::Bool)
    } else if obj.is_none() {
        Some(Plain::None)
    } else {
        None
    }
}

/// Sorts as Python's `sorted` does, or not at all where the keys cannot be compared.
fn sorted(mut items: Vec<Item<'_>>) -> PyResult<Vec<Item<'_>>> {
    let Some((first, _)) = items.first() else { return Ok(items) };
    let py = first.py();
    if items.len() < 2 {
        return Ok(items);
    }
    if items.iter().all(|(key, _)| key.is_exact_instance_of::<PyString>()) {
        // In UTF-8 the order of bytes is the order of characters, which is Python's.
        let text = |item: &Item<'_>| -> Option<String> {
            Some(item.0.cast::<PyString>().ok()?.to_str().ok()?.into())
        };
        items.sort_by_cached_key(text);
        return Ok(items);
    }
    let list = PyList::new(py, &items)?;
    match list.sort() {
        Ok(()) => list.iter().map(|item| item.extract()).collect(),
        Err(error) if error.is_instance_of::<PyTypeError>(py) => Ok(items),
        Err(error) => Err(error),
    }
}
