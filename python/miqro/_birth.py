"""Devices are announced again when Home Assistant has started (contract C59)."""

from __future__ import annotations

from ._native import Timer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._service import Service

#: Seconds from the birth message to the announcement. All services of a house hear it at once, and Home Assistant is
#: still busy: each waits for a time of its own between these.
DELAY_SECONDS = (1.0, 10.0)


class Birth:
    """What one service does about Home Assistant's birth message: `online` on `<ha_discovery_prefix>/status`.

    The message goes to the service's handlers like any other. It is listened to on top of that, by services that have
    something to announce, and is no reason to complain that nobody handles it.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        #: Runs until the announcement.
        self.timer = Timer(0)
        #: Where the message comes, once it is listened to.
        self.topic: str | None = None

    def listen(self) -> str | None:
        """Begins to listen if there is something to announce; gives the topic to subscribe to."""
        service = self._service
        if service.ha_devices or service.ha_entities:
            self.topic = f"{service.config.get('ha_discovery_prefix') or 'homeassistant'}/status"
        return self.topic

    def heard(self, payload: str) -> None:
        """A message came on the topic. One that follows while the answer to another is due changes nothing."""
        if payload == "online" and self.timer.remaining() is None:
            # `random` takes its time to import, and most runs never need it.
            import random

            self.timer.start_in(random.uniform(*DELAY_SECONDS))  # noqa: S311 - nothing secret

    def announced(self) -> None:
        """Everything was announced, by a new connection: nothing is due any more."""
        self.timer.stop()

    def announce_if_due(self) -> None:
        """Announces, once, if it is time. Without a connection the next one does it.

        Raises:
            Exception: What the service's `_publish_ha_discovery` raises.
        """
        remaining = self.timer.remaining()
        if remaining is None or remaining > 0:
            return
        self.timer.stop()
        if self._service.is_connected:
            self._service.log.info("Home Assistant has started: announcing the devices again")
            self._service._publish_ha_discovery()
