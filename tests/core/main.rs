//! The engine, tested without Python.
