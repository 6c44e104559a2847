"""A service that has nothing to do: one handler and one loop. It imports nothing that is not miqro's."""

import sys

import miqro


class Idle(miqro.Service):
    SERVICE_NAME = sys.argv[1]

    @miqro.handle("ping")
    def ping(self, payload: str) -> None:
        self.publish("pong", payload)

    @miqro.loop(seconds=10)
    def tick(self) -> None:
        pass


Idle(log_level="WARNING").run()
