"""The core modules that model YAMLs and custom blocks name. Blocks of your own go to Addmodules."""

from ultralytics.utils import refused

# fmt: off
# isort: off
# ruff: noqa: F401
from .backbones import Timm, TorchVision  # other people's
from .block import (
    DFL, Proto,  # parts of heads
    SPP, SPPF,  # pyramid pooling
    Bottleneck, BottleneckCSP, C1, C2, C2f, C3, C3k, C3k2, C3x, RepC3,  # stages of bottlenecks
    C3Ghost, GhostBottleneck, HGBlock, HGStem,  # of cheap convolutions
    CIB, C2fCIB, RepVGGDW, SCDown,  # of YOLOv10
    AAttn, ABlock, A2C2f, Attention, C2PSA, C2fPSA, C3TR, PSA, PSABlock,  # with attention
)
from .conv import (
    Conv, ConvTranspose, DWConv, DWConvTranspose2d, Focus, GhostConv, LightConv, RepConv,
    CBAM, ChannelAttention, SpatialAttention,
    Concat, Index, autopad,
)
from .head import Classify, Detect, OBB, Pose, Segment, v10Detect
from .transformer import AIFI, MLP, LayerNorm2d, MLPBlock, TransformerBlock, TransformerEncoderLayer, TransformerLayer
# isort: on
# fmt: on

__all__ = [name for name, value in list(globals().items()) if isinstance(value, type)] + ["autopad"]

# Blocks that public YAMLs name beyond those of YOLOv8 in nn/tasks.py, called as Module(c1, c2, n, *args)
# or, the rest, as Module(c1, c2, *args). An add-on of the same name takes the place of one.
OTHER_REPEAT_MODULES = (A2C2f, BottleneckCSP, C1, C2fCIB, C2fPSA, C2PSA, C3k2, C3TR, C3x, RepC3)
OTHER_CHANNEL_MODULES = (*OTHER_REPEAT_MODULES, ConvTranspose, DWConvTranspose2d, Focus, PSA, RepConv, SCDown, SPP)

__getattr__ = refused.getter(__name__)  # public names that are not here say what to use instead
