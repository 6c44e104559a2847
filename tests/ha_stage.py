"""The stage on which `ha_scenarios.py` plays: services that note what happens to them."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

PREFIX = "homeassistant"

SCENARIOS: dict[str, Callable[[Stage], None]] = {}


class StubService:
    """The part of a service that devices and entities use, noting what they do with it."""

    PAYLOAD_ON = "1"
    PAYLOAD_OFF = "0"

    def __init__(self, name: str, data_topic: str | None) -> None:
        self.SERVICE_NAME = name
        self.data_topic_prefix = data_topic or f"service/{name}/"
        self.willtopic = self.data_topic_prefix + "online"
        self.ha_devices: list[Any] = []
        self.ha_entities: list[Any] = []
        self.handlers: list[list[str]] = []
        self.published: list[dict[str, object]] = []

    def __repr__(self) -> str:
        return f"<{self.SERVICE_NAME}>"

    def add_handler(self, topic: str, handler: Callable[..., object]) -> None:
        self.handlers.append([topic, handler.__name__])

    def publish_json(self, ext: str, message_json: object, **options: object) -> None:
        self.published.append({"topic": ext, "payload": json.dumps(message_json), **options})


class Stage:
    """One run of one scenario."""

    def __init__(self, ha: Any) -> None:
        self.ha = ha
        self.services: list[StubService] = []
        self.facts: dict[str, object] = {}

    def service(self, name: str = "house", data_topic: str | None = None) -> StubService:
        service = StubService(name, data_topic)
        self.services.append(service)
        return service

    def device(self, name: str = "Boiler", **options: Any) -> Any:
        return self.ha.Device(options.pop("service", None) or self.service(), name, **options)

    def results(self, outcome: str) -> dict[str, object]:
        """Announce everything, as a service does on connect, and return all that was noted."""
        if outcome == "ok":
            for service in self.services:
                for announced in [*service.ha_devices, *service.ha_entities]:
                    announced.publish_discovery(PREFIX)
        return {
            "outcome": outcome,
            "handlers": [handler for service in self.services for handler in service.handlers],
            "devices": [device._unique_id for service in self.services for device in service.ha_devices],
            "entities": [entity.unique_id for service in self.services for entity in service.ha_entities],
            "published": [message for service in self.services for message in service.published],
            "facts": self.facts,
        }


def scenario(name: str) -> Callable[[Callable[[Stage], None]], Callable[[Stage], None]]:
    """Register a scenario; what stands before the slash is the golden file it is kept in."""

    def register(run: Callable[[Stage], None]) -> Callable[[Stage], None]:
        assert name not in SCENARIOS, name
        SCENARIOS[name] = run
        return run

    return register


def run_scenario(ha: Any, name: str) -> dict[str, object]:
    """Run one scenario with a given `ha_sensors` module; an exception is its outcome."""
    stage = Stage(ha)
    try:
        SCENARIOS[name](stage)
        return stage.results("ok")
    except (AttributeError, TypeError, ValueError) as error:
        # What a ValueError says is each version's own; a TypeError of a signature is Python's.
        text = f": {error}" if isinstance(error, TypeError) else ""
        return stage.results(type(error).__name__ + text)


def signatures(ha: Any, platforms: Iterable[str]) -> dict[str, list[list[object]]]:
    """Return the fields of every class, in order, with whether they are required, and their defaults."""
    result: dict[str, list[list[object]]] = {}
    for name in ["Device", "EntityWithoutStateTopic", "Entity", *platforms]:
        fields: list[list[object]] = []
        for field in dataclasses.fields(getattr(ha, name)):
            if field.default_factory is not dataclasses.MISSING:
                fields.append([field.name, "default", repr(field.default_factory())])
            elif field.default is not dataclasses.MISSING:
                fields.append([field.name, "default", repr(field.default)])
            else:
                fields.append([field.name, "required", ""])
        result[name] = fields
    return result
