"""What the reference computed on one batch, and a few steps of SGD to compare with it."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ultralytics.utils.loss import v8DetectionLoss


def reference_arrays(file: Path) -> dict[str, Tensor]:
    """Everything in a golden .npz."""
    return {key: torch.from_numpy(np.asarray(value)) for key, value in np.load(file).items()}


def as_batch(arrays: dict[str, Tensor]) -> dict[str, Tensor]:
    """The batch among them."""
    return {key.removeprefix("batch."): value for key, value in arrays.items() if key.startswith("batch.")}


def sgd_steps(
    model: nn.Module, batch: dict, lr: float, steps: int, criterion: Callable | None = None
) -> Iterator[tuple[float, list[float], float]]:
    """Train on one batch; yields the total, the components and the gradient norm before clipping of every step."""
    criterion = criterion or v8DetectionLoss(model)
    trained = [p for p in model.parameters() if p.requires_grad]
    matrices, vectors = ([p for p in trained if (p.ndim > 1) is many] for many in (True, False))
    groups = [{"params": matrices, "weight_decay": 5e-4}, {"params": vectors}]
    optimizer = torch.optim.SGD(groups, lr=lr, momentum=0.937, nesterov=True)
    for _ in range(steps):
        optimizer.zero_grad()
        total, items = criterion(model(batch["img"]), batch)
        total.backward()
        norm = torch.nn.utils.clip_grad_norm_(trained, 10.0)
        optimizer.step()
        yield total.item(), items.tolist(), norm.item()


def assert_reference_steps(
    model: nn.Module, arrays: dict[str, Tensor], names: Sequence[str], criterion: Callable, parts: Sequence[str] = ()
) -> None:
    """Five steps of a network in train mode; before the first its outputs, of which `parts` are named, and losses."""
    outputs: list[Any] = []

    def watched(raw: Any, batch: dict) -> tuple[Tensor, Tensor]:
        outputs.append(raw)
        return criterion(raw, batch)

    done = list(sgd_steps(model, as_batch(arrays), lr=0.002, steps=5, criterion=watched))
    for part in parts:
        torch.testing.assert_close(outputs[0][part].detach(), arrays[f"train.{part}"], atol=1e-3, rtol=0)
    np.testing.assert_allclose(done[0][1], [arrays[f"loss.{name}"].item() for name in names], rtol=1e-4)
    np.testing.assert_allclose([(total, norm) for total, _, norm in done], arrays["sgd.loss_and_gradnorm"], rtol=1e-3)
    norm = torch.stack([p.detach().double().square().sum() for p in model.parameters()]).sum().sqrt()
    np.testing.assert_allclose(norm, arrays["sgd.param_norm_after"], rtol=1e-6)
