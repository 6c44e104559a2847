"""Home Assistant: discovery, entities, callbacks (C59)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from compat.scenario import scenario

if TYPE_CHECKING:
    from compat.run import Run


@scenario("home.Sensors", "C59 C30 C35", in_order=True)
def devices_with_sensors_are_announced(run: Run) -> None:
    """Discovery payloads byte for byte, after `online`; publishing to entities."""
    run.start()
    run.send("go")
    run.expect("done")


@scenario(
    "home.NoDevice",
    "C59",
    differs={
        "entities-without-a-device": """
            - wire homeassistant/sensor/ha_nodevice__sensor_Uptime/config…service/ha_nodevice/uptime"}
            - wire homeassistant/sensor/ha_nodevice__sensor_Uptime/config…service/ha_nodevice/uptime"}
            + wire homeassistant/sensor/…"availability": [{…}], "origin": {"name": "MIQRO service ha_nodevice"}}
        """,
    },
)
def an_entity_without_a_device_is_announced(run: Run) -> None:
    """`service=` instead of a device."""
    run.start()
    run.send("go")
    run.expect("uptime", "12")


@scenario(
    "home.Controls",
    "C59 C12",
    differs={
        "entities-once": """
            - wire service/ha_controls/level q0 r0 2.5
            - wire service/ha_controls/power q0 r0 off
        """,
    },
)
def controls_call_their_callbacks(run: Run) -> None:
    """Switch, number, select, text, button; callbacks that are bound methods with the service."""
    run.start()
    run.send("power/set", "on")
    run.send("level/set", "2.5")
    run.send("end", "1")
    run.expect("ended", "1")


@scenario(
    "home.LooseSwitch",
    "C59",
    differs={
        "entities-without-a-device": """
            + wire homeassistant/switch/ha_loose__switch_Lamp/config…: "MIQRO service ha_loose"}}
            + wire service/ha_loose/lamp q0 r0 on
            - out AttributeError
            + session ha_loose subscribe service/ha_loose/lamp/set q1
            + log INFO main subscribing to service/ha_loose/lamp/set
        """,
    },
)
def a_callback_without_a_device_is_called(run: Run) -> None:
    """A switch of the service itself."""
    run.start()
    run.send("lamp/set", "on")
    run.send("end", "1")
    run.expect("ended", "1")


@scenario(
    "home.Binary",
    "C31 C59",
    differs={
        "payloads-of-binary-sensors": """
            - wire service/ha_binary/own q0 r0 1
            - wire service/ha_binary/own q0 r0 0
            + wire service/ha_binary/own q0 r0 open
            + wire service/ha_binary/own q0 r0 closed
        """,
    },
)
def entities_have_payloads_of_their_own(run: Run) -> None:
    """`payload_on`, `payload_off` of switches and binary sensors."""
    run.start()
    run.send("go")
    run.expect("done")


@scenario("home.Thermostat", "C59")
def a_climate_controller_is_announced(run: Run) -> None:
    """With its many topics, and a device tracker."""
    run.start()
    run.send("mode/set", "heat")
    run.expect("mode", "heat")


@scenario("home.Elsewhere", "C59 C11", prefix="haus/ha_elsewhere/")
def the_discovery_prefix_is_configurable(run: Run) -> None:
    """`ha_discovery_prefix`, and a `data_topic`."""
    run.configure("ha_discovery_prefix: anderswo\n", service="data_topic: haus/ha_elsewhere/")
    run.start()
    run.expect("/anderswo/device/ha_elsewhere_Meter/config")


@scenario(
    "home.Born",
    "C59",
    differs={
        "birth-message": """
            + wire ha_born_discovery/device/ha_born_Meter/config q1…: "service/ha_born/power"}}}
            + log INFO main Home Assistant has started: announcing the devices again
        """,
    },
)
def the_birth_message_has_devices_announced_again(run: Run) -> None:
    """Home Assistant says `online` when it has started."""
    topic = "/ha_born_discovery/device/ha_born_Meter/config"
    run.configure("ha_discovery_prefix: ha_born_discovery\n")
    run.start()
    run.expect(topic)
    run.send("/ha_born_discovery/status", "online")
    if not run.original:
        run.expect(topic)
    run.send("go", "1")
    run.expect("done", "1")


@scenario(
    "home.Listens",
    "C59 C13",
    differs={
        "birth-message": """
            + wire ha_listens_discovery/device/ha_listens_Meter/config…service/ha_listens/power"}}}
            + log INFO main Home Assistant has started: announcing the devices again
        """,
    },
)
def a_handler_of_ones_own_for_the_birth_message(run: Run) -> None:
    """A service's own handler on Home Assistant's status topic works."""
    topic = "/ha_listens_discovery/device/ha_listens_Meter/config"
    run.configure("ha_discovery_prefix: ha_listens_discovery\n")
    run.start()
    run.expect(topic)
    run.send("/ha_listens_discovery/status", "offline")
    run.expect("status", "offline")
    run.send("/ha_listens_discovery/status", "online")
    run.expect("status", "online")
    if not run.original:
        run.expect(topic)


@scenario(
    "home.First",
    "C59",
    differs={
        "devices-of-one-service": """
            - out 2 2
            + out 1 1
        """,
    },
)
def devices_belong_to_their_service(run: Run) -> None:
    """Two services in one process announce their own devices only."""
    run.start()
    run.expect("/homeassistant/device/ha_first_Mine/config")


@scenario("home.OwnDiscovery", "C5 C59")
def discovery_may_be_overridden(run: Run) -> None:
    """`_publish_ha_discovery` is called on connect."""
    run.start()
    run.expect("/homeassistant/sensor/ha_own/config")


@scenario(
    "home.Merged",
    "C59",
    differs={
        "no-bare-command-topic": """
            - wire homeassistant/device/ha_merged_One/config q1 r1 {"device":…ic": "service/ha_merged/"}}}
            + wire homeassistant/device/ha_merged_One/config q1 r1 {"device":…ervice/ha_merged/program"}}}
            + log WARNING main no command topic for Program
        """,
        "identifiers-left-alone": """
            - wire homeassistant/device/ha_merged_Two/config q1 r1 {"device":…e": "0"}], "components": {}}
            + wire homeassistant/device/ha_merged_Two/config q1 r1 {"device":…e": "0"}], "components": {}}
            - out ['serial-1', 'ha_merged_One', 'ha_merged_Two']
            + out ['serial-1']
        """,
    },
)
def what_is_passed_in_is_left_alone(run: Run) -> None:
    """A list of identifiers that two devices share; a command topic that nobody gave."""
    run.start()
    run.expect("/homeassistant/device/ha_merged_Two/config")
