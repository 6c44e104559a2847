"""`@record`: what Home Assistant's classes need of `dataclasses`, without its price.

The problem: these classes were dataclasses in miqro 1.x, and services rely on it (positional arguments, `==`,
`repr`, subclasses under `@dataclass`). But `import dataclasses` pulls in `inspect` and costs more than all
the rest of `import miqro`. So the decorator here does at import only what is needed to make instances. The
attributes by which `dataclasses` knows its own (`__dataclass_fields__`, `__dataclass_params__`) are made from
a real dataclass of the same fields at the moment somebody asks for them, who by then has imported
`dataclasses` anyway.
"""

from __future__ import annotations

from reprlib import recursive_repr

TYPE_CHECKING = False  # known to type checkers by its name; saves the import of typing
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, TypeVar

    from typing_extensions import dataclass_transform

    T = TypeVar("T")
else:

    def dataclass_transform(**_: object) -> Callable[[T], T]:
        """Stand in for `typing.dataclass_transform`, which only a type checker needs."""
        return lambda decorator: decorator


MISSING = object()


class Field:
    """One field of a record: its name, annotation, default, and how it is passed."""

    __slots__ = ("annotation", "default", "default_factory", "kw_only", "name", "repr")

    def __init__(
        self, default: object, default_factory: Callable[[], object] | None, *, kw_only: bool, repr: bool
    ) -> None:
        self.name = ""
        self.annotation = ""
        self.default = default
        self.default_factory = default_factory
        self.kw_only = kw_only
        self.repr = repr

    @property
    def required(self) -> bool:
        """Whether an instance cannot be made without it."""
        return self.default is MISSING and self.default_factory is None

    def initial(self) -> object:
        """Return the value of the field where none is given."""
        return self.default if self.default_factory is None else self.default_factory()


def field(
    *,
    default: Any = MISSING,
    default_factory: Callable[[], Any] | None = None,
    kw_only: bool = False,
    repr: bool = True,
) -> Any:
    """Describe a field that is more than an annotation and a default, as `dataclasses.field` does."""
    return Field(default, default_factory, kw_only=kw_only, repr=repr)


@dataclass_transform(field_specifiers=(field,))
def record(cls: type[T]) -> type[T]:
    """Give a class `__init__`, `__repr__` and `__eq__` after its annotations, as `@dataclass` does.

    As there, a field that is declared again keeps its place, `ClassVar`s are no fields, a default stays
    readable on the class, the generated `__init__` ends with `self.__post_init__()`, and instances are not
    hashable. The decorator acts on the class it stands on: an undecorated subclass has the fields of its
    base, whatever it annotates.
    """
    fields: dict[str, Field] = dict(getattr(cls, "__record_fields__", {}))
    for name, annotation in cls.__annotations__.items():
        if annotation.startswith("ClassVar"):
            continue
        default = cls.__dict__.get(name, MISSING)
        described = default if isinstance(default, Field) else Field(default, None, kw_only=False, repr=True)
        described.name, described.annotation = name, annotation
        fields[name] = described
        if described.default is not MISSING:
            setattr(cls, name, described.default)
        elif name in cls.__dict__:
            delattr(cls, name)

    members: dict[str, object] = {
        "__record_fields__": fields,
        "__match_args__": tuple(name for name, described in fields.items() if not described.kw_only),
        "__init__": _initializer(cls.__qualname__, fields),
        "__repr__": _representer(tuple(name for name, described in fields.items() if described.repr)),
        "__eq__": _comparer(tuple(fields)),
        "__hash__": None,
        "__dataclass_fields__": _FromTwin("__dataclass_fields__"),
        "__dataclass_params__": _FromTwin("__dataclass_params__"),
        "__signature__": _Signature(),
    }
    for name, member in members.items():
        if callable(member):
            member.__qualname__ = f"{cls.__qualname__}.{name}"  # type: ignore[attr-defined]
        setattr(cls, name, member)
    return cls


def _initializer(owner: str, fields: Mapping[str, Field]) -> Callable[..., None]:
    """Make the `__init__` of a record. Its errors read like those of a function with these parameters."""
    positional = [name for name, described in fields.items() if not described.kw_only]
    required = [name for name, described in fields.items() if described.required]

    def __init__(self: Any, /, *args: object, **kwargs: object) -> None:  # noqa: N807 - that is what it becomes
        given = dict(zip(positional, args, strict=False))  # a surplus is reported below
        for name, value in kwargs.items():
            if name not in fields:
                raise TypeError(f"{owner}.__init__() got an unexpected keyword argument {name!r}")
            if name in given:
                raise TypeError(f"{owner}.__init__() got multiple values for argument {name!r}")
            given[name] = value
        if len(args) > len(positional):
            raise TypeError(
                f"{owner}.__init__() takes from {len(required) + 1} to {len(positional) + 1} positional "
                f"arguments but {len(args) + 1} were given"
            )
        missing = [repr(name) for name in required if name not in given]
        if missing:
            plural = "s" if len(missing) > 1 else ""
            raise TypeError(
                f"{owner}.__init__() missing {len(missing)} required positional argument{plural}: "
                + " and ".join(missing)
            )
        for name, described in fields.items():
            setattr(self, name, given[name] if name in given else described.initial())
        self.__post_init__()

    return __init__


def _representer(names: tuple[str, ...]) -> Callable[[object], str]:
    @recursive_repr()
    def __repr__(self: object) -> str:  # noqa: N807 - as above
        values = ", ".join(f"{name}={getattr(self, name)!r}" for name in names)
        return f"{self.__class__.__qualname__}({values})"

    return __repr__


def _comparer(names: tuple[str, ...]) -> Callable[[object, object], bool]:
    def __eq__(self: object, other: object) -> bool:  # noqa: N807 - as above
        if other.__class__ is not self.__class__:
            return NotImplemented
        mine = tuple(getattr(self, name) for name in names)
        return mine == tuple(getattr(other, name) for name in names)

    return __eq__


_twins: dict[int, type] = {}


def _twin_of(owner: type) -> type:
    """Return the real dataclass with the fields of this record, made once."""
    fields: dict[str, Field] = owner.__record_fields__  # type: ignore[attr-defined]
    # The dict itself belongs to a record class, which lives as long as its module: its id is not used again.
    if (twin := _twins.get(id(fields))) is None:
        import dataclasses

        described: list[tuple[str, Any, Any]] = []
        for one in fields.values():
            options: dict[str, Any] = {"kw_only": one.kw_only, "repr": one.repr}
            if one.default is not MISSING:
                options["default"] = one.default
            elif one.default_factory is not None:
                options["default_factory"] = one.default_factory
            described.append((one.name, one.annotation, dataclasses.field(**options)))
        twin = dataclasses.make_dataclass(
            owner.__name__, described, namespace={"__module__": owner.__module__}
        )
        _twins[id(fields)] = twin
    return twin


class _FromTwin:
    """An attribute of a record class that is read off its twin when it is asked for."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, instance: object, owner: type) -> object:
        return getattr(_twin_of(owner), self.name)


class _Signature:
    """The signature that `help()` and `inspect.signature` show for a record."""

    def __get__(self, instance: object, owner: type) -> object:
        made_here = next(base for base in owner.__mro__ if "__init__" in base.__dict__)
        if "__record_fields__" not in made_here.__dict__:
            raise AttributeError("__signature__")  # a subclass with an __init__ of its own: that one counts
        import inspect

        return inspect.signature(_twin_of(made_here))
