"""The configuration file: found, read, checked (contract C11, C41, C42, C58)."""

from __future__ import annotations

import os
from pathlib import Path

from . import _native
from ._errors import ConfigError
from ._secret import Hidden, hide

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

_KNOWN = ("broker", "auth", "tls", "log_level", "services", "ha_discovery_prefix")
_LEVELS = {
    "CRITICAL": 50,
    "FATAL": 50,
    "ERROR": 40,
    "WARNING": 30,
    "WARN": 30,
    "INFO": 20,
    "DEBUG": 10,
    "NOTSET": 0,
}


class Config:
    """A configuration file that was read and found usable.

    Attributes:
        config: The file as it was loaded, live. ``broker`` and ``services`` are always mappings in it.
        path: The file that was read.
        warnings: Sentences for the log: what was ignored, or stood for nothing.
        broker: The section ``broker``, checked, every key set.
        auth: The section ``auth``, checked; None where there is none.
        tls: The section ``tls``, checked; None where there is none, and then the connection is not encrypted.
        log_level: The level for the root logger, or None.
        ha_discovery_prefix: The topic prefix of Home Assistant's discovery.
    """

    __slots__ = (
        "_document",
        "_problems",
        "auth",
        "broker",
        "config",
        "ha_discovery_prefix",
        "log_level",
        "path",
        "tls",
        "warnings",
    )

    def __init__(self, path: Path, data: bytes, problems: list[str] | None = None) -> None:
        """Reads a configuration from the content of its file.

        Args:
            path: The file, for texts about it, and for the files that its tags name.
            data: Its content.
            problems: Takes a sentence for each problem, and then nothing is raised: what is wrong has its default.

        Raises:
            ConfigError: The content is not YAML, or a known section of it is wrong. Each line of the text is a
                problem, and says where it is.
        """
        self.path = path
        self.warnings: list[str] = []
        self._problems: list[str] = [] if problems is None else problems
        try:
            self._document = _native.config_load(data, str(path))
        except ConfigError as error:
            if problems is None:
                raise
            problems.append(str(error))
            self._document = _native.yaml_load(b"{}", str(path))
        self._problems.extend(self._document.problems)
        self.config: dict[Any, Any] = self._root()
        self.tls: dict[str, Any] | None = None
        tls = self._section("tls")
        if tls is not None:
            self.tls = self._check("tls", tls, _native.check_tls)
            _hide(self.tls, "keyfile_password")
            _hide(tls, "keyfile_password")
        self.auth: dict[str, Any] | None = None
        auth = self._section("auth")
        if auth is not None:
            self.auth = self._check("auth", auth, _native.check_auth)
            self._read_password_file(auth, self.auth)
        broker = self._section("broker")
        has_tls = tls is not None
        self.broker: dict[str, Any] = self._check(
            "broker", {} if broker is None else broker, lambda section: _native.check_broker(section, has_tls)
        )
        self.log_level = self._log_level()
        self.ha_discovery_prefix = self._ha_discovery_prefix()
        services = self._section("services")
        if broker is None:
            self.config["broker"] = {}
        if services is None:
            self.config["services"] = {}
        self._warn_of_unknown_keys()
        if problems is None and self._problems:
            raise ConfigError("\n".join(self._problems))

    def service_section(self, name: str) -> dict[Any, Any]:
        """Gives the section ``services.<name>``, live.

        Args:
            name: The ``SERVICE_NAME``.

        Returns:
            The section; an empty one, with a warning, where the file has none or it is null.

        Raises:
            ConfigError: The section is no mapping.
        """
        services = self.config["services"]
        if name not in services:
            self._warn(
                f"{self.path}: there is no section '{name}' under 'services'; nothing is set for this service"
            )
            return {}
        section = services[name]
        if section is None:
            self._warn(
                f"{self._at('services', name)} the section '{name}' is empty; nothing is set for this service"
            )
            return {}
        if not isinstance(section, dict):
            raise ConfigError(
                f"{self._at('services', name)} the section '{name}' must be a mapping, not {_kind(section)}; "
                "write its settings as 'key: value' lines below it"
            )
        return section

    def located(self, name: str, error: ConfigError) -> str:
        """Gives the sentence about a setting, with the place where it stands.

        Args:
            name: The section.
            error: Its arguments are the sentence, the key, and whether the key itself is wrong.
        """
        message, key, in_key = error.args
        return f"{self._place((name, key), key=in_key)} in '{name}': '{key}': {message}"

    def data_topic_prefix(self, name: str) -> str:
        """Gives the prefix of the service's topics (C11).

        Args:
            name: The ``SERVICE_NAME``.

        Returns:
            ``data_topic`` of the service's section as it is given there, else ``service/<name>/``.

        Raises:
            ConfigError: ``data_topic`` cannot begin a topic.
        """
        section = self.config["services"].get(name)
        topic = section.get("data_topic") if isinstance(section, dict) else None
        if topic is None:
            return f"service/{name}/"
        place = self._at("services", name, "data_topic")
        if not isinstance(topic, str) or not topic:
            raise ConfigError(f"{place} 'data_topic' must be a text, not {_kind(topic)}; put it in quotes")
        if problem := _wildcards(place, "data_topic", topic):
            raise ConfigError(problem)
        if not topic.endswith("/"):
            self._warn(
                f"{place} 'data_topic' has no '/' at its end: topics read {_shown(topic, 'online')}; "
                "add one if that is not meant"
            )
        return topic

    def _root(self) -> dict[Any, Any]:
        value = self._document.value
        if value is None:
            self._warn(f"{self.path}: the file is empty; defaults are used")
            return {}
        if not isinstance(value, dict):
            self._problems.append(
                f"{self._at()} the file must hold a mapping with sections such as 'broker', not {_kind(value)}; "
                "see the example in the README"
            )
            return {}
        return value

    def _section(self, name: str) -> dict[Any, Any] | None:
        if name not in self.config:
            return None
        section = self.config[name]
        if section is None:
            consequence = (
                "the connection is not encrypted; write 'tls: {}' for TLS with defaults, or remove the line"
                if name == "tls"
                else "defaults are used"
            )
            self._warn(f"{self._at(name)} the section '{name}' is empty: {consequence}")
            return None
        if not isinstance(section, dict):
            self._problems.append(
                f"{self._at(name)} '{name}' must be a mapping, not {_kind(section)}; "
                "write its settings as 'key: value' lines below it"
            )
            return None
        return section

    def _check(
        self, name: str, section: dict[Any, Any], check: Callable[[dict[Any, Any]], dict[str, Any]]
    ) -> dict[str, Any]:
        problems = _native.section_problems(name, section, self.tls is not None)
        for message, key, in_key in problems:
            sentence = message if in_key else f"'{key}': {message}"
            self._problems.append(f"{self._place((name, key), key=in_key)} in '{name}': {sentence}")
        return check({} if problems else section)

    def _read_password_file(self, section: dict[Any, Any], auth: dict[str, Any]) -> None:
        """Puts the password where a password belongs; not to be shown, as one that stands in the file."""
        if file := auth.pop("password_file"):
            named = section["password_file"]
            try:
                password = _native.read_password(str(self.path.parent / file))
            except ConfigError as error:
                place = self._place(("auth", "password_file"), key=False)
                hidden = "what it names cannot be read, or is no password; correct the path, or the rights"
                self._problems.append(f"{place} in 'auth': {hidden if isinstance(named, Hidden) else error}")
                return
            # Whoever connects from here on finds a user and a password.
            section = {key: value for key, value in section.items() if key != "password_file"}
            section["password"] = auth["password"] = password
            self.config["auth"] = section
        _hide(auth, "password")
        _hide(section, "password")

    def _log_level(self) -> int | None:
        level = self.config.get("log_level")
        if level is None:
            if "log_level" in self.config:
                self._warn(f"{self._at('log_level')} 'log_level' is empty; nothing is set by it")
            return None
        if isinstance(level, int) and not isinstance(level, bool) and level >= 0:
            return level
        place = self._at("log_level")
        if not isinstance(level, str):
            self._problems.append(
                f"{place} 'log_level' must be a name, not {_kind(level)}; "
                "write DEBUG, INFO, WARNING, ERROR or CRITICAL"
            )
            return None
        if level.upper() in _LEVELS:
            return _LEVELS[level.upper()]
        nearest = None if isinstance(level, Hidden) else _native.nearest_name(level, list(_LEVELS))
        advice = f"did you mean {nearest}?" if nearest else "write DEBUG, INFO, WARNING, ERROR or CRITICAL"
        self._problems.append(f"{place} {_shown(level)} is no log level; {advice}")
        return None

    def _ha_discovery_prefix(self) -> str:
        prefix = self.config.get("ha_discovery_prefix", "homeassistant")
        place = self._at("ha_discovery_prefix")
        if prefix is None:
            self._warn(f"{place} 'ha_discovery_prefix' is empty; 'homeassistant' is used")
        elif not isinstance(prefix, str) or not prefix:
            self._problems.append(
                f"{place} 'ha_discovery_prefix' must be a text, not {_kind(prefix)}; put it in quotes"
            )
        elif problem := _wildcards(place, "ha_discovery_prefix", prefix):
            self._problems.append(problem)
        else:
            return prefix
        return "homeassistant"

    def _warn_of_unknown_keys(self) -> None:
        for key in self.config:
            if key in _KNOWN:
                continue
            nearest = _native.nearest_name(str(key), list(_KNOWN))
            advice = f"did you mean '{nearest}'?" if nearest else "it is left to the services"
            self._warn(f"{self._at(key)} unknown key '{key}'; {advice}")

    def _warn(self, text: str) -> None:
        if text not in self.warnings:
            self.warnings.append(text)

    def _at(self, *path: object) -> str:
        return self._place(path, key=True)

    def _place(self, path: tuple[object, ...], *, key: bool) -> str:
        find = self._document.key_mark if key else self._document.mark
        found = find(path)
        while found is None and path:
            path, key = path[:-1], True
            found = self._document.key_mark(path)
        file = self._document.file(path, key) or self.path
        return f"{file}:" if found is None else f"{file}:{found[0]}:{found[1]}:"


def find_and_read(
    explicit: str | os.PathLike[str] | None,
    paths: Sequence[str | os.PathLike[str]],
    *,
    must_exist: bool = False,
    problems: list[str] | None = None,
) -> Config:
    """Finds the configuration file and reads it (C58).

    Args:
        explicit: A file to try before the others, if any.
        paths: Where to look, in order. The list is not changed.
        must_exist: Whether it is an error that ``explicit`` does not exist (it was asked for on the command line).
            Otherwise that is a warning, and the file used instead is named.
        problems: As for `Config`.

    Returns:
        The configuration of the first file that exists.

    Raises:
        ConfigError: No file was found (the text lists every path tried), the file cannot be read, or it is wrong.
    """
    tried = [Path(path) for path in ([explicit] if explicit else []) + list(paths)]
    for path in tried:
        try:
            data = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            if must_exist and explicit and path is tried[0]:
                raise _missing(path) from None
            continue
        except OSError as error:
            reason = error.strerror or str(error)
            raise ConfigError(
                f"{path}: the configuration file cannot be read: {reason}; make it readable for this user"
            ) from error
        config = Config(path, data, problems)
        if explicit and path is not tried[0]:
            config.warnings.insert(0, f"{tried[0]}: there is no such file; {path.absolute()} is used instead")
        return config
    listed = ", ".join(str(path.absolute()) for path in tried) or "(no path given)"
    raise ConfigError(f"no configuration file was found; create one of these: {listed}")


def require(path: str | os.PathLike[str]) -> None:
    """Refuses a file that does not exist: one asked for on the command line has no substitute (C58).

    Raises:
        ConfigError: There is no such file.
    """
    try:
        Path(path).stat()
    except (FileNotFoundError, NotADirectoryError):
        raise _missing(path) from None
    except OSError:
        # It is there, but cannot be looked at: whoever reads it will say why.
        return


def password_of(auth: dict[str, Any]) -> str | None:
    """Gives the password of a checked section `auth` that did not come through `Config`.

    Raises:
        ConfigError: Its `password_file` cannot be read.
    """
    password: str | None = auth["password"]
    return _native.read_password(auth["password_file"]) if auth["password_file"] else password


def _missing(path: str | os.PathLike[str]) -> ConfigError:
    return ConfigError(f"{os.fspath(path)}: there is no such file; correct the path")


def _wildcards(place: str, name: str, topic: str) -> str | None:
    if any(sign in topic for sign in "+#\0"):
        return f"{place} '{name}' is the beginning of topics and cannot have '+' or '#' in it"
    return None


def _hide(section: dict[Any, Any], key: str) -> None:
    value = section.get(key)
    if value is not None and not isinstance(value, Hidden):
        section[key] = hide(value, key)


def _shown(value: str, more: str = "") -> str:
    return "what is given here" if isinstance(value, Hidden) else f"'{value}{more}'"


def _kind(value: object) -> str:
    names = {
        dict: "a mapping",
        list: "a list",
        str: "a text",
        bool: "true or false",
        int: "a number",
        float: "a number",
        type(None): "nothing",
    }
    if value == "":
        return "an empty text"
    for kind, name in names.items():
        if type(value) is kind or (isinstance(value, Hidden) and isinstance(value, kind)):
            return name
    return f"a {type(value).__name__}"
