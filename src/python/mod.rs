//! The bindings: they translate between Python and [`crate::core`], and decide nothing.

mod dedup;
mod json;
mod payload;
mod router;

use pyo3::prelude::pymodule;

/// The engine of miqro. Private: use the `miqro` package.
#[pymodule(gil_used = false)]
mod _native {
    use pyo3::prelude::*;

    #[pymodule_export]
    use super::dedup::LastKeyValues;
    #[pymodule_export]
    use super::json::{json_dumps, json_key};
    #[pymodule_export]
    use super::payload::{check_topic, payload, payload_text};
    #[pymodule_export]
    use super::router::Router;

    #[pymodule_init]
    fn init(m: &Bound<'_, PyModule>) -> PyResult<()> {
        m.add("__version__", env!("CARGO_PKG_VERSION"))?;
        m.add("DEBUG_BUILD", cfg!(debug_assertions))?;
        super::dedup::register(m.py())
    }
}
