"""Scenarios about devices, about the classes as records, and about subclasses; see `ha_scenarios.py`."""

from __future__ import annotations

import dataclasses
from typing import Any

from ha_scenarios import on_command
from ha_stage import PREFIX, Stage, scenario

# --- devices --------------------------------------------------------------------------------------


def _some_sensor(stage: Stage, device: Any, name: str = "Temperatur") -> Any:
    return stage.ha.Sensor(device, name, state_topic_postfix="temperature", unit_of_measurement="°C")


@scenario("device/name only")
def _(stage: Stage) -> None:
    stage.device()


@scenario("device/every field")
def _(stage: Stage) -> None:
    service = stage.service("heizungs-dienst", "haus/keller/")
    device = stage.ha.Device(
        service=service,
        name="Wärmepumpe (Süd)",
        model="WP 12",
        manufacturer="Müller & Söhne",
        sw_version="1.2.3",
        hw_version="B",
        identifiers=["serial-4711"],
        connections=[("mac", "02:5b:26:a8:dc:12")],
        suggested_area="Keller",
        via_device=stage.ha.Device(service, "Gateway"),
    )
    _some_sensor(stage, device)
    stage.ha.Button(device, "Neustart", command_topic_postfix="restart")


@scenario("device/by position")
def _(stage: Stage) -> None:
    stage.ha.Device(
        stage.service(), "Boiler", "M1", "ACME", "1", "2", "id-1", [("mac", "aa")], "Keller", None
    )


@scenario("device/own id given by position is made anew")
def _(stage: Stage) -> None:
    entities: list[object] = []
    device = stage.ha.Device(
        stage.service(), "Boiler", None, None, None, None, None, None, None, None, "ignored", entities
    )
    _some_sensor(stage, device)
    stage.facts["entities passed in are used"] = len(device.entities) > 0


@scenario("device/one identifier")
def _(stage: Stage) -> None:
    stage.facts["identifiers"] = stage.device(identifiers="serial-1").identifiers


@scenario("device/identifiers with its own")
def _(stage: Stage) -> None:
    stage.facts["identifiers"] = stage.device(identifiers=["house_Boiler", "serial-1"]).identifiers


@scenario("device/identifiers in a tuple")
def _(stage: Stage) -> None:
    stage.facts["identifiers"] = stage.device(identifiers=("serial-1",)).identifiers


@scenario("device/two that share a list of identifiers")
def _(stage: Stage) -> None:
    service = stage.service()
    shared = ["serial-1"]
    stage.ha.Device(service, "Boiler", identifiers=shared)
    stage.ha.Device(service, "Pumpe", identifiers=shared)
    stage.facts["the caller's list"] = shared


@scenario("device/serial number")
def _(stage: Stage) -> None:
    stage.device(
        serial_number="4711", model_id="WP12-B", configuration_url="http://wp.local/", sw_version="1"
    )


@scenario("device/without entities of its own service's other devices")
def _(stage: Stage) -> None:
    one, other = stage.device("Eins"), stage.device("Zwei")
    _some_sensor(stage, one)
    _some_sensor(stage, other)


@scenario("device/ids of difficult names")
def _(stage: Stage) -> None:
    service = stage.service("Mein Dienst/1")
    for name in ["Ümlaut °C", "Ämlaut °C", "-a_b-", "a.b", "温度", "  x  ", "--", "A/B C"]:
        device = stage.ha.Device(service, name)
        _some_sensor(stage, device, name)
        stage.ha.Button(None, name, service=service, command_topic_postfix="x")


@scenario("device/attributes set later")
def _(stage: Stage) -> None:
    device = stage.device()
    sensor = _some_sensor(stage, device)
    device.sw_version = "2.0"
    device.serial_number = "4711"
    sensor.state_class = "measurement"
    sensor.suggested_unit_of_measurement = "°F"
    sensor.extra_topic_postfix = "extra"
    sensor._private = 1


@scenario("device/entities added by hand")
def _(stage: Stage) -> None:
    one, other = stage.device("Eins"), stage.device("Zwei")
    sensor = _some_sensor(stage, one)
    other.add_entity(sensor)
    stage.facts["entities"] = [len(one.entities) > 0, len(other.entities) > 0]


# --- records, errors, subclasses ------------------------------------------------------------------


@scenario("record/equality")
def _(stage: Stage) -> None:
    device = stage.device()
    one, other, third = (_some_sensor(stage, device, name) for name in ("A", "A", "B"))
    button = stage.ha.Button(device, "A")
    stage.facts["equal"] = [one == other, one == third, one != third, one == button, one == 1]


@scenario("record/not hashable")
def _(stage: Stage) -> None:
    {_some_sensor(stage, stage.device())}


@scenario("record/repr")
def _(stage: Stage) -> None:
    device = stage.device(manufacturer="Müller")
    stage.facts["device"] = repr(device)
    stage.ha.Button(device, "Knopf")
    stage.facts["device with an entity"] = repr(device)
    stage.facts["select"] = repr(
        stage.ha.Select(None, "Wahl", service=stage.service(), state_topic_postfix="s", options=["a"])
    )
    stage.facts["climate"] = repr(stage.ha.ClimateController(None, "Klima", service=stage.service()))


@scenario("record/defaults on the class")
def _(stage: Stage) -> None:
    stage.facts["defaults"] = [
        stage.ha.Number.max,
        stage.ha.Switch.payload_on,
        stage.ha.Sensor._component,
        stage.ha.ClimateController._component,
        hasattr(stage.ha.Select, "options"),
        hasattr(stage.ha.Sensor, "name"),
    ]


@scenario("record/dataclasses knows it")
def _(stage: Stage) -> None:
    sensor = _some_sensor(stage, stage.device())
    stage.facts["is_dataclass"] = dataclasses.is_dataclass(sensor)
    copy = dataclasses.replace(sensor, name="Kopie", unique_id="copy")
    stage.facts["replaced"] = [copy.name, copy.unit_of_measurement, copy.unique_id]


@scenario("record/unknown argument")
def _(stage: Stage) -> None:
    stage.ha.Sensor(stage.device(), "A", state_topic_postfix="a", unit="°C")


@scenario("record/unknown argument of a device")
def _(stage: Stage) -> None:
    stage.device(colour="red")


@scenario("record/argument given twice")
def _(stage: Stage) -> None:
    stage.ha.Sensor(stage.device(), "A", name="B")


@scenario("record/one argument missing")
def _(stage: Stage) -> None:
    stage.ha.Sensor(stage.device())


@scenario("record/both arguments missing")
def _(stage: Stage) -> None:
    stage.ha.Sensor()


@scenario("record/too many arguments")
def _(stage: Stage) -> None:
    stage.ha.DeviceTracker(*range(40))


@scenario("record/neither device nor service")
def _(stage: Stage) -> None:
    stage.ha.Button(None, "A")


@scenario("record/device and service")
def _(stage: Stage) -> None:
    device = stage.device()
    stage.ha.Button(device, "A", service=device.service)


@scenario("record/an entity of a device does not announce itself")
def _(stage: Stage) -> None:
    _some_sensor(stage, stage.device()).publish_discovery(PREFIX)


@scenario("subclass/dataclass")
def _(stage: Stage) -> None:
    @dataclasses.dataclass
    class Thermometer(stage.ha.Sensor):  # type: ignore[name-defined,misc]
        device_class: str = "temperature"
        unit_of_measurement: str = "°C"
        suggested_unit: str = "°F"
        room: str | None = None

    device = stage.device()
    one = Thermometer(device, "Flur", state_topic_postfix="flur", room="Flur")
    other = Thermometer(device, "Flur", state_topic_postfix="flur", room="Flur")
    stage.facts["equal"] = one == other
    stage.facts["fields"] = [
        field.name for field in dataclasses.fields(one) if field.name in ("room", "name")
    ]


@scenario("subclass/dataclass of a device")
def _(stage: Stage) -> None:
    @dataclasses.dataclass
    class Pump(stage.ha.Device):  # type: ignore[name-defined,misc]
        manufacturer: str = "ACME"

    device = Pump(stage.service(), "Pumpe")
    _some_sensor(stage, device)


@scenario("subclass/plain, annotations are no fields")
def _(stage: Stage) -> None:
    class Thermometer(stage.ha.Sensor):  # type: ignore[name-defined,misc]
        device_class: str = "temperature"
        room: str = "Flur"

        def __init__(self, device: Any, name: str) -> None:
            super().__init__(device, name, state_topic_postfix=name.lower())
            self.unit_of_measurement = "°C"

    Thermometer(stage.device(), "Flur")


@scenario("subclass/post init and payload")
def _(stage: Stage) -> None:
    class Thermometer(stage.ha.Sensor):  # type: ignore[name-defined,misc]
        def __post_init__(self) -> None:
            self.device_class = "temperature"
            super().__post_init__()

        def get_discover_payload(self) -> dict[str, object]:
            return {**super().get_discover_payload(), "suggested_unit_of_measurement": "°C"}

    Thermometer(stage.device(), "Flur", state_topic_postfix="flur")


@scenario("subclass/topics and callbacks of its own")
def _(stage: Stage) -> None:
    @dataclasses.dataclass
    class Fan(stage.ha.EntityWithoutStateTopic):  # type: ignore[name-defined,misc]
        _component: str = "fan"
        command_topic_postfix: str = ""
        command_callback: Any = None
        percentage_command_topic_postfix: str | None = None
        percentage_command_callback: Any = None

    Fan(
        stage.device(),
        "Lüfter",
        command_topic_postfix="set",
        command_callback=on_command,
        percentage_command_topic_postfix="percent/set",
        percentage_command_callback=on_command,
    )
