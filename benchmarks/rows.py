"""Every row of a long list: built, trained for a step, fused, exported to ONNX with equal outputs, or refused and why.

    python benchmarks/rows.py [name …]      writes benchmarks/rows.md; with names only rows that contain one of them

The list is what a row may name without an edit: the classes of torch.nn that map (B, C, H, W) to (B, C', H', W'), all
classes of timm.layers, also those that take tokens or pool to a vector and so are no row, modules of torchvision.ops,
backbones of timm of different families, networks of torchvision.
"""
# ruff: noqa: SIM905 (names, not sentences)

import copy
import io
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ultralytics.nn.rows import channel_counts, package_class, parameters
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.errors import ModelError

Row = list[Any]
ARGS = {  # of classes that need more than their channels
    "nn.Conv2d": ["c1", 16, 3, {"padding": 1}],
    "nn.ConvTranspose2d": ["c1", 16, 2, 2],
    "nn.PixelShuffle": [2],
    "nn.PixelUnshuffle": [2],
    "nn.GroupNorm": [4, "c1"],
    "nn.MaxPool2d": [2],
    "nn.AvgPool2d": [2],
    "nn.LPPool2d": [2, 2],
    "nn.AdaptiveAvgPool2d": [32],
    "nn.AdaptiveMaxPool2d": [32],
    "nn.FractionalMaxPool2d": [2, {"output_ratio": 0.5}],
    "nn.Upsample": [None, 2],
    "nn.UpsamplingNearest2d": [None, 2],
    "nn.UpsamplingBilinear2d": [None, 2],
    "nn.ZeroPad2d": [0],
    "nn.ConstantPad2d": [0, 0.0],
    "nn.ReflectionPad2d": [0],
    "nn.ReplicationPad2d": [0],
    "nn.CircularPad2d": [0],
    "nn.Threshold": [0.1, 0.0],
    "nn.LocalResponseNorm": [3],
    "nn.Softmax": [1],
    "nn.LogSoftmax": [1],
    "nn.Softmin": [1],
    "nn.PReLU": ["c1"],
    "torchvision.ops.StochasticDepth": [0.1, "row"],
    "torchvision.ops.FrozenBatchNorm2d": ["c1"],
    "torchvision.ops.SqueezeExcitation": ["c1", 4],
    "torchvision.ops.Conv2dNormActivation": ["c1", 16],
    "torchvision.ops.DropBlock2d": [0.1, 3],
    "torchvision.ops.Permute": [[0, 1, 3, 2]],
    "timm.layers.AvgPool2dSame": [2, 2],
    "timm.layers.BatNonLocalAttn": ["c1", {"block_size": 8}],
    "timm.layers.Conv2dSame": ["c1", 16, 3],
    "timm.layers.DepthToSpace": [2],
    "timm.layers.GatherExcite": ["c1", {"use_mlp": False}],
    "timm.layers.PatchEmbed": [None, 2, "c1", 16, {"flatten": False}],
    "timm.layers.PatchEmbedWithSize": [None, 2, "c1", 16, {"flatten": False}],
    "timm.layers.ScaledStdConv2d": ["c1", 16, 3],
    "timm.layers.ScaledStdConv2dSame": ["c1", 16, 3],
    "timm.layers.StdConv2d": ["c1", 16, 3],
    "timm.layers.StdConv2dSame": ["c1", 16, 3],
    "timm.layers.FourierEmbed": [{"max_res": 32, "keep_spatial": True}],
    "timm.layers.RelPosBias": [[32, 32], 4],
    "timm.layers.ClassifierHead": ["c1", 10],
    "timm.layers.NormMlpClassifierHead": ["c1", 10],
    "timm.layers.ClNormMlpClassifierHead": ["c1", 10],
}
TORCH = [
    "Conv2d",
    "ConvTranspose2d",
    "PixelShuffle",
    "PixelUnshuffle",
    "BatchNorm2d",
    "InstanceNorm2d",
    "GroupNorm",
    "SyncBatchNorm",
    "LocalResponseNorm",
    "MaxPool2d",
    "AvgPool2d",
    "LPPool2d",
    "AdaptiveAvgPool2d",
    "AdaptiveMaxPool2d",
    "FractionalMaxPool2d",
    "Upsample",
    "UpsamplingNearest2d",
    "UpsamplingBilinear2d",
    "ZeroPad2d",
    "ConstantPad2d",
    "ReflectionPad2d",
    "ReplicationPad2d",
    "CircularPad2d",
    "Identity",
    "ReLU",
    "ReLU6",
    "LeakyReLU",
    "PReLU",
    "RReLU",
    "ELU",
    "SELU",
    "CELU",
    "GELU",
    "SiLU",
    "Mish",
    "Hardswish",
    "Hardsigmoid",
    "Hardtanh",
    "Hardshrink",
    "Softshrink",
    "Softplus",
    "Softsign",
    "Tanh",
    "Tanhshrink",
    "Sigmoid",
    "LogSigmoid",
    "Threshold",
    "Softmax",
    "LogSoftmax",
    "Softmin",
    "Softmax2d",
    "ChannelShuffle",
    "Dropout",
    "Dropout2d",
    "AlphaDropout",
    "FeatureAlphaDropout",
]
TORCHVISION = "StochasticDepth FrozenBatchNorm2d SqueezeExcitation Conv2dNormActivation DropBlock2d Permute".split()
BACKBONES = (  # small ones of different families
    "resnet10t resnext26ts regnetx_002 mobilenetv2_035 mobilenetv3_small_050 mobilenetv4_conv_small_035 lcnet_035 "
    "efficientnet_b0 tf_efficientnetv2_b0 mnasnet_small ghostnet_050 hardcorenas_a convnext_atto starnet_s1 fastvit_t8 "
    "repvit_m0_9 efficientvit_b0 edgenext_xx_small mobilevit_xxs pvt_v2_b0 poolformer_s12 fasternet_t0 hgnetv2_b0 "
    "dla46_c densenet121 vgg11 swin_s3_tiny_224"
).split()


def timm_layers() -> list[str]:
    """Names of all module classes of timm.layers."""
    import timm.layers

    return sorted(n for n, c in vars(timm.layers).items() if isinstance(c, type) and issubclass(c, nn.Module))


def listed() -> Iterator[tuple[str, list[Row]]]:
    """Name and backbone rows of every entry; the last row is what the head takes."""
    stem = [-1, 1, "Conv", [64, 3, 8]]
    rows = [f"nn.{n}" for n in TORCH] + [f"torchvision.ops.{n}" for n in TORCHVISION]
    for name in [*rows, *(f"timm.layers.{n}" for n in timm_layers())]:
        package, _, cls = name.rpartition(".")
        m = package_class({"nn": "torch.nn"}.get(package, package), cls)
        yield name, [stem, [-1, 1, name, ARGS.get(name, default_args(m))]]
    for name in BACKBONES:
        settings = {"strict_img_size": False} if "swin" in name else {}
        yield f"timm {name}", [[-1, 1, "timm", [name, settings], "body"], ["body.0", 1, "nn.Identity", []]]
    for name, c2, layer in (("resnet18", 128, 6), ("convnext_tiny", 192, 4), ("mobilenet_v3_small", 24, 4)):
        body = [-1, 1, "TorchVision", [c2, name, None, True, 2, True]]
        yield f"TorchVision {name}", [body, [-1, 1, "Index", [c2, layer]]]


def default_args(m: type[nn.Module]) -> list[Any]:
    """`c1` where a class takes the channels that come in, and 16 where it takes those that come out."""
    count = channel_counts(m)
    second = [16] if count == 2 else []
    return ["c1", *second] if count and parameters(m) else []


def outcome(rows: list[Row]) -> str:
    """What happens to a network of these rows: "works", or the reason why not."""
    head = [[[-1], 1, "Detect", ["nc"]]]
    try:
        model = DetectionModel({"nc": 2, "backbone": rows, "head": head}, verbose=False)
    except ModelError as exc:
        return "refused: " + str(exc).partition("]: ")[2].partition("; it is called as")[0].partition("; these are")[0]
    image = torch.rand(2, 3, 256, 256)
    try:
        optimizer = torch.optim.SGD((p for p in model.parameters() if p.requires_grad), 1e-4)
        model.train()(image)["boxes"].square().mean().backward()
        optimizer.step()
    except Exception as exc:
        return f"does not train: {type(exc).__name__}: {' '.join(str(exc).split())[:150]}"
    model.eval()
    fused = copy.deepcopy(model).fuse(verbose=False)
    with torch.no_grad():
        expected = model(image)[0]
        difference = (fused(image)[0] - expected).abs().max().item()
    if not difference < 1e-2:
        return f"fused differs by {difference:.2g}"
    return exported(fused, image, expected)


def exported(model: DetectionModel, image: torch.Tensor, expected: torch.Tensor) -> str:
    """Whether the ONNX file computes the same."""
    import onnxruntime

    model.model[-1].export = True
    buffer = io.BytesIO()
    try:
        torch.onnx.export(model, (image,), buffer, dynamo=False, opset_version=17)
        session = onnxruntime.InferenceSession(buffer.getvalue(), providers=["CPUExecutionProvider"])
        output = session.run(None, {session.get_inputs()[0].name: image.numpy()})[0]
    except Exception as exc:
        return f"not exported: {' '.join(str(exc).split())[:150]}"
    difference = float(np.abs(output - expected.numpy()).max())
    return "works" if difference < 5e-2 else f"exported differs by {difference:.2g}"


def main(wanted: list[str]) -> None:
    """Try the list, print and write the table."""
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    lines = []
    for name, rows in listed():
        if not wanted or any(word in name for word in wanted):
            lines.append(f"| {name} | {outcome(rows)} |")
            print(lines[-1], flush=True)
    works, refused = (sum(f"| {word}" in line for line in lines) for word in ("works |", "refused: "))
    others = len(lines) - works - refused
    counts = (
        f"Of {len(lines)} rows {works} work, {refused} are refused as the network is built, {others} do not export."
    )
    text = f"# Rows that need no edit\n\n{__doc__}\n{counts}\n\n| row | outcome |\n|---|---|\n"
    if not wanted:
        Path(__file__).with_suffix(".md").write_text(text + "\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
