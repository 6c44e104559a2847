"""Fixtures of the whole suite: brokers, observers, and a configuration file to run services with."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from harness import Broker, Observer
from worlds import World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import Any


def pytest_configure() -> None:
    """Make Ctrl-C reach the children, however the tests were started."""
    # A shell starts what it runs in the background with SIGINT ignored, and that is inherited.
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def shared_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """One broker for all tests that leave it as they found it."""
    with Broker(tmp_path_factory.mktemp("broker")) as broker:
        yield broker


@pytest.fixture
def broker(shared_broker: Broker) -> Iterator[Broker]:
    """The shared broker, without retained messages of other tests."""
    yield shared_broker
    with Observer(shared_broker.port) as cleaner:
        cleaner.barrier()
        for topic in {message.topic for message in cleaner.received.all() if message.retain}:
            cleaner.publish(topic, b"", retain=True)


@pytest.fixture
def make_broker(tmp_path: Path) -> Iterator[Callable[..., Broker]]:
    """A maker of private brokers, for tests that kill, restart or configure theirs; see :class:`Broker`."""
    made: list[Broker] = []

    def make(**options: Any) -> Broker:
        made.append(Broker(tmp_path / f"broker{len(made)}", **options))
        return made[-1]

    yield make
    for broker in made:
        broker.kill()


@pytest.fixture
def observer(broker: Broker) -> Iterator[Observer]:
    """An observer of everything on the shared broker."""
    with Observer(broker.port) as observer:
        yield observer


@pytest.fixture
def write_config(tmp_path: Path) -> Callable[..., Path]:
    """A writer of ``miqro.yml`` into the test's folder: ``write_config(port, "more: yaml")`` is its path."""

    def write(port: int, more: str = "", *, broker: str = "") -> Path:
        path = tmp_path / "miqro.yml"
        extra = "".join(f"  {line}\n" for line in broker.splitlines())
        path.write_text(f"broker:\n  host: 127.0.0.1\n  port: {port}\n{extra}{more}\n", encoding="utf-8")
        return path

    return write


@pytest.fixture
def config(write_config: Callable[..., Path]) -> Path:
    """A configuration for services on a double: nobody connects to what it names."""
    return write_config(1883)


@pytest.fixture(params=["engine", "double"])
def world(request: pytest.FixtureRequest) -> World:
    """Where a service lives: the test runs in both worlds, one after the other."""
    return World(request)
