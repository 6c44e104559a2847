//! `json.dumps(round_floats(obj, precision))`, byte for byte, in one pass over the Python objects (contract C32).
#![expect(clippy::doc_markdown, reason = "these comments are docstrings for Python, in Google style")]

use pyo3::exceptions::{PyOverflowError, PyRecursionError, PyRuntimeError, PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
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
    let precision = precision.map(decimals).transpose()?;
    let mut writer = Writer { out: Vec::with_capacity(512), precision, mappings, open: Vec::new() };
    writer.value(obj)?;
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
    let mut writer = Writer { out: Vec::new(), precision: None, mappings: false, open: Vec::new() };
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

struct Writer {
    out: Vec<u8>,
    precision: Option<i64>,
    mappings: bool,
    /// The addresses of the containers around the value being written: one that comes again contains itself.
    open: Vec<usize>,
}

impl Writer {
    fn finish<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyString>> {
        // All that is written is ASCII.
        let text = str::from_utf8(&self.out).map_err(|err| PyValueError::new_err(err.to_string()))?;
        Ok(PyString::new(py, text))
    }

    /// Exact types first: they are the many, and looking at them runs no Python code.
    fn value(&mut self, obj: &Bound<'_, PyAny>) -> PyResult<()> {
        if obj.is_exact_instance_of::<PyFloat>() {
            push_json_float(&mut self.out, obj.extract()?, self.precision).map_err(overflow)
        } else if obj.is_exact_instance_of::<PyString>() {
            self.string(obj.cast::<PyString>()?)
        } else if obj.is_exact_instance_of::<PyInt>() {
            self.int(obj)
        } else if obj.is_exact_instance_of::<PyDict>() {
            let dict = obj.cast::<PyDict>()?;
            self.container(obj, |writer| writer.dict(dict))
        } else if obj.is_exact_instance_of::<PyList>() {
            let list = obj.cast::<PyList>()?;
            self.container(obj, |writer| writer.items(list.iter().map(Ok)))
        } else if obj.is_exact_instance_of::<PyBool>() {
            self.out.extend_from_slice(if obj.is_truthy()? { b"true" } else { b"false" });
            Ok(())
        } else if obj.is_none() {
            self.out.extend_from_slice(b"null");
            Ok(())
        } else if obj.is_exact_instance_of::<PyTuple>() {
            let tuple = obj.cast::<PyTuple>()?;
            self.container(obj, |writer| writer.items(tuple.iter().map(Ok)))
        } else {
            self.subclass(obj)
        }
    }

    /// Subclasses, in the order in which `json` asks for them, and what is left.
    #[cold]
    fn subclass(&mut self, obj: &Bound<'_, PyAny>) -> PyResult<()> {
        if let Ok(text) = obj.cast::<PyString>() {
            self.string(text)
        } else if obj.is_instance_of::<PyInt>() {
            self.int(obj)
        } else if obj.is_instance_of::<PyFloat>() {
            self.float_subclass(obj)
        } else if obj.is_instance_of::<PyList>() || obj.is_instance_of::<PyTuple>() {
            self.sequence_subclass(obj)
        } else if obj.is_instance_of::<PyDict>() {
            self.container(obj, |writer| writer.dict_subclass(obj))
        } else if self.mappings
            && let Ok(mapping) = obj.cast::<PyMapping>()
        {
            self.container(obj, |writer| {
                let dict = PyDict::new(obj.py());
                dict.update(mapping)?;
                writer.dict(&dict)
            })
        } else {
            let name = obj.get_type().name()?;
            Err(PyTypeError::new_err(format!("Object of type {name} is not JSON serializable")))
        }
    }

    /// A float subclass may round in a way of its own (numpy's does), and what comes out need not be a float. Its
    /// own `__repr__` is not asked, as `json` does not.
    fn float_subclass(&mut self, obj: &Bound<'_, PyAny>) -> PyResult<()> {
        let Some(precision) = self.precision else {
            return push_json_float(&mut self.out, obj.extract()?, None).map_err(overflow);
        };
        let rounded = round(obj, precision)?;
        if rounded.is_instance_of::<PyFloat>() {
            return push_json_float(&mut self.out, rounded.extract()?, None).map_err(overflow);
        }
        self.precision = None;
        let written = self.value(&rounded);
        self.precision = Some(precision);
        written
    }

    /// Rounding makes a list by iterating; `json` itself looks past an `__iter__` at what the sequence holds.
    fn sequence_subclass(&mut self, obj: &Bound<'_, PyAny>) -> PyResult<()> {
        self.container(obj, |writer| {
            if writer.precision.is_some() {
                writer.items(obj.try_iter()?)
            } else if let Ok(list) = obj.cast::<PyList>() {
                writer.items(list.iter().map(Ok))
            } else {
                writer.items(obj.cast::<PyTuple>()?.iter().map(Ok))
            }
        })
    }

    /// Rounding makes a dict of what `items()` gives; `json` itself writes what it gives, unless there is nothing in
    /// the dict.
    fn dict_subclass(&mut self, obj: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = obj.py();
        if self.precision.is_none() && obj.cast::<PyDict>()?.is_empty() {
            self.out.extend_from_slice(b"{}");
            return Ok(());
        }
        let items = obj.call_method0(intern!(py, "items"))?;
        if self.precision.is_some() {
            return self.dict(&PyDict::from_sequence(&items)?);
        }
        let pairs: Bound<'_, PyIterator> = items.try_iter()?;
        self.out.push(b'{');
        for (at, pair) in pairs.enumerate() {
            let pair = pair?;
            let (key, value) = match pair.cast::<PyTuple>() {
                Ok(pair) if pair.len() == 2 => (pair.get_item(0)?, pair.get_item(1)?),
                _ => return Err(PyValueError::new_err("items must return 2-tuples")),
            };
            self.member(at == 0, &key, &value)?;
        }
        self.out.push(b'}');
        Ok(())
    }

    /// Runs `write` for the inside of `obj`, with `obj` noted as open.
    fn container(
        &mut self,
        obj: &Bound<'_, PyAny>,
        write: impl FnOnce(&mut Self) -> PyResult<()>,
    ) -> PyResult<()> {
        let address = obj.as_ptr().addr();
        if self.open.contains(&address) {
            return Err(PyValueError::new_err("Circular reference detected"));
        }
        if self.open.len() >= MAX_DEPTH {
            return Err(PyRecursionError::new_err(
                "maximum recursion depth exceeded while encoding a JSON object",
            ));
        }
        self.open.push(address);
        write(self)?;
        self.open.pop();
        Ok(())
    }

    fn items<'py>(&mut self, items: impl Iterator<Item = PyResult<Bound<'py, PyAny>>>) -> PyResult<()> {
        self.out.push(b'[');
        for (at, item) in items.enumerate() {
            if at > 0 {
                self.out.extend_from_slice(b", ");
            }
            self.value(&item?)?;
        }
        self.out.push(b']');
        Ok(())
    }

    fn dict(&mut self, dict: &Bound<'_, PyDict>) -> PyResult<()> {
        let len = dict.len();
        let mut entries = dict.iter();
        self.out.push(b'{');
        for at in 0..len {
            // Python code may run in between (an item's `__round__`). PyO3's iterator panics when the dict has changed
            // its size; to Python that is an error, and this one.
            if dict.len() != len {
                return Err(PyRuntimeError::new_err("dictionary changed size during iteration"));
            }
            let Some((key, value)) = entries.next() else { break };
            self.member(at == 0, &key, &value)?;
        }
        self.out.push(b'}');
        Ok(())
    }

    #[inline]
    fn member(&mut self, first: bool, key: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        if !first {
            self.out.extend_from_slice(b", ");
        }
        if let Ok(text) = key.cast::<PyString>() {
            self.string(text)?;
        } else {
            self.out.push(b'"');
            self.bare_key(key)?;
            self.out.push(b'"');
        }
        self.out.extend_from_slice(b": ");
        self.value(value)
    }

    /// A key that is no string, without quotes.
    fn bare_key(&mut self, key: &Bound<'_, PyAny>) -> PyResult<()> {
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

    fn int(&mut self, obj: &Bound<'_, PyAny>) -> PyResult<()> {
        match obj.extract() {
            Ok(value) => push_int(&mut self.out, value),
            // Beyond 64 bits. `int.__repr__` has a limit of digits, and its own words for it.
            Err(_) => self.out.extend_from_slice(int_text(obj)?.to_str()?.as_bytes()),
        }
        Ok(())
    }

    fn string(&mut self, text: &Bound<'_, PyString>) -> PyResult<()> {
        match text.to_str() {
            Ok(text) => push_json_str(&mut self.out, text),
            // A lone surrogate, which UTF-8 has no bytes for.
            Err(_) => push_json_units(&mut self.out, utf16(text)?.into_iter()),
        }
        Ok(())
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

/// `round(obj, digits)` as Python does it, by the object's own `__round__`.
pub fn round<'py>(obj: &Bound<'py, PyAny>, digits: i64) -> PyResult<Bound<'py, PyAny>> {
    let py = obj.py();
    py.import(intern!(py, "builtins"))?.call_method1(intern!(py, "round"), (obj, digits))
}
