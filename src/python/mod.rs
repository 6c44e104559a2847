//! The bindings: they translate between Python and [`crate::core`], and decide nothing.

mod clock;
mod config;
mod dedup;
mod errors;
mod json;
mod payload;
mod properties;
mod router;
mod schedule;
mod session;
mod state_file;
mod wake;
mod yaml;
mod yaml_dump;

use pyo3::prelude::pymodule;

/// The engine of miqro. Private: use the `miqro` package.
#[pymodule(gil_used = false)]
mod _native {
    use pyo3::prelude::*;

    #[pymodule_export]
    #[expect(non_upper_case_globals, reason = "the name that Python gives the version of a package")]
    const __version__: &str = env!("CARGO_PKG_VERSION");

    /// Whether this is a debug build: ten times slower, so `import miqro` warns of it.
    #[pymodule_export]
    const DEBUG_BUILD: bool = cfg!(debug_assertions);

    /// The profile of Cargo that built this. Only `release` is a measure of anything; `dev` is called `debug`.
    #[pymodule_export]
    const BUILD_PROFILE: &str = env!("MIQRO_PROFILE");

    #[pymodule_export]
    use super::clock::{clock_advance, clock_hold, clock_is_held, clock_now, clock_release};
    #[pymodule_export]
    use super::config::{
        check_auth, check_broker, check_tls, config_schema, nearest_name, read_password, section_problems,
        try_tls,
    };
    #[pymodule_export]
    use super::dedup::LastKeyValues;
    #[pymodule_export]
    use super::json::{json_dumps, json_key};
    #[pymodule_export]
    use super::payload::{check_topic, payload, payload_text};
    #[pymodule_export]
    use super::properties::Properties;
    #[pymodule_export]
    use super::router::Router;
    #[pymodule_export]
    use super::schedule::{Timer, due_in};
    #[pymodule_export]
    use super::session::{Event, Message, PublishInfo, Session, Settled};
    #[pymodule_export]
    use super::state_file::StateFile;
    #[pymodule_export]
    use super::wake::{Wake, forked};
    #[pymodule_export]
    use super::yaml::{YamlDocument, config_load, yaml_load};
    #[pymodule_export]
    use super::yaml_dump::yaml_dump;

    #[pymodule_init]
    fn init(m: &Bound<'_, PyModule>) -> PyResult<()> {
        super::dedup::register(m.py())
    }
}
