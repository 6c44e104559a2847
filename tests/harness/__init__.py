"""What the tests share: real brokers, an observer, a proxy that breaks connections, scripts in own processes.

Nothing here imports miqro: a test that fails tells of the library, not of its own tools.
"""

from __future__ import annotations

from harness.broker import Broker, MosquittoMissingError
from harness.fake_broker import FakeBroker, Peer
from harness.observer import Message, Observer
from harness.process import Result, Script
from harness.proxy import Proxy
from harness.running import Running
from harness.wait import DeadlineError, wait_until

__all__ = [
    "Broker",
    "DeadlineError",
    "FakeBroker",
    "Message",
    "MosquittoMissingError",
    "Observer",
    "Peer",
    "Proxy",
    "Result",
    "Running",
    "Script",
    "wait_until",
]
