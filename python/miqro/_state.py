"""The state of a service: a mapping that is kept in a file (contract C56)."""

from __future__ import annotations

import threading
from collections.abc import Mapping, MutableMapping
from pathlib import Path

from . import _native
from ._errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import logging
    from collections.abc import Iterator
    from typing import Any, ClassVar, Protocol

    class _Owner(Protocol):
        SERVICE_NAME: str
        log: logging.Logger

        def note_failure(self, text: str) -> object: ...


_UNSET: Any = object()


class State(MutableMapping["Any", "Any"]):
    """Data of a service that survive a restart, used like a dict and written by ``save()``.

    They are in ``DATA_ROOT/<SERVICE_NAME>.yaml``, as YAML that PyYAML reads. A file that cannot be read as such is
    moved aside to ``.broken``, and the state starts empty. Where the file cannot be accessed at all, the service runs
    on in memory: that is logged once and counted as a failure, and each ``save()`` tries again.

    Attributes:
        DATA_ROOT: The folder of the files.
        service: The service whose state this is.
    """

    DATA_ROOT: ClassVar[Path] = Path("/var/lib/miqro/data")

    def __init__(self, service: _Owner) -> None:
        """Loads the state of a service; never fails because of the file.

        Args:
            service: The service: its ``SERVICE_NAME`` names the file, its ``log`` and ``note_failure`` are told of
                trouble.
        """
        self.service = service
        self._file = Path(self.DATA_ROOT) / f"{service.SERVICE_NAME}.yaml"
        self._disk = _native.StateFile(str(self._file))
        self._saving = threading.Lock()
        self._trouble: str | None = None
        # The file holds data that were never seen here: it is set aside before it is written over.
        self._unseen = False
        self._locked = False
        self._data: dict[Any, Any] = self._load()
        service.log.debug("state: %d keys in %s", len(self._data), self._file)

    def __getitem__(self, key: Any) -> Any:
        return self._data[key]

    def __setitem__(self, key: Any, value: Any) -> None:
        self._data[key] = value

    def __delitem__(self, key: Any) -> None:
        del self._data[key]

    def __contains__(self, key: object) -> bool:
        return key in self._data

    def __iter__(self) -> Iterator[Any]:
        return iter(self._data)

    def __len__(self) -> int:
        return len(self._data)

    def __bool__(self) -> bool:
        # Always: `if self.state:` asks whether there is a state, as it did before states had a length.
        return True

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.service.SERVICE_NAME}: {len(self._data)} keys>"

    def set_path(self, *keys: Any, value: Any = _UNSET) -> None:
        """Sets a value deep inside the state, making the mappings on the way.

        ``set_path("lamp", "level", 42)`` and ``set_path("lamp", "level", value=42)`` are the same.

        Args:
            *keys: The keys that lead to the value; without ``value=``, the last one is the value.
            value: The value.

        Raises:
            TypeError: No key, or the path leads through something that is no mapping.
        """
        keys, value = _split("set_path", keys, "value", value)
        here: MutableMapping[Any, Any] = self._data
        for depth, key in enumerate(keys[:-1]):
            if key not in here:
                here[key] = {}
            there = here[key]
            if not isinstance(there, MutableMapping):
                path = "".join(f"[{step!r}]" for step in keys[: depth + 1])
                raise TypeError(
                    f"set_path: state{path} is a {type(there).__name__}, not a mapping, and cannot hold "
                    f"{keys[depth + 1]!r}; set {path} to a mapping first"
                )
            here = there
        here[keys[-1]] = value

    def get_path(self, *keys: Any, default: Any = _UNSET) -> Any:
        """Gives a value from deep inside the state.

        ``get_path("lamp", "level", 0)`` and ``get_path("lamp", "level", default=0)`` are the same.

        Args:
            *keys: The keys that lead to the value; without ``default=``, the last one is the default.
            default: What to give where the path leads nowhere.

        Returns:
            The value, or the default.

        Raises:
            TypeError: No key.
        """
        keys, default = _split("get_path", keys, "default", default)
        here: Any = self._data
        for key in keys:
            if not isinstance(here, Mapping) or key not in here:
                return default
            here = here[key]
        return here

    def save(self) -> None:
        """Writes the state to its file, atomically: a crash leaves the old state or the new one.

        A file that cannot be written is logged, once, and counted as a failure; the next call tries again.

        Raises:
            TypeError: A value could not be read back, such as an Enum or an object of a class; the text names the
                path to it, and the file is untouched.
        """
        with self._saving:
            text = _native.yaml_dump(self._data)
            try:
                if self._unseen:
                    self._set_unseen_aside()
                self._disk.write(text)
            except OSError as error:
                self._report("written", error)
                return
            if self._trouble is not None:
                self._trouble = None
                self.service.log.info("state: saved to %s again", self._file)
            self._lock()

    def _load(self) -> dict[Any, Any]:
        try:
            content = self._disk.read()
        except OSError as error:
            self._unseen = True
            self._report("read", error)
            return {}
        if content is None:
            try:
                self._disk.make_folder()
            except OSError as error:
                self._report("written", error)
            else:
                self._lock()
            return {}
        self._lock()
        try:
            data = _native.yaml_load(content, str(self._file)).value
            if data is None:
                return {}
            if isinstance(data, dict):
                return data
            reason = f"{self._file}: a state file must hold a mapping, not a {type(data).__name__}"
        except ConfigError as error:
            reason = str(error)
        self._set_broken_aside(reason)
        return {}

    def _set_unseen_aside(self) -> None:
        try:
            aside = self._disk.set_aside()
        except FileNotFoundError:
            pass
        else:
            self.service.log.warning("state: %s could not be read; it was moved to %s", self._file, aside)
        self._unseen = False

    def _set_broken_aside(self, reason: str) -> None:
        try:
            aside = self._disk.set_aside()
        except OSError as error:
            self._unseen = True
            self._fail(
                f"state: {reason}. It cannot be moved aside either: {_why(error)}. The state starts empty"
            )
        else:
            self._fail(f"state: {reason}. It was moved to {aside}, and the state starts empty")

    def _lock(self) -> None:
        """Warns, once, where another process works with the same file."""
        if self._locked:
            return
        self._locked = True
        process = self._disk.lock()
        if process is not None:
            who = f"process {process}" if process else "another process"
            self.service.log.warning(
                "state: %s uses %s too, and each overwrites what the other saves; stop one of them, or give one "
                "another SERVICE_NAME",
                who,
                self._file,
            )

    def _report(self, what: str, error: OSError) -> None:
        text = (
            f"state: {self._file} cannot be {what}: {_why(error)}. The state is kept in memory only; "
            "save() tries again"
        )
        if text == self._trouble:
            self.service.log.debug(text)
            self.service.note_failure(text)
        else:
            self._fail(text)
        self._trouble = text

    def _fail(self, text: str) -> None:
        self.service.log.error(text)
        self.service.note_failure(text)


def _split(name: str, keys: tuple[Any, ...], last: str, value: Any) -> tuple[tuple[Any, ...], Any]:
    if value is _UNSET and keys:
        keys, value = keys[:-1], keys[-1]
    if not keys:
        raise TypeError(f"{name} needs at least one key and a {last}")
    return keys, value


def _why(error: OSError) -> str:
    if isinstance(error, PermissionError):
        return "permission denied; give this user access to the file and its folder (chown, chmod)"
    return error.strerror or str(error)
