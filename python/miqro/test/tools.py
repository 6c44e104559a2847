"""Tools for testing services without a broker.

    from miqro.test.tools import DummyMQTTClient, DummyState, expect_next, send

    def test_echo():
        service = EchoSvc("miqro.yml", mqtt_client_cls=DummyMQTTClient, state_cls=DummyState)
        send(service, "service/echo/echo", "hello")
        expect_next(service, {"service/echo/echo_response": "m == 'hello'"})

All topics are absolute. The service must not be running: these functions run it, step by step, on the thread
of the test. The first of them to be called connects the service; after `simulate_disconnect()` it stays
unconnected until `service.mqtt_client.ensure_connected()`. Time is real; inside `with virtual_time():` it takes none.
"""

from __future__ import annotations

from itertools import cycle

from ._client import DummyMessage, DummyMQTTClient, DummyPublishInfo, Published
from ._expect import eventually, meet
from ._state import DummyState, ReadOnlyDummyState, reset_saved_state
from ._time import Deadline, Steps, VirtualTime, virtual_time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from miqro import Service
    from miqro.mqtt import Properties

__all__ = [
    "DEFAULT_TIMEOUT",
    "DummyMQTTClient",
    "DummyMessage",
    "DummyPublishInfo",
    "DummyState",
    "Published",
    "ReadOnlyDummyState",
    "VirtualTime",
    "eventually",
    "expect_next",
    "reset_saved_state",
    "run",
    "send",
    "virtual_time",
]

DEFAULT_TIMEOUT = 1.5
"""Seconds that `expect_next` waits where it is told nothing else."""


def send(
    service: Service,
    topic: str,
    payload: object,
    retain: bool = False,
    properties: Properties | None = None,
) -> None:
    """Send a message to the service and let it handle it.

    What the service had published before is taken off the queue, so that what is there afterwards is its
    answer.

    Args:
        service: The service.
        topic: The topic, in full.
        payload: Text, bytes, a number, or `None` for an empty payload.
        retain: Whether the message is one that the broker had kept.
        properties: What else it says (MQTT 5): a `miqro.mqtt.Properties`.
    """
    client = _client_of(service)
    client.message_queue.clear()
    client.deliver(DummyMessage(topic, payload, retain, properties))
    service._drain_incoming()


def run(service: Service, seconds: float) -> None:
    """Let the service run for some time: its loops, its handlers. Then take what it published off the queue.

    Ends early if the service stops itself.

    Args:
        service: The service.
        seconds: How long; at 0 everything that is due is done once.
    """
    client = _client_of(service)
    deadline = Deadline(seconds)
    steps = Steps(service)
    steps.step(seconds)
    while (left := deadline.left()) > 0 and not service.stop:
        steps.step(left)
    client.message_queue.clear()


def expect_next(
    service: Service, expected: Mapping[str, object], timeout: float | None = None
) -> dict[str, list[str]]:
    """Let the service run until it has published what is expected.

    For each topic, in full, one of these is expected:

    - a condition: the next message on this topic meets it. A condition is a Python expression over `m`, the
      payload as text (with `json`, `math` and `re` at hand), or a function that is given the payload;
    - `eventually(condition)`: a message meets it, after any number that do not;
    - `[condition, n]`: the next `n` messages meet it; with `eventually`, any `n`;
    - `None`: no message comes before the other expectations are met, or, if there are none, within the
      timeout.

    Messages that are in the queue already count. Those on the topics named are taken off it as they are
    looked at; those on other topics, and those after the last one needed, stay.

    Args:
        service: The service.
        expected: What is expected, by topic.
        timeout: Seconds to wait; by default `DEFAULT_TIMEOUT`.

    Returns:
        The messages that met the expectations, by topic.

    Raises:
        AssertionError: Something else came, or too little in time; says what was expected, and what came.
    """
    __tracebackhide__ = True
    queue = _client_of(service).message_queue
    steps = Steps(service)
    # What is due is done, and looked at, before any time is waited.
    works = cycle((True, False))
    return meet(
        expected,
        queue,
        DEFAULT_TIMEOUT if timeout is None else timeout,
        wait=lambda left: steps.step(0 if next(works) else left),
        ended=lambda: "the service stopped" if service.stop else None,
    )


def _client_of(service: Service) -> DummyMQTTClient:
    """Return the service's client, connected if it never was."""
    client = service.mqtt_client
    if not isinstance(client, DummyMQTTClient):
        raise TypeError(
            f"{service} has a {type(client).__name__} as client: make it with mqtt_client_cls=DummyMQTTClient"
        )
    if not client.was_connected:
        client.ensure_connected()
        # As `run()` does: the first calls are due now.
        for loop in service.LOOPS or ():
            loop._begin()
    return client
