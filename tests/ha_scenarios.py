"""What services do with `ha_sensors`, written so that it runs on miqro 1.3.0 and on this package alike.

`golden/capture_ha.py` runs it with the original and stores the results; `test_ha_sensors.py` runs it with
ours. This file holds the platforms, `ha_device_scenarios.py` the rest.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from ha_stage import Stage, scenario

# --- every class, with as little and as much as it takes ------------------------------------------


def on_command(service: object, payload: str) -> None:
    """Stand for a service's handler."""


# A value for every field of 1.3.0, by its name. Fields that are missing here fail the completeness test.
VALUES: dict[str, Any] = {
    "display_name": "Shown Name",
    "device_class": "temperature",
    "enabled_by_default": False,
    "entity_category": "diagnostic",
    "expire_after": 600,
    "force_update": True,
    "icon": "mdi:fridge",
    "default_entity_id": "{component}.my_own_id",
    "qos": 1,
    "unique_id": "own-unique-id",
    "json_attributes_topic_postfix": "attributes",
    "json_attributes_template": "{{ value_json.data | tojson }}",
    "state_topic_postfix": "state/topic",
    "value_template": "{{ value_json.value }}",
    "event_types": ["press", "hold"],
    "off_delay": 5,
    "payload_off": "closed",
    "payload_on": "open",
    "unit_of_measurement": "°C",
    "state_class": "measurement",
    "last_reset_value_template": "{{ value_json.reset }}",
    "suggested_display_precision": 2,
    "options": ["eins", "zwei", "drei"],
    "optimistic": False,
    "command_topic_postfix": "set/topic",
    "command_callback": on_command,
    "max": 30.5,
    "min": 2,
    "mode": "slider",
    "pattern": "[a-z]*",
    "retain": False,
    "payload_reset": "reset",
    "step": 0.5,
    "payload_press": "JETZT",
    "fan_modes": ["low", "high"],
    "initial": 21,
    "max_humidity": 80,
    "max_temp": 30.0,
    "min_humidity": 30,
    "min_temp": 5.0,
    "modes": ["off", "heat", "auto"],
    "precision": "0.5",
    "preset_modes": ["eco", "comfort"],
    "swing_horizontal_modes": ["on", "off"],
    "swing_modes": ["vertical", "off"],
    "temperature_unit": "C",
    "temp_step": 0.5,
}

# Every class: its component, and the fields that an instance of use to Home Assistant has.
PLATFORMS: dict[str, tuple[str, list[str]]] = {
    "Sensor": ("sensor", ["state_topic_postfix"]),
    "BinarySensor": ("binary_sensor", ["state_topic_postfix"]),
    "Event": ("event", ["state_topic_postfix", "event_types"]),
    "Switch": ("switch", ["state_topic_postfix", "command_topic_postfix"]),
    "Text": ("text", ["state_topic_postfix", "command_topic_postfix"]),
    "Number": ("number", ["state_topic_postfix", "command_topic_postfix"]),
    "Select": ("select", ["state_topic_postfix", "command_topic_postfix", "options"]),
    "Button": ("button", ["command_topic_postfix"]),
    "ClimateController": ("climate", []),
    "DeviceTracker": ("device_tracker", ["json_attributes_topic_postfix"]),
}
OVERRIDES = {("Text", "max"): 64, ("Text", "mode"): "password"}


def value_of(class_name: str, field_name: str) -> Any:
    """Return the example value of a field."""
    if (class_name, field_name) in OVERRIDES:
        return OVERRIDES[class_name, field_name]
    if field_name in VALUES:
        value = VALUES[field_name]
        return (
            value.format(component=PLATFORMS[class_name][0]) if field_name == "default_entity_id" else value
        )
    if field_name.endswith("_callback"):

        def callback(service: object, payload: str) -> None:
            """Stand for a handler of its own name."""

        callback.__name__ = f"on_{field_name}"
        return callback
    if field_name.endswith("_topic_postfix"):
        return field_name.removesuffix("_topic_postfix")
    assert field_name.endswith("_template"), f"no example value for {class_name}.{field_name}"
    return "{{ value_json." + field_name.removesuffix("_template") + " }}"


def values_of(class_name: str, field_names: list[str]) -> dict[str, Any]:
    """Return the example values of some fields."""
    return {name: value_of(class_name, name) for name in field_names}


def every_field(ha: Any, class_name: str) -> list[str]:
    """Return the fields that a class had in 1.3.0, but for special ones; new ones are by keyword only."""
    fields = dataclasses.fields(getattr(ha, class_name))
    special = ("device", "name", "service", "_component")
    return [field.name for field in fields if not field.kw_only and field.name not in special]


def _add_platform_scenarios(class_name: str) -> None:
    component, least = PLATFORMS[class_name]

    @scenario(f"{component}/least, with a device")
    def _(stage: Stage) -> None:
        getattr(stage.ha, class_name)(stage.device(), "Wohnzimmer Nr. 1", **values_of(class_name, least))

    @scenario(f"{component}/least, without a device")
    def _(stage: Stage) -> None:
        values = values_of(class_name, least)
        getattr(stage.ha, class_name)(None, "Wohnzimmer Nr. 1", service=stage.service(), **values)

    @scenario(f"{component}/every field, with a device")
    def _(stage: Stage) -> None:
        getattr(stage.ha, class_name)(
            stage.device(), "Küche", **values_of(class_name, every_field(stage.ha, class_name))
        )

    @scenario(f"{component}/every field but callbacks, without a device")
    def _(stage: Stage) -> None:
        values = {
            name: value
            for name, value in values_of(class_name, every_field(stage.ha, class_name)).items()
            if not name.endswith("_callback")
        }
        getattr(stage.ha, class_name)(None, "Küche", service=stage.service(), **values)

    @scenario(f"{component}/by position")
    def _(stage: Stage) -> None:
        cls = getattr(stage.ha, class_name)
        device = stage.device()
        values = {"device": device, "name": "Bad", **values_of(class_name, every_field(stage.ha, class_name))}
        # `service` stands among them and stays as it is.
        cls(
            *(values.get(field.name, field.default) for field in dataclasses.fields(cls) if not field.kw_only)
        )

    if "command_topic_postfix" in least:

        @scenario(f"{component}/callback without a device")
        def _(stage: Stage) -> None:
            values = values_of(class_name, [*least, "command_callback"])
            getattr(stage.ha, class_name)(None, "Tür", service=stage.service(), **values)

        @scenario(f"{component}/no command topic")
        def _(stage: Stage) -> None:
            values = values_of(class_name, [name for name in least if name != "command_topic_postfix"])
            getattr(stage.ha, class_name)(stage.device(), "Tür", **values)

        @scenario(f"{component}/no command topic, but a callback")
        def _(stage: Stage) -> None:
            values = values_of(class_name, [name for name in least if name != "command_topic_postfix"])
            getattr(stage.ha, class_name)(stage.device(), "Tür", command_callback=on_command, **values)


for _class_name in PLATFORMS:
    _add_platform_scenarios(_class_name)


# --- payloads and checks of single platforms ------------------------------------------------------


@scenario("sensor/words instead of numbers")
def _(stage: Stage) -> None:
    stage.ha.Sensor(
        stage.device(), "Phase", state_topic_postfix="phase", device_class="power", options=["an", "aus"]
    )


@scenario("sensor/no state topic")
def _(stage: Stage) -> None:
    stage.ha.Sensor(stage.device(), "Phase")


@scenario("event/no event types")
def _(stage: Stage) -> None:
    stage.ha.Event(stage.device(), "Klingel", state_topic_postfix="bell")


@scenario("binary_sensor/payloads of the service")
def _(stage: Stage) -> None:
    service = stage.service()
    service.PAYLOAD_ON, service.PAYLOAD_OFF = "AN", "AUS"
    stage.ha.BinarySensor(stage.device(service=service), "Tür", state_topic_postfix="door")
    stage.ha.BinarySensor(None, "Fenster", service=service, state_topic_postfix="window", payload_on="offen")


@scenario("switch/payloads of the service")
def _(stage: Stage) -> None:
    device = stage.device()
    device.service.PAYLOAD_ON, device.service.PAYLOAD_OFF = "AN", "AUS"
    stage.ha.Switch(
        device,
        "Pumpe",
        state_topic_postfix="p",
        command_topic_postfix="p/set",
        payload_on=None,
        payload_off=None,
    )


@scenario("switch/payloads of the service, without a device")
def _(stage: Stage) -> None:
    stage.ha.Switch(
        None,
        "Pumpe",
        service=stage.service(),
        state_topic_postfix="p",
        command_topic_postfix="p/set",
        payload_on=None,
        payload_off=None,
    )


@scenario("select/no options")
def _(stage: Stage) -> None:
    stage.ha.Select(stage.device(), "Programm", state_topic_postfix="programme")


@scenario("climate/wrong precision")
def _(stage: Stage) -> None:
    stage.ha.ClimateController(stage.device(), "Heizung", precision="0.25")


@scenario("climate/wrong unit")
def _(stage: Stage) -> None:
    stage.ha.ClimateController(stage.device(), "Heizung", temperature_unit="K")


@scenario("climate/a thermostat")
def _(stage: Stage) -> None:
    stage.ha.ClimateController(
        stage.device("Thermostat Flur"),
        "Heizung",
        current_temperature_topic_postfix="flur/ist",
        temperature_command_topic_postfix="flur/soll/set",
        temperature_command_callback=on_command,
        temperature_state_topic_postfix="flur/soll",
        modes=["off", "heat"],
        mode_state_topic_postfix="flur/mode",
        min_temp=5,
        max_temp=28.5,
        temp_step=0.5,
        precision="0.1",
        temperature_unit="C",
    )


@scenario("climate/mode callback")
def _(stage: Stage) -> None:
    stage.ha.ClimateController(
        stage.device(), "Heizung", mode_command_topic_postfix="mode/set", mode_command_callback=on_command
    )


@scenario("climate/retained commands")
def _(stage: Stage) -> None:
    stage.ha.ClimateController(stage.device(), "Heizung", mode_command_topic_postfix="mode/set", retain=True)


@scenario("climate/callback without a device")
def _(stage: Stage) -> None:
    stage.ha.ClimateController(
        None,
        "Heizung",
        service=stage.service(),
        power_command_topic_postfix="power/set",
        power_command_callback=on_command,
    )
