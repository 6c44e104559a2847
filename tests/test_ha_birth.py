"""Devices are announced again when Home Assistant says that it has started (contract C59)."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest

import miqro
from harness import Observer, Running
from miqro import _birth, ha_sensors
from miqro.test.tools import DummyMQTTClient, expect_next, run, send

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from harness import Broker

STATUS = "homeassistant/status"
CONFIG = "homeassistant/device/meter_Meter/config"


class Meter(miqro.Service):
    """One device."""

    SERVICE_NAME = "meter"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.heard: list[str] = []
        ha_sensors.Sensor(ha_sensors.Device(self, "Meter"), "Power", state_topic_postfix="power")


class Plain(miqro.Service):
    """No device."""

    SERVICE_NAME = "plain"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "miqro.yml"
    path.write_text("broker: {}\nservices: {meter: {a: 1}, plain: {a: 1}}\n", encoding="utf-8")
    return path


@pytest.fixture
def delays(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, float]]:
    """The bounds that were asked for; the delay itself is short."""
    asked: list[tuple[float, float]] = []

    def uniform(least: float, most: float) -> float:
        asked.append((least, most))
        return 0.05

    monkeypatch.setattr(random, "uniform", uniform)
    return asked


def made(kind: type[miqro.Service], config: Path) -> Any:
    """Make a service on a double and let it connect."""
    service = kind(add_config_file_path=config, mqtt_client_cls=DummyMQTTClient)
    run(service, 0)
    return service


def test_the_birth_message_has_everything_announced_again_after_a_random_delay(
    config: Path, delays: list[tuple[float, float]]
) -> None:
    """C59: after 1 to 10 seconds, since all services hear it at once and Home Assistant is still busy."""
    meter = made(Meter, config)
    assert STATUS in meter.mqtt_client.subscribed
    send(meter, STATUS, "online")
    assert meter.mqtt_client.message_queue == []
    expect_next(meter, {CONFIG: "'Power' in m"})
    assert delays == [(1.0, 10.0)]


def test_birth_messages_in_a_row_are_answered_once(config: Path, delays: list[tuple[float, float]]) -> None:
    """C59: Home Assistant skips announcements that come in a burst."""
    meter = made(Meter, config)
    for _ in range(3):
        send(meter, STATUS, "online")
    expect_next(meter, {CONFIG: "True"})
    assert len(delays) == 1
    expect_next(meter, {CONFIG: None}, timeout=0.2)
    send(meter, STATUS, "online")
    expect_next(meter, {CONFIG: "True"})


@pytest.mark.parametrize("payload", ["offline", "", "ONLINE", "1"])
def test_other_payloads_are_no_birth(config: Path, payload: str, caplog: pytest.LogCaptureFixture) -> None:
    """C59, C17: nothing is announced, and nobody complains of a message that no handler takes."""
    meter = made(Meter, config)
    send(meter, STATUS, payload)
    expect_next(meter, {CONFIG: None}, timeout=0.1)
    assert not [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")]


def test_a_service_without_devices_does_not_listen(config: Path) -> None:
    """C59: and a message on that topic is one that nobody handles."""
    plain = made(Plain, config)
    assert plain.mqtt_client.subscribed == ["service/plain/enabled"]


def test_a_new_connection_announces_once_though_an_answer_was_due(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C40, C59: the connect has said it all."""
    monkeypatch.setattr(_birth, "DELAY_SECONDS", (0.1, 0.1))
    meter = made(Meter, config)
    send(meter, STATUS, "online")
    meter.mqtt_client.simulate_disconnect()
    meter.mqtt_client.ensure_connected()
    expect_next(meter, {CONFIG: "True"})
    expect_next(meter, {CONFIG: None}, timeout=0.3)


def test_nothing_is_announced_without_a_connection(config: Path, delays: list[tuple[float, float]]) -> None:
    """C59: it would be queued, and come twice when there is one."""
    meter = made(Meter, config)
    send(meter, STATUS, "online")
    meter.mqtt_client.simulate_disconnect()
    run(meter, 0.2)
    meter.mqtt_client.ensure_connected()
    assert [message.topic for message in meter.mqtt_client.message_queue].count(CONFIG) == 1


class Curious(Meter):
    """Has a handler of its own for the same topic."""

    @miqro.handle_global(STATUS)
    def status(self, payload: str) -> None:
        self.heard.append(payload)


class Greedy(Meter):
    """Has a handler for everything of Home Assistant."""

    @miqro.handle_global("homeassistant/#")
    def everything(self, payload: str, rest: str) -> None:
        self.heard.append(f"{rest}={payload}")


class ByHand(Meter):
    """Subscribes by itself."""

    def handle_message(self, topic: str, payload: str) -> bool:
        self.heard.append(f"{topic}={payload}")
        return True


@pytest.mark.parametrize(
    ("kind", "heard"),
    [(Curious, "online"), (Greedy, "status=online"), (ByHand, "homeassistant/status=online")],
)
def test_the_services_own_way_to_hear_of_it_still_works(
    config: Path, delays: list[tuple[float, float]], kind: type[Meter], heard: str
) -> None:
    """C13, C17: a handler, a `#` handler, `handle_message`; each once, since the topic is subscribed to once."""
    meter = made(kind, config)
    filters = [item for item in meter.mqtt_client.subscribed if item.startswith("homeassistant")]
    assert len(filters) == 1
    send(meter, STATUS, "online")
    assert meter.heard == [heard]
    expect_next(meter, {CONFIG: "True"})


def test_a_device_made_after_the_connect_is_announced_again_too(
    config: Path, delays: list[tuple[float, float]]
) -> None:
    """C59: the service begins to listen when it has its first device."""
    plain = made(Plain, config)
    ha_sensors.Device(plain, "Late")
    run(plain, 0)
    assert plain.mqtt_client.subscribed[-1] == STATUS
    send(plain, STATUS, "online")
    expect_next(plain, {"homeassistant/device/plain_Late/config": "True"})


def test_an_entity_without_a_device_is_announced_again(
    config: Path, delays: list[tuple[float, float]]
) -> None:
    """C59: `ha_entities`."""
    plain = Plain(add_config_file_path=config, mqtt_client_cls=DummyMQTTClient)
    ha_sensors.Sensor(None, "Loose", service=plain, state_topic_postfix="loose")
    run(plain, 0)
    send(plain, STATUS, "online")
    expect_next(plain, {"homeassistant/sensor/plain__sensor_Loose/config": "True"})


def test_the_topic_follows_the_discovery_prefix(config: Path, delays: list[tuple[float, float]]) -> None:
    """C59: `<ha_discovery_prefix>/status`."""
    config.write_text(config.read_text("utf-8") + "ha_discovery_prefix: ha/test\n", encoding="utf-8")
    meter = made(Meter, config)
    assert "ha/test/status" in meter.mqtt_client.subscribed
    send(meter, "ha/test/status", "online")
    expect_next(meter, {"ha/test/device/meter_Meter/config": "True"})


class Failing(Meter):
    """Its announcement fails from the second time on."""

    def _publish_ha_discovery(self) -> None:
        if self.heard:
            raise OSError("no announcement today")
        self.heard.append("announced")
        super()._publish_ha_discovery()


def test_an_announcement_that_fails_is_logged_and_counted(
    config: Path, delays: list[tuple[float, float]], caplog: pytest.LogCaptureFixture
) -> None:
    """C16, C5: `_publish_ha_discovery` is the service's own; the service goes on."""
    failing = made(Failing, config)
    send(failing, STATUS, "online")
    run(failing, 0.2)
    assert failing.failure_count == 1
    assert "no announcement today" in caplog.text


def test_a_running_service_wakes_up_for_the_announcement(
    broker: Broker, write_config: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """C54, C59: it sleeps until the time has come, and no longer; on a real broker."""
    monkeypatch.setattr(_birth, "DELAY_SECONDS", (0.1, 0.1))
    meter = Meter(add_config_file_path=write_config(broker.port))
    with Observer(broker.port) as observer, Running(meter):
        observer.wait_for(CONFIG)
        start = len(observer.received)
        observer.publish(STATUS, "online")
        assert observer.wait_for(CONFIG, start=start).qos == 1
