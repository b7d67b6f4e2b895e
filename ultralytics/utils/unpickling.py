"""Reads a pickle as data: nothing that it names is imported or called.

Checkpoints of the public package are pickled modules. `load_plain` runs the opcodes of a pickle on a stack of its own,
where classes and functions are mere names, objects are Records and tensors are TensorRefs. What may be "called" are the
functions of ours that `pickled.CALLS` lists by the names they go by in pickles.
"""

import math
import pickletools
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any, NoReturn

from ultralytics.utils.errors import CheckpointError


def load_plain(data: bytes) -> Any:
    """The object that a pickle describes, made of plain values, Global, Record and TensorRef.

    Raises CheckpointError for a pickle that is damaged, or that would call something not in `CALLS` when it is loaded.
    """
    machine = _Machine()
    try:
        for opcode, argument, _ in pickletools.genops(data):
            machine.step(opcode.name, argument)
        return machine.stack.pop()
    except CheckpointError:
        raise
    except Exception as exc:
        reason = " ".join(str(exc).split())[:100]
        raise CheckpointError(f"its pickle is damaged ({reason}); get the file anew") from exc


def _refuse(what: str) -> NoReturn:
    raise CheckpointError(
        f"loading it would {what}, which weights do not need, so it was not loaded and nothing ran; "
        "if you trust it, save model.state_dict() alone where it was made"
    )


def _pairs(flat: list[Any]) -> Iterable[tuple[Any, Any]]:
    """Keys and values that lie on the stack in turn."""
    return zip(map(as_key, flat[::2]), flat[1::2], strict=True)


class _Machine:
    """The stack machine that pickletools documents, without the opcodes that import or call."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []  # what was on the stack before each open mark
        self.memo: dict[int, Any] = {}

    def step(self, name: str, argument: Any) -> None:
        """Run one opcode."""
        if name in _LITERALS:
            self.push(argument)
        elif name in _STEPS:
            _STEPS[name](self, argument)
        else:
            _refuse(f"run the opcode {name}")

    def push(self, value: Any) -> None:
        """Put a value on the stack."""
        self.stack.append(value)

    def take(self, count: int) -> list[Any]:
        """Take the last `count` values off the stack."""
        start = len(self.stack) - count
        if start < 0:
            raise IndexError("too few values")
        values, self.stack[start:] = self.stack[start:], []
        return values

    def since_mark(self) -> list[Any]:
        """Take all values since the last mark off the stack, and the mark with them."""
        values, self.stack = self.stack, self.below.pop()
        return values

    def mark(self) -> None:
        """Begin a group of values."""
        self.below.append(self.stack)
        self.stack = []

    def put(self, index: int | None) -> None:
        """Remember the last value."""
        self.memo[len(self.memo) if index is None else index] = self.stack[-1]

    def extend(self, values: list[Any]) -> None:
        """Add to the list, set or Record on the stack."""
        target = self.stack[-1]
        if isinstance(target, set):
            target.update(map(as_key, values))
        else:
            (target.items if isinstance(target, Record) else expect(target, list)).extend(values)

    def set_items(self, flat: list[Any]) -> None:
        """Add keys and values to the dict or Record on the stack."""
        target = self.stack[-1]
        if isinstance(target, Record):
            target.items.extend(_pairs(flat))
        else:
            expect(target, dict).update(_pairs(flat))

    def name(self, argument: str | None) -> None:
        """Push the name of a class or function."""
        module, name = self.take(2) if argument is None else argument.split(" ", 1)
        self.push(Global(expect(module, str), expect(name, str)))

    def make(self, count: int) -> None:
        """Push a new Record of a class; keyword arguments are dropped."""
        cls, args, *_ = self.take(count)
        self.push(Record(expect(cls, Global), expect(args, tuple)))

    def call(self) -> None:
        """Call a function that stands in the list; refuse any other by name."""
        function, args = self.take(2)
        if not isinstance(function, Global):
            _refuse(f"call a {type(function).__name__}")
        known = CALLS.get(f"{function.module}.{function.name}")
        if known is None:
            _refuse(f"call {function}")
        self.push(known(*expect(args, tuple)))

    def instantiate(self, argument: str | None) -> None:
        """Refuse the old opcodes INST and OBJ, which call a class."""
        cls = Global(*argument.split(" ", 1)) if argument else self.since_mark()[0]
        _refuse(f"call {cls if isinstance(cls, Global) else f'a {type(cls).__name__}'}")

    def build(self) -> None:
        """Give a Record its attributes. Those of a state dict, which is an OrderedDict with a version, are dropped."""
        (state,) = self.take(1)
        target = self.stack[-1]
        if not isinstance(target, Record):
            expect(target, dict)
            return
        parts = state if isinstance(state, tuple) and len(state) == 2 else (state,)  # attributes, slots
        for part in parts:
            target.state.update(part if isinstance(part, dict) else {"": part})

    def persistent(self) -> None:
        """Push the storage that torch names by a tuple."""
        what, kind, key, _device, numel = expect(self.stack.pop(), tuple)
        if what != "storage" or expect(numel, int) < 0:
            raise ValueError("an object kept elsewhere that is no storage")
        self.push(Storage(expect(kind, Global).name, expect(key, str), numel))


_LITERALS = frozenset(
    (
        *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
        *("STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
        *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    )
)
_STEPS: dict[str, Callable[[_Machine, Any], Any]] = {
    **dict.fromkeys(("PROTO", "FRAME", "STOP"), lambda m, _: None),
    "NONE": lambda m, _: m.push(None),
    "NEWTRUE": lambda m, _: m.push(True),
    "NEWFALSE": lambda m, _: m.push(False),
    "EMPTY_LIST": lambda m, _: m.push([]),
    "EMPTY_DICT": lambda m, _: m.push({}),
    "EMPTY_SET": lambda m, _: m.push(set()),
    "EMPTY_TUPLE": lambda m, _: m.push(()),
    "TUPLE1": lambda m, _: m.push(tuple(m.take(1))),
    "TUPLE2": lambda m, _: m.push(tuple(m.take(2))),
    "TUPLE3": lambda m, _: m.push(tuple(m.take(3))),
    "MARK": lambda m, _: m.mark(),
    "LIST": lambda m, _: m.push(m.since_mark()),
    "TUPLE": lambda m, _: m.push(tuple(m.since_mark())),
    "DICT": lambda m, _: m.push(dict(_pairs(m.since_mark()))),
    "FROZENSET": lambda m, _: m.push(frozenset(map(as_key, m.since_mark()))),
    "POP": lambda m, _: m.take(1) if m.stack else m.since_mark(),
    "POP_MARK": lambda m, _: m.since_mark(),
    "DUP": lambda m, _: m.push(m.stack[-1]),
    **dict.fromkeys(("APPENDS", "ADDITEMS"), lambda m, _: m.extend(m.since_mark())),
    "APPEND": lambda m, _: m.extend(m.take(1)),
    "SETITEM": lambda m, _: m.set_items(m.take(2)),
    "SETITEMS": lambda m, _: m.set_items(m.since_mark()),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"), _Machine.put),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), lambda m, index: m.push(m.memo[index])),
    **dict.fromkeys(("GLOBAL", "STACK_GLOBAL"), _Machine.name),
    "NEWOBJ": lambda m, _: m.make(2),
    "NEWOBJ_EX": lambda m, _: m.make(3),
    "REDUCE": lambda m, _: m.call(),
    **dict.fromkeys(("INST", "OBJ"), _Machine.instantiate),
    "BUILD": lambda m, _: m.build(),
    "BINPERSID": lambda m, _: m.persistent(),
}
_EXPANDED = 2**20  # most elements of a tensor that has more than its storage (stride 0): a larger one is a memory bomb
_NUMPY_CODES = dict(zip("b1 i1 i2 i4 i8 u1 u2 u4 u8 f2 f4 f8".split(), "?bhiqBHIQefd", strict=True))  # noqa: SIM905


@dataclass(frozen=True)
class Global:
    """Name of a class or function."""

    module: str
    name: str

    def __str__(self) -> str:
        """Dotted name, safe to print."""
        text = f"{self.module}.{self.name}"
        return "".join(c if c.isprintable() else "?" for c in text[:120])


@dataclass(eq=False)
class Record:
    """An object: the name of its class, the arguments it was made with, its attributes, its items if a container."""

    cls: Global
    args: tuple = ()
    state: dict[Any, Any] = field(default_factory=dict)
    items: list[Any] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class Storage:
    """Bytes beside the pickle: `numel` elements of a kind such as HalfStorage in the entry `key`."""

    kind: str
    key: str
    numel: int


@dataclass(frozen=True, eq=False)
class TensorRef:
    """A view of a storage, in elements, that lies inside it."""

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


def expect(value: Any, kind: type) -> Any:
    """The value, if it is of that kind, else TypeError."""
    if not isinstance(value, kind):
        raise TypeError(f"a {type(value).__name__} instead of a {kind.__name__}")
    return value


def as_key(value: Any) -> Any:
    """The value, if it may be a key: hashing nested tuples can take for ever."""
    for part in value if isinstance(value, tuple) else (value,):
        if isinstance(part, (tuple, list, dict, set, frozenset, bytearray)):
            raise TypeError(f"a {type(part).__name__} as key")
    return value


def _ordered_dict(items: Iterable[Any] = ()) -> dict[Any, Any]:
    return {as_key(key): value for key, value in items}


def _set(items: Iterable[Any]) -> set[Any]:
    return {as_key(item) for item in items}


def _sizes(values: Any) -> tuple[int, ...]:
    """Sizes or strides."""
    if any(expect(value, int) < 0 for value in expect(values, tuple)):
        raise ValueError("a negative size or stride")
    return values


def _tensor(storage: Storage, offset: int, size: tuple, stride: tuple, *_gradient_and_hooks: Any) -> TensorRef:
    ref = TensorRef(expect(storage, Storage), *_sizes((offset,)), _sizes(size), _sizes(stride))
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    elements = math.prod(size)
    if elements and (last >= storage.numel or elements > max(storage.numel, _EXPANDED)):
        raise ValueError(f"a tensor of shape {size} in a storage of {storage.numel} elements")
    return ref


def _numpy_scalar(dtype: Record, data: bytes) -> float:
    _version, order, *_ = dtype.state.get("", (3, "<"))
    return struct.unpack((">" if order == ">" else "<") + _NUMPY_CODES[dtype.args[0]], data)[0]


def _latin1(text: str, encoding: str) -> bytes:
    """Bytes as pickle protocol 2 writes them."""
    if encoding != "latin1":
        raise ValueError(f"bytes in the encoding {encoding!r}")
    return text.encode("latin-1")


def _device(kind: str, index: int | None = None) -> str:
    return kind if index is None else f"{kind}:{index}"


def _record(name: str) -> Callable[..., Record]:
    """Pickled as a call, but a Record like any other object."""
    return lambda *args: Record(Global(*name.rsplit(".", 1)), args)


_POSIX = ("pathlib.PosixPath", "pathlib._local.PosixPath")
_WINDOWS = ("pathlib.WindowsPath", "pathlib._local.WindowsPath")
_RECORDS = ("numpy.dtype", "types.SimpleNamespace", "ultralytics.utils.IterableSimpleNamespace")
CALLS: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": _ordered_dict,
    **dict.fromkeys(("builtins.set", "__builtin__.set"), _set),
    **dict.fromkeys(("builtins.frozenset", "__builtin__.frozenset"), lambda items: frozenset(_set(items))),
    "torch.Size": _sizes,
    "torch.device": _device,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": lambda data, _gradient, _hooks: expect(data, TensorRef),
    **dict.fromkeys(("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar"), _numpy_scalar),
    "_codecs.encode": _latin1,
    **dict.fromkeys(_POSIX, lambda *parts: str(PurePosixPath(*parts))),
    **dict.fromkeys(_WINDOWS, lambda *parts: str(PureWindowsPath(*parts))),
    "torchvision.transforms.functional.InterpolationMode": lambda mode: expect(mode, str),
    **{name: _record(name) for name in _RECORDS},
}
