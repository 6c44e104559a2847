"""The state of a service (contract C56)."""

from __future__ import annotations

import datetime as dt
import enum
import errno
import logging
import os
import pickle
import signal
import stat
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from miqro import _native
from miqro._state import State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Owner:
    """What a state needs of its service."""

    def __init__(self, name: str = "echo") -> None:
        self.SERVICE_NAME = name
        self.log = logging.getLogger(f"{name}.main")
        self.failures: list[str] = []

    def note_failure(self, text: str) -> None:
        """Count a failure."""
        self.failures.append(text)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for the state files, which does not exist yet."""
    folder = tmp_path / "miqro" / "data"
    monkeypatch.setattr(State, "DATA_ROOT", folder)
    return folder


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Callable[[int], list[str]]:
    """Gives the texts that were logged at a level since the last time it was asked."""
    caplog.set_level(logging.DEBUG)

    def take(level: int) -> list[str]:
        texts = [record.getMessage() for record in caplog.records if record.levelno == level]
        caplog.clear()
        return texts

    return take


def test_the_default_folder_is_that_of_1_x() -> None:
    """C56: `/var/lib/miqro/data`."""
    assert Path("/var/lib/miqro/data") == State.DATA_ROOT


def test_what_is_saved_is_there_after_a_restart(root: Path) -> None:
    """C56: live objects of the same types."""
    state = State(Owner())
    value = {
        "n": 1,
        "f": 1.5,
        "t": (1, 2),
        "s": {"a"},
        "b": b"x",
        "d": dt.datetime(2001, 2, 3, tzinfo=dt.timezone.utc),
    }
    state["deep"] = value
    state["list"] = [None, True, "yes"]
    state.save()
    again = State(Owner())
    assert dict(again) == {"deep": value, "list": [None, True, "yes"]}
    assert (root / "echo.yaml").read_text() == yaml.dump(dict(state))


def test_a_state_is_like_a_dict(root: Path) -> None:
    """C56: `[]`, `get`, `in`, `len`, iteration, `del`."""
    state = State(Owner())
    assert (len(state), list(state), "a" in state, state.get("a"), state.get("a", 5)) == (
        0,
        [],
        False,
        None,
        5,
    )
    assert state, "`if self.state:` asks whether there is one, as in 1.x"
    state["a"] = 1
    state.update(b=2)
    assert (len(state), list(state), "a" in state, state["a"], state.get("b")) == (2, ["a", "b"], True, 1, 2)
    assert state == {"a": 1, "b": 2}
    assert state.setdefault("c", []) is state["c"]
    del state["a"]
    assert state.pop("b") == 2
    with pytest.raises(KeyError):
        state["a"]
    assert state._data == {"c": []}
    assert not root.joinpath("echo.yaml").exists(), "nothing is written without save()"


def test_paths_are_set_and_got_both_ways(root: Path) -> None:
    """C56: the last argument by position, as in the README, or by keyword, as in 1.x."""
    del root
    state = State(Owner())
    state.set_path("foo", "bar", 42)
    state.set_path("foo", "baz", value=43)
    state.set_path("top", None)
    state.set_path(1, 2, value=None)
    assert state._data == {"foo": {"bar": 42, "baz": 43}, "top": None, 1: {2: None}}
    assert state.get_path("foo", "bar", 23) == 42
    assert state.get_path("foo", "bar", default=23) == 42
    assert state.get_path("foo", "nothing", 23) == 23
    assert state.get_path("foo", "nothing", default=None) is None
    assert state.get_path("foo", "bar", "deeper", 23) == 23, "a path through a scalar gives the default"
    assert state.get_path("top", "deeper", 23) == 23
    assert state.get_path("foo", default=5) == {"bar": 42, "baz": 43}


def test_a_path_through_a_scalar_cannot_be_set(root: Path) -> None:
    """C56: a TypeError that names it, and nothing is changed."""
    del root
    state = State(Owner())
    state.set_path("a", "b", [1])
    with pytest.raises(TypeError, match=r"state\['a'\]\['b'\] is a list, not a mapping, and cannot hold 'c'"):
        state.set_path("a", "b", "c", "d", 1)
    assert state._data == {"a": {"b": [1]}}


@pytest.mark.parametrize(
    "call",
    [
        lambda state: state.set_path(),
        lambda state: state.set_path("a"),
        lambda state: state.set_path(value=1),
        lambda state: state.get_path(),
        lambda state: state.get_path("a"),
        lambda state: state.get_path(default=1),
    ],
)
def test_paths_need_a_key(root: Path, call: Callable[[State], Any]) -> None:
    """C56: one argument by position is the value or the default, and leaves no key."""
    del root
    with pytest.raises(TypeError, match=r"needs at least one key and a (value|default)"):
        call(State(Owner()))


def test_a_value_that_could_not_be_read_back_is_refused(root: Path) -> None:
    """C56: a TypeError that names the path; the old file is untouched, and the state still works."""
    state = State(Owner())
    state["a"] = 1
    state.save()
    before = (root / "echo.yaml").stat()
    state["mode"] = {"now": enum.Enum("Mode", "ON").ON}
    with pytest.raises(TypeError, match=r"\['mode'\]\['now'\] cannot be saved"):
        state.save()
    after = (root / "echo.yaml").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    del state["mode"]
    state["a"] = 2
    state.save()
    assert dict(State(Owner())) == {"a": 2}


@pytest.mark.parametrize(
    "content",
    [
        b"a: [1",
        b"- a\n- b\n",
        b"5",
        b"\xff\xfe\x00",
        b"a: !!python/name:os.system ''",
        b"x" * (17 << 20),
        b"a: !my 1",
    ],
    ids=lambda content: content[:12].decode("latin1"),
)
def test_a_broken_file_is_moved_aside(root: Path, log: Callable[[int], list[str]], content: bytes) -> None:
    """C56: the service starts empty, logging it, and nothing is lost."""
    root.mkdir(parents=True)
    (root / "echo.yaml").write_bytes(content)
    owner = Owner()
    state = State(owner)
    assert dict(state) == {}
    (error,) = log(logging.ERROR)
    assert "echo.yaml" in error
    assert f"moved to {root / 'echo.yaml.broken'}, and the state starts empty" in error
    assert len(owner.failures) == 1
    assert (root / "echo.yaml.broken").read_bytes() == content
    state["a"] = 1
    state.save()
    assert dict(State(Owner())) == {"a": 1}


@pytest.mark.parametrize("content", ["", "# nothing\n", "null\n", "{}\n"])
def test_an_empty_file_is_an_empty_state(root: Path, log: Callable[[int], list[str]], content: str) -> None:
    """C56: in 1.x the state was None then, and every use of it failed."""
    root.mkdir(parents=True)
    (root / "echo.yaml").write_text(content)
    assert dict(State(Owner())) == {}
    assert log(logging.ERROR) == []


def test_a_new_file_is_private_and_an_old_one_keeps_its_mode(root: Path) -> None:
    """C56: a state may hold secrets."""
    state = State(Owner())
    state.save()
    path = root / "echo.yaml"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o644)
    state.save()
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    if os.geteuid() == 0:
        os.chown(path, 12345, 23456)
        state.save()
        assert (path.stat().st_uid, path.stat().st_gid) == (12345, 23456)
    assert [entry.name for entry in root.iterdir() if "tmp" in entry.name] == []


def test_a_folder_that_cannot_be_made_leaves_the_state_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: Callable[[int], list[str]]
) -> None:
    """C56: one clear error line, each failure counted, and save() tries again."""
    (tmp_path / "in_the_way").write_text("")
    monkeypatch.setattr(State, "DATA_ROOT", tmp_path / "in_the_way" / "data")
    owner = Owner()
    state = State(owner)
    (error,) = log(logging.ERROR)
    assert f"state: {tmp_path}/in_the_way/data/echo.yaml cannot be " in error
    assert "in memory only; save() tries again" in error
    state["a"] = 1
    state.save()
    state.save()
    state.save()
    assert len(log(logging.ERROR)) <= 1, "what was said is not said again"
    assert len(owner.failures) == 4
    assert state["a"] == 1
    (tmp_path / "in_the_way").unlink()
    state.save()
    assert any("again" in text for text in log(logging.INFO))
    assert dict(State(Owner())) == {"a": 1}


def test_no_permission_is_one_error_line() -> None:
    """C56: and a file that was never seen is not overwritten. Root may do anything, so it becomes somebody else."""
    program = f"""
import logging, os, sys
from pathlib import Path
sys.path[:0] = {[str(Path(__file__).parent)]!r}
from test_state import Owner, State
logging.basicConfig(stream=sys.stdout, format="%(levelname)s %(message)s")
root = State.DATA_ROOT = Path(sys.argv[1])
if os.geteuid() == 0:
    os.chown(root, 65534, 65534)
    os.setuid(65534)
path = root / "echo.yaml"
path.write_text("precious: 1\\n")
path.chmod(0)
root.chmod(0o500)
owner = Owner()
state = State(owner)
state["a"] = 1
state.save()
print(len(owner.failures), sorted(os.listdir(root)))
root.chmod(0o700)
state.save()
(root / "echo.yaml.broken").chmod(0o600)
print((root / "echo.yaml.broken").read_text(), path.read_text())
"""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", program, folder],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        path = f"{folder}/echo.yaml"
    advice = "permission denied; give this user access to the file and its folder (chown, chmod)"
    end = "The state is kept in memory only; save() tries again"
    assert done.stdout.splitlines() == [
        f"ERROR state: {path} cannot be read: {advice}. {end}",
        f"ERROR state: {path} cannot be written: {advice}. {end}",
        "2 ['echo.yaml']",
        f"WARNING state: {path} could not be read; it was moved to {path}.broken",
        "precious: 1",
        " a: 1",
        "",
    ]


def test_a_file_that_could_not_be_read_is_not_overwritten(
    root: Path, log: Callable[[int], list[str]]
) -> None:
    """C56: it is set aside first."""
    (root / "echo.yaml").mkdir(parents=True)
    (root / "echo.yaml" / "precious").write_text("")
    owner = Owner()
    state = State(owner)
    (error,) = log(logging.ERROR)
    assert "cannot be read: " in error
    state["a"] = 1
    state.save()
    assert (root / "echo.yaml.broken" / "precious").exists()
    assert (root / "echo.yaml").read_text() == "a: 1\n"
    (warning,) = log(logging.WARNING)
    assert "was moved to" in warning


def test_a_full_disk_leaves_the_old_state(root: Path, log: Callable[[int], list[str]]) -> None:
    """C56: the file size limit of the process stands for the full disk."""
    program = f"""
import logging, resource, signal, sys
from pathlib import Path
sys.path[:0] = {[str(Path(__file__).parent)]!r}
from test_state import Owner, State
logging.basicConfig(stream=sys.stdout, format="%(levelname)s %(message)s")
State.DATA_ROOT = Path({str(root)!r})
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
owner = Owner()
state = State(owner)
state["a"] = "old"
state.save()
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
state["a"] = "x" * 10000
state.save()
print(len(owner.failures))
"""
    del log
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    first, count = done.stdout.splitlines()
    assert first.startswith("ERROR state: ")
    assert os.strerror(errno.EFBIG) in first
    assert count == "1"
    assert (root / "echo.yaml").read_text() == "a: old\n"
    assert not [entry.name for entry in root.iterdir() if "tmp" in entry.name]


@pytest.fixture
def second_process(root: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that has a state named `echo` and keeps it."""
    program = f"""
import sys
from pathlib import Path
sys.path[:0] = {[str(Path(__file__).parent)]!r}
from test_state import Owner, State
State.DATA_ROOT = Path({str(root)!r})
state = State(Owner())
print("ready", flush=True)
sys.stdin.read()
"""
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
        process.kill()


def test_a_second_process_with_the_same_name_is_warned(
    root: Path, second_process: subprocess.Popen[str], log: Callable[[int], list[str]]
) -> None:
    """C56: once, with the number of the other one; a service of another name is not, nor is one after its end."""
    state = State(Owner())
    (warning,) = log(logging.WARNING)
    assert f"process {second_process.pid} uses {root / 'echo.yaml'} too" in warning
    state.save()
    State(Owner("other"))
    assert log(logging.WARNING) == []
    second_process.send_signal(signal.SIGKILL)
    second_process.wait(30)
    State(Owner())
    assert log(logging.WARNING) == []


def test_two_states_of_one_process_are_no_two_processes(root: Path, log: Callable[[int], list[str]]) -> None:
    """C56: a test makes a service twice."""
    del root
    first, second = State(Owner()), State(Owner())
    assert log(logging.WARNING) == []
    assert first is not second


def test_a_save_from_many_threads_is_whole(root: Path) -> None:
    """C56: each save writes the state as it is at that time; the last one wins."""
    state = State(Owner())
    state["x"] = ["y" * 50] * 100

    def save() -> None:
        for number in range(20):
            state[threading.get_ident()] = number
            state.save()

    threads = [threading.Thread(target=save) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert dict(State(Owner())) == dict(state)
    assert len(state) == 5


_data = st.dictionaries(
    st.one_of(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), st.integers(), st.booleans()),
    st.recursive(
        st.one_of(
            st.none(),
            st.booleans(),
            st.integers(),
            st.floats(allow_nan=False),
            st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
            st.binary(max_size=20),
            st.dates(),
            st.datetimes(),
        ),
        lambda inner: st.one_of(
            st.lists(inner, max_size=4),
            st.lists(inner, max_size=3).map(tuple),
            st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), inner, max_size=4),
        ),
        max_leaves=10,
    ),
    max_size=5,
)


def exactly(value: Any) -> bytes:
    """Return the value with its types, to be compared."""
    return pickle.dumps(yaml.load(yaml.dump(value), yaml.FullLoader))  # noqa: S506


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_data)
def test_files_of_1_x_load_and_files_of_ours_load_in_1_x(root: Path, data: dict[Any, Any]) -> None:
    """C56: 1.x uses `yaml.load(f, FullLoader)` and `yaml.dump(data, f)` on text files."""
    root.mkdir(parents=True, exist_ok=True)
    path = root / "echo.yaml"
    with path.open("w") as file:
        yaml.dump(data, file)
    state = State(Owner())
    assert exactly(dict(state)) == exactly(data)
    state.save()
    with path.open() as file:
        back = yaml.load(file, Loader=yaml.FullLoader)  # noqa: S506
    assert exactly(back) == exactly(data)
    assert not (root / "echo.yaml.broken").exists()


def test_a_thousand_keys_are_saved_and_loaded(root: Path) -> None:
    """C56: a state of the size that is measured."""
    state = State(Owner())
    state["rooms"] = {
        f"room{i}": {f"key{j}": {"value": j * 0.5, "on": True, "name": "a b"} for j in range(10)}
        for i in range(34)
    }
    state.save()
    assert dict(State(Owner())) == dict(state)
    assert (root / "echo.yaml").read_text() == yaml.dump(dict(state))


def test_a_relative_folder_of_one_level_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """C56: `DATA_ROOT = Path("data")`: the folder above it is the working directory, which has no name."""
    monkeypatch.chdir(tmp_path)
    _native.StateFile("data/lamp.yaml").make_folder()
    assert (tmp_path / "data").is_dir()
