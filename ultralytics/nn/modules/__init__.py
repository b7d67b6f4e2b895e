"""The core modules that model YAMLs name. Blocks of your own go to Addmodules."""

from .block import C2, C3, DFL, SPPF, Bottleneck, C2f, C3Ghost, GhostBottleneck, Proto
from .conv import Concat, Conv, DWConv, GhostConv, autopad
from .head import OBB, Classify, Detect, Pose, Segment

__all__ = [
    "C2",
    "C3",
    "DFL",
    "OBB",
    "SPPF",
    "Bottleneck",
    "C2f",
    "C3Ghost",
    "Classify",
    "Concat",
    "Conv",
    "DWConv",
    "Detect",
    "GhostBottleneck",
    "GhostConv",
    "Pose",
    "Proto",
    "Segment",
    "autopad",
]
