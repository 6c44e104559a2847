"""What 1.3.0 announced to Home Assistant, byte for byte, and its named repairs (contract C59)."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import ha_device_scenarios  # noqa: F401 - registers its scenarios
from ha_rules import problems
from ha_scenarios import PLATFORMS
from ha_stage import SCENARIOS, Stage, run_scenario, signatures
from miqro import ha_sensors

if TYPE_CHECKING:
    from collections.abc import Callable

GOLDEN = Path(__file__).parent / "golden" / "ha"
Result = dict[str, Any]


def golden() -> dict[str, Result]:
    """Return what 1.3.0 did in every scenario."""
    results: dict[str, Result] = {}
    for path in sorted(GOLDEN.glob("*.json")):
        if path.stem != "fields":
            results |= json.loads(path.read_text(encoding="utf-8"))
    return results


# --- The intended differences ---------------------------------------------------------------------


def once(result: Result) -> Result:
    """Take out what 1.x registered and announced a second time, each right after the first."""

    def without_repeats(values: list[Any]) -> list[Any]:
        return [value for index, value in enumerate(values) if index == 0 or value != values[index - 1]]

    return {**result, **{key: without_repeats(result[key]) for key in ("handlers", "entities", "published")}}


def _edited(edit: Callable[[str, dict[str, Any]], None]) -> Callable[[Result], Result]:
    """Make a difference out of a change to every payload."""

    def apply(result: Result) -> Result:
        published = []
        for message in result["published"]:
            payload = json.loads(message["payload"])
            edit(message["topic"], payload)
            published.append({**message, "payload": json.dumps(payload)})
        return {**result, "published": published}

    return apply


def _drop_bare_command_topics(topic: str, payload: dict[str, Any]) -> None:
    for entry in [payload, *payload.get("components", {}).values()]:
        if entry.get("command_topic") == "service/house/":
            del entry["command_topic"]


def _add_availability_and_origin(topic: str, payload: dict[str, Any]) -> None:
    if not topic.startswith("homeassistant/device/"):
        prefix = "service/Mein Dienst/1" if "Mein-Dienst" in topic else "service/house"
        payload["availability"] = [
            {"topic": f"{prefix}/online", "payload_available": "1", "payload_not_available": "0"}
        ]
        payload["origin"] = {"name": f"MIQRO service {prefix.removeprefix('service/')}"}


@dataclasses.dataclass
class Difference:
    """A repair of one of 1.x's bugs: why, and what it makes of what 1.3.0 did."""

    bug: int
    reason: str
    apply: Callable[[Result], Result]
    # Scenarios in which the bug's sign is there and right nevertheless.
    but_not: tuple[str, ...] = ()


DIFFERENCES = {
    "registered once": Difference(
        35,
        "an entity with a state topic was registered, and its callback called, twice",
        once,
        # Two buttons (which were registered once) whose names give the same id.
        but_not=("device/ids of difficult names",),
    ),
    "no empty command topic": Difference(
        39,
        "an entity without a command topic announced the bare prefix of the service, where nobody listens",
        _edited(_drop_bare_command_topics),
        # With a callback somebody does listen there, and such a service goes on working.
        but_not=tuple(name for name in SCENARIOS if name.endswith("no command topic, but a callback")),
    ),
    "availability and origin": Difference(
        41,
        "an entity without a device stayed available when its service died, and named no origin",
        _edited(_add_availability_and_origin),
    ),
    "the caller's identifiers are left alone": Difference(
        40,
        "the list of identifiers that was passed in grew, so that devices sharing one were merged",
        lambda result: json.loads(
            json.dumps(result)
            .replace(r"\"serial-1\", \"house_Boiler\", \"house_Pumpe\"", r"\"serial-1\", \"house_Boiler\"", 1)
            .replace(r"\"serial-1\", \"house_Boiler\", \"house_Pumpe\"", r"\"serial-1\", \"house_Pumpe\"", 1)
            .replace('"serial-1", "house_Boiler", "house_Pumpe"', '"serial-1"')
        ),
    ),
}

ONLINE = [{"topic": "service/house/online", "payload_available": "1", "payload_not_available": "0"}]
ORIGIN = {"name": "MIQRO service house"}


def _alone(component: str, options: dict[str, Any]) -> Result:
    """Return what comes of an entity without a device that has a callback."""
    handlers = [[options["x"].removeprefix("service/house/"), "on_command"]]
    payload = {key: value for key, value in options.items() if key != "x"}
    topic = f"homeassistant/{component}/{options['unique_id']}/config"
    payload |= {"availability": ONLINE, "origin": ORIGIN}
    return {
        "outcome": "ok",
        "handlers": handlers,
        "devices": [],
        "entities": [options["unique_id"]],
        "published": [
            {"topic": topic, "payload": json.dumps(payload), "qos": 1, "retain": True, "global_": True}
        ],
        "facts": {},
    }


def _with_callback(component: str, *, state: bool = True, **options: Any) -> Result:
    payload = {
        "name": "Tür",
        "default_entity_id": f"{component}.T-r",
        "unique_id": f"house__{component}_T-r",
        **options,
        "platform": component,
    }
    if state:
        payload["state_topic"] = "service/house/state/topic"
    payload["command_topic"] = payload["x"] = "service/house/set/topic"
    return _alone(component, payload)


def _boiler(device: dict[str, Any], components: dict[str, Any]) -> Result:
    """Return what comes of the device that the scenarios use."""
    payload = {
        "device": {"name": "Boiler", **device},
        "origin": ORIGIN,
        "availability": ONLINE,
        "components": components,
    }
    topic = "homeassistant/device/house_Boiler/config"
    return {
        "outcome": "ok",
        "handlers": [],
        "devices": ["house_Boiler"],
        "entities": [],
        "published": [
            {"topic": topic, "payload": json.dumps(payload), "qos": 1, "retain": True, "global_": True}
        ],
        "facts": {},
    }


def _heating(options: dict[str, Any], topics: dict[str, Any]) -> dict[str, Any]:
    entity = {
        "name": "Heizung",
        "default_entity_id": "climate.Heizung",
        "unique_id": "house_Boiler__climate_Heizung",
        **options,
        "platform": "climate",
        **topics,
    }
    return {"house_Boiler__climate_Heizung": entity}


CALLBACK_ALONE = "a callback of an entity without a device raised AttributeError"
# What failed in 1.3.0 and works now: bug, reason, and what comes of it.
WORKS_NOW: dict[str, tuple[int, str, Result]] = {
    "switch/callback without a device": (
        36,
        CALLBACK_ALONE,
        _with_callback("switch", payload_off="off", payload_on="on"),
    ),
    "text/callback without a device": (
        36,
        CALLBACK_ALONE,
        _with_callback("text", max=255, min=0, mode="text"),
    ),
    "number/callback without a device": (36, CALLBACK_ALONE, _with_callback("number", max=100, min=1)),
    "select/callback without a device": (
        36,
        CALLBACK_ALONE,
        _with_callback("select", options=["eins", "zwei", "drei"]),
    ),
    "button/callback without a device": (
        36,
        CALLBACK_ALONE,
        _with_callback("button", state=False, payload_press="PRESS"),
    ),
    "climate/callback without a device": (
        36,
        CALLBACK_ALONE,
        _alone(
            "climate",
            {
                "name": "Heizung",
                "default_entity_id": "climate.Heizung",
                "unique_id": "house__climate_Heizung",
                "platform": "climate",
                "power_command_topic": "service/house/power/set",
                "x": "power/set",
            },
        ),
    ),
    "switch/payloads of the service, without a device": (
        36,
        "a switch without a device could not take the service's payloads",
        {
            **_alone(
                "switch",
                {
                    "name": "Pumpe",
                    "default_entity_id": "switch.Pumpe",
                    "unique_id": "house__switch_Pumpe",
                    "payload_off": "0",
                    "payload_on": "1",
                    "platform": "switch",
                    "state_topic": "service/house/p",
                    "command_topic": "service/house/p/set",
                    "x": "",
                },
            ),
            "handlers": [],
        },
    ),
    "climate/mode callback": (
        37,
        "a climate controller had no mode_command_callback",
        {
            **_boiler(
                {"identifiers": ["house_Boiler"]},
                _heating({}, {"mode_command_topic": "service/house/mode/set"}),
            ),
            "handlers": [["mode/set", "on_command"]],
        },
    ),
    "climate/retained commands": (
        37,
        "a climate controller had no retain",
        _boiler(
            {"identifiers": ["house_Boiler"]},
            _heating({"retain": True}, {"mode_command_topic": "service/house/mode/set"}),
        ),
    ),
    "device/identifiers in a tuple": (
        40,
        "identifiers in a tuple raised AttributeError",
        {
            **_boiler({"identifiers": ["serial-1", "house_Boiler"]}, {}),
            "facts": {"identifiers": ["serial-1", "house_Boiler"]},
        },
    ),
    "device/serial number": (
        40,
        "a device had no serial_number, model_id and configuration_url",
        _boiler(
            {
                "sw_version": "1",
                "identifiers": ["house_Boiler"],
                "model_id": "WP12-B",
                "serial_number": "4711",
                "configuration_url": "http://wp.local/",
            },
            {},
        ),
    ),
}


def expected(name: str, original: Result) -> Result:
    """Return what 1.3.0 did in a scenario, with its bugs repaired."""
    if name in WORKS_NOW:
        return WORKS_NOW[name][2]
    for difference in DIFFERENCES.values():
        if name not in difference.but_not:
            original = difference.apply(original)
    return original


ORIGINAL = golden()


@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_devices_and_entities_do_what_1_3_0_did_save_for_the_named_repairs(name: str) -> None:
    """C59: ids, topics, payload bytes, callbacks, errors."""
    ours = json.loads(json.dumps(run_scenario(ha_sensors, name)))
    wanted = expected(name, ORIGINAL[name])
    assert ours.pop("outcome") == wanted.pop("outcome")
    if ORIGINAL[name]["outcome"] == "ok" or name in WORKS_NOW:
        assert ours == wanted
    else:
        # 1.x registered an entity before it found fault with it; all that matters now is that nothing goes
        # out.
        assert ours["published"] == []


def test_every_scenario_was_captured_and_no_other() -> None:
    """C59: a scenario without a golden record proves nothing."""
    assert set(ORIGINAL) == set(SCENARIOS)


@pytest.mark.parametrize("name", DIFFERENCES)
def test_every_intended_difference_is_still_one(name: str) -> None:
    """C59: an entry that changes nothing hides the next unintended difference."""
    difference = DIFFERENCES[name]
    changed = [one for one, result in ORIGINAL.items() if difference.apply(result) != result]
    assert set(changed) - set(difference.but_not), difference.reason


@pytest.mark.parametrize("name", sorted(WORKS_NOW))
def test_what_works_now_failed_in_1_3_0(name: str) -> None:
    """C59: the same for what 1.x raised an error for."""
    assert ORIGINAL[name]["outcome"].startswith(("AttributeError", "TypeError")), WORKS_NOW[name][1]


def test_fields_have_the_names_the_order_and_the_defaults_of_1_3_0() -> None:
    """C59: so that every constructor call of 1.x means the same."""
    captured = json.loads((GOLDEN / "fields.json").read_text(encoding="utf-8"))
    ours = signatures(ha_sensors, PLATFORMS)
    assert ours.keys() == captured.keys()
    for class_name, fields in captured.items():
        keyword_only = {
            field.name for field in dataclasses.fields(getattr(ha_sensors, class_name)) if field.kw_only
        }
        # What is new is by keyword only: no positional argument moves.
        assert [field for field in ours[class_name] if field[0] not in keyword_only] == fields


# --- Home Assistant's rules -----------------------------------------------------------------------

NO_COMMAND = "a {0} without command_topic"
# Scenarios that show something Home Assistant refuses, as 1.x let people do; the bytes stay, the fault is the
# caller's.
REFUSED: dict[str, list[str]] = {
    "event/no event types": ["a event without event_types"],
    "switch/no command topic": [NO_COMMAND.format("switch")],
    "text/no command topic": [NO_COMMAND.format("text")],
    "number/no command topic": [NO_COMMAND.format("number")],
    "select/no command topic": [NO_COMMAND.format("select")],
    "button/no command topic": [NO_COMMAND.format("button")],
    "record/equality": [NO_COMMAND.format("button")],
    "record/repr": [NO_COMMAND.format("button"), NO_COMMAND.format("select")],
    **{
        f"sensor/{which}": [
            "options beside a unit or a state_class",
            "last_reset_value_template without state_class total",
        ]
        for which in (
            "every field, with a device",
            "every field but callbacks, without a device",
            "by position",
        )
    },
}


# Ids stay as in 1.x, also where Home Assistant refuses them; the test after this one says where that is.
ODD_IDS = "device/ids of difficult names"


@pytest.mark.parametrize("name", sorted(SCENARIOS.keys() - {ODD_IDS}))
def test_announcements_follow_home_assistants_rules(name: str) -> None:
    """C59: every message that the scenarios announce is one that Home Assistant accepts."""
    published: Any = run_scenario(ha_sensors, name)["published"]
    found = [problem for message in published for problem in problems(message["topic"], message["payload"])]
    found = [re.sub(r"^[\w-]+: ", "", problem) for problem in found]
    assert found == REFUSED.get(name, [])
    assert all(message["qos"] == 1 and message["retain"] and message["global_"] for message in published)


def test_only_names_without_any_latin_letter_or_odd_service_names_give_ids_that_are_refused() -> None:
    """C59: ids are those of 1.x; what that costs is known."""
    for device_name, refused in [("Ümlaut °C", False), ("A/B C", False), ("温度", True)]:
        stage = Stage(ha_sensors)
        ha_sensors.Button(stage.device(device_name), device_name, command_topic_postfix="x")
        published: Any = stage.results("ok")["published"]
        assert bool(problems(published[0]["topic"], published[0]["payload"])) is refused
