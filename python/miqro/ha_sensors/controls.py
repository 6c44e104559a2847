"""Entities that take commands: switches, texts, numbers, selections, buttons."""

from __future__ import annotations

from ._record import field, record
from .entity import Entity, EntityWithoutStateTopic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


@record
class Switch(Entity):
    """Something that is switched on and off.

    Args:
        optimistic: Whether Home Assistant assumes that a command succeeds.
        command_topic_postfix: Topic of the commands, below the service's prefix.
        command_callback: Called with the payload of each command.
        payload_off: Payload for off, in commands and as state; `None`: the service's `PAYLOAD_OFF`.
        payload_on: Payload for on, in commands and as state; `None`: the service's `PAYLOAD_ON`.
    """

    _component: str = "switch"
    optimistic: bool | None = None
    command_topic_postfix: str = ""
    command_callback: Callable[..., object] | None = None
    payload_off: str | int | None = "off"
    payload_on: str | int | None = "on"

    def __post_init__(self) -> None:
        """Register, then take the payloads that are `None` from the service."""
        super().__post_init__()
        if self.payload_on is None:
            self.payload_on = self.owner.PAYLOAD_ON
        if self.payload_off is None:
            self.payload_off = self.owner.PAYLOAD_OFF

    def state_payload(self, value: bool) -> object | None:
        """Return `payload_on` or `payload_off`."""
        return self.payload_on if value else self.payload_off


@record
class Text(Entity):
    """A text that can be set.

    Args:
        optimistic: Whether Home Assistant assumes that a command succeeds.
        command_topic_postfix: Topic of the commands, below the service's prefix.
        command_callback: Called with each text that is set.
        max: Greatest length, at most 255.
        min: Least length.
        mode: `text` or `password`.
        pattern: Regular expression that the text must match.
        retain: Whether Home Assistant's commands are retained.
    """

    _component: str = "text"
    optimistic: bool | None = None
    command_topic_postfix: str = ""
    command_callback: Callable[..., object] | None = None
    max: int = 255
    min: int = 0
    mode: str | None = "text"
    pattern: str | None = None
    retain: bool | None = None


@record
class Number(Entity):
    """A number that can be set.

    Args:
        optimistic: Whether Home Assistant assumes that a command succeeds.
        command_topic_postfix: Topic of the commands, below the service's prefix.
        command_callback: Called with the text of each number that is set.
        max: Greatest value.
        min: Least value.
        mode: `auto`, `box` or `slider`.
        payload_reset: Payload of the state topic that makes the value unknown.
        retain: Whether Home Assistant's commands are retained.
        step: Distance between values, at least 0.001.
        unit_of_measurement: Unit.
    """

    _component: str = "number"
    optimistic: bool | None = None
    command_topic_postfix: str = ""
    command_callback: Callable[..., object] | None = None
    max: float = 100
    min: float = 1
    mode: str | None = None
    payload_reset: str | None = None
    retain: bool | None = None
    step: float | None = None
    unit_of_measurement: str | None = None


@record
class Select(Entity):
    """A choice of one out of several words.

    Args:
        optimistic: Whether Home Assistant assumes that a command succeeds.
        command_topic_postfix: Topic of the commands, below the service's prefix.
        command_callback: Called with each word that is chosen.
        retain: Whether Home Assistant's commands are retained.
        options: The words. Required.

    Raises:
        ValueError: No options; see also `Entity`.
    """

    _component: str = "select"
    optimistic: bool | None = None
    command_topic_postfix: str = ""
    command_callback: Callable[..., object] | None = None
    retain: bool | None = None
    options: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Check that there is something to select, then register."""
        if not self.options:
            raise ValueError(f"{self._title()} needs options: the words to choose from")
        super().__post_init__()


@record
class Button(EntityWithoutStateTopic):
    """Something that can be pressed, and has no state.

    Args:
        optimistic: Sent as it is; Home Assistant does not use it.
        command_topic_postfix: Topic of the commands, below the service's prefix.
        command_callback: Called when it is pressed, with `payload_press`.
        payload_press: Payload of a press.
        retain: Whether Home Assistant's commands are retained; a retained press would be pressed at every
            start.
    """

    _component: str = "button"
    optimistic: bool | None = None
    command_topic_postfix: str = ""
    command_callback: Callable[..., object] | None = None
    payload_press: str = "PRESS"
    retain: bool | None = None
