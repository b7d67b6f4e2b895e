"""Random damage: to the bytes of a file, to the values in it, and to a pickle, by calls that a reader must not make."""

import pickle
import pickletools
import random

import torch
from torch import Tensor

CANARY = "canary"  # a text of every program that is hidden in a file: no audited event may have it among its arguments
PROGRAM = f"__import__('os').system('touch {CANARY}')"
TAG = f"!!python/object/apply:os.system ['touch {CANARY}']"

ODD_BYTES = (b"\0" * 8, b"\xff" * 8, b"\xff\xff\xff\x7f", b"9" * 30, b"*a", b"<<: ", b"\n", b"nan", TAG.encode())
ODD_VALUES = (
    *(None, True, False, 0, 1, -1, 2, 7, 2**31, -(2**31), 2**63 - 1, -(2**63), 10**30, 0.5, -0.0, 1e300, 1e-300),
    *(float("nan"), float("inf"), "", "x", "0", "\0", "\n", "\ud800", "ä" * 300, "a" * 5000, PROGRAM, "../" * 50),
    *([], {}, (), [0], [[]], {"a": 1}, {0: "a"}, [None] * 3, ["a", 1, None], b"\xff"),
)
CALLS = (
    *(("os", "system", f"touch {CANARY}"), ("posix", "system", f"touch {CANARY}"), ("builtins", "eval", PROGRAM)),
    *(("builtins", "exec", PROGRAM), ("subprocess", "getoutput", f"touch {CANARY}"), ("os", "mkdir", CANARY)),
    *(("importlib", "import_module", CANARY), ("runpy", "run_path", CANARY), ("builtins", "open", CANARY)),
    *(("torch", "load", CANARY), ("torch.hub", "load_local", CANARY), ("pathlib", "PosixPath", CANARY)),
    *(("collections", "OrderedDict", CANARY), ("torch._utils", "_rebuild_tensor_v2", CANARY), ("a", "b", CANARY)),
)


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Content with one to eight changes: bits and bytes, parts lost, repeated, moved, or exchanged for odd values."""
    out = bytearray(data)
    for _ in range(rng.randint(1, 8)):
        start = rng.randrange(len(out) + 1)
        end = min(start + rng.choice((1, 2, 4, 8, 64, 1024)), len(out))
        action = rng.randrange(7)
        if action == 0 and out:
            out[start % len(out)] ^= 1 << rng.randrange(8)
        elif action == 1:
            out[start:end] = rng.randbytes(end - start)
        elif action == 2:
            del out[start:end]
        elif action == 3:
            out[start:start] = out[start:end] * rng.choice((1, 3, 50))
        elif action == 4:
            place = rng.randrange(len(out) + 1)
            out[place:place] = out[start:end]
        elif action == 5:
            out[start:end] = rng.choice(ODD_BYTES)
        elif rng.random() < 0.2:
            del out[start:]
    return bytes(out)


def mutate_values(data: object, rng: random.Random) -> object:
    """Plain data, of which the original stays as it is, with one to three values lost, exchanged, repeated or odd."""
    for _ in range(rng.randint(1, 3)):
        data = _mutate_value(data, rng)
    return data


def _mutate_value(value: object, rng: random.Random) -> object:
    """A copy of a value with one change somewhere in it, most often deep inside."""
    if not isinstance(value, dict | list | tuple) or not value or rng.random() < 0.1:
        return _odd_tensor(value, rng) if isinstance(value, Tensor) and rng.random() < 0.7 else rng.choice(ODD_VALUES)
    items = dict(value) if isinstance(value, dict) else dict(enumerate(value))
    key = rng.choice(list(items))
    action = rng.random()
    if action < 0.1:
        del items[key]
    elif action < 0.2:
        items[key] = items[rng.choice(list(items))]
    elif action < 0.25:
        hashable = [odd for odd in ODD_VALUES if not isinstance(odd, dict | list)]
        items = {rng.choice(hashable) if name == key else name: item for name, item in items.items()}
    else:
        items[key] = _mutate_value(items[key], rng)
    return items if isinstance(value, dict) else type(value)(items.values())


def _odd_tensor(tensor: Tensor, rng: random.Random) -> Tensor:
    """A tensor of another type, shape or content."""
    changes = (
        lambda: tensor.reshape(-1),
        lambda: tensor[None],
        lambda: tensor.flatten()[:1],
        lambda: tensor.flatten()[:0],
        tensor.double,
        lambda: tensor.to(torch.uint8),
        lambda: torch.full_like(tensor, float("nan")) if tensor.is_floating_point() else -tensor,
        lambda: torch.full_like(tensor, 2**62) if tensor.dtype == torch.int64 else tensor * 0,
    )
    return rng.choice(changes)().clone()


def with_call(data: bytes, rng: random.Random) -> bytes:
    """A pickle with a call of a function at a place between two of its opcodes, of which the result is used or not."""
    module, name, argument = rng.choice(CALLS)
    call = f"c{module}\n{name}\n(V{argument}\ntR".encode()
    places = [place for _, _, place in pickletools.genops(data)]
    place = rng.choice(places[1:])  # behind the protocol
    dropped = b"0" if rng.random() < 0.5 else b""
    changed = data[:place] + call + dropped + data[place:]
    return changed if rng.random() < 0.7 else mutate(changed, rng)


def nested_calls(_: bytes, rng: random.Random) -> bytes:
    """A pickle of objects that call a function when a common unpickler makes, builds or copies them."""

    class Hostile:
        def __reduce__(self) -> tuple:
            module, name, argument = rng.choice(CALLS[:9])
            return getattr(__import__(module), name), (argument,)

    inside = rng.choice(({"model": Hostile()}, {"format": Hostile(), "model": {}}, [Hostile()], Hostile()))
    return pickle.dumps(inside, 2)
