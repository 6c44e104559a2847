"""Who is called for which topic, and with what (contract C12, C13)."""

from __future__ import annotations

from ._native import Router

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    Handler = Callable[..., Any]
    #: The callable, and whether it takes the service.
    Target = tuple[Handler, bool]

#: CPython's code flags: the function takes `*args`, it is a coroutine function (`inspect` is slow to import).
_CO_VARARGS, _CO_COROUTINE = 0x04, 0x80


def takes(fn: Handler, count: int, follow: bool = False) -> bool:
    """Whether `fn` can be called with `count` positional arguments; with `follow`, what it wraps is asked."""
    if isinstance(fn, staticmethod):
        fn = fn.__func__
    bound = hasattr(fn, "__self__") and hasattr(fn, "__func__")
    function: Any = getattr(fn, "__func__", fn) if bound else fn
    # The doubles of `unittest.mock` have something there that answers to everything, and is none.
    code = getattr(function, "__code__", None)
    code = code if type(code) is type(takes.__code__) else None
    says = hasattr(function, "__signature__") or (follow and hasattr(function, "__wrapped__"))
    if code is None or code.co_kwonlyargcount or says:
        import inspect

        try:
            signature = inspect.signature(fn, follow_wrapped=follow)
        except (TypeError, ValueError):
            # Some built-in callables do not say what they take, nor do doubles of Python 3.10: let the call show.
            return True
        try:
            signature.bind(*range(count))
        except TypeError:
            return False
        return True
    count += bound
    required = code.co_argcount - len(function.__defaults__ or ())
    return count >= required and (count <= code.co_argcount or bool(code.co_flags & _CO_VARARGS))


def takes_service(fn: Handler, count: int) -> bool | None:
    """Whether `fn` is called with the service before its `count` arguments; `None`: neither way is possible."""
    without = takes(fn, count)
    if not takes(fn, count + 1):
        return False if without else None
    # A wrapper that takes anything hands it on: then what it wraps decides.
    return not (without and takes(fn, count, follow=True) and not takes(fn, count + 1, follow=True))


def is_coroutine_function(fn: Handler) -> bool:
    """Whether calling `fn` gives something to be awaited: it is an `async def`, or a wrapper of one."""
    if isinstance(fn, staticmethod):
        fn = fn.__func__
    function: Any = getattr(fn, "__func__", fn)
    code = getattr(function, "__code__", None)
    if code is None and callable(function):
        code = getattr(type(function).__call__, "__code__", None)
    attributes = getattr(function, "__dict__", {})
    if (code is not None and code.co_flags & _CO_COROUTINE) or "_is_coroutine_marker" in attributes:
        return True
    # What `functools.partial` calls, and what `functools.wraps` names.
    inner = function.func if type(function).__name__ == "partial" else attributes.get("__wrapped__")
    return inner is not None and is_coroutine_function(inner)


def target(fn: Handler, topic_filter: str, of_class: bool = False) -> Target:
    """Finds out how `fn` is called for messages of `topic_filter`.

    With the service where its signature takes it, else without. What stands in a class is a method: it is called
    with the service, unless it is static.

    Raises:
        TypeError: It cannot be called that way.
    """
    if not callable(fn):
        raise TypeError(f"the handler for {topic_filter!r} cannot be called: {fn!r}")
    count = 2 if topic_filter.endswith("#") else 1
    is_method = of_class and not isinstance(fn, staticmethod)
    with_service = (takes(fn, count + 1) or None) if is_method else takes_service(fn, count)
    if with_service is None:
        wanted = "(service, payload, rest_of_topic)" if count == 2 else "(service, payload)"
        raise TypeError(
            f"the handler for {topic_filter!r}, {name_of(fn)}, cannot be called with {wanted}"
            + ("" if is_method else ", nor without the service")
        )
    return fn, with_service


def name_of(fn: object) -> str:
    """What to call it in a message: also for partials and callable objects."""
    inner = getattr(fn, "func", fn)
    return str(getattr(inner, "__qualname__", None) or getattr(inner, "__name__", None) or repr(fn))


class Handlers(list["tuple[str, Handler]"]):
    """A list of handlers that notes that it was changed.

    To compare thousands of them for each message would cost more than to handle it.
    """

    def __init__(self, handlers: Iterable[tuple[str, Handler]] = ()) -> None:
        super().__init__(handlers)
        #: Another one after each change.
        self.state = object()


def _noting(change: Callable[..., Any]) -> Callable[..., Any]:
    def method(self: Handlers, *args: Any, **how: Any) -> Any:
        try:
            return change(self, *args, **how)
        finally:
            self.state = object()

    return method


for _name in (
    *("append", "extend", "insert", "remove", "pop", "clear", "sort", "reverse"),
    *("__setitem__", "__delitem__", "__iadd__", "__imul__"),
):
    setattr(Handlers, _name, _noting(getattr(list, _name)))


def state_of(handlers: list[tuple[str, Handler]]) -> object:
    """What differs from what it was before if the list has changed since."""
    return handlers.state if type(handlers) is Handlers else handlers[:]


class Routes:
    """The handlers of one service, kept in step with the lists that hold them.

    Services may append to `mqtt_handlers`, and override `_all_handlers`: the lists are the truth, and the
    router in the engine follows them.
    """

    def __init__(self, lane: Callable[[Target, str], Target]) -> None:
        #: Gives the target for an `async def`: something that has it run as a task.
        self._lane = lane
        self.router = Router()
        self.targets: dict[int, Target] = {}
        #: Counts the changes: what was routed before one has to be routed again.
        self.version = 0
        self._known: list[tuple[str, Handler]] = []
        self._ids: list[int] = []

    def sync(
        self,
        handlers: Iterable[tuple[str, Handler]],
        of_class: Iterable[Handler],
        problem: Callable[[str], None],
    ) -> None:
        """Makes the router hold exactly `handlers`, in this order.

        Args:
            handlers: Filters and callables, as `Service._all_handlers` gives them.
            of_class: Those that the class of the service has.
            problem: Told of each that cannot be used, in a sentence.
        """
        wanted = list(handlers)
        if wanted == self._known:
            return
        self.version += 1
        # A new one: whoever is about to call handlers goes on with those that there were.
        targets = dict(self.targets)
        common = 0
        while common < min(len(wanted), len(self._known)) and wanted[common] == self._known[common]:
            common += 1
        for handler_id in self._ids[common:]:
            if handler_id >= 0:
                self.router.remove(handler_id)
                del targets[handler_id]
        del self._ids[common:]
        self._known = wanted
        methods = set(map(id, of_class))
        for topic_filter, fn in wanted[common:]:
            try:
                how = target(fn, topic_filter, id(fn) in methods)
            except TypeError as error:
                problem(str(error))
                # It stays in place: each message says again that it cannot be called.
                how = (fn, True)
            try:
                # Order is the order of `handlers`, which has the global ones first.
                handler_id = self.router.add(topic_filter, False)
            except ValueError as error:
                problem(str(error))
                self._ids.append(-1)
                continue
            targets[handler_id] = self._lane(how, topic_filter) if is_coroutine_function(fn) else how
            self._ids.append(handler_id)
        self.targets = targets
