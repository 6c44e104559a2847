//! The bindings: they translate between Python and [`crate::core`], and decide nothing.

use pyo3::prelude::*;

/// The engine of miqro. Private: use the `miqro` package.
#[pymodule(gil_used = false)]
mod _native {
    use super::*;

    #[pymodule_init]
    fn init(m: &Bound<'_, PyModule>) -> PyResult<()> {
        m.add("__version__", env!("CARGO_PKG_VERSION"))?;
        m.add("DEBUG_BUILD", cfg!(debug_assertions))
    }
}
