"""`python -m miqro check`, `-c FILE`, and the JSON Schema of the configuration (contract C58, C61)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
import yaml

from harness.certificates import Authority, pem
from miqro import _native
from miqro._cli.check import schema_text
from miqro._config import Config
from miqro._errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parent.parent
SECRET = "Xk7-hunter2"


@pytest.fixture
def call(tmp_path: Path) -> Callable[..., tuple[int, str, str]]:
    """Runs `python -m miqro` in a folder with the given files; gives status, output and errors."""

    def call(
        *arguments: str, environment: dict[str, str] | None = None, **files: str
    ) -> tuple[int, str, str]:
        for name, content in files.items():
            (tmp_path / name.replace("_", ".")).write_text(content)
        done = subprocess.run(
            [sys.executable, "-m", "miqro", *arguments],
            cwd=tmp_path,
            env={**os.environ, "PYTHONWARNINGS": "ignore", **(environment or {})},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    return call


def test_check_prints_all_that_is_wrong_with_line_and_column(call: Callable[..., Any]) -> None:
    """Tags, sections, levels, services, and what is only odd."""
    status, output, errors = call(
        "check",
        environment={"MIQRO_PORT": "9x"},
        miqro_yml="""\
broker:
  host: !secret hst
  port: !env MIQRO_PORT
  keepalive: -1
  kepalive: 3
tls: 3
auth: {password: x, user: 3, username: !env MIQRO_NONE}
log_level: INF
brokr: 1
services: {a: {data_topic: 3}, b: 1, c: {data_topic: c/#}}
""",
        secrets_yaml=f"host: {SECRET}\n",
    )
    assert (status, errors) == (1, "")
    lines = output.splitlines()
    for place, words in {
        "2:9": "secrets.yaml has no secret 'hst'; did you mean 'host'?",
        "3:9": "what '!env MIQRO_PORT' gives cannot be used here; a whole number from 1 to 65535 is needed",
        "4:14": "'keepalive': the keepalive in seconds cannot be -1",
        "5:3": "unknown key 'kepalive'; did you mean 'keepalive'?",
        "6:1": "'tls' must be a mapping, not a number",
        "7:21": "unknown key 'user'; did you mean 'username'?",
        "7:40": "the environment variable MIQRO_NONE is not set",
        "8:1": "'INF' is no log level; did you mean INFO?",
        "9:1": "unknown key 'brokr'; did you mean 'broker'? (warning)",
        "10:16": "'data_topic' must be a text, not a number",
        "10:32": "the section 'b' must be a mapping",
        "10:42": "cannot have '+' or '#' in it",
    }.items():
        assert [line for line in lines if line.startswith(f"miqro.yml:{place}:") and words in line], place
    assert lines[-1] == "miqro.yml: 11 things to correct"
    assert len(lines) == 13


def test_check_says_what_would_be_used_and_hides_secrets(call: Callable[..., Any], tmp_path: Path) -> None:
    """Where a value comes from, what is a default, and no secret."""
    (tmp_path / "pass").write_text(SECRET)
    authority = Authority(tmp_path)
    own = authority.issue("me")
    (tmp_path / "c.pem").write_bytes(own.certfile.read_bytes() + pem(own.key, password=SECRET))
    status, output, errors = call(
        "check",
        "other.yml",
        environment={"MIQRO_PORT": "1884"},
        other_yml="""\
broker: {host: !secret host, port: !env MIQRO_PORT, keepalive: !env MIQRO_NONE 30}
auth: {username: me, password_file: pass}
tls: {ca_certs: authority.pem, certfile: c.pem, keyfile_password: SECRET}
services: {echo: {token: !secret token}, lamp: {data_topic: light/}}
""".replace("SECRET", SECRET),
        secrets_yaml=f"host: {SECRET}.example\ntoken: {SECRET}\n",
    )
    assert (status, errors) == (0, "")
    assert SECRET not in output
    for line in (
        "other.yml: this can be used",
        "  host: (hidden, from !secret host)",
        "  port: 1884 (from !env MIQRO_PORT)",
        "  keepalive: 30 (from !env MIQRO_NONE)",
        "  transport: tcp (default)",
        "  username: me",
        "  password: (hidden)",
        "  certfile: c.pem",
        "  keyfile_password: (hidden)",
        "log_level: that of the service",
        "ha_discovery_prefix: homeassistant (default)",
        "  echo: topics begin with service/echo/ (default)",
        "  lamp: topics begin with light/",
    ):
        assert line in output.splitlines()


def test_check_of_a_file_that_is_not_there_or_not_yaml(call: Callable[..., Any]) -> None:
    """C58: a file that was named has no substitute; of none, every path is listed."""
    status, output, _ = call("check", "none.yml", miqro_yml="")
    assert (status, output) == (1, "none.yml: there is no such file; correct the path\n")
    status, output, _ = call("check", "bad.yml", bad_yml="a: [1\nb: 2\n")
    assert status == 1
    assert output.startswith("bad.yml:2:2: ")


def test_a_file_given_on_the_command_line_must_exist(tmp_path: Path) -> None:
    """C58: 1.x went on with another file, silently."""
    (tmp_path / "miqro.yml").write_text("broker: {}\n")
    script = tmp_path / "echo.py"
    script.write_text(
        "import miqro\nclass Echo(miqro.Service):\n    SERVICE_NAME = 'echo'\n"
        "    def run(self): print('it runs')\nmiqro.run(Echo)\n"
    )

    def start(*arguments: str) -> tuple[int, str, str]:
        done = subprocess.run(
            [sys.executable, script, *arguments],
            cwd=tmp_path,
            env={**os.environ, "PYTHONWARNINGS": "ignore"},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    assert start("-c", "none.yml") == (1, "", "echo: none.yml: there is no such file; correct the path\n")
    assert start("-c", "miqro.yml/none.yml")[0] == 1
    assert start("-c", "miqro.yml")[:2] == (0, "it runs\n")
    assert start()[:2] == (0, "it runs\n")


def test_the_schema_in_the_docs_is_current(call: Callable[..., Any]) -> None:
    """`make schema` writes it from the structures that read the file."""
    assert (ROOT / "docs" / "miqro.schema.json").read_text() == schema_text()
    assert call("schema")[1] == schema_text()


def test_the_schema_has_every_setting_and_its_default() -> None:
    """It comes from the same structures."""
    properties = _native.config_schema()["properties"]
    for name, defaults in (
        ("broker", {**_native.check_broker({}), "port": None}),
        ("auth", _native.check_auth({})),
        ("tls", _native.check_tls({})),
    ):
        found = {key: value.get("default") for key, value in properties[name]["properties"].items()}
        assert found == defaults


GOOD = [
    "",
    "{}",
    "broker:\nauth:\ntls:\nlog_level:\nservices:\n",
    "broker: {host: x, port: 1, keepalive: 0, protocol: 5, transport: unix, path: /x, durable: true}",
    "broker: {protocol: 3.1.1, reconnect_delay_min: 0.1, reconnect_delay_max: 86400, max_queued_bytes: 1}",
    "broker: {port: None, clean_session: None, transport: None, protocol: null}",
    "auth: {username: x, password: 'None'}",
    f"auth: {{username: x, password_file: {__file__}}}",
    "tls: {ciphers: None, cert_reqs: CERT_NONE, tls_version: PROTOCOL_TLSv1_2, certfile: x, keyfile: y}",
    "log_level: warning",
    "log_level: 15",
    "ha_discovery_prefix: ha",
    "services: {a: {data_topic: x/, own: [1]}, b: null}",
    "my_own: {x: 1}",
]
BAD = [
    "- a",
    "broker: x",
    "broker: {hots: x}",
    "broker: {host: 1}",
    "broker: {port: 0}",
    "broker: {port: 65536}",
    "broker: {port: '1883'}",
    "broker: {port: true}",
    "broker: {keepalive: -1}",
    "broker: {durable: 'yes'}",
    "broker: {transport: tpc}",
    "broker: {protocol: 3}",
    "broker: {reconnect_delay_min: 0}",
    "broker: {reconnect_delay_min: 86401}",
    "broker: {max_queued_messages: 0}",
    "auth: {user: x}",
    "auth: {username: x, password: 123}",
    "tls: true",
    "tls: {cert_reqs: NONE}",
    "log_level: INF",
    "log_level: [DEBUG]",
    "log_level: -1",
    "ha_discovery_prefix: ha/#",
    "services: [a]",
    "services: {a: 1}",
    "services: {a: {data_topic: x/+/}}",
]


@pytest.mark.parametrize("text", GOOD)
def test_the_schema_takes_what_is_taken(text: str) -> None:
    """An editor must not underline what works."""
    config = Config(Path("miqro.yml"), text.encode())
    for name in config.config["services"]:
        config.data_topic_prefix(name)
    jsonschema.validate(yaml.safe_load(text), json.loads(schema_text()))


@pytest.mark.parametrize("text", BAD)
def test_the_schema_refuses_what_is_refused(text: str) -> None:
    """Before a service is started."""

    def use() -> None:
        config = Config(Path("miqro.yml"), text.encode())
        for name in config.config["services"]:
            config.service_section(name)
            config.data_topic_prefix(name)

    with pytest.raises(ConfigError):
        use()
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(yaml.safe_load(text), json.loads(schema_text()))


def test_the_schema_is_one() -> None:
    """Of the draft that it names."""
    jsonschema.Draft202012Validator.check_schema(json.loads(schema_text()))


def test_the_documentation_has_every_setting() -> None:
    """`docs/configuration.md`: name, default, meaning."""
    text = (ROOT / "docs" / "configuration.md").read_text()
    properties = _native.config_schema()["properties"]
    for section in ("broker", "auth", "tls"):
        for key, value in properties[section]["properties"].items():
            row = next((line for line in text.splitlines() if line.startswith(f"| `{key}` |")), "")
            assert row, f"{section}.{key} is not in the documentation"
            if value.get("default") is not None:
                default = value["default"]
                shown = str(default).lower() if isinstance(default, bool) else str(default)
                assert f"| {shown} |" in row.replace("`", ""), row
