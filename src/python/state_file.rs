//! The state file, for `miqro._state`.

#![expect(clippy::doc_markdown, reason = "the docstrings are for Python's help()")]

use std::io;
use std::path::PathBuf;

use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::errors::os_error;
use crate::core::state_file::{self, Locking};
use crate::core::yaml::Limits;

/// A file that is replaced as a whole, atomically and durably.
///
/// Args:
///     path: The file. Nothing is touched yet.
#[pyclass(frozen, module = "miqro._native")]
pub(super) struct StateFile(state_file::StateFile);

#[pymethods]
impl StateFile {
    #[new]
    #[pyo3(signature = (path: "str"))]
    fn new(path: PathBuf) -> Self {
        Self(state_file::StateFile::new(path))
    }

    /// Makes the folder of the file where it is missing.
    ///
    /// Raises:
    ///     OSError: It cannot be made.
    fn make_folder(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| self.0.make_folder()).map_err(|error| self.error(&error))
    }

    /// Reads the file.
    ///
    /// Returns:
    ///     The content, or None where there is no file. Of a file over the limit of C57, just over 16 MiB.
    ///
    /// Raises:
    ///     OSError: It cannot be read.
    #[pyo3(signature = () -> "bytes | None")]
    fn read<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let content =
            py.detach(|| self.0.read(Limits::default().bytes)).map_err(|error| self.error(&error))?;
        Ok(content.map(|content| PyBytes::new(py, &content)))
    }

    /// Replaces the content of the file, and returns when it is on the disk.
    ///
    /// Args:
    ///     text: The new content.
    ///
    /// Raises:
    ///     OSError: It cannot be written. The old content is still there.
    #[pyo3(signature = (text))]
    fn write(&self, py: Python<'_>, text: &str) -> PyResult<()> {
        py.detach(|| self.0.write(text.as_bytes())).map_err(|error| self.error(&error))
    }

    /// Moves the file to the same name with ".broken" added.
    ///
    /// Returns:
    ///     The new name.
    ///
    /// Raises:
    ///     OSError: It cannot be moved.
    fn set_aside(&self, py: Python<'_>) -> PyResult<String> {
        let aside = py.detach(|| self.0.set_aside()).map_err(|error| self.error(&error))?;
        Ok(aside.display().to_string())
    }

    /// Takes the advisory lock of the file, which is held until this object is gone.
    ///
    /// Returns:
    ///     None where this process has it or no lock can be had; else the number of the process that has it, 0 where
    ///     that is not known.
    #[pyo3(signature = () -> "int | None")]
    fn lock(&self, py: Python<'_>) -> Option<u32> {
        match py.detach(|| self.0.lock()) {
            Locking::Held | Locking::Unavailable => None,
            Locking::Taken(process) => Some(process.unwrap_or(0)),
        }
    }
}

impl StateFile {
    fn error(&self, error: &io::Error) -> PyErr {
        os_error(error, self.0.path())
    }
}
