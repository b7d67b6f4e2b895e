"""The blocks of Addmodules as tests make them: lively ones, and the maps they take."""

import re
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from ultralytics.nn.Addmodules import (
    CARAFE,
    EMA,
    LSKA,
    MLCA,
    DCNv2,
    DySample,
    GSConv,
    ODConv,
    ODConvBnAct,
    RFAConv,
    ScConv,
    SimAM,
    SPDConv,
    TripletAttention,
    VoVGSCSP,
    WeightedSum,
)
from ultralytics.nn.modules import RepConv

PAGE = (Path(__file__).parents[2] / "docs" / "blocks.md").read_text(encoding="utf-8")
YAMLS = sorted(set(re.findall(r"v8/yolov8-([\w-]+)\.yaml", PAGE)))  # EMA of yolov8-EMA.yaml


@dataclass(frozen=True)
class Case:
    """How to make a block for maps of 16 channels, the channels it gives, and its height for one of 9 and of 12."""

    block: type[nn.Module]
    args: tuple = ()
    kwargs: dict = field(default_factory=dict)
    channels: int = 16
    heights: tuple[int, int] = (9, 12)
    inputs: int = 1


CASES = {
    "EMA": Case(EMA, (16,)),
    "EMA in 2 groups": Case(EMA, (16, 2)),
    "SimAM": Case(SimAM),
    "TripletAttention": Case(TripletAttention),
    "MLCA": Case(MLCA, (16,)),
    "LSKA": Case(LSKA, (16,)),
    "LSKA of 23": Case(LSKA, (16, 23)),
    "GSConv": Case(GSConv, (16, 12, 3, 2), channels=12, heights=(5, 6)),
    "VoVGSCSP": Case(VoVGSCSP, (16, 24, 2), channels=24),
    "RFAConv": Case(RFAConv, (16, 8, 3, 2), channels=8, heights=(5, 6)),
    "ScConv": Case(ScConv, (16, 16)),
    "SPDConv": Case(SPDConv, (16, 24), channels=24, heights=(5, 6)),
    "DySample": Case(DySample, (16,), heights=(18, 24)),
    "DySample+": Case(DySample, (16,), {"dyscope": True, "scale": 3}, heights=(27, 36)),
    "CARAFE": Case(CARAFE, (16,), heights=(18, 24)),
    "WeightedSum": Case(WeightedSum, ([16, 16, 16],), inputs=3),
    "DCNv2": Case(DCNv2, (16, 8, 3, 2), {"g": 2, "deform_groups": 4}, channels=8, heights=(5, 6)),
    "RepConv": Case(RepConv, (16, 16), {"bn": True}),
    "ODConv": Case(ODConv, (16, 8, 3, 2), {"bias": True}, channels=8, heights=(5, 6)),
    "ODConv depthwise": Case(ODConv, (16, 16, 3), {"groups": 16}),
    "ODConvBnAct": Case(ODConvBnAct, (16, 8, 3, 2), {"g": 2}, channels=8, heights=(5, 6)),
    "ODConvBnAct 1x1": Case(ODConvBnAct, (16, 8), {"router": "sigmoid", "standardize": True}, channels=8),
}


def lively(block: nn.Module, noise: float = 0.2) -> nn.Module:
    """The block as after training: no parameter and no statistic is what it was initialized to."""
    generator = torch.Generator().manual_seed(0)
    for module in block.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2, generator=generator)
            module.running_var.uniform_(0.5, 2, generator=generator)
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=noise)
    return block


def build(case: Case) -> nn.Module:
    """A lively block."""
    torch.manual_seed(0)
    return lively(case.block(*case.args, **case.kwargs))


def maps(case: Case, batch: int, height: int, width: int, channels: int = 16) -> Tensor | list[Tensor]:
    """What the block takes: a map, or a list of them."""
    generator = torch.Generator().manual_seed(batch)
    found = [torch.randn(batch, channels, height, width, generator=generator) for _ in range(case.inputs)]
    return found if case.inputs > 1 else found[0]
