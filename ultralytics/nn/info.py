"""Costs of the rows of a network, and a check of every YAML of a folder: `yolo info`."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map_only

from ultralytics.utils.errors import ModelError, YOLOError
from ultralytics.utils.torch_utils import flop_counter

from .model_yaml import rows, yaml_model_load
from .probe import shape_of, shape_text, unchanged
from .tasks import MODEL_CLASSES, BaseModel, find_task, gather

HEAD = f"{'':>3} {'name':<10} {'from':>14} {'params':>11} {'GFLOPs':>9}  {'output':<14} module"


def table(model: BaseModel, imgsz: int | Sequence[int]) -> Iterator[str]:
    """A line for every row: its name, from, parameters, GFLOPs and output for one image of `imgsz`."""
    height, width = (imgsz, imgsz) if isinstance(imgsz, int) else imgsz
    x: Any = torch.empty(1, model.yaml["channels"], height, width, device="meta")
    outputs: list[Any] = []
    yield HEAD
    for i, (layer, f, row) in enumerate(zip(model.model, model.froms, rows(model.yaml), strict=True)):
        gflops, x = cost(layer, gather(f, x, outputs))
        outputs.append(x)
        params = sum(p.numel() for p in layer.parameters())
        name = row[4] if len(row) == 5 else ""
        shape = shape_text(shape_of(x))
        yield f"{i:>3} {name:<10} {f!s:>14} {params:>11,} {gflops:>9.3f}  {shape:<14} {row[2]} {row[3]}"


@torch.no_grad()
def cost(layer: nn.Module, x: Any) -> tuple[float, Any]:
    """GFLOPs of a layer in eval mode, and its output on the meta device, for an input there."""
    try:
        with unchanged(layer, lambda t: torch.empty_like(t, device="meta"), False), flop_counter() as counter:
            y = layer(x)
    except Exception:  # it needs values
        device = next((t.device for t in layer.parameters()), torch.device("cpu"))
        values = tree_map_only(Tensor, lambda t: torch.zeros(t.shape, device=device), x)
        with unchanged(layer, torch.clone, False), flop_counter() as counter:
            y = layer(values)
    return counter.get_total_flops() / 1e9, tree_map_only(Tensor, lambda t: t.to("meta"), y)


def check_folder(folder: Path, imgsz: int | Sequence[int] | None = None, scale: str | None = None) -> Iterator[str]:
    """A line for every model YAML below a folder: parameters and GFLOPs, or the mistake in it.

    Each network is built, and computes a small image forward and backward.
    """
    files = sorted([*folder.rglob("*.yaml"), *folder.rglob("*.yml")])
    if not files:
        raise ModelError(f"there is no .yaml in {folder}")
    width = max(len(str(file.relative_to(folder))) for file in files)
    for file in files:
        try:
            model = build(file, scale)
            side = max(64, model.max_stride * 2)
            output = model.train()(torch.rand(2, model.yaml["channels"], side, side))
            parts = [part for part in tree_leaves(output) if isinstance(part, Tensor) and part.requires_grad]
            sum(part.float().mean() for part in parts).backward()
            _, params, _, gflops = model.info(verbose=False, imgsz=imgsz)
            result = f"{params:>12,} parameters {gflops:>9.2f} GFLOPs  scale {model.yaml.get('scale', '-')}"
        except YOLOError as exc:
            result = f"MISTAKE  {exc}"
        except Exception as exc:  # whatever a block does in its backward pass
            result = f"MISTAKE  {type(exc).__name__}: {' '.join(str(exc).split())}"
        yield f"{file.relative_to(folder)!s:<{width}}  {result}"


def build(file: str | Path, scale: str | None = None) -> BaseModel:
    """The network of a model YAML, at a scale if one is given."""
    d = yaml_model_load(file)
    if scale is not None:
        known = d.get("scales") or {}
        if scale not in known:
            raise ModelError(f"scale={scale}: {file} has {', '.join(map(str, known)) or 'no scales at all'}")
        d["scale"] = scale
    return MODEL_CLASSES[find_task(d)](d, verbose=False)
