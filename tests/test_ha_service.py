"""Home Assistant entities in a real service, with a double for its client (contract C59, C30, C31, C12)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

import miqro
from ha_rules import problems
from miqro import ha_sensors
from miqro.test.tools import DummyMQTTClient, DummyState, expect_next, run, send

if TYPE_CHECKING:
    from pathlib import Path


class Boiler(miqro.Service):
    """A service with entities of each sort, with and without a device."""

    SERVICE_NAME = "boiler"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.commands: list[tuple[str, str]] = []
        device = ha_sensors.Device(self, "Heißwasser")
        self.pump = ha_sensors.Switch(
            device,
            "Pumpe",
            state_topic_postfix="pump",
            command_topic_postfix="pump/set",
            command_callback=self.switch_pump,
        )
        self.door = ha_sensors.BinarySensor(
            None, "Tür", service=self, state_topic_postfix="door", payload_on="offen", payload_off="zu"
        )
        self.leak = ha_sensors.BinarySensor(device, "Leck", state_topic_postfix="leak")
        self.temperature = ha_sensors.Sensor(
            device, "Temperatur", state_topic_postfix="temperature", device_class="temperature"
        )
        self.restart = ha_sensors.Button(
            None, "Neustart", service=self, command_topic_postfix="restart", command_callback=restart
        )

    def switch_pump(self, payload: str) -> None:
        self.commands.append(("pump", payload))
        self.publish(self.pump, payload == "on")


def restart(service: Boiler, payload: str) -> None:
    """Take a press of the button, as a function."""
    service.commands.append(("restart", payload))


class Other(miqro.Service):
    """Another service of the same process."""

    SERVICE_NAME = "other"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "miqro.yml"
    path.write_text("broker: {}\nservices: {boiler: {a: 1}, other: {a: 1}}\n", encoding="utf-8")
    return path


@pytest.fixture
def boiler(config: Path) -> Boiler:
    return Boiler(add_config_file_path=config, mqtt_client_cls=DummyMQTTClient, state_cls=DummyState)


def test_a_service_announces_its_devices_and_entities_once_connected(boiler: Boiler) -> None:
    """C59, C40, C34, bugs 5 and 35: after `online`, each once, retained, at QoS 1, as Home Assistant wants it."""
    boiler.mqtt_client.ensure_connected()
    online, *announced = boiler.mqtt_client.message_queue
    assert online == ("service/boiler/online", "1")
    assert [message.topic for message in announced] == [
        "homeassistant/device/boiler_Hei-wasser/config",
        "homeassistant/binary_sensor/boiler__binary_sensor_T-r/config",
        "homeassistant/button/boiler__button_Neustart/config",
    ]
    assert {(message.qos, message.retain) for message in announced} == {(1, True)}
    assert [problem for message in announced for problem in problems(message.topic, message.text)] == []
    assert len(json.loads(announced[0].text)["components"]) == 3


def test_a_command_is_handled_once_by_methods_and_by_functions(boiler: Boiler) -> None:
    """C59, C12, bugs 35 and 36: with a device and without."""
    send(boiler, "service/boiler/pump/set", "on")
    assert boiler.mqtt_client.message_queue == [("service/boiler/pump", "on")]
    send(boiler, "service/boiler/restart", "PRESS")
    assert boiler.commands == [("pump", "on"), ("restart", "PRESS")]


def test_states_are_published_to_the_topic_of_the_entity_in_its_own_words(boiler: Boiler) -> None:
    """C30, C31, bug 38."""
    run(boiler, 0)
    boiler.publish(boiler.door, True)
    boiler.publish(boiler.leak, False)
    boiler.publish(boiler.temperature, 21.123456789, retain=True)
    boiler.publish(boiler.temperature, {"value": True})
    assert boiler.mqtt_client.message_queue == [
        ("service/boiler/door", "offen"),
        ("service/boiler/leak", "0"),
        ("service/boiler/temperature", "21.12346"),
        ("service/boiler/temperature", '{"value": true}'),
    ]
    assert boiler.mqtt_client.message_queue[2].retain


def test_what_an_entity_said_last_is_remembered(boiler: Boiler) -> None:
    """C35: by topic, whichever way it was named."""
    run(boiler, 0)
    boiler.publish(boiler.door, True, only_if_changed=True)
    boiler.publish(boiler.door, True, only_if_changed=True)
    boiler.publish("door", "offen", only_if_changed=True)
    boiler.publish(boiler.door, False, only_if_changed=True)
    assert boiler.mqtt_client.message_queue == [
        ("service/boiler/door", "offen"),
        ("service/boiler/door", "zu"),
    ]


def test_publishing_to_an_entity_without_a_state_is_refused_in_words(
    boiler: Boiler, caplog: pytest.LogCaptureFixture
) -> None:
    """C59, C36, bug 37: an error line, a counted failure, nothing sent; no exception."""
    run(boiler, 0)
    info = boiler.publish(boiler.restart, "x")
    assert info.rc == 3
    assert boiler.failure_count == 1
    assert "The Button 'Neustart' has no state topic" in caplog.text
    assert boiler.mqtt_client.message_queue == []


def test_services_of_one_process_announce_their_own_devices_only(boiler: Boiler, config: Path) -> None:
    """C59, bug 17."""
    other = Other(add_config_file_path=config, mqtt_client_cls=DummyMQTTClient)
    ha_sensors.Device(other, "Nur meins")
    other.mqtt_client.ensure_connected()
    topics = [message.topic for message in other.mqtt_client.message_queue]
    assert topics == ["service/other/online", "homeassistant/device/other_Nur-meins/config"]
    assert len(boiler.ha_devices) == 1


def test_everything_is_announced_again_on_every_connect(boiler: Boiler) -> None:
    """C40, C59: a broker without its retained messages learns of them again."""
    run(boiler, 0)
    boiler.mqtt_client.simulate_disconnect()
    boiler.mqtt_client.ensure_connected()
    expect_next(
        boiler,
        {
            "service/boiler/online": "m == '1'",
            "homeassistant/device/boiler_Hei-wasser/config": "'Pumpe' in m",
            "homeassistant/button/boiler__button_Neustart/config": "json.loads(m)['name'] == 'Neustart'",
        },
    )


def test_the_prefix_of_home_assistant_can_be_configured(config: Path) -> None:
    """C59: `ha_discovery_prefix`, as in 1.x."""
    config.write_text(config.read_text(encoding="utf-8") + "ha_discovery_prefix: ha/test\n", encoding="utf-8")
    other = Other(add_config_file_path=config, mqtt_client_cls=DummyMQTTClient)
    ha_sensors.Device(other, "X")
    other.mqtt_client.ensure_connected()
    assert other.mqtt_client.message_queue[-1].topic == "ha/test/device/other_X/config"
