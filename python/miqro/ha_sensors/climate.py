"""Climate controllers: thermostats, air conditioners, heat pumps."""

from __future__ import annotations

from ._record import field, record
from .entity import EntityWithoutStateTopic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_PRECISIONS = ("0.1", "0.5", "1.0")
_UNITS = ("C", "F")


@record
class ClimateController(EntityWithoutStateTopic):
    """A thermostat, air conditioner or heat pump.

    It has up to a dozen aspects, each with the same five options, where `x` is `fan_mode`, `mode`,
    `preset_mode`, `swing_mode`, `swing_horizontal_mode`, `target_humidity`, `temperature`,
    `temperature_high`, `temperature_low` or (commands only) `power`:

    - `x_command_topic_postfix`: topic of the commands, below the service's prefix;
    - `x_command_template`: template that makes the command's payload;
    - `x_command_callback`: called with the payload of each command;
    - `x_state_topic_postfix`, `x_state_template`: topic of the present value, and template that extracts it.

    Args:
        optimistic: Whether Home Assistant assumes that a command succeeds.
        current_humidity_template: Template that extracts the measured humidity.
        current_humidity_topic_postfix: Topic of the measured humidity.
        current_temperature_template: Template that extracts the measured temperature.
        current_temperature_topic_postfix: Topic of the measured temperature.
        fan_modes: The fan modes there are.
        initial: Target temperature at first.
        max_humidity: Greatest humidity that can be set, in percent.
        max_temp: Greatest temperature that can be set.
        min_humidity: Least humidity that can be set, in percent.
        min_temp: Least temperature that can be set.
        modes: The modes there are, out of `auto`, `off`, `cool`, `heat`, `dry`, `fan_only`.
        payload_on: Payload of a power command to switch on.
        payload_off: Payload of a power command to switch off.
        precision: `0.1`, `0.5` or `1.0`, as text.
        preset_modes: The presets there are; `none` is not allowed.
        swing_horizontal_modes: The horizontal swing modes there are.
        swing_modes: The swing modes there are.
        temperature_unit: `C` or `F`.
        temp_step: Distance between temperatures that can be set.
        retain: Whether Home Assistant's commands are retained.

    Raises:
        ValueError: `precision` or `temperature_unit` is not one of the above; a callback without its topic.
    """

    _component = "climate"
    optimistic: bool | None = None
    current_humidity_template: str | None = None
    current_humidity_topic_postfix: str | None = None

    current_temperature_template: str | None = None
    current_temperature_topic_postfix: str | None = None

    fan_mode_command_template: str | None = None
    fan_mode_command_topic_postfix: str | None = None
    fan_mode_command_callback: Callable[..., object] | None = None
    fan_mode_state_topic_postfix: str | None = None
    fan_mode_state_template: str | None = None
    fan_modes: list[str] | None = None

    initial: float | None = None

    max_humidity: float | None = None
    max_temp: float | None = None
    min_humidity: float | None = None
    min_temp: float | None = None

    mode_command_template: str | None = None
    mode_command_topic_postfix: str | None = None
    mode_state_template: str | None = None
    mode_state_topic_postfix: str | None = None
    modes: list[str] | None = None

    payload_on: str | None = None
    payload_off: str | None = None
    power_command_callback: Callable[..., object] | None = None
    power_command_topic_postfix: str | None = None
    power_command_template: str | None = None

    precision: str | None = None

    preset_mode_command_template: str | None = None
    preset_mode_command_topic_postfix: str | None = None
    preset_mode_command_callback: Callable[..., object] | None = None
    preset_mode_state_template: str | None = None
    preset_mode_state_topic_postfix: str | None = None
    preset_modes: list[str] | None = None

    swing_horizontal_mode_command_template: str | None = None
    swing_horizontal_mode_command_topic_postfix: str | None = None
    swing_horizontal_mode_command_callback: Callable[..., object] | None = None
    swing_horizontal_mode_state_template: str | None = None
    swing_horizontal_mode_state_topic_postfix: str | None = None
    swing_horizontal_modes: list[str] | None = None

    swing_mode_command_template: str | None = None
    swing_mode_command_topic_postfix: str | None = None
    swing_mode_command_callback: Callable[..., object] | None = None
    swing_mode_state_template: str | None = None
    swing_mode_state_topic_postfix: str | None = None
    swing_modes: list[str] | None = None

    target_humidity_command_template: str | None = None
    target_humidity_command_topic_postfix: str | None = None
    target_humidity_command_callback: Callable[..., object] | None = None
    target_humidity_state_template: str | None = None
    target_humidity_state_topic_postfix: str | None = None

    temperature_command_topic_postfix: str | None = None
    temperature_command_template: str | None = None
    temperature_command_callback: Callable[..., object] | None = None
    temperature_state_template: str | None = None
    temperature_state_topic_postfix: str | None = None

    temperature_high_command_topic_postfix: str | None = None
    temperature_high_command_template: str | None = None
    temperature_high_command_callback: Callable[..., object] | None = None
    temperature_high_state_template: str | None = None
    temperature_high_state_topic_postfix: str | None = None

    temperature_low_command_topic_postfix: str | None = None
    temperature_low_command_template: str | None = None
    temperature_low_command_callback: Callable[..., object] | None = None
    temperature_low_state_template: str | None = None
    temperature_low_state_topic_postfix: str | None = None

    temperature_unit: str | None = None
    temp_step: float | None = None

    # Not in miqro 1.x: see Device.
    mode_command_callback: Callable[..., object] | None = field(default=None, kw_only=True, repr=False)
    retain: bool | None = field(default=None, kw_only=True, repr=False)

    def __post_init__(self) -> None:
        """Check the values that Home Assistant would refuse, then register."""
        if self.precision is not None and self.precision not in _PRECISIONS:
            raise ValueError(
                f"{self._title()} has the precision {self.precision!r}: it must be one of {_PRECISIONS}"
            )
        if self.temperature_unit is not None and self.temperature_unit not in _UNITS:
            raise ValueError(
                f"{self._title()} has the temperature_unit {self.temperature_unit!r}: "
                f"it must be one of {_UNITS}"
            )
        super().__post_init__()
