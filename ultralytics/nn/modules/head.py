"""Heads: the last row of a model YAML, from feature maps to predictions.

Legend: B images, A anchor points of all levels, nc classes, R = reg_max bins for each side of a box.

A new head that detects boxes subclasses Detect, names its `task`, adds its own branches `cv4`, one `branch` a level,
names their output in `extra`, and extends `decode` by what it means; parse_model gives it the channels of its levels
because it is a Detect. Classify takes one map.
"""

import math
from collections.abc import Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn

from ultralytics.utils import refused
from ultralytics.utils.errors import ModelError
from ultralytics.utils.ops import is_kpt_shape, xywh2xyxy
from ultralytics.utils.tal import dist2bbox, dist2rbox, make_anchors

from .block import DFL, Proto
from .conv import Conv


def branch(c1: int, hidden: int, c2: int) -> nn.Sequential:
    """Two 3x3 convolutions and a plain 1x1: one output of a head on one level."""
    return nn.Sequential(Conv(c1, hidden, 3), Conv(hidden, hidden, 3), nn.Conv2d(hidden, c2, 1))


class Detect(nn.Module):
    """Anchor-free detection with a box and a class branch of its own on every level.

    In training a dict: `boxes` (B, 4 * R, A) bin logits, `scores` (B, nc, A) class logits, `feats` the input maps.
    In eval mode (decoded, that dict), decoded being (B, 4 + nc, A): xywh in pixels of the network input and sigmoid
    scores, never below float32. With `export` decoded alone.
    """

    task = "detect"
    export = False
    reg_max = 16
    extra: str | None = None  # a subclass with branches `cv4`: the name of their raw output

    def __init__(self, nc: int = 80, ch: Sequence[int] = ()) -> None:
        super().__init__()
        self.nc = nc
        self.nl = len(ch)
        self.no = nc + 4 * self.reg_max  # numbers of an anchor point
        self.register_buffer("stride", torch.zeros(self.nl), persistent=False)  # pixels; the model measures it
        box, cls = max(16, ch[0] // 4, 4 * self.reg_max), max(ch[0], min(nc, 100))  # hidden channels, of all levels
        self.cv2 = nn.ModuleList([branch(c, box, 4 * self.reg_max) for c in ch])
        self.cv3 = nn.ModuleList([branch(c, cls, nc) for c in ch])
        self.dfl = DFL(self.reg_max)

    def forward(self, feats: list[Tensor]) -> dict[str, Tensor] | tuple[Tensor, dict[str, Tensor]] | Tensor:
        """One map a level, finest first."""
        preds = self.raw(feats)
        if self.training:
            return preds
        decoded = self.decode(preds)
        if not self.export:
            return decoded, preds
        # Beside the prototypes, of which a reader makes the masks, an exported network gives nothing raw.
        return (decoded, preds["proto"]) if "proto" in preds else decoded

    def raw(self, feats: list[Tensor]) -> dict[str, Tensor]:
        """Outputs of the branches, undecoded: the input of the loss."""
        branches = {"boxes": self.cv2, "scores": self.cv3}
        if self.extra is not None:
            branches[self.extra] = self.cv4
        return self.outputs(branches, feats)

    @staticmethod
    def outputs(branches: dict[str, nn.ModuleList], feats: list[Tensor]) -> dict[str, Tensor]:
        """Output (B, C, A) of every branch, by name, and the maps."""
        preds = {}
        for name, levels in branches.items():
            maps = [level(feat) for level, feat in zip(levels, feats, strict=True)]  # (B, C, H, W) each
            if maps[0].is_contiguous():
                preds[name] = torch.cat([output.flatten(2) for output in maps], 2)  # (B, C, A), level after level
            else:  # channels last: the numbers of an anchor point stay side by side, as DFL and the loss want them
                rows = torch.cat([output.permute(0, 2, 3, 1).flatten(1, 2) for output in maps], 1)
                preds[name] = rows.transpose(1, 2)
        return preds | {"feats": feats}

    def decode(self, preds: dict[str, Tensor]) -> Tensor:
        """Raw predictions to (B, 4 + nc, A): xywh in pixels, class probabilities."""
        points, strides = make_anchors(preds["feats"], self.stride)  # (A, 2) in strides, (A, 1) in pixels
        boxes = dist2bbox(self.dfl(preds["boxes"]), points.T, xywh=True, dim=1) * strides.T  # (B, 4, A)
        return torch.cat((boxes, preds["scores"].to(boxes.dtype).sigmoid()), 1)

    @torch.no_grad()
    def bias_init(self) -> None:
        """Start near the prior of 5 objects in a 640 x 640 image; needs the strides."""
        for box, cls, stride in zip(self.cv2, self.cv3, self.stride.tolist(), strict=True):
            box[-1].bias.fill_(2.0)
            cls[-1].bias.fill_(math.log(5 / self.nc / (640 / stride) ** 2))


class v10Detect(Detect):
    """YOLOv10's head (arXiv 2405.14458): class branches of depthwise convolutions, and a second set of all branches.

    The second learns to answer for an object with one anchor point, on maps that it does not change. Raw outputs are a
    dict of two as Detect has them, `one2many` and `one2one`; decoded are those of `one2many`, which go to NMS. With
    `end2end`, which the model YAML may have as a key, decoded are the `max_det` best of `one2one`, for which there is
    no NMS: (B, max_det, 6), xyxy in pixels, score, class, highest score first.
    """

    end2end = False
    max_det = 300

    def __init__(self, nc: int = 80, ch: Sequence[int] = ()) -> None:
        super().__init__(nc, ch)
        hidden = max(ch[0], min(nc, 100))
        self.cv3 = nn.ModuleList(
            nn.Sequential(
                nn.Sequential(Conv(c, c, 3, g=c), Conv(c, hidden)),
                nn.Sequential(Conv(hidden, hidden, 3, g=hidden), Conv(hidden, hidden)),
                nn.Conv2d(hidden, nc, 1),
            )
            for c in ch
        )
        self.one2one_cv2, self.one2one_cv3 = deepcopy(self.cv2), deepcopy(self.cv3)

    def raw(self, feats: list[Tensor]) -> dict[str, dict[str, Tensor]]:
        """Outputs of both sets of branches."""
        alone = [feat.detach() for feat in feats] if self.training else feats
        return {
            "one2many": self.outputs({"boxes": self.cv2, "scores": self.cv3}, feats),
            "one2one": self.outputs({"boxes": self.one2one_cv2, "scores": self.one2one_cv3}, alone),
        }

    def decode(self, preds: dict[str, dict[str, Tensor]]) -> Tensor:
        """Raw predictions to (B, 4 + nc, A), from the branches that Detect has; with `end2end` to (B, max_det, 6)."""
        if not self.end2end:
            return super().decode(preds["one2many"])
        boxes, scores = super().decode(preds["one2one"]).transpose(1, 2).split((4, self.nc), 2)  # (B, A, 4), (B, A, nc)
        count = min(self.max_det, scores.shape[1])
        anchors = scores.amax(2).topk(count).indices[..., None]  # (B, n, 1), those with the highest scores
        conf, places = scores.gather(1, anchors.expand(-1, -1, self.nc)).flatten(1).topk(count)  # of (anchor, class)
        anchors = anchors.gather(1, places[..., None] // self.nc)
        boxes = xywh2xyxy(boxes.gather(1, anchors.expand(-1, -1, 4)))
        return torch.cat((boxes, conf[..., None], (places[..., None] % self.nc).to(conf.dtype)), 2)

    @torch.no_grad()
    def bias_init(self) -> None:
        """Start both sets near the prior of Detect."""
        super().bias_init()
        for one, many in zip((*self.one2one_cv2, *self.one2one_cv3), (*self.cv2, *self.cv3), strict=True):
            one[-1].bias.copy_(many[-1].bias)


class OBB(Detect):
    """Detection of rotated boxes: one number more an anchor point, the angle theta in [-pi / 4, 3 pi / 4).

    Raw outputs have `angle` (B, 1, A), radians, also in training: only the boxes are logits. Decoded is (B, 4 + nc + 1,
    A): center, width and height in pixels along the box's own axes, class scores, theta.
    """

    task = "obb"
    extra = "angle"

    def __init__(self, nc: int = 80, ne: int = 1, ch: Sequence[int] = ()) -> None:
        """`ne` is the number of angles, which is 1."""
        if ne != 1:
            raise ModelError(f"an OBB head predicts 1 angle, not {ne}: give it [nc, 1]")
        super().__init__(nc, ch)
        self.cv4 = nn.ModuleList([branch(c, max(ch[0] // 4, ne), ne) for c in ch])

    def raw(self, feats: list[Tensor]) -> dict[str, Tensor]:
        """Outputs of the branches, boxes and classes undecoded."""
        preds = super().raw(feats)
        angle = preds["angle"]  # (B, 1, A)
        angle = angle.to(torch.promote_types(angle.dtype, torch.float32))  # half has steps of 0.002 rad near pi
        return preds | {"angle": (angle.sigmoid() - 0.25) * math.pi}

    def decode(self, preds: dict[str, Tensor]) -> Tensor:
        """Raw predictions to (B, 4 + nc + 1, A): xywh in pixels, class probabilities, radians."""
        points, strides = make_anchors(preds["feats"], self.stride)
        # The distances to the sides of a box are measured along its own axes.
        boxes = dist2rbox(self.dfl(preds["boxes"]), preds["angle"], points.T, dim=1) * strides.T
        return torch.cat((boxes, preds["scores"].to(boxes.dtype).sigmoid(), preds["angle"]), 1)


class Segment(Detect):
    """Boxes, and of each a mask: a mixture of `nm` prototypes of the whole image (YOLACT, arXiv 1904.02689).

    To Detect's outputs come the raw `mask_coefficient` (B, nm, A), also the last nm rows of the decoded
    (B, 4 + nc + nm, A), and `proto` (B, nm, H/4, W/4). With `export` (decoded, proto).
    """

    task = "segment"
    extra = "mask_coefficient"

    def __init__(self, nc: int = 80, nm: int = 32, npr: int = 256, ch: Sequence[int] = ()) -> None:
        """`npr` channels between the first level and the prototypes."""
        super().__init__(nc, ch)
        self.nm = nm
        self.proto = Proto(ch[0], npr, nm)
        hidden = max(ch[0] // 4, nm)
        self.cv4 = nn.ModuleList([branch(c, hidden, nm) for c in ch])

    def raw(self, feats: list[Tensor]) -> dict[str, Tensor]:
        """Boxes, classes, coefficients and prototypes."""
        return super().raw(feats) | {"proto": self.proto(feats[0])}

    def decode(self, preds: dict[str, Tensor]) -> Tensor:
        """Raw predictions to (B, 4 + nc + nm, A); the coefficients stay as they are."""
        decoded = super().decode(preds)
        return torch.cat((decoded, preds["mask_coefficient"].to(decoded.dtype)), 1)


class Pose(Detect):
    """Boxes, and of each K keypoints: D numbers a point, x and y and, where D is 3, the probability to be visible.

    To Detect's outputs come the raw `kpts` (B, K * D, A), point after point; decoded they are the last K * D rows of
    (B, 4 + nc + K * D, A): pixels of the network input, and probabilities.
    """

    task = "pose"
    extra = "kpts"

    def __init__(self, nc: int = 80, kpt_shape: Sequence[int] = (17, 3), ch: Sequence[int] = ()) -> None:
        """`kpt_shape` is (K, D)."""
        super().__init__(nc, ch)
        if not is_kpt_shape(kpt_shape):
            raise ModelError(f"kpt_shape must be [points, 2 or 3 numbers of each], such as [17, 3], not {kpt_shape!r}")
        self.kpt_shape = (kpt_shape[0], kpt_shape[1])
        numbers = math.prod(self.kpt_shape)
        hidden = max(ch[0] // 4, numbers)
        self.cv4 = nn.ModuleList([branch(c, hidden, numbers) for c in ch])

    def decode(self, preds: dict[str, Tensor]) -> Tensor:
        """Raw predictions to (B, 4 + nc + K * D, A); a raw point counts half strides from the corner of its cell."""
        decoded = super().decode(preds)
        points, strides = make_anchors(preds["feats"], self.stride)
        raw = preds["kpts"].to(decoded.dtype)
        kpts = raw.reshape(raw.shape[0], *self.kpt_shape, raw.shape[2])  # (B, K, D, A)
        places = (kpts[:, :, :2] * 2 + (points.T - 0.5)) * strides.T  # anchor points are centers of cells
        kpts = torch.cat((places, kpts[:, :, 2:].sigmoid()), 2)
        return torch.cat((decoded, kpts.flatten(1, 2)), 1)


class Classify(nn.Module):
    """A convolution, the mean over the map, and a linear layer: one score a class for the whole image.

    In training logits (B, nc). In eval mode (probabilities, logits), never below float32. With `export` probabilities
    alone. `c2` is the number of classes, which no width scales.
    """

    task = "classify"
    export = False
    hidden = 1280

    def __init__(self, c1: int, c2: int, k: int = 1, s: int = 1, p: int | None = None, g: int = 1) -> None:
        super().__init__()
        self.nc = c2
        self.register_buffer("stride", torch.zeros(1), persistent=False)  # pixels; the model measures it
        self.conv = Conv(c1, self.hidden, k, s, p, g)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.drop = nn.Dropout(0.0)
        self.linear = nn.Linear(self.hidden, c2)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """One map (B, C, H, W)."""
        logits = self.linear(self.drop(self.pool(self.conv(x)).flatten(1)))  # (B, nc)
        if self.training:
            return logits
        # In float16 a probability below 3e-8 would be 0.
        probabilities = logits.float().softmax(1)
        return probabilities if self.export else (probabilities, logits)


__getattr__ = refused.getter(__name__)  # public names that are not here say what to use instead
