"""One declaration of each argument of an agent: name, default, what is allowed, its kind, its sentence of documentation.

An agent is a class that lists its arguments as fields::

    class MyDQN(QAgent[MyLearner]):
        gamma: float = argument(settings.GAMMA, default=0.99)
        sharpness: float = argument(number(0), default=1.0, doc="Sharpness of the softmax, at least 0.", kind=Kind.NUMBER)

From these follow the constructor and its signature, the section *Args* of the class's documentation, the checks, the
hyperparameters in the learner's state, and what happens when an argument is set on an agent later. Type checkers and editors
read the fields by :func:`typing.dataclass_transform`: they know each argument with its type and its default. A field that is no
argument is to be a ``ClassVar``, or assigned in a method.
"""

from __future__ import annotations

import ast
import dataclasses
import enum
import inspect
import textwrap
from collections.abc import Callable, Collection
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np

from mbrl_agents.core import schedules
from mbrl_envs import checks

GivenT = TypeVar("GivenT")
HeldT = TypeVar("HeldT")
LARGEST = 2**31 - 1
"""The largest integer that is allowed where there is no other bound."""
_WIDTH = 120  # of lines of documentation


class Kind(enum.Enum):
    """Role of an argument.

    Attributes:
        NUMBER: A number of a run: an array in the learner's state, in which runs of one program may differ.
        SCHEDULE: A number, or a function of the progress of training: runs of one program may differ in it as well.
        PROGRAM: Shapes the program.
        BOOKKEEPING: Reports, devices, seeds: learning is the same whatever it is.
        CONSTRUCTION: Concerns the constructor alone; the agent's attribute of this name is something else.
    """

    NUMBER = enum.auto()
    SCHEDULE = enum.auto()
    PROGRAM = enum.auto()
    BOOKKEEPING = enum.auto()
    CONSTRUCTION = enum.auto()


@dataclasses.dataclass(frozen=True)
class Rule:
    """Declaration of an argument without its default, which agents may share.

    Attributes:
        check: From its name and what was given to its plain form; raises TypeError or ValueError. Plain forms stay as they are.
        doc: Its sentence of documentation; none for arguments that users are not told of.
        kind: What it does.
    """

    check: Callable[[str, Any], Any]
    doc: str = ""
    kind: Kind = Kind.PROGRAM

    def __or__(self, nothing: None) -> Rule:
        """The rule that allows None as well."""
        return dataclasses.replace(self, check=lambda name, value: None if value is None else self.check(name, value))


class Given(Generic[GivenT, HeldT]):
    """Type of an argument that is given as one thing and held, as the attribute of its name, as another."""

    def __get__(self, agent: Any, owner: Any = None) -> HeldT:
        raise NotImplementedError  # for type checkers only: Argument does it

    def __set__(self, agent: Any, value: GivenT) -> None:
        raise NotImplementedError


@dataclasses.dataclass(eq=False)
class Argument:
    """An agent's argument, as a descriptor: it reads what was given in plain form, and lets what is set on an agent act."""

    rule: Rule
    default: Any
    after: str | None
    kw_only: bool
    name: str = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name, self.__doc__ = name, self.rule.doc

    def __get__(self, agent: Any, owner: Any = None) -> Any:
        if agent is None:
            return self
        own = vars(agent)
        if self.name in own:
            return own[self.name]
        try:
            return own["arguments"][self.name]
        except KeyError:
            raise AttributeError(f"{type(agent).__name__} has no attribute {self.name!r}") from None

    def __set__(self, agent: Any, value: Any) -> None:
        # SB3's constructor stores what it was given, and what it makes of that.
        if self.rule.kind is Kind.CONSTRUCTION or "_constructed" not in vars(agent):
            vars(agent)[self.name] = value
        else:
            agent._set_argument(self.name, value)


def argument(
    rule: Rule | None = None,
    *,
    default: Any = inspect.Parameter.empty,
    doc: str | None = None,
    kind: Kind | None = None,
    after: str | None = None,
    kw_only: bool = False,
    init: bool = True,
) -> Any:
    """Declares an argument of an agent, as the value of a field.

    Args:
        rule: What is allowed, with documentation and kind; None for anything.
        default: Default value; there is none if it is left out.
        doc: Documentation, in place of the rule's.
        kind: Kind, in place of the rule's.
        after: Name of the argument after which it stands in the signature. By default it stands after the one
            declared before it in its class; the first one of a class after all that are inherited, or in the place of the
            inherited one that it replaces.
        kw_only: Whether it stands behind all others. To type checkers it can then be given by its name only.
        init: Whether the constructor has it. If not, it is an attribute of this value, whatever bases say.

    Returns:
        The field's value.
    """
    if not init:
        return default
    rule = rule or ANYTHING
    rule = dataclasses.replace(rule, doc=rule.doc if doc is None else doc, kind=kind or rule.kind)
    return Argument(rule, default, after, kw_only)


class HasArguments:
    """Base of classes whose constructor has the arguments that they and their bases list."""

    declared: ClassVar[dict[str, Argument]] = {}
    """The constructor's arguments by name, in its order."""
    first_argument: ClassVar[str] = "policy"
    """Name of the constructor's first argument."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        given = self.bind(*args, **kwargs)
        first, env, setup = (given.pop(name) for name in (self.first_argument, "env", "_init_setup_model"))
        self._construct(first, env, given, setup)

    def _construct(self, policy: Any, env: Any, given: dict[str, Any], setup: bool) -> None:
        """Makes the agent: what the constructor does with its arguments.

        Args:
            policy: The policy, or whatever comes first.
            env: The environment, or None (for loading).
            given: All other arguments by name, as given or by default.
            setup: Whether to build the networks at once.
        """
        raise NotImplementedError

    def _set_argument(self, name: str, value: Any) -> None:
        """Sets an argument on an agent that has been made: it acts from then on and is saved, or is refused.

        Raises:
            TypeError, ValueError: It is out of range, or does not go with another.
            AttributeError: Networks or replay memory would have to be other ones.
        """
        raise NotImplementedError

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        inherited, cls.declared = cls.declared, _in_order(cls)
        cls.first_argument = next(iter(cls.declared), "policy")
        if cls.declared != inherited:
            cls.__doc__ = _documented(cls.__doc__, cls.declared)
            if "__init__" not in vars(cls):
                cls.__init__ = _constructor(cls)  # type: ignore[method-assign]

    @classmethod
    def bind(cls, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """The constructor's arguments by name, as given or by default.

        Raises:
            TypeError: One is unknown, given twice, or missing.
        """
        try:
            bound = inspect.Signature(_parameters(cls)).bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{cls.__name__}() {error}") from None
        bound.apply_defaults()
        return bound.arguments

    @classmethod
    def check_declared(cls, arguments: dict[str, Any]) -> dict[str, Any]:
        """Returns arguments in plain form, each by its own declaration.

        Raises:
            TypeError, ValueError: One is of the wrong kind or out of range.
        """
        return {name: cls.declared[name].rule.check(name, value) for name, value in arguments.items()}


def _in_order(cls: type) -> dict[str, Argument]:
    found: dict[str, Argument] = {}
    order: list[str] = []
    for base in reversed(cls.__mro__):
        before: str | None = None
        for name, value in vars(base).items():
            if not isinstance(value, Argument):
                if name in found:  # replaced by a plain attribute: this class does not offer it
                    order.remove(name)
                    del found[name]
                continue
            if name not in found or value.after is not None:
                if name in found:
                    order.remove(name)
                after = before if value.after is None else value.after
                order.insert(len(order) if after is None else order.index(after) + 1, name)
            found[name], before = value, name
    return {name: found[name] for name in sorted(order, key=lambda name: found[name].kw_only)}


def _parameters(cls: type[HasArguments]) -> list[inspect.Parameter]:
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    return [
        inspect.Parameter(name, kind, default=each.default, annotation=_annotation(cls, each))
        for name, each in cls.declared.items()
    ]


def _annotation(cls: type, argument: Argument) -> Any:
    """Annotation of an argument in the signature, from that of its field."""
    owner = next(base for base in cls.__mro__ if vars(base).get(argument.name) is argument)
    annotation = inspect.get_annotations(owner)[argument.name]
    if isinstance(annotation, str) and annotation.startswith("Given["):
        both = ast.parse(annotation, mode="eval").body.slice  # type: ignore[attr-defined]
        return ast.unparse(both.elts[0])
    return annotation


def _constructor(cls: type[HasArguments]) -> Callable[..., None]:
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
        super(cls, self).__init__(*args, **kwargs)

    own = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    __init__.__signature__ = inspect.Signature([own, *_parameters(cls)], return_annotation="None")  # type: ignore[attr-defined]
    __init__.__qualname__, __init__.__module__ = f"{cls.__qualname__}.__init__", cls.__module__
    return __init__


def _documented(doc: str | None, declared: dict[str, Argument]) -> str | None:
    """A class's documentation with the section *Args*, in front of *Raises*."""
    if doc is None:
        return None
    lines = [
        textwrap.fill(f"{name}: {each.rule.doc}", _WIDTH, initial_indent=" " * 4, subsequent_indent=" " * 8)
        for name, each in declared.items()
        if each.rule.doc
    ]
    head, raises, rest = inspect.cleandoc(doc).partition("\n\nRaises:")
    return "\n".join([head, "", "Args:", *lines]) + raises + rest


# ---------------------------------------------------------------------- what is allowed


def number(
    low: float,
    high: float = float("inf"),
    *,
    open_low: bool = False,
    open_high: bool = False,
    doc: str = "",
    kind: Kind = Kind.NUMBER,
) -> Rule:
    """A finite number in a range; see :func:`mbrl_envs.checks.number_in`."""

    def check(name: str, value: Any) -> float:
        return checks.number_in(name, value, low, high, open_low=open_low, open_high=open_high)

    return Rule(check, doc, kind)


def integer(low: int, high: int = LARGEST, *, doc: str = "", kind: Kind = Kind.PROGRAM) -> Rule:
    """An integer in a range."""
    return Rule(lambda name, value: whole_number(name, value, low, high), doc, kind)


def boolean(doc: str = "") -> Rule:
    """True or False."""
    return Rule(checks.boolean, doc)


def choice(allowed: Collection[Any], doc: str = "") -> Rule:
    """One of several values."""
    return Rule(lambda name, value: checks.one_of(name, value, allowed), doc)


def schedule(low: float, *, open_low: bool = False, doc: str = "") -> Rule:
    """A finite number of at least (or above) another, or a function from the progress remaining to such."""

    def check(name: str, value: Any) -> Any:
        found = schedules.check(name, value, low, open_low=open_low)
        return value if callable(value) else found(1.0)

    return Rule(check, doc, Kind.SCHEDULE)


ANYTHING = Rule(lambda name, value: value)
"""Whatever it is, it is taken as it is."""


def whole_number(name: str, value: Any, low: int, high: int = LARGEST) -> int:
    """As :func:`~mbrl_envs.checks.integer_in`; floats without a fraction such as ``1e5`` will do, as they do for SB3.

    Raises:
        TypeError, ValueError: It is no integer, or out of range.
    """
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        value = int(value)
    return checks.integer_in(name, value, low, high)
