"""`only_if_changed` (C35), and the mapping that remembers (C4)."""

from __future__ import annotations

import threading
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

import miqro
from harness import Running, wait_until
from recorder import Recorder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from harness import Broker, Observer

HOUR = timedelta(hours=1)


class Plain(miqro.Service):
    SERVICE_NAME = "plain"


@pytest.fixture
def service(write_config: Callable[..., Path]) -> Plain:
    """A service on a recorder."""
    return Plain(write_config(1), mqtt_client_cls=Recorder)


def payloads(service: miqro.Service) -> list[Any]:
    """What the recorder has got."""
    return [call.payload for call in service.mqtt_client.published]


@pytest.mark.parametrize("form", [True, HOUR])
def test_an_unchanged_payload_is_not_sent_again(service: Plain, form: bool | timedelta) -> None:
    """C35: sent unless the payload equals the one last sent on that topic."""
    for value in (1, 1, 2, 2, 1):
        service.publish("x", value, only_if_changed=form)
    assert payloads(service) == ["1", "2", "1"]


def test_without_it_everything_is_sent(service: Plain) -> None:
    """C35: False is the default."""
    for _ in range(3):
        service.publish("x", 1, only_if_changed=False)
    assert payloads(service) == ["1"] * 3


def test_topics_are_told_apart(service: Plain) -> None:
    """C35: per topic, and the topic is the whole one."""
    for ext in ("x", "y"):
        service.publish(ext, 1, only_if_changed=True)
    service.publish("x", 1, only_if_changed=True, global_=True)
    service.publish("service/plain/x", 1, only_if_changed=True, global_=True)
    assert [call.topic for call in service.mqtt_client.published] == [
        "service/plain/x",
        "service/plain/y",
        "x",
    ]


def test_it_is_the_bytes_that_are_compared(service: Plain) -> None:
    """C35: the payload bytes, after rounding, whatever they were made of."""
    for value in ("1", 1, True, b"1", bytearray(b"1")):
        service.publish("x", value, only_if_changed=True)
    for value in (0.123456, 0.123457, "0.12346", 0.12347):
        service.publish("f", value, only_if_changed=True)
    for value in ({"a": 0.123456}, {"a": 0.1234561}, '{"a": 0.12346}', {"a": 1}):
        service.publish("j", value, only_if_changed=True)
    for value in (None, "", b""):
        service.publish("n", value, only_if_changed=True)
    for value in ("ä", "ä".encode()):
        service.publish("u", value, only_if_changed=True)
    assert payloads(service) == ["1", "0.12346", "0.12347", '{"a": 0.12346}', '{"a": 1}', "", "ä"]


def test_retain_and_qos_do_not_count(service: Plain) -> None:
    """C35: only the payload does."""
    service.publish("x", 1, only_if_changed=True)
    service.publish("x", 1, retain=True, qos=1, only_if_changed=True)
    assert len(payloads(service)) == 1


def test_a_timedelta_sends_again_once_it_has_passed(service: Plain) -> None:
    """C35: not before, and then without a change."""
    pause = timedelta(milliseconds=100)
    start = time.monotonic()
    service.publish("x", 1, only_if_changed=pause)
    noted = time.monotonic()

    def again() -> bool:
        service.publish("x", 1, only_if_changed=pause)
        return len(payloads(service)) == 2

    wait_until(again, 10, "it is sent again")
    assert time.monotonic() - start >= 0.1
    # The time counts from the last message, not from the first.
    service.publish("x", 1, only_if_changed=HOUR)
    assert len(payloads(service)) == 2
    assert noted >= start


def test_a_timedelta_of_nothing_sends_always(service: Plain) -> None:
    """C35: zero has always passed."""
    for pause in (timedelta(0), timedelta(0), timedelta(seconds=-1)):
        service.publish("x", 1, only_if_changed=pause)
    assert len(payloads(service)) == 3


def test_the_two_forms_may_be_mixed_on_one_topic(service: Plain) -> None:
    """C35: in 1.x that raised."""
    service.publish("x", 1, only_if_changed=True)
    service.publish("x", 1, only_if_changed=HOUR)
    service.publish("x", 1, only_if_changed=True)
    service.publish("x", 2, only_if_changed=HOUR)
    service.publish("x", 2, only_if_changed=True)
    service.publish("x", 2, only_if_changed=timedelta(0))
    assert payloads(service) == ["1", "2", "2"]


def test_a_plain_publish_counts_as_last_sent_where_the_topic_is_deduplicated(service: Plain) -> None:
    """C35: in 1.x the service then believed in a value that nobody saw any more."""
    service.publish("x", 1, only_if_changed=True)
    service.publish("x", 2)
    service.publish("x", 2, only_if_changed=True)
    service.publish("x", 1, only_if_changed=True)
    assert payloads(service) == ["1", "2", "1"]


def test_a_plain_publish_alone_is_not_remembered(service: Plain) -> None:
    """C35: a topic is deduplicated from its first `only_if_changed` on."""
    service.publish("x", 1)
    service.publish("x", 1, only_if_changed=True)
    service.publish("x", 1, only_if_changed=True)
    assert payloads(service) == ["1", "1"]


def test_json_methods_take_it_too(service: Plain) -> None:
    """C34, C35: `publish_json`, and `publish_json_keys` key by key."""
    for number in (1, 1, 2):
        service.publish_json("j", {"n": number}, only_if_changed=True)
        service.publish_json_keys({"same": 0, "n": number, "deep": {"same": 0}}, "k", only_if_changed=HOUR)
    assert payloads(service) == ['{"n": 1}', "0", "1", "0", '{"n": 2}', "2"]


# ---- the mapping (C4) ------------------------------------------------------------------------------------


def test_forgetting_a_topic_lets_the_next_message_go(service: Plain) -> None:
    """C4: `last_key_values` is live: popping a topic, or clearing it."""
    service.publish("x", 1, only_if_changed=True)
    service.publish("y", 1, only_if_changed=True)
    assert dict(service.last_key_values) == {"service/plain/x": "1", "service/plain/y": "1"}
    service.last_key_values.pop("service/plain/x")
    service.publish("x", 1, only_if_changed=True)
    service.publish("y", 1, only_if_changed=True)
    assert len(payloads(service)) == 3
    service.last_key_values.clear()
    service.publish("x", 1, only_if_changed=True)
    service.publish("y", 1, only_if_changed=True)
    assert len(payloads(service)) == 5


def test_a_new_dict_in_its_place_is_a_clearing(service: Plain) -> None:
    """C4: services of 1.x, where it was a plain dict, also wrote `self.last_key_values = {}`."""
    service.publish("x", 1, only_if_changed=True)
    service.last_key_values = {}  # type: ignore[assignment]
    service.publish("x", 1, only_if_changed=True)
    service.publish("x", 1, only_if_changed=True)
    assert len(payloads(service)) == 2


# ---- what was not sent does not count --------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer", [OSError("gone"), ValueError("no"), miqro.mqtt.PublishInfo(15), miqro.mqtt.PublishInfo(4)]
)
def test_a_message_that_the_client_did_not_take_does_not_count(service: Plain, answer: Any) -> None:
    """C35: refused, or failed: the value goes out at the next occasion."""
    service.mqtt_client.answer = answer
    service.publish("x", 1, only_if_changed=True)
    service.mqtt_client.answer = None
    service.publish("x", 1, only_if_changed=True)
    service.publish("x", 1, only_if_changed=True)
    assert payloads(service) == ["1", "1"]


def test_a_failed_message_does_not_hide_the_last_one_sent(service: Plain) -> None:
    """C35: last sent is last sent."""
    service.publish("x", 1, only_if_changed=True)
    service.mqtt_client.answer = miqro.mqtt.PublishInfo(15)
    service.publish("x", 2, only_if_changed=True)
    service.publish("x", 3)
    service.mqtt_client.answer = None
    service.publish("x", 1, only_if_changed=True)
    assert payloads(service) == ["1", "2", "3"]


def test_a_dropped_message_does_not_count_at_once_and_after_the_connect(
    broker: Broker, observer: Observer, write_config: Callable[..., Path]
) -> None:
    """C35, C44: dropped from a full queue while offline: not sent, so the value is sent when published again."""
    service = Plain(write_config(broker.port, broker="max_queued_messages: 3"))
    first = service.publish("x", "value", only_if_changed=True)
    for number in range(3):
        service.publish("filler", number)
    with pytest.raises(miqro.PublishError, match="dropped"):
        first.wait_for_publish(0)
    # Still in the same breath, before the service has heard of the drop.
    again = service.publish("x", "value", only_if_changed=True)
    assert again is not first
    assert again.mid != 0
    assert service.publish("x", "value", only_if_changed=True).mid == 0
    for number in range(3, 6):
        service.publish("filler", number)
    with Running(service):
        observer.wait_for("service/plain/filler", "5")
        service.publish("x", "value", only_if_changed=True)
        service.publish("x", "value", only_if_changed=True)
        service.publish("x", "end")
        observer.wait_for("service/plain/x", "end")
    assert observer.payloads("service/plain/x") == ["value", "end"]


def test_a_dropped_plain_message_does_not_count_either(write_config: Callable[..., Path]) -> None:
    """C35, C44: on a topic that is deduplicated."""
    service = Plain(write_config(1, broker="max_queued_messages: 2"))
    service.publish("x", 1, qos=1, only_if_changed=True)
    service.publish("x", 2)
    service.publish("filler", 0)
    assert service.publish("x", 2, only_if_changed=True).mid != 0


def test_a_message_accepted_offline_counts(
    broker: Broker, observer: Observer, write_config: Callable[..., Path]
) -> None:
    """C35, C44: it will be sent, so its equal need not be queued."""
    service = Plain(write_config(broker.port))
    for _ in range(3):
        service.publish("x", "same", only_if_changed=True)
    with Running(service):
        observer.wait_for("service/plain/x", "same")
        service.publish("x", "same", only_if_changed=True)
        service.publish("x", "end")
        observer.wait_for("service/plain/x", "end")
    assert observer.payloads("service/plain/x") == ["same", "end"]


def test_of_many_threads_with_one_value_one_sends_it(service: Plain) -> None:
    """C35: what is noted is what was sent last, whoever publishes at the same time."""
    start = threading.Barrier(10)

    def work() -> None:
        for number in range(50):
            start.wait(10)
            service.publish("x", number, only_if_changed=True)

    threads = [threading.Thread(target=work) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(map(int, payloads(service))) == list(range(50))
