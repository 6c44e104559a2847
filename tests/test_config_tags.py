"""The tags of the configuration, passwords in files, and that secrets stay secret (contract C42, C57, C58)."""

from __future__ import annotations

import copy
import json
import logging
import os
import pickle
import subprocess
import sys
import traceback
from typing import TYPE_CHECKING

import pytest

import miqro
from miqro import _native
from miqro._config import Config, find_and_read
from miqro._errors import ConfigError
from miqro.test.tools import DummyMQTTClient as _Client

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

SECRET = "Xk7-hunter2"


@pytest.fixture
def read(tmp_path: Path) -> Any:
    """Reads a configuration; other files are given by name, with `__` for a slash and `_yaml` for `.yaml`."""

    def read(text: str, **files: str) -> Config:
        for name, content in files.items():
            path = tmp_path / name.replace("__", "/").replace("_yaml", ".yaml")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        path = tmp_path / "miqro.yml"
        path.write_text(text)
        return find_and_read(path, [])

    return read


def refusal(read: Any, text: str, **files: str) -> str:
    """Return the error that a configuration is refused with, without the folder in it."""
    with pytest.raises(ConfigError) as caught:
        read(text, **files)
    shown = "".join(traceback.format_exception(caught.value))
    assert SECRET not in shown
    return str(caught.value).replace(f"{os.environ['HERE']}/", "")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names the folder of the test, for `refusal`."""
    monkeypatch.setenv("HERE", str(tmp_path))


def test_a_variable_of_the_environment_is_a_text_wherever_it_stands(
    read: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`!env NAME [default]`."""
    monkeypatch.setenv("MIQRO_A", "1883")
    monkeypatch.setenv("MIQRO_EMPTY", "")
    monkeypatch.delenv("MIQRO_NONE", raising=False)
    found = read(
        "services: {echo: {a: !env MIQRO_A, b: !env MIQRO_NONE x y, c: !env 'MIQRO_NONE \"\"', "
        "d: !env MIQRO_A x, e: [!env MIQRO_EMPTY x]}}"
    )
    assert found.service_section("echo") == {"a": "1883", "b": "x y", "c": "", "d": "1883", "e": [""]}


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("port", "8883", 8883),
        ("port", "", 1883),
        ("keepalive", " 30 ", 30),
        ("reconnect_delay_min", "2.5", 2.5),
        ("reconnect_delay_min", "2", 2.0),
        ("clean_session", "no", False),
        ("clean_session", "TRUE", True),
        ("durable", "0", False),
        ("transport", "tcp", "tcp"),
        ("protocol", "5", "5"),
        ("host", "10", "10"),
        ("client_id", "true", "true"),
    ],
)
def test_a_known_setting_reads_a_variable_as_what_it_takes(
    read: Any, monkeypatch: pytest.MonkeyPatch, key: str, value: str, expected: object
) -> None:
    """A variable is a text and cannot say that it is a number."""
    monkeypatch.setenv("MIQRO_A", value)
    found = read(f"broker: {{{key}: !env MIQRO_A}}")
    assert found.broker[key] == expected
    # The service reads the section again when it connects.
    assert _native.check_broker(found.config["broker"])[key] == expected


def test_secrets_come_from_the_file_beside_the_configuration(read: Any) -> None:
    """`!secret NAME`: the values are what YAML reads there."""
    found = read(
        "auth: {username: !secret user, password: !secret pass}\nbroker: {port: !secret port}\n"
        "services: {echo: !include sub/echo.yaml}\n",
        secrets_yaml="user: me\npass: 'first'\nport: 1884\npin: 0123\nratio: 0.5\npass: '12345'\n",
        sub__echo_yaml="pin: !secret pin\nratio: !secret ratio\n",
    )
    assert found.auth == {"username": "me", "password": "12345"}
    assert found.broker["port"] == 1884
    section = found.service_section("echo")
    assert section == {"pin": 0o123, "ratio": 0.5}
    assert isinstance(section["pin"], int)
    assert isinstance(section["ratio"], float)


def test_files_are_included_from_where_they_are_named(read: Any) -> None:
    """`!include FILE`: relative to the file with the tag; a mapping can be merged."""
    found = read(
        "broker: !include broker.yaml\nservices:\n  echo:\n    <<: !include common/a.yaml\n    own: 1\n"
        "  none: !include empty.yaml\n  list: {x: !include list.yaml}\n",
        broker_yaml="host: far\n",
        common__a_yaml="a: &x [1]\nb: *x\nc: !include b.yaml\n",
        common__b_yaml="deep\n",
        empty_yaml="# nothing\n",
        list_yaml="- &x 1\n- *x\n",
    )
    assert found.broker["host"] == "far"
    services = found.config["services"]
    assert services["echo"] == {"a": [1], "b": [1], "c": "deep", "own": 1}
    assert services["echo"]["a"] is services["echo"]["b"]
    assert services["none"] is None
    assert services["list"] == {"x": [1, 1]}


ERRORS = {
    "a: !env MIQRO_NONE": "miqro.yml:1:4: the environment variable MIQRO_NONE is not set; set it, or write a default",
    "a: !env": "miqro.yml:1:4: '!env' needs the name of a variable",
    "a: !env [x]": "miqro.yml:1:4: '!env' takes a text; write it on the same line",
    "a: !secret nme": "miqro.yml:1:4: secrets.yaml has no secret 'nme'; did you mean 'name'?",
    "a: !secret zzzzz": "miqro.yml:1:4: secrets.yaml has no secret 'zzzzz'; add it there",
    "a: !secret list": "miqro.yml:1:4: the secret 'list' is not a single value",
    "a: !secret": "miqro.yml:1:4: '!secret' needs the name of a secret",
    "!secret name : 1": "miqro.yml:1:1: '!secret name' cannot be a key; write the key itself",
    "? !env HERE\n: 1": "miqro.yml:1:3: '!env HERE' cannot be a key",
    "a: !include": "miqro.yml:1:4: '!include' needs the name of a file",
    "a: !include none.yaml": "miqro.yml:1:4: none.yaml cannot be included: No such file or directory; correct the path",
    "a: !include /dev/zero": "miqro.yml:1:4: /dev/zero cannot be included: this is not a file; correct the path",
    "a: !include miqro.yml": "miqro.yml:1:4: miqro.yml includes itself; remove one '!include'",
    "a: !include loop.yaml": "loop.yaml:1:4: loop.yaml includes itself",
    "a: !include bad.yaml": "bad.yaml:2:5: a list or mapping cannot be a key",
    "a: !include syntax.yaml": "syntax.yaml:1:5: a second ':' on this line",
    "broker: !include port.yaml": "port.yaml:2:7: in 'broker': 'port': the port cannot be 0",
    "broker: {port: !secret name}": (
        "secrets.yaml:1:7: in 'broker': 'port': what '!secret name' gives cannot be used here; "
        "a whole number from 1 to 65535 is needed"
    ),
    "broker: {transport: !secret name}": "what '!secret name' gives cannot be used here; one of tcp, websockets, unix",
    "broker: {protocol: !secret name}": "what '!secret name' gives cannot be used here; 3.1.1, 5 or auto is needed",
    "broker: {host: !secret url}": "what '!secret url' gives cannot be used here; a text is needed",
    "log_level: !secret name": "what is given here is no log level; write DEBUG",
    "ha_discovery_prefix: !secret number": "'ha_discovery_prefix' must be a text, not a number",
    "auth: {password: !secret name}": "'password': a password needs a user name; add 'username'",
    f"a: *{SECRET}": "miqro.yml:1:4: an alias ('*') has no anchor",
    f"a: !{SECRET}": "miqro.yml:1:4: a tag ('!') that is unknown here",
    f"a: !!{SECRET}": "miqro.yml:1:4: a tag ('!') that is unknown here",
    f"a: [&{SECRET} 1, &{SECRET} 2]": "this anchor ('&') stands a second time",
}


@pytest.mark.parametrize(("text", "expected"), ERRORS.items(), ids=list(ERRORS))
def test_a_tag_that_leads_nowhere_says_where_what_and_what_to_do(
    read: Any, text: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`file:line:column: what, and what to do`, in the file that is to be mended; and no secret in it."""
    monkeypatch.delenv("MIQRO_NONE", raising=False)
    found = refusal(
        read,
        text,
        secrets_yaml=f"name: {SECRET}\nlist: [1]\nurl: mqtt://{SECRET}\nnumber: 4711\n",
        loop_yaml="a: !include loop.yaml\n",
        bad_yaml=f"x: {SECRET}\n?   [{SECRET}]\n: 1\n",
        syntax_yaml="a: b: c\n",
        port_yaml="host: x\nport: 0\n",
    )
    assert expected in found


@pytest.mark.parametrize(
    "line", ["name: *{}", "name: !{}", "name: @{}", "name: '{}", "name: &{} [", "{}", "- {}", "name: {} x: y"]
)
def test_a_broken_file_of_secrets_shows_none(read: Any, line: str) -> None:
    """Quotes that were forgotten around a password are no reason to show it."""
    found = refusal(read, "a: !secret name\nb: !secret name\n", secrets_yaml=line.format(SECRET) + "\n")
    assert "secrets.yaml" in found
    assert found.count("\n") == 0


def test_without_a_file_of_secrets_that_is_said_once(read: Any) -> None:
    """Every other tag would say the same."""
    found = refusal(read, "a: !secret x\nb: !secret y\nc: !env MIQRO_NONE\n")
    first, second = found.split("\n")
    assert first == (
        "miqro.yml:1:4: '!secret' looks into secrets.yaml: No such file or directory; create it beside the "
        "configuration, readable for this user"
    )
    assert "MIQRO_NONE" in second


def test_files_that_include_ever_more_files_are_refused(read: Any) -> None:
    """C57: no input takes more than bounded memory."""
    files = {f"f{i}_yaml": f"[{', '.join([f'!include f{i + 1}.yaml'] * 10)}]\n" for i in range(9)}
    found = refusal(read, "a: !include f0.yaml\n", f9_yaml="1", **files)
    assert "more files are included than are read (1000 files, 10 deep)" in found


def test_the_tags_are_of_the_configuration_only() -> None:
    """C57: everything else is read as PyYAML reads it, which refuses them."""
    for tag in ("!env HOME", "!secret x", "!include x"):
        with pytest.raises(ConfigError, match="unknown"):
            _native.yaml_load(f"a: {tag}".encode(), "state.yaml")


@pytest.mark.parametrize("content", [SECRET, f"{SECRET}\n", f"{SECRET}\r\n"])
def test_a_password_may_be_in_a_file(read: Any, content: str) -> None:
    """`password_file`, relative to the configuration; what connects finds a password."""
    found = read("auth: {username: u, password_file: run/pass}", run__pass=content)
    assert found.auth == {"username": "u", "password": SECRET}
    assert found.config["auth"] == {"username": "u", "password": SECRET}


@pytest.mark.parametrize(
    ("auth", "expected"),
    [
        (
            "{username: u, password_file: none}",
            "miqro.yml:1:36: in 'auth': the password cannot be read from none",
        ),
        ("{username: u, password_file: empty}", "empty is empty; write the password into it"),
        ("{username: u, password_file: /dev/zero}", "this is not a file"),
        (
            "{username: u, password_file: full, password: x}",
            "there is a 'password' as well; remove one of the two",
        ),
        ("{password_file: full}", "'password_file': a password needs a user name; add 'username'"),
        ("{username: u, password_file: !secret name}", "what it names cannot be read, or is no password"),
    ],
)
def test_a_password_file_that_is_none_is_refused(read: Any, auth: str, expected: str) -> None:
    """C42: with its place."""
    found = refusal(read, f"auth: {auth}", empty="\n", full=SECRET, secrets_yaml=f"name: {SECRET}")
    assert expected in found


def test_hidden_values_are_what_they_are_but_in_reprs() -> None:
    """Code that reads the configuration does not notice."""
    from miqro._secret import Hidden, hide

    for value in (SECRET, 4711, -0.5):
        hidden = hide(value, "!secret x")
        assert isinstance(hidden, Hidden)
        assert isinstance(hidden, type(value))
        assert hidden == value
        assert {value: 1}[hidden] == 1
        assert repr(hidden) == "'(hidden)'"
        assert f"{[hidden]!r} %r" % hidden == "['(hidden)'] '(hidden)'"
        assert f"{hidden}" == str(hidden) == str(value)
        assert json.loads(json.dumps(hidden)) == value
        assert json.loads(_native.json_dumps(hidden)) == value
        assert _native.yaml_load(_native.yaml_dump([hidden]).encode(), "x").value == [value]
        pickled = pickle.loads(pickle.dumps(hidden))  # noqa: S301 - made in this line
        for other in (copy.deepcopy(hidden), pickled, copy.copy(hidden)):
            assert (repr(other), other, other.origin) == ("'(hidden)'", value, "!secret x")
    assert hide(None, "x") is None
    assert hide(True, "x") is True


CONFIG = """\
broker: {{host: localhost, port: !env MIQRO_PORT}}
auth: {{username: u, password: {password}}}
services:
  echo: {{token: !secret token, pin: !secret pin, data_topic: t/}}
wrong_key: 1
"""


@pytest.mark.parametrize("password", ["!secret token", SECRET, "!env MIQRO_PASSWORD"])
def test_no_log_and_no_repr_of_a_service_has_a_secret(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, password: str
) -> None:
    """The service runs with them, and its client gets them."""
    monkeypatch.setenv("MIQRO_PORT", "1883")
    monkeypatch.setenv("MIQRO_PASSWORD", SECRET)
    caplog.set_level(logging.DEBUG)
    path = tmp_path / "miqro.yml"
    path.write_text(CONFIG.format(password=password))
    (tmp_path / "secrets.yaml").write_text(f"token: {SECRET}\npin: 47110815\n")
    given: list[Any] = []

    class Client(_Client):
        def username_pw_set(self, username: str, password: str) -> None:
            given.extend((username, password))

    class Echo(miqro.Service):
        SERVICE_NAME = "echo"

    service = Echo(path, mqtt_client_cls=Client)
    assert given == ["u", SECRET]
    assert service.service_config["token"] == SECRET
    service._loop_step()
    service.log.debug("%r %s %s", service, service.config, service.service_config)
    shown = caplog.text + repr(service.config) + repr(vars(service))
    assert SECRET not in shown
    assert "47110815" not in shown
    assert "(hidden)" in shown


def test_a_traceback_with_local_variables_shows_no_secret(tmp_path: Path) -> None:
    """Tools that show variables use `repr`."""
    (tmp_path / "secrets.yaml").write_text(f"token: {SECRET}\n")
    (tmp_path / "miqro.yml").write_text("auth: {username: u, password: !secret token}\nbroker: {port: 0}\n")
    code = (
        "import sys, traceback\nfrom miqro._config import find_and_read\n"
        "try: find_and_read(sys.argv[1], [])\n"
        "except Exception as error:\n"
        "    print(''.join(traceback.TracebackException.from_exception(error, capture_locals=True).format()))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "miqro.yml")], capture_output=True, text=True, check=True
    )
    assert "the port cannot be 0" in done.stdout
    assert SECRET not in done.stdout + done.stderr
