"""`STATE_AUTOSAVE`: the state is saved when it has changed, and on a clean stop (contract C56)."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest
import yaml

import miqro
from miqro._state import State
from miqro.test.tools import DummyMQTTClient, DummyState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import Any


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The state file."""
    monkeypatch.setattr(State, "DATA_ROOT", tmp_path)
    (tmp_path / "miqro.yml").write_text("services: {keeper: {}}\n")
    return tmp_path / "keeper.yaml"


class Keeper(miqro.Service):
    SERVICE_NAME = "keeper"
    USE_STATE_FILE = True
    STATE_AUTOSAVE = 0.02
    autosaves: Any = None

    @property
    def saved(self) -> Any:
        path = State.DATA_ROOT / "keeper.yaml"
        return yaml.safe_load(path.read_text()) if path.exists() else None


def make(cls: type[Keeper], file: Path, **options: Any) -> Keeper:
    """Make a service without a broker."""
    return cls(file.parent / "miqro.yml", mqtt_client_cls=DummyMQTTClient, **options)


@pytest.fixture
def running(file: Path) -> Iterator[Callable[..., Keeper]]:
    """Runs a service on a thread of its own until the test ends."""
    started: list[tuple[Keeper, threading.Thread]] = []

    def start(cls: type[Keeper], **options: Any) -> Keeper:
        service = make(cls, file, **options)
        thread = threading.Thread(target=service.run, daemon=True)
        thread.start()
        started.append((service, thread))
        return service

    yield start
    for service, thread in started:
        service.stop = True
        thread.join(10)
        assert not thread.is_alive()


def wait_for(condition: Callable[[], object]) -> None:
    """Wait until something is true, ten seconds at most."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_by_default_nothing_is_saved_unasked(file: Path) -> None:
    """As in 1.x."""

    class Plain(Keeper):
        STATE_AUTOSAVE = None

    service = make(Plain, file)
    assert miqro.Service.STATE_AUTOSAVE is None
    assert len(service.LOOPS or ()) == 1
    service.state["x"] = 1
    service.stop = True
    service.run()
    assert not file.exists()


def test_a_change_deep_inside_is_saved(running: Callable[..., Keeper], file: Path) -> None:
    """No call tells of it."""
    service = running(Keeper)
    service.state["a"] = {"b": [1]}
    wait_for(lambda: service.saved == {"a": {"b": [1]}})
    service.state["a"]["b"].append(2)
    wait_for(lambda: service.saved == {"a": {"b": [1, 2]}})


def test_without_a_change_the_file_is_left_alone(running: Callable[..., Keeper], file: Path) -> None:
    """A disk wears out; and what a person has written stays as it is."""
    file.write_text("{a:   1}  # by hand\n")
    looks = threading.Semaphore(0)

    class Watched(State):
        def save_if_changed(self) -> None:
            super().save_if_changed()
            looks.release()

    service = running(Keeper, state_cls=Watched)
    for _ in range(4):
        assert looks.acquire(timeout=10)
    assert file.read_text() == "{a:   1}  # by hand\n"
    service.state["a"] = 2
    wait_for(lambda: service.saved == {"a": 2})
    before = file.stat().st_ino
    for _ in range(4):
        assert looks.acquire(timeout=10)
    assert file.stat().st_ino == before


def test_a_clean_stop_saves_what_has_changed(file: Path) -> None:
    """Long before the interval is over, and before the farewell."""

    class Slow(Keeper):
        STATE_AUTOSAVE = 3600

    service = make(Slow, file)
    service.state["x"] = 1
    service.stop = True
    service.run()
    assert service.saved == {"x": 1}
    before = file.stat().st_ino
    service.run()
    assert file.stat().st_ino == before


def test_what_cannot_be_saved_is_a_failure_and_the_service_goes_on(
    running: Callable[..., Keeper], file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The path to it is in the log; at the end too, and the farewell follows."""
    service = running(Keeper)
    service.state["x"] = {"y": object()}
    wait_for(lambda: service.failure_count)
    assert "['x']['y']" in str(service.last_failure)
    service.stop = True
    wait_for(lambda: ("service/keeper/online", "0") in service.mqtt_client.message_queue)
    assert "state: not saved" in caplog.text
    assert not file.exists()


def test_a_save_that_failed_is_tried_again(file: Path) -> None:
    """The change is not forgotten."""
    service = make(Keeper, file)
    file.mkdir()
    service.state["x"] = 1
    service.state.save_if_changed()
    assert service.failure_count == 1
    file.rmdir()
    service.state.save_if_changed()
    assert service.saved == {"x": 1}


def test_states_of_a_services_own_are_saved_too(file: Path) -> None:
    """`state_cls` may be anything with `save()`."""
    calls: list[str] = []

    class Own:
        def __init__(self, service: miqro.Service) -> None:
            pass

        def save(self) -> None:
            calls.append("own")

    class Overridden(State):
        def save(self) -> None:
            calls.append("overridden")
            super().save()

    for cls in (Own, Overridden, DummyState):
        service = make(Keeper, file, state_cls=cls)
        if isinstance(service.state, State):
            service.state["x"] = 1
        service.stop = True
        service.run()
    assert calls == ["own", "overridden"]
    assert DummyState(service)["x"] == 1


@pytest.mark.parametrize("seconds", [0, -1, "5", True, float("nan"), 1e12])
def test_the_interval_must_be_one(file: Path, seconds: Any) -> None:
    """With a sentence at the start."""
    bad = type("Bad", (Keeper,), {"STATE_AUTOSAVE": seconds})
    with pytest.raises(ValueError, match="STATE_AUTOSAVE must be a number of seconds over 0"):
        make(bad, file)


def test_without_a_state_there_is_a_warning(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The author has forgotten one of two lines."""

    class Stateless(Keeper):
        USE_STATE_FILE = False

    service = make(Stateless, file)
    assert "set USE_STATE_FILE = True" in caplog.text
    service.stop = True
    service.run()
