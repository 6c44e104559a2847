"""Fixtures for pytest: `miqro_service`, `miqro_broker` and `miqro_time`. pytest finds them by itself.

This is the only module of the package that imports pytest.
"""

from __future__ import annotations

import threading
from time import monotonic

import pytest

from miqro._native import clock_is_held

from ._client import DummyMQTTClient
from ._state import DummyState, reset_saved_state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path
    from typing import Any, Protocol, TypeVar

    from miqro import Service

    from ._broker import Broker
    from ._time import VirtualTime

    S = TypeVar("S", bound=Service)

    class ServiceMaker(Protocol):
        """What the fixture `miqro_service` is: see there."""

        def __call__(
            self,
            cls: Callable[..., S],
            config: Mapping[str, object] | None = None,
            *,
            broker: Broker | None = None,
            may_fail: bool = False,
            **options: object,
        ) -> S:
            """Make a service."""


#: Seconds that a service has to come online, and to end once it is told to.
PATIENCE = 10.0


@pytest.fixture
def miqro_broker(tmp_path: Path) -> Iterator[Broker]:
    """A real broker (mosquitto) on a free port, in a process of its own, for this test alone.

    `host` and `port` say where it is, `publish()` and `expect_next()` talk through it, `stop()` and `start()` let
    services lose their connection. Without mosquitto on the machine the test fails, and says so.
    """
    from ._broker import Broker, BrokerError

    broker = Broker(tmp_path / "miqro_broker")
    try:
        broker.start()
    except BrokerError as error:
        broker.close()
        pytest.fail(str(error), pytrace=False)
    yield broker
    broker.close()


@pytest.fixture
def miqro_time() -> Iterator[VirtualTime]:
    """Virtual time for this test: `run(service, 3600)` takes none. See `miqro.test.tools.virtual_time`."""
    from ._time import virtual_time

    with virtual_time() as time:
        yield time


@pytest.fixture
def miqro_service(tmp_path: Path) -> Iterator[ServiceMaker]:
    """A maker of services: `miqro_service(EchoSvc)`, or `miqro_service(EchoSvc, broker=miqro_broker)`.

    Without a broker the service has doubles for client and state, and stands still but for `send`, `run` and
    `expect_next` of `miqro.test.tools`. With one it runs in a thread from then on, and is online when this returns;
    at the end of the test it is stopped.

    At the end each service must have noted no failure: an exception in a handler or a loop, which a service
    survives, fails the test.

    Its arguments:
        cls: The class; or what makes a service from the same arguments: the path of the configuration,
            `mqtt_client_cls` and `state_cls`.
        config: The content of the configuration file: `{"services": {"echo": {"greeting": "hi"}}}`.
        broker: The broker to run on, the fixture `miqro_broker`.
        may_fail: Failures are part of the test: look at `service.failure_count` and `service.last_failure`.
        **options: More arguments for `cls`.
    """
    reset_saved_state()
    made: list[_Made] = []

    def make(
        cls: Callable[..., S],
        config: Mapping[str, object] | None = None,
        *,
        broker: Broker | None = None,
        may_fail: bool = False,
        **options: Any,
    ) -> S:
        __tracebackhide__ = True
        if broker is not None and clock_is_held():
            raise RuntimeError("virtual time is for services on doubles: a broker's time is real")
        file = tmp_path / f"miqro-{len(made) + 1}.yml"
        _write(file, config or {}, broker)
        options.setdefault("state_cls", DummyState)
        if broker is None:
            options.setdefault("mqtt_client_cls", DummyMQTTClient)
        service = cls(file, **options)
        one = _Made(service, may_fail)
        made.append(one)
        if broker is not None:
            one.start(broker)
        return service

    yield make
    problems = [problem for one in reversed(made) for problem in one.end()]
    reset_saved_state()
    if problems:
        pytest.fail("\n".join(problems), pytrace=False)


class _Made:
    """A service that the fixture has made, and the thread that runs it, if one does."""

    def __init__(self, service: Service, may_fail: bool) -> None:
        self._service = service
        self._may_fail = may_fail
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def start(self, broker: Broker) -> None:
        """Run it, and return when it is online: its subscriptions then stand."""
        __tracebackhide__ = True
        self._thread = threading.Thread(target=self._run, name=f"runs {self._service}", daemon=True)
        online = (self._service.willtopic, "1")
        before = broker.messages.count(online)  # type: ignore[arg-type]
        deadline = monotonic() + PATIENCE
        self._thread.start()
        while not broker.wait_for(online, before + 1, 0.1):
            if not self._thread.is_alive():
                raise AssertionError(f"{self._service} has ended at once") from self._error
            if monotonic() > deadline:
                raise AssertionError(
                    f"{self._service} is not online after {PATIENCE:g} s: it has published no 1 on {online[0]}"
                )

    def _run(self) -> None:
        try:
            self._service.run()
        except BaseException as error:  # noqa: BLE001 - it is told at the end of the test
            self._error = error

    def end(self) -> Iterator[str]:
        """Stop it; give what was wrong with it."""
        service = self._service
        if self._thread is not None:
            service.stop = True
            self._thread.join(PATIENCE)
            if self._thread.is_alive():
                yield f"{service} did not end within {PATIENCE:g} s: a handler or a loop does not come back"
            elif self._error is not None:
                yield f"{service}: run() has raised {type(self._error).__name__}: {self._error}"
        if service.failure_count and not self._may_fail:
            yield (
                f"{service} has noted {service.failure_count} failure(s), which the log tells of; the last one: "
                f"{service.last_failure}. If that is what is tested, make it with may_fail=True"
            )


def _write(file: Path, config: Mapping[str, object], broker: Broker | None) -> None:
    """Write a configuration file."""
    from miqro._native import yaml_dump

    content = dict(config)
    if broker is not None:
        section = content.get("broker")
        content["broker"] = {
            **(section if isinstance(section, dict) else {}),
            "host": broker.host,
            "port": broker.port,
        }
    else:
        content.setdefault("broker", {})
    file.write_text(yaml_dump(content), encoding="utf-8")
