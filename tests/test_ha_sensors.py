"""How Home Assistant devices and entities behave; their bytes: `test_ha_golden.py` (contract C59)."""

from __future__ import annotations

import dataclasses
import inspect
import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ha_rules import problems
from ha_scenarios import on_command
from ha_stage import Stage, StubService
from miqro import ha_sensors

ONLINE = {"topic": "service/house/online", "payload_available": "1", "payload_not_available": "0"}


def sensor_of(service: Any, **options: Any) -> ha_sensors.Sensor:
    """Return a sensor without a device."""
    return ha_sensors.Sensor(None, "Temperatur", service=service, state_topic_postfix="t", **options)


def test_home_assistant_classes_cost_no_import_of_dataclasses_or_inspect() -> None:
    """C59, start-up time: these two cost more than the rest of the package."""
    code = (
        "import sys, miqro.ha_sensors; print(sorted({'dataclasses', 'inspect', 'typing'} & set(sys.modules)))"
    )
    path = str(Path(ha_sensors.__file__).parents[2])
    program = f"import sys; sys.path.insert(0, {path!r}); {code}"
    done = subprocess.run(
        [sys.executable, "-S", "-I", "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_truth_values_become_the_payloads_of_the_entity() -> None:
    """C59, C31, bug 38: `publish(entity, True)` asks the entity."""
    service = Stage(ha_sensors).service()
    door = ha_sensors.BinarySensor(
        None, "Tür", service=service, state_topic_postfix="d", payload_on="offen", payload_off="zu"
    )
    pump = ha_sensors.Switch(
        None, "Pumpe", service=service, state_topic_postfix="p", command_topic_postfix="p/set"
    )
    assert [door.state_payload(True), door.state_payload(False)] == ["offen", "zu"]
    assert [pump.state_payload(True), pump.state_payload(False)] == ["on", "off"]
    assert sensor_of(service).state_payload(True) is None


def test_entities_say_where_their_state_goes_or_that_they_have_none() -> None:
    """C59, C30, bug 37: `publish(button, ...)` is told in words why it cannot be."""
    service = Stage(ha_sensors).service()
    assert sensor_of(service).publish_postfix == "t"
    for entity in (
        ha_sensors.Button(None, "Neustart", service=service, command_topic_postfix="r"),
        ha_sensors.ClimateController(None, "Heizung", service=service),
        ha_sensors.DeviceTracker(None, "Auto", service=service, json_attributes_topic_postfix="a"),
    ):
        with pytest.raises(TypeError, match=rf"{entity.name}' has no state topic"):
            _ = entity.publish_postfix


def test_a_callback_is_registered_once_and_for_its_own_topic() -> None:
    """C59, bug 35: a toggle that is called twice does nothing."""
    service = Stage(ha_sensors).service()
    device = ha_sensors.Device(service, "Boiler")
    ha_sensors.Switch(
        device, "Pumpe", state_topic_postfix="p", command_topic_postfix="p/set", command_callback=on_command
    )
    assert service.handlers == [["p/set", "on_command"]]
    assert len(device.entities) == 1


def test_a_callback_without_a_topic_is_refused_and_leaves_nothing_behind() -> None:
    """C59: 1.x accepted it and failed on connect."""
    service = Stage(ha_sensors).service()
    with pytest.raises(ValueError, match="power_command_callback but no power_command_topic_postfix"):
        ha_sensors.ClimateController(None, "Heizung", service=service, power_command_callback=on_command)
    assert service.ha_entities == []


def test_a_refused_entity_is_not_announced() -> None:
    """C59: 1.x had registered it by then."""
    service = Stage(ha_sensors).service()
    device = ha_sensors.Device(service, "Boiler")
    with pytest.raises(ValueError, match="needs options"):
        ha_sensors.Select(device, "Programm", state_topic_postfix="p")
    with pytest.raises(ValueError, match="needs a state_topic_postfix"):
        ha_sensors.Sensor(device, "Temperatur")
    assert device.entities == []


def test_base_classes_are_no_platforms() -> None:
    """C59: said in words; 1.x raised AttributeError."""
    service = Stage(ha_sensors).service()
    with pytest.raises(TypeError, match="Entity stands for no platform"):
        ha_sensors.Entity(None, "X", service=service, state_topic_postfix="x")


def test_availability_and_payload_can_be_overridden() -> None:
    """C59: the override points of a device, and of an entity without one."""

    class Pump(ha_sensors.Device):
        def build_availability(self) -> list[dict[str, Any]]:
            return [*super().build_availability(), {"topic": "pump/alive"}]

        def build_discovery_payload(self) -> dict[str, Any]:
            return {**super().build_discovery_payload(), "availability_mode": "all"}

    class Meter(ha_sensors.Sensor):
        def build_availability(self) -> list[dict[str, Any]]:
            return [{"topic": "meter/alive"}]

    service = Stage(ha_sensors).service()
    Pump(service, "Pumpe").publish_discovery("homeassistant")
    Meter(None, "Zähler", service=service, state_topic_postfix="z").publish_discovery("homeassistant")
    pump, meter = (json.loads(str(message["payload"])) for message in service.published)
    assert pump["availability"] == [ONLINE, {"topic": "pump/alive"}]
    assert pump["availability_mode"] == "all"
    assert meter["availability"] == [{"topic": "meter/alive"}]
    assert not any(problems(str(message["topic"]), str(message["payload"])) for message in service.published)


def test_an_entity_with_an_availability_of_its_own_keeps_it() -> None:
    """C59, bug 41: Home Assistant refuses both forms together."""
    service = Stage(ha_sensors).service()
    entity = sensor_of(service, discovery_options={"availability_topic": "meter/alive", "name": None})
    payload = entity.build_discovery_payload()
    assert "availability" not in payload
    assert payload["availability_topic"] == "meter/alive"
    assert payload["name"] is None
    assert "discovery_options" not in payload


def test_a_device_takes_options_that_miqro_does_not_know() -> None:
    """C59, bug 40."""
    device = ha_sensors.Device(
        Stage(ha_sensors).service(), "Boiler", discovery_options={"model": "M2", "new": 1}
    )
    payload = device.build_discovery_payload()["device"]
    assert payload == {"name": "Boiler", "identifiers": ["house_Boiler"], "model": "M2", "new": 1}


def test_device_lists_belong_to_the_instance_of_the_service() -> None:
    """C59, bug 17: also where only the class has a list."""

    class Double(StubService):
        def __init__(self, name: str) -> None:
            super().__init__(name, None)
            del self.ha_devices, self.ha_entities

    cls: Any = Double
    cls.ha_devices, cls.ha_entities = [], []
    one, other = Double("one"), Double("other")
    ha_sensors.Device(one, "Boiler")
    sensor_of(one)
    assert len(one.ha_devices) == len(one.ha_entities) == 1
    assert other.ha_devices == other.ha_entities == cls.ha_devices == []


def test_two_entities_of_one_id_are_warned_about(caplog: pytest.LogCaptureFixture) -> None:
    """C59: ids stay those of 1.x, so names can collide; then only one would show."""
    device = Stage(ha_sensors).device()
    for name in ("Ümlaut", "Ämlaut"):
        ha_sensors.Button(device, name, command_topic_postfix="x")
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "'Ümlaut' and 'Ämlaut'" in caplog.text
    assert "house_Boiler__button_mlaut" in caplog.text
    device.add_entity(device.entities[0])
    assert len(device.entities) == 2


def test_a_missing_command_topic_is_warned_about(caplog: pytest.LogCaptureFixture) -> None:
    """C59, bug 39."""
    ha_sensors.Button(Stage(ha_sensors).device(), "Neustart")
    assert "The Button 'Neustart' has no command_topic_postfix" in caplog.text


def test_records_show_their_signature_and_are_dataclasses_to_dataclasses() -> None:
    """C59: for `help()`, editors and tools."""
    parameters = inspect.signature(ha_sensors.Number).parameters
    assert list(parameters)[:3] == ["device", "name", "display_name"]
    assert parameters["max"].default == 100
    assert parameters["discovery_options"].kind is inspect.Parameter.KEYWORD_ONLY

    class Own(ha_sensors.Number):
        def __init__(self, label: str) -> None:
            super().__init__(None, label, service=Stage(ha_sensors).service(), state_topic_postfix="x")

    assert list(inspect.signature(Own).parameters) == ["label"]
    assert Own("a").name == "a"
    assert dataclasses.is_dataclass(Own)
    assert [field.name for field in dataclasses.fields(ha_sensors.Event)][-1] == "event_types"
