"""MQTT micro-services for Python, on an engine in Rust.

class Echo(miqro.Service):
    SERVICE_NAME = "echo"

    @miqro.handle("echo")
    def answer(self, payload):
        self.publish("echo_response", payload)

Echo().run()
"""

from __future__ import annotations

from . import _native
from ._decorators import accept_json, handle, handle_global, loop
from ._errors import (
    ConfigError,
    ForkError,
    InternalError,
    MiqroError,
    PublishError,
    RequestError,
    RequestTimeoutError,
    StateError,
    StoppedError,
)
from ._loop import Loop
from ._service import Service
from ._state import State

TYPE_CHECKING = False
if TYPE_CHECKING:
    from . import ha_sensors, mqtt
    from ._cli import run

__version__ = _native.__version__

__all__ = [
    "ConfigError",
    "ForkError",
    "InternalError",
    "Loop",
    "MiqroError",
    "PublishError",
    "RequestError",
    "RequestTimeoutError",
    "Service",
    "State",
    "StateError",
    "StoppedError",
    "__version__",
    "accept_json",
    "ha_sensors",
    "handle",
    "handle_global",
    "loop",
    "mqtt",
    "run",
]

if _native.DEBUG_BUILD:
    import warnings

    warnings.warn(
        "this is a debug build of miqro: it is slow, and no measure of anything; "
        "build it with `pip install .` or `maturin develop --release`",
        RuntimeWarning,
        stacklevel=2,
    )


def __getattr__(name: str) -> object:
    """Brings what services use rarely, and the names that miqro 1.x let leak (contract C1), on first use."""
    import importlib

    if name in ("ha_sensors", "mqtt"):
        value: object = importlib.import_module(f"miqro.{name}")
    elif name == "run":
        value = importlib.import_module("miqro._cli").run
    else:
        module = {"datetime": "datetime", "timedelta": "datetime", "Path": "pathlib", "sleep": "time"}.get(
            name
        )
        if module:
            value = getattr(importlib.import_module(module), name)
        elif name in ("json", "logging"):
            value = importlib.import_module(name)
        else:
            raise AttributeError(f"module 'miqro' has no attribute {name!r}")
    globals()[name] = value
    return value
