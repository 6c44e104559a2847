"""What miqro raises (design decision 11)."""

from __future__ import annotations


class MiqroError(Exception):
    """The base of the errors of miqro."""


class ConfigError(MiqroError, ValueError):
    """The configuration cannot be used. The text says what is wrong, where, and what to do."""


class StateError(MiqroError):
    """The state file cannot be used."""


class PublishError(MiqroError, ValueError, RuntimeError):
    """A message was not published. paho raises ValueError and RuntimeError for such cases: it is both."""


class StoppedError(MiqroError):
    """The service has stopped while something of it was awaited that will not come any more."""


class ForkError(MiqroError, RuntimeError):
    """A connection was used in a child of the process that made it."""


class RequestError(MiqroError, RuntimeError):
    """A request cannot be sent, or not be answered any more. The text says why."""


class RequestTimeoutError(RequestError, TimeoutError):
    """Nobody has answered a request in time."""


class InternalError(MiqroError):
    """The engine has failed. That is a defect of miqro: please report it."""
