"""Reads a pickle as data: nothing that it names is imported or called.

Checkpoints of the public package are pickled modules. `load_plain` runs their opcodes on the standard library's
unpickler, the one in Python, but classes and functions are mere names, objects are Records and tensors are TensorRefs.
What may be "called" are the functions of this file that `CALLS` lists by the names they go by in pickles.

Neither memory nor time grow faster than the pickle: numbers have 64 bits, and what is made by copying, of which a few
bytes may ask again and again, is limited to the size of the whole.
"""

import io
import math
import pickle
import pickletools
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any, ClassVar, NoReturn

from ultralytics.utils.errors import CheckpointError


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


def load_plain(data: bytes) -> Any:
    """Read the object that a pickle describes, made of plain values, Global, Record and TensorRef.

    Raises CheckpointError for a pickle that is damaged, or that would call something not in `CALLS` when it is loaded.
    """
    try:
        return _PlainUnpickler(data).load()
    except CheckpointError:
        raise
    except Exception as exc:
        reason = " ".join(f"{type(exc).__name__} {exc}".split())[:100]
        raise CheckpointError(f"its pickle is damaged ({reason}); get the file anew") from exc


def _refuse(what: str) -> NoReturn:
    raise CheckpointError(
        f"loading it would {what}, which weights do not need, so it was not loaded and nothing ran; "
        "if you trust it, save model.state_dict() alone where it was made"
    )


def _expect(value: Any, kind: type) -> Any:
    """Pass on a value of that kind; TypeError for any other, ValueError for an integer of more than 64 bits."""
    if not isinstance(value, kind):
        raise TypeError(f"a {type(value).__name__} instead of a {kind.__name__}")
    if kind is int and value.bit_length() > 64:  # arithmetic with it may take forever
        raise ValueError(f"a number of {value.bit_length()} bits")
    return value


def _as_key(value: Any) -> Any:
    """Pass on a value that may be a key; TypeError for containers, as hashing nested tuples can take forever."""
    for part in value if isinstance(value, tuple) else (value,):
        if isinstance(part, (tuple, list, dict, set, frozenset, bytearray)):
            raise TypeError(f"a {type(part).__name__} as key")
    return value


# Opcodes that make plain values or move them between the stack and the memo. Those of classes end in the methods below.
_AS_IN_THE_LIBRARY = (
    *("PROTO", "FRAME", "STOP", "MARK", "POP", "POP_MARK", "DUP", "NONE", "NEWTRUE", "NEWFALSE"),
    *("BININT", "BININT1", "BININT2", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
    *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "LIST", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"),
    *("EMPTY_LIST", "EMPTY_DICT", "EMPTY_SET", "EMPTY_TUPLE", "PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"),
    *("GET", "BINGET", "LONG_BINGET", "GLOBAL", "STACK_GLOBAL", "INST", "OBJ", "BINPERSID"),
)


class _PlainUnpickler(pickle._Unpickler):
    """The standard library's unpickler without what imports or calls.

    `find_class` gives names, so that nothing on the stack can be called in the first place. `dispatch` lists what is
    allowed; any other opcode, also one of a later protocol, is refused by name.
    """

    find_class = staticmethod(Global)  # module and name, nothing is looked for

    def __init__(self, data: bytes) -> None:
        # A BytesIO ends where the data ends: no opcode gets memory for a length that it only claims.
        super().__init__(io.BytesIO(data), encoding="latin-1")
        self._may_copy = len(data)  # entries

    def _count(self, values: Any) -> Any:
        """Pass on entries that are about to be copied, once more than they stand in the pickle."""
        self._may_copy -= len(values)
        if self._may_copy < 0:
            raise ValueError("it copies more than it holds")
        return values

    def persistent_load(self, pid: Any) -> Storage:
        """Storage that torch names by the tuple ("storage", kind, key, device, number of elements)."""
        what, kind, key, _device, numel = _expect(pid, tuple)
        if what != "storage" or _expect(numel, int) < 0:
            raise ValueError("an object kept elsewhere that is no storage")
        return Storage(_expect(kind, Global).name, _expect(key, str), numel)

    def _instantiate(self, klass: Any, args: list[Any]) -> NoReturn:
        """Refuse the old opcodes INST and OBJ, which call a class."""
        _refuse(f"call {klass if isinstance(klass, Global) else f'a {type(klass).__name__}'}")

    def load_reduce(self) -> None:
        """Call a function of `CALLS`; refuse any other by name."""
        args, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, Global):
            _refuse(f"call a {type(function).__name__}")
        name = f"{function.module}.{function.name}"
        if name not in CALLS:
            _refuse(f"call {function}")
        if name in _COPYING:
            self._count(args[0] if _expect(args, tuple) and isinstance(args[0], (list, tuple, set, frozenset)) else ())
        self.append(CALLS[name](*_expect(args, tuple)))

    def load_newobj(self, _keywords: Any = None) -> None:
        """Make a Record in place of an object; keyword arguments are dropped."""
        args, cls = self.stack.pop(), self.stack.pop()
        self.append(Record(_expect(cls, Global), _expect(args, tuple)))

    def load_build(self) -> None:
        """Give a Record its attributes, whatever `__setstate__` its class has."""
        state, target = self.stack.pop(), self.stack[-1]
        if not isinstance(target, Record):
            _expect(target, dict)  # a state dict is an OrderedDict with an attribute, its version, which is dropped
            return
        for part in state if isinstance(state, tuple) and len(state) == 2 else (state,):  # attributes, slots
            target.state.update(self._count(part) if isinstance(part, dict) else {"": part})

    def load_frozenset(self) -> None:
        """Make a frozenset of the values since the mark."""
        values = self.pop_mark()  # first, as it changes what `append` is
        self.append(frozenset(map(_as_key, values)))

    def load_dict(self) -> None:
        """Make a dict of the keys and values since the mark."""
        flat = self.pop_mark()
        self.append({})
        self.set_items(flat)

    def set_items(self, flat: list[Any]) -> None:
        """Add keys and values, given in turn, to the dict or Record on the stack."""
        target, pairs = self.stack[-1], zip(map(_as_key, flat[::2]), flat[1::2], strict=True)
        if isinstance(target, Record):
            target.items.extend(pairs)
        else:
            _expect(target, dict).update(pairs)

    def extend(self, values: list[Any]) -> None:
        """Add to the list, set or Record on the stack."""
        target = self.stack[-1]
        if isinstance(target, set):
            target.update(map(_as_key, values))
        else:
            (target.items if isinstance(target, Record) else _expect(target, list)).extend(values)

    def load_integer(self, read: Callable[["_PlainUnpickler"], None]) -> None:
        """Make an integer, or by the oldest protocol a bool, as the library does, of at most 64 bits."""
        read(self)
        _expect(self.stack[-1], int)

    # Subclassing does not reach the library's own table, so this one names every function that may run.
    dispatch: ClassVar[dict[int, Callable[["_PlainUnpickler"], None]]] = {
        **{ord(op.code): lambda _, name=op.name: _refuse(f"run the opcode {name}") for op in pickletools.opcodes},
        **{code: pickle._Unpickler.dispatch[code] for (code,) in (getattr(pickle, op) for op in _AS_IN_THE_LIBRARY)},
        **{
            code: lambda self, read=pickle._Unpickler.dispatch[code]: self.load_integer(read)
            for (code,) in (pickle.INT, pickle.LONG, pickle.LONG1, pickle.LONG4)
        },
        pickle.REDUCE[0]: load_reduce,
        pickle.NEWOBJ[0]: load_newobj,
        pickle.NEWOBJ_EX[0]: lambda self: self.load_newobj(self.stack.pop()),
        pickle.BUILD[0]: load_build,
        # The library would first make room for as many bytes as the pickle claims.
        pickle.BYTEARRAY8[0]: lambda self: self.append(bytearray(self.read(*struct.unpack("<Q", self.read(8))))),
        pickle.DICT[0]: load_dict,
        pickle.FROZENSET[0]: load_frozenset,
        pickle.SETITEM[0]: lambda self: self.set_items([self.stack.pop(-2), self.stack.pop()]),
        pickle.SETITEMS[0]: lambda self: self.set_items(self.pop_mark()),
        pickle.APPEND[0]: lambda self: self.extend([self.stack.pop()]),
        **dict.fromkeys((pickle.APPENDS[0], pickle.ADDITEMS[0]), lambda self: self.extend(self.pop_mark())),
    }


# A tensor of stride 0 may have more elements than its storage; a larger one than this would be a memory bomb.
_MAX_EXPANDED = 2**20
_MAX_DIMENSIONS = 64  # of torch
_MAX_PATH = 4096  # characters
_NUMPY_CODES = dict(zip("b1 i1 i2 i4 i8 u1 u2 u4 u8 f2 f4 f8".split(), "?bhiqBHIQefd", strict=True))  # noqa: SIM905


def _sizes(values: Any) -> tuple[int, ...]:
    """Pass on sizes or strides; an error for what is negative, too large, or no tuple of at most 64 integers."""
    if len(_expect(values, tuple)) > _MAX_DIMENSIONS:
        raise ValueError(f"a tensor of {len(values)} dimensions")
    if any(not 0 <= _expect(value, int) < 2**63 for value in values):
        raise ValueError("a negative size or stride, or one beyond all memory")
    return values


def _tensor(storage: Storage, offset: int, size: tuple, stride: tuple, *_gradient_and_hooks: Any) -> TensorRef:
    ref = TensorRef(_expect(storage, Storage), *_sizes((offset,)), _sizes(size), _sizes(stride))
    # The highest place that is read, as no stride is negative.
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    elements = math.prod(size)
    if elements and (last >= storage.numel or elements > max(storage.numel, _MAX_EXPANDED)):
        raise ValueError(f"a tensor of shape {size} in a storage of {storage.numel} elements")
    return ref


def _numpy_scalar(dtype: Record, data: bytes) -> float:
    _version, order, *_ = dtype.state.get("", (3, "<"))
    return struct.unpack((">" if order == ">" else "<") + _NUMPY_CODES[_expect(dtype.args[0], str)], data)[0]


def _path(kind: type[PurePosixPath | PureWindowsPath], parts: tuple[str, ...]) -> str:
    """Text of a path; a path of paths could double with every call."""
    if sum(len(_expect(part, str)) for part in parts) > _MAX_PATH:
        raise ValueError(f"a path of more than {_MAX_PATH} characters")
    return str(kind(*parts))


def _device(kind: str, index: int | None = None) -> str:
    return _expect(kind, str)[:20] if index is None else f"{_expect(kind, str)[:20]}:{_expect(index, int)}"


_COPYING: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": lambda items=(): {_as_key(key): value for key, value in items},
    **dict.fromkeys(("builtins.set", "__builtin__.set"), lambda items: set(map(_as_key, items))),
    **dict.fromkeys(("builtins.frozenset", "__builtin__.frozenset"), lambda items: frozenset(map(_as_key, items))),
}
_ENCODINGS = {"latin1": "latin-1"}  # pickle protocol 2 writes bytes as such a text
_POSIX = ("pathlib.PosixPath", "pathlib._local.PosixPath")
_WINDOWS = ("pathlib.WindowsPath", "pathlib._local.WindowsPath")
_RECORDS = ("numpy.dtype", "types.SimpleNamespace", "ultralytics.utils.IterableSimpleNamespace")
CALLS: dict[str, Callable[..., Any]] = {
    **_COPYING,
    "torch.Size": _sizes,
    "torch.device": _device,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": lambda data, _gradient, _hooks: _expect(data, TensorRef),
    **dict.fromkeys(("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar"), _numpy_scalar),
    "_codecs.encode": lambda text, encoding: _expect(text, str).encode(_ENCODINGS[_expect(encoding, str)]),
    **dict.fromkeys(_POSIX, lambda *parts: _path(PurePosixPath, parts)),
    **dict.fromkeys(_WINDOWS, lambda *parts: _path(PureWindowsPath, parts)),
    "torchvision.transforms.functional.InterpolationMode": lambda mode: _expect(mode, str),
    # Pickled as calls, but Records like any other object.
    **{name: lambda *args, name=name: Record(Global(*name.rsplit(".", 1)), args) for name in _RECORDS},
}
