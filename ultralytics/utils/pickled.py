"""What stands for the objects of a pickle: names, records, tensors not read yet; and the few calls it may make."""

import math
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

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
