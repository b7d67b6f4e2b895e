"""Seeds and random states as plain data, which a resumed run needs to equal an uninterrupted one."""

import random
from typing import Any

import numpy as np
import torch


def seed_all(seed: int) -> None:
    """Seed torch's, numpy's and Python's generators."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)  # numpy takes no larger one
    random.seed(seed)


def random_state() -> dict[str, Any]:
    """State of the generators that a user's block may draw from: torch's, numpy's and Python's; tensors and numbers."""
    _, keys, position, has_gauss, cached = np.random.get_state()
    version, words, gauss = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
        "numpy": {"keys": torch.from_numpy(keys.astype(np.int64)), "rest": [position, has_gauss, cached]},
        "python": {"words": torch.tensor(words), "version": version, "gauss": gauss},
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Let the generators continue where `random_state` found them."""
    torch.set_rng_state(state["torch"].cpu())
    # The states of GPUs mean nothing on another number of them.
    if state["cuda"] and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([s.cpu() for s in state["cuda"]])
    keys = state["numpy"]["keys"].numpy().astype(np.uint32)
    np.random.set_state(("MT19937", keys, *state["numpy"]["rest"]))
    python = state["python"]
    random.setstate((python["version"], tuple(python["words"].tolist()), python["gauss"]))
