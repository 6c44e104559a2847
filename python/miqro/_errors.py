"""The exceptions of miqro. The engine raises them too: it looks them up here."""

from __future__ import annotations


class MiqroError(Exception):
    """The base of all exceptions that miqro defines."""


class ConfigError(MiqroError, ValueError):
    """The configuration cannot be used.

    The text reads ``file:line:column: what is wrong, and what to do``, as far as a place is known.
    """


class StateError(MiqroError):
    """The state file cannot be read or written."""


class PublishError(MiqroError):
    """A message cannot be sent, or was not."""


class InternalError(MiqroError):
    """A bug in miqro itself: please report it with its traceback."""
