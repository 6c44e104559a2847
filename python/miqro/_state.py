"""The state of a service: a mapping that is kept in a file (contract C56)."""

from __future__ import annotations

from _collections_abc import Mapping, MutableMapping
from _thread import allocate_lock

from . import _native
from ._errors import ConfigError
from ._paths import path

TYPE_CHECKING = False
if TYPE_CHECKING:
    import logging
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Any, ClassVar, Protocol

    from ._service import Service

    class _Owner(Protocol):
        SERVICE_NAME: str
        log: logging.Logger

        def note_failure(self, text: str) -> object: ...


_UNSET: Any = object()
#: A year, in seconds.
_LONGEST = 31_536_000


class State(MutableMapping["Any", "Any"]):
    """Data of a service that survive a restart, used like a dict and written by ``save()``.

    They are in ``DATA_ROOT/<SERVICE_NAME>.yaml``, as YAML that PyYAML reads. A file that cannot be read as such is
    moved aside to ``.broken``, and the state starts empty. Where the file cannot be accessed at all, the service runs
    on in memory: that is logged once and counted as a failure, and each ``save()`` tries again.

    Attributes:
        DATA_ROOT: The folder of the files.
        service: The service whose state this is.
    """

    DATA_ROOT: ClassVar[Path] = path("/var/lib/miqro/data")

    # Of the class, because subclasses of the services' own do not always call `__init__`.
    _trouble: str | None = None
    #: What is in the file, for `save_if_changed`.
    _saved: tuple[int, int] | None = None

    def __init__(self, service: _Owner) -> None:
        """Loads the state of a service; never fails because of the file.

        Args:
            service: The service: its ``SERVICE_NAME`` names the file, its ``log`` and ``note_failure`` are told of
                trouble.
        """
        from pathlib import Path

        self.service = service
        self._file = Path(self.DATA_ROOT) / f"{service.SERVICE_NAME}.yaml"
        self._disk = _native.StateFile(str(self._file))
        self._saving = allocate_lock()
        self._trouble = None
        # The file holds data that were never seen here: it is set aside before it is written over.
        self._unseen = False
        self._locked = False
        self._data: dict[Any, Any] = self._load()
        if getattr(service, "STATE_AUTOSAVE", None) is not None:
            # Of no use, and not made, without it.
            self._saved = self._loaded()
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
                where = "".join(f"[{step!r}]" for step in keys[: depth + 1])
                raise TypeError(
                    f"set_path: state{where} is a {type(there).__name__}, not a mapping, and cannot hold "
                    f"{keys[depth + 1]!r}; set {where} to a mapping first"
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
            self._write(_native.yaml_dump(self._data))

    def save_if_changed(self) -> None:
        """Writes the state to its file if it is not what was loaded, or saved last; else as `save()`.

        Changes are found wherever they are, in lists and mappings inside the state too.

        Raises:
            TypeError: As for `save()`.
        """
        present = _fingerprint(_native.yaml_dump(self._data))
        if present != self._saved:
            # The method, which a subclass may have overridden.
            self.save()
            if self._trouble is None:
                self._saved = present

    def _write(self, text: str) -> None:
        try:
            if self._unseen:
                self._set_unseen_aside()
            self._disk.write(text)
        except OSError as error:
            self._report("written", error)
            return
        self._saved = _fingerprint(text)
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

    def _loaded(self) -> tuple[int, int] | None:
        try:
            return _fingerprint(_native.yaml_dump(self._data))
        except TypeError:
            # It can be read, but not be written: the first save will say so.
            return None

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


def autosave(service: Service) -> None:
    """Has the state of a service saved every `STATE_AUTOSAVE` seconds, if it has changed.

    Raises:
        ValueError: `STATE_AUTOSAVE` is no number of seconds over 0.
    """
    seconds = service.STATE_AUTOSAVE
    if not isinstance(seconds, (int, float)) or isinstance(seconds, bool) or not 0 < seconds <= _LONGEST:
        raise ValueError(
            f"STATE_AUTOSAVE must be a number of seconds over 0, at most {_LONGEST}, or None; not {seconds!r}"
        )
    if service.state is None:
        service.log.warning("STATE_AUTOSAVE saves nothing: there is no state; set USE_STATE_FILE = True")
        return
    from datetime import timedelta

    from ._loop import Loop

    def save_state() -> None:
        _save(service.state)

    loop = Loop(save_state, timedelta(seconds=seconds), start=False)
    service.add_loop(loop).start(delayed=True)


def save_at_the_end(service: Service) -> None:
    """Saves the state of a service that stops, if it has changed; what goes wrong is logged."""
    if service.state is None:
        return
    try:
        _save(service.state)
    except Exception as error:  # the farewell has to follow, whatever a state of the service's own raises
        service.log.error("state: not saved: %s", error, exc_info=error)
        service.note_failure(f"state: not saved: {error}")


def _save(state: Any) -> None:
    # A `state_cls` of the service's own may know `save()` only.
    getattr(state, "save_if_changed", state.save)()


def _split(name: str, keys: tuple[Any, ...], last: str, value: Any) -> tuple[tuple[Any, ...], Any]:
    if value is _UNSET and keys:
        keys, value = keys[:-1], keys[-1]
    if not keys:
        raise TypeError(f"{name} needs at least one key and a {last}")
    return keys, value


def _fingerprint(text: str) -> tuple[int, int]:
    return len(text), hash(text)


def _why(error: OSError) -> str:
    if isinstance(error, PermissionError):
        return "permission denied; give this user access to the file and its folder (chown, chmod)"
    return error.strerror or str(error)
