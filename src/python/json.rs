//! `json.dumps(round_floats(obj, precision))`, byte for byte, in one pass over the Python objects (contract C32).
#![expect(clippy::doc_markdown, reason = "these comments are docstrings for Python, in Google style")]

use pyo3::exceptions::{PyOverflowError, PyRecursionError, PyRuntimeError, PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::iter::{BoundDictIterator, BoundListIterator, BoundTupleIterator};
use pyo3::types::{
    PyBool, PyBytes, PyDict, PyFloat, PyInt, PyIterator, PyList, PyMapping, PyString, PyTuple, PyType,
};

use crate::core::payload::{RoundOverflow, push_int, push_json_float, push_json_str, push_json_units};

/// How deep containers may be nested. It is `CPython`'s own default limit of recursion, which bounds `json.dumps`.
const MAX_DEPTH: usize = 1000;

/// Encode `obj` as JSON text, byte for byte what `json.dumps` with default arguments gives.
///
/// Args:
///     obj: What `json.dumps` accepts.
///     precision: Decimals to which every float is rounded first, at any depth, in dict values, lists and tuples
///         (not in dict keys), as by `round`. `None`: not at all.
///     mappings: Whether any `collections.abc.Mapping` is encoded like a dict.
///
/// Returns:
///     The text, in ASCII.
///
/// Raises:
///     TypeError: For a value or key that JSON cannot express.
///     ValueError: For a container that contains itself.
///     RecursionError: For containers nested more than 1,000 deep.
///     OverflowError: For a float beyond all range once rounded to a negative precision.
#[pyfunction]
#[pyo3(signature = (obj: "object", precision: "int | None" = None, mappings = false))]
pub fn json_dumps<'py>(
    obj: &Bound<'py, PyAny>,
    precision: Option<&Bound<'py, PyAny>>,
    mappings: bool,
) -> PyResult<Bound<'py, PyString>> {
    let digits = precision.map(decimals).transpose()?;
    let out = Vec::with_capacity(512);
    let mut writer = Writer { out, digits, precision, mappings, open: Vec::new() };
    writer.write(obj)?;
    writer.finish(obj.py())
}

/// The text that `json.dumps` gives to a dict's key, without the quotes around it: `1` is `"1"`, `None` is `"null"`.
///
/// Args:
///     key: A `str`, which is returned as it is, an `int`, `float`, `bool` or `None`.
///
/// Returns:
///     The text.
///
/// Raises:
///     TypeError: For a key of any other type.
#[pyfunction]
#[pyo3(signature = (key: "object"))]
pub fn json_key<'py>(key: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyString>> {
    if let Ok(text) = key.cast::<PyString>() {
        return Ok(text.clone());
    }
    let mut writer =
        Writer { out: Vec::new(), digits: None, precision: None, mappings: false, open: Vec::new() };
    writer.bare_key(key)?;
    writer.finish(key.py())
}

/// A number of decimals as `round` takes it: what is beyond the range of the core's `i64` is as good as its ends.
pub fn decimals(precision: &Bound<'_, PyAny>) -> PyResult<i64> {
    precision.extract().or_else(|err: PyErr| {
        if err.is_instance_of::<PyOverflowError>(precision.py()) {
            Ok(if precision.lt(0)? { i64::MIN } else { i64::MAX })
        } else {
            Err(err)
        }
    })
}

/// Python's exception for a value that grew too large by rounding.
pub fn overflow(err: RoundOverflow) -> PyErr {
    PyOverflowError::new_err(err.to_string())
}

/// A container being written. Containers wait on the heap instead of the stack, so that no nesting, and no small stack
/// of a thread, can end in a crash.
struct Open<'py> {
    /// The container itself: one that comes again while it is open contains itself.
    obj: Bound<'py, PyAny>,
    inside: Inside<'py>,
    /// Whether nothing of it has been written yet.
    first: bool,
}

/// What is still to be written of a container.
enum Inside<'py> {
    Dict {
        dict: Bound<'py, PyDict>,
        entries: BoundDictIterator<'py>,
        len: usize,
        left: usize,
    },
    List(BoundListIterator<'py>),
    Tuple(BoundTupleIterator<'py>),
    /// The items of a list or tuple that has an iterator of its own.
    Items(Bound<'py, PyIterator>),
    /// The pairs that the `items()` of a dict gave.
    Pairs(Bound<'py, PyIterator>),
}

enum Next<'py> {
    Item(Bound<'py, PyAny>),
    Member(Bound<'py, PyAny>, Bound<'py, PyAny>),
    End,
}

impl<'py> Inside<'py> {
    fn of_dict(dict: Bound<'py, PyDict>) -> Self {
        let len = dict.len();
        Self::Dict { entries: dict.iter(), dict, len, left: len }
    }

    fn brackets(&self) -> (u8, u8) {
        match self {
            Self::Dict { .. } | Self::Pairs(_) => (b'{', b'}'),
            Self::List(_) | Self::Tuple(_) | Self::Items(_) => (b'[', b']'),
        }
    }

    #[inline]
    fn next(&mut self) -> PyResult<Next<'py>> {
        let item = match self {
            Self::Dict { dict, entries, len, left } => {
                // Python code may run in between (an item's `__round__`). PyO3's iterator panics when the dict has
                // changed its size, or gives more entries than it had; to Python that is an error, and this one.
                if dict.len() != *len {
                    return Err(PyRuntimeError::new_err("dictionary changed size during iteration"));
                }
                if *left == 0 {
                    return Ok(Next::End);
                }
                *left -= 1;
                return Ok(entries.next().map_or(Next::End, |(key, value)| Next::Member(key, value)));
            }
            Self::List(items) => items.next(),
            Self::Tuple(items) => items.next(),
            Self::Items(items) => items.next().transpose()?,
            Self::Pairs(pairs) => {
                let Some(pair) = pairs.next().transpose()? else { return Ok(Next::End) };
                return match pair.cast::<PyTuple>() {
                    Ok(pair) if pair.len() == 2 => Ok(Next::Member(pair.get_item(0)?, pair.get_item(1)?)),
                    _ => Err(PyValueError::new_err("items must return 2-tuples")),
                };
            }
        };
        Ok(item.map_or(Next::End, Next::Item))
    }
}

struct Writer<'a, 'py> {
    out: Vec<u8>,
    /// Decimals to which floats are rounded; `None` for as they are.
    digits: Option<i64>,
    /// The same as it was given, for a `__round__` that is not ours.
    precision: Option<&'a Bound<'py, PyAny>>,
    mappings: bool,
    open: Vec<Open<'py>>,
}

impl<'py> Writer<'_, 'py> {
    fn finish(&self, py: Python<'py>) -> PyResult<Bound<'py, PyString>> {
        // All that is written is ASCII.
        let text = str::from_utf8(&self.out).map_err(|err| PyValueError::new_err(err.to_string()))?;
        Ok(PyString::new(py, text))
    }

    /// Writes `obj` and all that is in it.
    fn write(&mut self, obj: &Bound<'py, PyAny>) -> PyResult<()> {
        self.value(obj)?;
        while let Some(open) = self.open.last_mut() {
            let next = open.inside.next()?;
            if !std::mem::take(&mut open.first) && !matches!(next, Next::End) {
                self.out.extend_from_slice(b", ");
            }
            match next {
                Next::Item(item) => self.value(&item)?,
                Next::Member(key, value) => {
                    self.key(&key)?;
                    self.out.extend_from_slice(b": ");
                    self.value(&value)?;
                }
                Next::End => {
                    self.out.push(open.inside.brackets().1);
                    self.open.pop();
                }
            }
        }
        Ok(())
    }

    /// Writes a scalar, or opens a container. Exact types first: they are the many, and looking at them runs no
    /// Python code.
    #[inline]
    fn value(&mut self, obj: &Bound<'py, PyAny>) -> PyResult<()> {
        if obj.is_exact_instance_of::<PyFloat>() {
            push_json_float(&mut self.out, obj.extract()?, self.digits).map_err(overflow)
        } else if obj.is_exact_instance_of::<PyString>() {
            self.string(obj.cast_exact::<PyString>()?)
        } else if obj.is_exact_instance_of::<PyInt>() {
            self.int(obj)
        } else if obj.is_exact_instance_of::<PyDict>() {
            self.enter(obj, |dict, _| Ok(Inside::of_dict(dict.cast_exact::<PyDict>()?.clone())))
        } else if obj.is_exact_instance_of::<PyList>() {
            self.enter(obj, |list, _| Ok(Inside::List(list.cast_exact::<PyList>()?.iter())))
        } else if obj.is_exact_instance_of::<PyBool>() {
            self.out.extend_from_slice(if obj.is_truthy()? { b"true" } else { b"false" });
            Ok(())
        } else if obj.is_none() {
            self.out.extend_from_slice(b"null");
            Ok(())
        } else if obj.is_exact_instance_of::<PyTuple>() {
            self.enter(obj, |tuple, _| Ok(Inside::Tuple(tuple.cast_exact::<PyTuple>()?.iter())))
        } else {
            self.subclass(obj)
        }
    }

    /// Subclasses, in the order in which `json` asks for them, and what is left.
    #[cold]
    fn subclass(&mut self, obj: &Bound<'py, PyAny>) -> PyResult<()> {
        if let Ok(text) = obj.cast::<PyString>() {
            self.string(text)
        } else if obj.is_instance_of::<PyInt>() {
            self.int(obj)
        } else if obj.is_instance_of::<PyFloat>() {
            self.float_subclass(obj)
        } else if obj.is_instance_of::<PyList>() || obj.is_instance_of::<PyTuple>() {
            self.enter(obj, |sequence, _| Ok(Inside::Items(sequence.try_iter()?)))
        } else if obj.is_instance_of::<PyDict>() {
            self.enter(obj, dict_subclass)
        } else if self.mappings && obj.cast::<PyMapping>().is_ok() {
            self.enter(obj, |mapping, _| {
                let dict = PyDict::new(mapping.py());
                dict.update(mapping.cast::<PyMapping>()?)?;
                Ok(Inside::of_dict(dict))
            })
        } else {
            let name = obj.get_type().name()?;
            Err(PyTypeError::new_err(format!("Object of type {name} is not JSON serializable")))
        }
    }

    /// A float subclass may round in a way of its own (numpy's does), and what comes out need not be a float. Its
    /// own `__repr__` is not asked, as `json` does not.
    fn float_subclass(&mut self, obj: &Bound<'py, PyAny>) -> PyResult<()> {
        let Some(precision) = self.precision else {
            return push_json_float(&mut self.out, obj.extract()?, None).map_err(overflow);
        };
        let out = std::mem::take(&mut self.out);
        let mut unrounded =
            Writer { out, digits: None, precision: None, mappings: self.mappings, open: Vec::new() };
        let written = unrounded.write(&round(obj, precision)?);
        self.out = unrounded.out;
        written
    }

    /// Begins a container. `inside` is told whether floats are rounded.
    fn enter(
        &mut self,
        obj: &Bound<'py, PyAny>,
        inside: impl FnOnce(&Bound<'py, PyAny>, bool) -> PyResult<Inside<'py>>,
    ) -> PyResult<()> {
        if self.open.iter().any(|open| open.obj.is(obj)) {
            return Err(PyValueError::new_err("Circular reference detected"));
        }
        if self.open.len() >= MAX_DEPTH {
            return Err(PyRecursionError::new_err(
                "maximum recursion depth exceeded while encoding a JSON object",
            ));
        }
        let inside = inside(obj, self.precision.is_some())?;
        self.out.push(inside.brackets().0);
        self.open.push(Open { obj: obj.clone(), inside, first: true });
        Ok(())
    }

    #[inline]
    fn key(&mut self, key: &Bound<'py, PyAny>) -> PyResult<()> {
        if let Ok(text) = key.cast_exact::<PyString>() {
            return self.string(text);
        }
        if let Ok(text) = key.cast::<PyString>() {
            return self.string(text);
        }
        self.out.push(b'"');
        self.bare_key(key)?;
        self.out.push(b'"');
        Ok(())
    }

    /// A key that is no string, without quotes.
    fn bare_key(&mut self, key: &Bound<'py, PyAny>) -> PyResult<()> {
        if key.is_instance_of::<PyFloat>() {
            push_json_float(&mut self.out, key.extract()?, None).map_err(overflow)
        } else if key.is_exact_instance_of::<PyBool>() || key.is_none() {
            self.value(key)
        } else if key.is_instance_of::<PyInt>() {
            self.int(key)
        } else {
            let name = key.get_type().name()?;
            Err(PyTypeError::new_err(format!("keys must be str, int, float, bool or None, not {name}")))
        }
    }

    fn int(&mut self, obj: &Bound<'py, PyAny>) -> PyResult<()> {
        match obj.extract() {
            Ok(value) => push_int(&mut self.out, value),
            // Beyond 64 bits. `int.__repr__` has a limit of digits, and its own words for it.
            Err(_) => self.out.extend_from_slice(int_text(obj)?.to_str()?.as_bytes()),
        }
        Ok(())
    }

    fn string(&mut self, text: &Bound<'py, PyString>) -> PyResult<()> {
        match text.to_str() {
            Ok(text) => push_json_str(&mut self.out, text),
            // A lone surrogate, which UTF-8 has no bytes for.
            Err(_) => push_json_units(&mut self.out, utf16(text)?.into_iter()),
        }
        Ok(())
    }
}

/// Rounding makes a dict of what `items()` gives, so that the last of equal keys is left; `json` itself writes all that
/// it gives, unless there is nothing in the dict.
fn dict_subclass<'py>(obj: &Bound<'py, PyAny>, rounded: bool) -> PyResult<Inside<'py>> {
    let py = obj.py();
    if !rounded && obj.cast::<PyDict>()?.is_empty() {
        return Ok(Inside::of_dict(PyDict::new(py)));
    }
    let items = obj.call_method0(intern!(py, "items"))?;
    if rounded {
        Ok(Inside::of_dict(PyDict::from_sequence(&items)?))
    } else {
        Ok(Inside::Pairs(items.try_iter()?))
    }
}

/// `int.__repr__(obj)`, past what a subclass makes of it.
pub fn int_text<'py>(obj: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyString>> {
    let text = obj.py().get_type::<PyInt>().call_method1(intern!(obj.py(), "__repr__"), (obj,))?;
    Ok(text.cast_into()?)
}

/// The UTF-16 code units of a string that may hold lone surrogates.
fn utf16(text: &Bound<'_, PyString>) -> PyResult<Vec<u16>> {
    let str_type: Bound<'_, PyType> = text.py().get_type::<PyString>();
    let encoded = str_type.call_method1("encode", (text, "utf-16-le", "surrogatepass"))?;
    let bytes = encoded.cast::<PyBytes>()?.as_bytes();
    Ok(bytes.chunks_exact(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]])).collect())
}

/// `round(obj, precision)` as Python does it, by the object's own `__round__`.
pub fn round<'py>(obj: &Bound<'py, PyAny>, precision: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = obj.py();
    py.import(intern!(py, "builtins"))?.call_method1(intern!(py, "round"), (obj, precision))
}
