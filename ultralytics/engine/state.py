"""Seeds and random states as plain data, which a resumed run needs to equal an uninterrupted one."""

import math
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ultralytics.data.labels.cache import content_digest
from ultralytics.data.labels.store import LabelStore
from ultralytics.utils.errors import CheckpointError


def seed_all(seed: int) -> None:
    """Seed torch's, numpy's and Python's generators."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)  # numpy takes no larger one
    random.seed(seed)


def random_state() -> dict[str, object]:
    """State of the generators that a user's block may draw from: torch's, numpy's and Python's; tensors and numbers."""
    _, keys, position, has_gauss, cached = np.random.get_state()
    version, words, gauss = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": [torch.cuda.get_rng_state()] if torch.cuda.is_initialized() else [],  # of the GPU that computes
        "numpy": {"keys": torch.from_numpy(keys.astype(np.int64)), "rest": [position, has_gauss, cached]},
        "python": {"words": torch.tensor(words), "version": version, "gauss": gauss},
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Let the generators continue where `random_state` found them."""
    torch.set_rng_state(state["torch"].cpu())
    cuda = [s.cpu() for s in state["cuda"]]
    if len(cuda) == 1 and torch.cuda.is_available():
        torch.cuda.set_rng_state(cuda[0])
    elif cuda and len(cuda) == torch.cuda.device_count():  # an earlier version has kept those of all GPUs
        torch.cuda.set_rng_state_all(cuda)
    keys = state["numpy"]["keys"].numpy().astype(np.uint32)
    np.random.set_state(("MT19937", keys, *state["numpy"]["rest"]))
    python = state["python"]
    random.setstate((python["version"], tuple(python["words"].tolist()), python["gauss"]))


def data_digest(dataset: object) -> str:
    """Digest of the shapes and labels of a dataset's images, wherever they are; "" where it has no label store."""
    store = getattr(dataset, "labels", None)
    if not isinstance(store, LabelStore):
        return ""
    return content_digest({name: array for name, array in store.arrays.items() if not name.startswith("name")})


_TENSORS, _NUMBER = "tensors by name", (int, float)
# What the state of an unfinished run holds: the kinds of each entry.
_KINDS: dict[str, type | tuple[type, ...] | str] = {
    **dict.fromkeys(("model", "gradients"), _TENSORS),
    **dict.fromkeys(("ema_updates", "gathered", "best_epoch", "epochs", "batch"), int),
    **dict.fromkeys(("optimizer", "scaler", "rng"), dict),
    **dict.fromkeys(("frozen", "given"), list),
    "stop": bool,
    "seconds": _NUMBER,
    "best_fitness": (*_NUMBER, type(None)),
}
_OPTIONAL = ("skipped", "nonfinite_since_step", "rollbacks")  # runs of earlier versions have not kept them
_MAX_COUNT = 10**6  # epochs, images of a batch: beyond, a run would seem to hang


def check_training_state(saved: dict[str, Any], epoch: int) -> None:
    """Raise CheckpointError naming the first entry of a training state, read from a file, that is not of its kind."""
    kinds = _KINDS | {name: int for name in _OPTIONAL if name in saved}
    for name, kind in kinds.items():
        value = saved.get(name)
        if kind is _TENSORS:
            good = isinstance(value, dict) and all(isinstance(v, Tensor) for v in value.values())
        else:
            good = name in saved and isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
        if good and kind is int:
            good = 0 <= value <= (_MAX_COUNT if name in ("epochs", "batch", "gathered") else 2**63)
        if good and kind is list:
            good = all(isinstance(item, str) for item in value)
        if not good or (isinstance(value, float) and not math.isfinite(value)):
            raise CheckpointError(f"the training state has no {name} of the right kind: get the file anew")
    if not -1 <= epoch < max(saved["epochs"], 1) or not saved["batch"]:
        raise CheckpointError(f"the training state is of epoch {epoch + 1} of {saved['epochs']}: get the file anew")
    for group in saved["optimizer"].get("param_groups") or [None]:
        known = isinstance(group, dict) and isinstance(group.get("params"), list)
        if not known or not all(isinstance(v, bool | int | float | str | list | tuple | None) for v in group.values()):
            raise CheckpointError("the training state has no optimizer of the right kind: get the file anew")
    before = random_state()
    try:
        set_random_state(saved["rng"])
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as exc:
        raise CheckpointError("the training state has no rng of the right kind: get the file anew") from exc
    finally:
        set_random_state(before)


@contextmanager
def restoring(path: Path) -> Iterator[None]:
    """Make what torch says of a state that does not fit a CheckpointError naming the file it is from."""
    try:
        yield
    except torch.cuda.OutOfMemoryError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as exc:
        reason = " ".join(str(exc).split())[:200]
        raise CheckpointError(f"{path}: its training state does not fit its network: {reason}") from exc
