"""The smallest service there is: it says that it is there.

Run it:     cd examples && python minimal.py   (it reads miqro.yml from there; Ctrl-C ends it)
Listen:     mosquitto_sub -v -t service/minimal/online

`1` while it runs; `0` once it was stopped, and also, said by the broker, when it crashed or lost its network.
"""

import miqro


class Minimal(miqro.Service):
    SERVICE_NAME = "minimal"


if __name__ == "__main__":
    Minimal().run()
