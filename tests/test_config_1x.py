"""Files of the real 1.3.0 load here, and files written here load there, with the same values (contract C56, C57)."""

from __future__ import annotations

import logging
import os
import pickle
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from miqro._config import Config
from miqro._state import State
from test_config import SEED
from yaml_corpus import documents

PYTHON = Path(__file__).resolve().parent.parent / ".cache" / "compat" / "venv" / "bin" / "python"

pytestmark = pytest.mark.skipif(
    not PYTHON.exists(), reason="there is no 1.3.0 to compare with: run `make compat-venv`"
)

# What the original does, in its own interpreter; values travel as pickles, with their types.
ORIGINAL = """\
import logging, pickle, sys
from pathlib import Path
import miqro
from miqro import Service, State

class Owner:
    SERVICE_NAME = "echo"
    log = logging.getLogger("echo")

def load(folder):
    State.DATA_ROOT = Path(folder)
    return State(Owner())._data

def save(folder, data):
    State.DATA_ROOT = Path(folder)
    state = State(Owner())
    state._data = data
    state.save()

def configure(path):
    class Echo(Service):
        SERVICE_NAME = "echo"
        CONFIG_FILE_PATHS = [Path(path)]
    service = Echo.__new__(Echo)
    service.log = logging.getLogger("echo")
    service._read_config()
    return service.config, service.service_config, service.data_topic_prefix

answers = []
for name, arguments in pickle.load(sys.stdin.buffer):
    try:
        answers.append(globals()[name](*arguments))
    except Exception as error:
        answers.append(f"{type(error).__name__}")
sys.stdout.buffer.write(pickle.dumps(answers))
"""


class Owner:
    """What a state needs of its service."""

    SERVICE_NAME = "echo"
    log = logging.getLogger("echo")

    def note_failure(self, text: str) -> None:
        """Fail the test: no file of 1.x is broken."""
        pytest.fail(text)


def original(*calls: tuple[str, tuple[Any, ...]]) -> list[Any]:
    """Have 1.3.0 do some things; return what they give, or the name of what they raise."""
    done = subprocess.run(
        [PYTHON, "-c", ORIGINAL],
        input=pickle.dumps(calls),
        capture_output=True,
        env={key: value for key, value in os.environ.items() if not key.startswith("PYTHON")},
        check=True,
        timeout=100,
    )
    answers: list[Any] = pickle.loads(done.stdout)  # noqa: S301 - made by the lines above
    return answers


def same(one: Any, other: Any) -> bool:
    """Whether two values are the same, types and shared parts included; of mappings the order does not count."""
    return type(one) is type(other) and bool(yaml.dump(one) == yaml.dump(other))


def mappings() -> list[Any]:
    """Return the documents of the corpus that hold a mapping, as PyYAML reads them."""
    found = []
    for text in documents():
        try:
            value = yaml.load(text, yaml.FullLoader)  # noqa: S506 - as 1.x reads it
            pickle.dumps(value)
            dumped = yaml.dump(value)
            # Some things 1.x writes, but cannot read itself, such as a complex not-a-number.
            again = yaml.load(dumped, yaml.FullLoader)  # noqa: S506
        except Exception:  # noqa: S112 - what PyYAML refuses, 1.x has never saved
            continue
        # C57 refuses these on purpose.
        refused = "!!python/name:" in dumped or "!!python/module:" in dumped
        if isinstance(value, dict) and value and same(again, value) and not refused:
            found.append(value)
    return found


def test_states_go_both_ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """C56: whatever the corpus of YAML holds; saved there, loaded here, saved here, loaded there."""
    values = mappings()
    assert len(values) > 50
    folders = [tmp_path / str(number) for number in range(len(values))]
    original(*[("save", (str(folder), value)) for folder, value in zip(folders, values, strict=True)])
    for folder, value in zip(folders, values, strict=True):
        monkeypatch.setattr(State, "DATA_ROOT", folder)
        state = State(Owner())
        # Not `dict(state)`: some hold themselves, and a copy would not.
        assert same(state._data, value)
        state["added"] = value["added"] = "here"
        state.save()
    back = original(*[("load", (str(folder),)) for folder in folders])
    for loaded, value in zip(back, values, strict=True):
        assert same(loaded, value)


def test_configurations_of_1_x_are_read_as_1_x_reads_them(tmp_path: Path) -> None:
    """C57, C11: the seed's example, and what people write."""
    texts = [
        SEED,
        "broker: {host: h, port: 0o10, keepalive: 1:30}\nservices: {echo: {on: yes, at: 2001-01-01, n: 010}}\n".replace(
            "0o10", "010"
        ),
        "broker: {}\nservices: {echo: {data_topic: my/topic/, x: &a [1], y: *a, z: !!python/tuple [1, 2]}}\n",
        "broker: {host: x}\nbase: &base {a: 1}\nservices: {echo: {<<: *base, b: !!binary aGk=}}\n",
    ]
    paths = [tmp_path / f"{number}.yml" for number in range(len(texts))]
    for path, text in zip(paths, texts, strict=True):
        path.write_text(text)
    answers = original(*[("configure", (str(path),)) for path in paths])
    for path, text, answer in zip(paths, texts, answers, strict=True):
        assert isinstance(answer, tuple), (text, answer)
        config = Config(path, text.encode())
        whole, section, prefix = answer
        # A password is a text as ever, but does not show itself.
        plain = {**config.config}
        if "auth" in plain:
            assert plain["auth"] == whole["auth"]
            plain["auth"] = whole["auth"]
        assert same(plain, whole)
        assert same(config.service_section("echo"), section)
        assert config.data_topic_prefix("echo") == prefix
