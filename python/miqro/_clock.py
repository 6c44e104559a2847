"""The wall clock, as estimates of services go by it: while a test holds the time, it stands still with that."""

from __future__ import annotations

from datetime import datetime, timedelta

from ._native import clock_now

TYPE_CHECKING = False
if TYPE_CHECKING:
    from datetime import tzinfo

#: Since when the time is held, by this clock and by the one that services go by.
_held: tuple[datetime, int] | None = None


def wall_now(zone: tzinfo | None = None) -> datetime:
    """The time of day; local time without a zone, as everything in 1.x, if none is given."""
    held = _held
    if held is None:
        return datetime.now(zone)
    now = held[0] + timedelta(microseconds=(clock_now() - held[1]) / 1000)
    return now if zone is None else now.astimezone(zone)


def hold() -> None:
    """The clock that services go by is held: this one follows it."""
    global _held  # noqa: PLW0603 - there is one time
    _held = (datetime.now(), clock_now())  # noqa: DTZ005 - local time, as in 1.x


def release() -> None:
    """It runs on again."""
    global _held  # noqa: PLW0603 - as above
    _held = None
