"""The configuration file (contract C11, C41, C42, C58)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from miqro import _native
from miqro._config import Config, find_and_read
from miqro._errors import ConfigError

if TYPE_CHECKING:
    from typing import Any

SEED = """\
broker:
    host: remote-broker.example.com
    port: 8883
    keepalive: 60

auth:
  username: foo
  password: bar

tls:
    ca_certs: /path/to/ca.pem
    certfile: /path/to/client.pem
    keyfile: /path/to/key.pem
    cert_reqs: CERT_REQUIRED
    tls_version: PROTOCOL_TLS
    ciphers: None

log_level: DEBUG

services:

  echo:
    custom_value: "Use for service-specific configuration values"

  some_other_service:
    has_some:
      custom:
        - "configuration values"
"""

DEFAULTS = {
    "host": "localhost",
    "port": 1883,
    "keepalive": 60,
    "bind_address": None,
    "bind_port": 0,
    "protocol": "3.1.1",
    "session_expiry": None,
    "transport": "tcp",
    "path": None,
    "client_id": None,
    "clean_session": None,
    "durable": False,
    "max_queued_messages": 10_000,
    "max_queued_bytes": 16 * 2**20,
    "reconnect_delay_min": 0.5,
    "reconnect_delay_max": 60.0,
}


def config(text: str) -> Config:
    """Read a configuration from a text, as from the file `miqro.yml`."""
    return Config(Path("miqro.yml"), text.encode())


def refusal(text: str) -> str:
    """Return the error that a text is refused with."""
    with pytest.raises(ConfigError) as caught:
        config(text)
    assert len(caught.value.args) == 1
    return str(caught.value)


def write(path: Path, text: str = "log_level: INFO\n") -> Path:
    """Write a file and return its path."""
    path.write_text(text, encoding="utf-8")
    return path


def test_the_example_of_the_readme_is_read() -> None:
    """C42, C58: typed sections, and the file as it was loaded."""
    found = config(SEED)
    assert found.warnings == []
    assert found.broker == {**DEFAULTS, "host": "remote-broker.example.com", "port": 8883}
    assert found.auth == {"username": "foo", "password": "bar"}
    assert found.tls == {
        "ca_certs": "/path/to/ca.pem",
        "certfile": "/path/to/client.pem",
        "keyfile": "/path/to/key.pem",
        "keyfile_password": None,
        "cert_reqs": "CERT_REQUIRED",
        "tls_version": "PROTOCOL_TLS",
        "minimum_version": None,
        "ciphers": None,
        "server_name": None,
        "alpn": None,
    }
    assert found.log_level == 10
    assert found.config == yaml.safe_load(SEED)
    section = found.service_section("some_other_service")
    assert section is found.config["services"]["some_other_service"]
    assert section["has_some"]["custom"][0] == "configuration values"
    assert found.warnings == []


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n...\n", "~"])
def test_an_empty_file_means_nothing_set(text: str) -> None:
    """C58: defaults, with a warning."""
    found = config(text)
    assert found.config == {"broker": {}, "services": {}}
    assert (found.broker, found.auth, found.tls, found.log_level) == (DEFAULTS, None, None, None)
    assert found.ha_discovery_prefix == "homeassistant"
    assert found.warnings == ["miqro.yml: the file is empty; defaults are used"]


def test_null_sections_mean_nothing_set() -> None:
    """C58: defaults, with a warning that says where."""
    text = "broker:\nauth:\ntls:\nlog_level:\nservices:\nha_discovery_prefix:\n"
    found = config(text)
    assert (found.broker, found.auth, found.tls, found.log_level) == (DEFAULTS, None, None, None)
    assert (found.config["broker"], found.config["services"]) == ({}, {})
    assert found.ha_discovery_prefix == "homeassistant"
    assert len(found.warnings) == 6
    for line, key in enumerate(yaml.safe_load(text), 1):
        (warning,) = (text for text in found.warnings if f"'{key}'" in text)
        assert warning.startswith(f"miqro.yml:{line}:1: ")
    assert any("not encrypted" in warning for warning in found.warnings)


def test_null_values_mean_nothing_set() -> None:
    """C42: null and the text "None" are the default."""
    found = config("broker: {host: null, port: None, keepalive: ~}\ntls: {ciphers: None, ca_certs: }\n")
    assert found.broker == {**DEFAULTS, "port": 8883}
    assert found.tls is not None
    assert set(found.tls.values()) == {None}


def test_the_port_follows_tls() -> None:
    """C41: 8883 with a `tls` section, an empty mapping too; 1883 without."""
    assert config("tls: {}").broker["port"] == 8883
    assert config("tls: {}").tls is not None
    assert config("broker: {}").broker["port"] == 1883
    assert config("tls: {}\nbroker: {port: 1}").broker["port"] == 1


ERRORS = {
    "broker: {host: x, prot: 1}": "miqro.yml:1:19: in 'broker': unknown key 'prot'; did you mean 'port'?",
    "broker:\n  weather: 1\n": "miqro.yml:2:3: in 'broker': unknown key 'weather'; remove it; known are host, port",
    "broker:\n  port: '1883'\n": "miqro.yml:2:9: in 'broker': 'port': a whole number from 1 to 65535 is needed",
    "broker:\n  port: 70000\n": "miqro.yml:2:9: in 'broker': 'port': the port cannot be 70000",
    "broker: {host: 10}": "miqro.yml:1:16: in 'broker': 'host': a text is needed here",
    "broker: {host: [a, b]}": "miqro.yml:1:16: in 'broker': 'host': a single value is needed here, not a list",
    "broker: {host: {a: b}}": "not a mapping",
    "broker: {host: 2001-01-01}": "not a value of type date",
    "broker: {port: 99999999999999999999999999999999999999999}": "not a value of type int",
    "broker: {true: x}": "miqro.yml:1:1: in 'broker': unknown key 'True'",
    "broker: {durable: maybe}": "'durable': true or false is needed here",
    "broker: {protocol: 3.11}": "there is no MQTT protocol '3.11' here; write 3.1.1, 5 or auto",
    "broker: {reconnect_delay_min: 90}": "in 'broker': 'reconnect_delay_min': the shorter delay",
    "broker: localhost": "miqro.yml:1:1: 'broker' must be a mapping, not a text",
    "auth: [a]": "miqro.yml:1:1: 'auth' must be a mapping, not a list",
    "tls: true": "miqro.yml:1:1: 'tls' must be a mapping, not true or false",
    "services: x": "miqro.yml:1:1: 'services' must be a mapping",
    "auth: {user: x}": "miqro.yml:1:8: in 'auth': unknown key 'user'; did you mean 'username'?",
    "auth: {password: x}": "miqro.yml:1:18: in 'auth': 'password': a password needs a user name",
    "tls: {cafile: x}": "in 'tls': unknown key 'cafile'",
    "tls: {cert_reqs: none}": "'cert_reqs': 'none' is no certificate requirement",
    "tls: {keyfile: x}": "a private key needs its certificate",
    "log_level: LOUD": "miqro.yml:1:1: 'LOUD' is no log level; write DEBUG",
    "log_level: debgu": "did you mean DEBUG?",
    "log_level: off": "'log_level' must be a name, not true or false",
    "log_level: -1": "'log_level' must be a name, not a number",
    "ha_discovery_prefix: 5": "'ha_discovery_prefix' must be a text, not a number",
    "ha_discovery_prefix: ''": "'ha_discovery_prefix' must be a text, not an empty text",
    "ha_discovery_prefix: a/#": "cannot have '+' or '#' in it",
    "- a\n": "miqro.yml:1:1: the file must hold a mapping",
    "a: [1\n": "miqro.yml:2:1: the list in '[...]' is not closed",
}


@pytest.mark.parametrize(("text", "expected"), ERRORS.items(), ids=list(ERRORS))
def test_each_error_says_where_what_and_what_to_do(text: str, expected: str) -> None:
    """C41, C57: `file:line:column: what, and what to do`."""
    found = refusal(text)
    assert expected in found
    assert found.startswith("miqro.yml:")


@pytest.mark.parametrize("value", ["12345678", "1.2345678", "[s3cret]", "{s3cret: 1}", "true"])
def test_a_secret_is_in_no_error(value: str) -> None:
    """C42: what a password is read as is said, what it is never."""
    for text in (
        f"auth: {{username: u, password: {value}}}",
        f"tls: {{certfile: c, keyfile_password: {value}}}",
    ):
        found = refusal(text)
        assert "password" in found
        assert "2345678" not in found
        assert "s3cret" not in found


def test_unknown_keys_at_the_top_are_warnings() -> None:
    """C41: services keep things of their own there."""
    found = config("brokr: 1\nmy_things: {a: 1}\n5: x\n")
    assert found.warnings == [
        "miqro.yml:1:1: unknown key 'brokr'; did you mean 'broker'?",
        "miqro.yml:2:1: unknown key 'my_things'; it is left to the services",
        "miqro.yml:3:1: unknown key '5'; it is left to the services",
    ]
    assert found.config["my_things"] == {"a": 1}


@pytest.mark.parametrize(
    ("level", "expected"), [("debug", 10), ("Info", 20), ("WARN", 30), ("CRITICAL", 50), ("15", 15), ("0", 0)]
)
def test_log_levels_are_names_or_numbers(level: str, expected: int) -> None:
    """C58: the names of Python's logging, in any case."""
    assert config(f"log_level: {level}").log_level == expected


def test_a_missing_service_section_is_empty_with_a_warning() -> None:
    """C58: absent or null, nothing is set for the service."""
    found = config("services:\n  echo:\n  other: {a: 1}\n  wrong: text\n")
    assert found.service_section("echo") == {}
    assert found.service_section("absent") == {}
    assert found.service_section("other") == {"a": 1}
    assert found.warnings == [
        "miqro.yml:2:3: the section 'echo' is empty; nothing is set for this service",
        "miqro.yml: there is no section 'absent' under 'services'; nothing is set for this service",
    ]
    with pytest.raises(
        ConfigError, match=r"^miqro\.yml:4:3: the section 'wrong' must be a mapping, not a text"
    ):
        found.service_section("wrong")


def test_the_data_topic_is_taken_as_it_is_given() -> None:
    """C11: else `service/<name>/`; a missing slash at the end is a warning, not a change."""
    found = config(
        "services: {a: {data_topic: home/a/}, b: {data_topic: b}, c: {data_topic: }, d: , e: {data_topic: x/#}}"
    )
    assert found.data_topic_prefix("a") == "home/a/"
    assert found.data_topic_prefix("c") == "service/c/"
    assert found.data_topic_prefix("d") == "service/d/"
    assert found.data_topic_prefix("absent") == "service/absent/"
    assert found.warnings == []
    assert found.data_topic_prefix("b") == "b"
    (warning,) = found.warnings
    assert warning.startswith("miqro.yml:1:42: 'data_topic' has no '/' at its end: topics read 'bonline'")
    with pytest.raises(ConfigError, match="cannot have '\\+' or '#'"):
        found.data_topic_prefix("e")


def test_the_constructors_path_comes_first(tmp_path: Path) -> None:
    """C58: `add_config_file_path`, then the list of the class, which is not changed (1.x put the path into it)."""
    first, second = write(tmp_path / "first.yml"), write(tmp_path / "second.yml")
    paths = [tmp_path / "absent.yml", second]
    before = list(paths)
    assert find_and_read(None, paths).path == second
    assert find_and_read(first, paths).path == first
    assert find_and_read(str(first), [str(second)]).path == first
    assert paths == before
    assert find_and_read(first, paths).warnings == []


def test_a_path_that_does_not_exist_is_a_warning_naming_the_file_used(tmp_path: Path) -> None:
    """C58: 1.x went on silently."""
    used = write(tmp_path / "miqro.yml")
    found = find_and_read(tmp_path / "typo.yml", [used])
    assert found.path == used
    assert found.warnings == [f"{tmp_path / 'typo.yml'}: there is no such file; {used} is used instead"]


def test_a_path_from_the_command_line_must_exist(tmp_path: Path) -> None:
    """C58: what was asked for by hand is not replaced by something else."""
    used = write(tmp_path / "miqro.yml")
    with pytest.raises(ConfigError, match=r"typo\.yml: there is no such file; correct the path"):
        find_and_read(tmp_path / "typo.yml", [used], must_exist=True)
    assert find_and_read(used, [], must_exist=True).path == used


def test_no_file_at_all_is_an_error_that_lists_every_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C58: with the folder that relative paths were looked for in."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as caught:
        find_and_read("a.yml", [Path("miqro.yml"), Path("/nowhere/miqro.yml")])
    for path in (tmp_path / "a.yml", tmp_path / "miqro.yml", "/nowhere/miqro.yml"):
        assert str(path) in str(caught.value)
    with pytest.raises(ConfigError, match="no configuration file was found"):
        find_and_read(None, [])


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    """C58: the next path is not taken instead of a file that is there."""
    other = write(tmp_path / "other.yml")
    with pytest.raises(ConfigError, match=r"cannot be read: Is a directory; make it readable"):
        find_and_read(tmp_path, [other])
    if os.geteuid() != 0:
        other.chmod(0)
        with pytest.raises(ConfigError, match="Permission denied"):
            find_and_read(other, [])


def test_a_path_below_a_file_does_not_exist(tmp_path: Path) -> None:
    """C58: as with a folder that is missing."""
    used = write(tmp_path / "miqro.yml")
    assert find_and_read(used / "deeper.yml", [used]).path == used


def test_files_may_be_utf_16(tmp_path: Path) -> None:
    """C57: as PyYAML reads bytes."""
    path = tmp_path / "miqro.yml"
    path.write_bytes("broker: {host: bröker}\n".encode("utf-16"))
    assert find_and_read(path, []).broker["host"] == "bröker"


def test_checked_sections_are_new_dicts() -> None:
    """C41: the loaded file is left as it is."""
    section: dict[Any, Any] = {"host": "x"}
    checked = _native.check_broker(section)
    assert section == {"host": "x"}
    assert checked == {**DEFAULTS, "host": "x"}
    assert _native.check_broker({}, True)["port"] == 8883
    assert _native.check_auth({}) == {"username": None, "password": None, "password_file": None}


def test_settings_of_later_versions_are_accepted_by_the_check() -> None:
    """C41: the session says what it cannot do yet."""
    text = "broker: {protocol: auto, transport: websockets, path: /mqtt, durable: on, clean_session: no, client_id: me}"
    found = config(text)
    wanted = {"protocol": "auto", "transport": "websockets", "path": "/mqtt", "durable": True}
    assert found.broker == {**DEFAULTS, **wanted, "clean_session": False, "client_id": "me"}
    assert config("broker: {protocol: 5}").broker["protocol"] == "5"
