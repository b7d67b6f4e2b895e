"""Backbones of timm and torchvision, blocks inside of others, heads of one's own, and norms that are rows."""

import copy
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.nn.described import describe
from ultralytics.nn import tasks
from ultralytics.nn.model_yaml import without_weights
from ultralytics.nn.modules import DFL, Bottleneck, Detect
from ultralytics.nn.tasks import ClassificationModel, DetectionModel, model_from_checkpoint
from ultralytics.utils.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from ultralytics.utils.errors import ModelError
from ultralytics.utils.tal import dist2bbox, make_anchors


def build(*backbone, **keys):
    """Its network, with norms that have seen something."""
    model = DetectionModel(describe(*backbone, **keys), verbose=False)
    with torch.no_grad():
        model(torch.rand(4, 3, 64, 64))
    return model


def assert_trains_and_fuses(model):
    """A step changes it, and fusing does not."""
    model.train()(torch.rand(2, 3, 64, 64))["boxes"].square().mean().backward()
    assert all(p.grad is not None for name, p in model.named_parameters() if name.startswith("model.0.") and p.ndim > 1)
    image = torch.rand(1, 3, 64, 64)
    fused = copy.deepcopy(model).eval().fuse(verbose=False)
    with torch.no_grad():
        torch.testing.assert_close(fused(image)[0], model.eval()(image)[0], rtol=1e-3, atol=1e-3)


TIMM_HEAD = [[["body.0", "body.1", "body.2"], 1, "Detect", ["nc"]]]


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("resnet10t", {}),
        ("mobilenetv4_conv_small_035", {"out_indices": [2, 3, 4]}),
        ("swin_s3_tiny_224", {"strict_img_size": False, "depths": [1, 1, 1, 1]}),  # gives (B, H, W, C)
    ],
)
def test_a_backbone_of_timm(name, settings):
    model = build([-1, 1, "timm", [name, settings], "body"], head=TIMM_HEAD)
    assert model.stride.tolist() == [8, 16, 32]
    assert_trains_and_fuses(model)


def test_weights_of_timm_come_from_a_file_and_afterwards_from_the_checkpoint(tmp_path):
    import timm
    from safetensors.torch import save_file

    weights = tmp_path / "resnet10t.safetensors"
    original = timm.create_model("resnet10t")
    save_file(original.state_dict(), weights)
    row = [-1, 1, "timm", ["resnet10t", {"pretrained": str(weights)}], "body"]
    model = DetectionModel(describe(row, head=TIMM_HEAD), verbose=False)
    state = model.model[0].m.state_dict()
    torch.testing.assert_close(state["layer1.0.conv1.weight"], original.state_dict()["layer1.0.conv1.weight"])
    save_checkpoint(tmp_path / "best.pt", Checkpoint(model.state_dict(), model.yaml, "detect", model.names))
    weights.unlink()
    again = model_from_checkpoint(load_checkpoint(tmp_path / "best.pt"), tmp_path / "best.pt")
    torch.testing.assert_close(again.model[0].m.state_dict(), state, rtol=1e-3, atol=1e-3)
    with pytest.raises(ModelError, match=r"row 0 .*there is no weights file .*resnet10t\.safetensors"):
        DetectionModel(describe(row, head=TIMM_HEAD), verbose=False)


def test_no_row_of_a_checkpoint_asks_for_weights():
    rows = [
        [-1, 1, "timm", ["a"]],
        [-1, 1, "timm", ["a", [1], True]],
        [-1, 1, "timm", ["a", {"pretrained": True}], "body"],
        [-1, 1, "TorchVision", [768, "b", "DEFAULT", True]],
        [-1, 1, "TorchVision", ["b", "x.pth"]],
        [-1, 1, "TorchVision", ["b"]],
        [-1, 1, "Conv", [8]],
    ]
    given = {"backbone": copy.deepcopy(rows), "head": [], "nc": 1}
    assert without_weights(given)["backbone"] == [
        [-1, 1, "timm", ["a", {"pretrained": False}]],
        [-1, 1, "timm", ["a", [1], False]],
        [-1, 1, "timm", ["a", {"pretrained": False}], "body"],
        [-1, 1, "TorchVision", [768, "b", None, True]],
        [-1, 1, "TorchVision", ["b", None]],
        [-1, 1, "TorchVision", ["b", {"weights": None}]],
        [-1, 1, "Conv", [8]],
    ]
    assert given["backbone"] == rows


# Shapes as the public package's TorchVision gives them for 64 x 64 pixels, split, with the last two layers cut off.
RESNET18 = [(3, 64), (64, 32), (64, 32), (64, 32), (64, 16), (64, 16), (128, 8), (256, 4), (512, 2)]


def test_a_network_of_torchvision_and_index_in_both_forms():
    body = [-1, 1, "TorchVision", [512, "resnet18", None, True, 2, True], "body"]
    rows = [body, ["body", 1, "Index", [128, 6]], ["body", 1, "Index", [7]]]
    model = build(*rows, head=[[[1, 2, "body.8"], 1, "Detect", ["nc"]]])
    assert [(t.shape[1], t.shape[2]) for t in model.model[0](torch.rand(1, 3, 64, 64))] == RESNET18
    assert model.stride.tolist() == [8, 16, 32] and next(iter(model.model[0].state_dict())) == "m.0.weight"
    assert_trains_and_fuses(model)


# Blocks inside of others


@pytest.mark.parametrize(
    ("name", "block", "kind"),
    [
        ("C2f", "FasterBlock", "FasterBlock"),  # takes its channels once
        ("C2f", ["nn.Conv2d", 3, 1, 1], "Conv2d"),  # in and out
        ("C3", "nn.ReLU", "ReLU"),  # not at all
        ("C3k2", ["timm.layers.EcaModule", "c1"], "EcaModule"),  # as written
        ("C2f_DynamicConv", "Bottleneck", "Bottleneck"),
        ("C2f_GhostResidual_DynamicConv", ["C2f", 1, {"block": "FasterBlock"}], "C2f"),  # slots in slots
    ],
)
def test_a_slot_of_a_row(name, block, kind):
    model = build([-1, 1, "Conv", [16, 3, 8]], [-1, 2, name, [32, {"block": block}]])
    inner = model.model[1].m
    assert [type(m).__name__ for m in inner] == [kind] * 2
    assert model.model[1].cv1.conv.out_channels in (16, 32) and not any(isinstance(m, Detect) for m in inner)
    assert_trains_and_fuses(model)


def test_the_slot_of_sppf_and_what_it_calls():
    model = build(
        [-1, 1, "Conv", [16, 3, 8]], [-1, 1, "SPPF", [32, {"block": ["nn.Conv2d", 3, 1, 1, {"groups": "c1"}]}]]
    )
    assert model.model[1].m.in_channels == model.model[1].m.groups == 8


def test_what_stays_the_same_around_a_slot_is_transferred():
    rows = [-1, 1, "Conv", [16, 3, 8]], [-1, 2, "C2f", [32, True]], [-1, 1, "Conv", [32, 3]]
    source = build(*rows)
    other = build(rows[0], [-1, 2, "C2f", [32, True, {"block": "FasterBlock"}]], rows[2])
    other.load(Checkpoint(source.state_dict(), source.yaml))
    own, given = other.state_dict(), source.state_dict()
    same = [key for key in own if key in given and not key.startswith("model.1.m.")]
    assert all(torch.equal(own[key], given[key]) for key in same) and "model.1.cv2.conv.weight" in same


def test_an_attention_row_after_a_named_row_costs_its_own_weights_only():
    rows = [-1, 1, "Conv", [16, 3, 8], "stem"], [-1, 1, "Conv", [32, 3], "deep"], [["stem", "deep"], 1, "Concat", [1]]
    source, attention = build(*rows), [-1, 1, "timm.layers.EcaModule", ["c1"], "seen"]
    other = build(rows[0], attention, *rows[1:])  # no other change
    done = other.load(Checkpoint(source.state_dict(), source.yaml))
    assert set(done.missing) == {key for key in other.state_dict() if key.startswith("model.1.")} and not done.unused
    before = {name: p.clone() for name, p in other.named_parameters()}
    optimizer = torch.optim.SGD(other.parameters(), 0.01)
    batch = {"img": torch.rand(2, 3, 64, 64), "batch_idx": torch.arange(2.0), "cls": torch.ones(2, 1)}
    other.train().loss(batch | {"bboxes": torch.tensor([[0.5, 0.5, 0.4, 0.4]]).repeat(2, 1)})[0].sum().backward()
    optimizer.step()
    same = [name for name, p in other.named_parameters() if torch.equal(p, before[name])]
    assert same == ["model.4.dfl.conv.weight"]  # constant


# Heads of one's own, norms as rows


class OwnHead(nn.Module):
    """Detects without being a Detect: public heads that were written for older trees are like this."""

    task, reg_max, stride = "detect", 4, None

    def __init__(self, nc, ch=()):
        super().__init__()
        self.outputs = nn.ModuleList([nn.Conv2d(c, 4 * self.reg_max + nc, 1) for c in ch])
        self.classes = nc

    def forward(self, feats):
        maps = torch.cat([conv(x).flatten(2) for conv, x in zip(self.outputs, feats, strict=True)], 2)
        boxes, scores = maps.split([4 * self.reg_max, self.classes], 1)
        raw = {"boxes": boxes, "scores": scores, "feats": feats}
        return raw if self.training else (torch.cat((boxes[:, :4], scores.sigmoid()), 1), raw)

    def bias_init(self):
        self.ready = self.stride.tolist()


class OwnClassifier(nn.Module):
    """Classifies without being a Classify."""

    task = "classify"

    def __init__(self, c1, nc):
        super().__init__()
        self.linear = nn.Linear(c1, nc)

    def forward(self, x):
        return self.linear(x.mean((2, 3)))


def test_a_head_that_is_no_detect(monkeypatch):
    monkeypatch.setattr(tasks, "OwnHead", OwnHead, raising=False)
    rows = [-1, 1, "Conv", [16, 3, 8]], [-1, 1, "Conv", [32, 3, 2]]
    model = build(*rows, head=[[[0, 1], 1, "OwnHead", ["nc"]]])
    head = model.model[-1]
    assert (model.task, head.nc, head.stride.tolist(), head.ready) == ("detect", 2, [8, 16], [8, 16])
    assert model.to(torch.float64).stride.dtype == torch.float64  # goes where the network goes
    loss, _ = model.float().loss(
        {"img": torch.rand(1, 3, 64, 64), "batch_idx": torch.zeros(1), "cls": torch.zeros(1, 1)}
        | {"bboxes": torch.tensor([[0.5, 0.5, 0.4, 0.4]])}
    )
    loss.sum().backward()
    assert head.outputs[0].weight.grad.abs().sum() > 0


def test_a_classifier_that_is_no_classify(monkeypatch):
    monkeypatch.setattr(tasks, "OwnClassifier", OwnClassifier, raising=False)
    model = ClassificationModel(
        describe([-1, 1, "Conv", [16, 3, 8]], head=[[-1, 1, "OwnClassifier", ["nc"]]]), nc=5, verbose=False
    )
    assert model(torch.rand(2, 3, 32, 32)).shape == (2, 5) and model.model[-1].nc == 5


@pytest.mark.parametrize(
    ("norm", "behind", "folded"), [(-1, [-1], True), (0, [-1], False), (-1, [1, -1], False), ("conv", [-1], True)]
)
def test_norms_that_are_rows_are_folded_where_nothing_else_takes_the_convolution(norm, behind, folded):
    rows = [-1, 1, "Conv", [8, 3, 8]], [-1, 1, "nn.Conv2d", ["c1", 8, 1], "conv"], [norm, 1, "nn.BatchNorm2d", []]
    model = build(*rows, head=[[behind, 1, "Detect", ["nc"]]])
    fused = copy.deepcopy(model).eval().fuse(verbose=False)
    assert isinstance(fused.model[2], nn.Identity) is folded
    image = torch.rand(1, 3, 64, 64)
    torch.testing.assert_close(fused(image)[0], model.eval()(image)[0], rtol=1e-3, atol=1e-3)


def test_slots_are_arguments_in_python_as_well():
    block = tasks.C2f(8, 8, 2, block=Bottleneck)
    assert [type(m) for m in block.m] == [Bottleneck, Bottleneck]


def test_the_head_of_the_documentation_trains_and_decodes(monkeypatch):
    page = (Path(__file__).parents[2] / "docs" / "rows.md").read_text(encoding="utf-8")
    names = {"nn": nn, "torch": torch, "DFL": DFL, "make_anchors": make_anchors, "dist2bbox": dist2bbox}
    exec(page.split("```python\n")[1].split("```")[0], names)
    monkeypatch.setattr(tasks, "MyHead", names["MyHead"], raising=False)
    rows = [-1, 1, "Conv", [16, 3, 8]], [-1, 1, "Conv", [32, 3, 2]]
    model = build(*rows, head=[[[0, 1], 1, "MyHead", ["nc"]]])
    batch = {"img": torch.rand(1, 3, 64, 64), "batch_idx": torch.zeros(1), "cls": torch.zeros(1, 1)}
    model.loss(batch | {"bboxes": torch.tensor([[0.5, 0.5, 0.4, 0.4]])})[0].sum().backward()
    decoded, raw = model.eval()(batch["img"])
    assert decoded.shape == (1, 4 + 2, 64 + 16) and model.model[-1].convs[0].weight.grad.abs().sum() > 0
    assert raw["boxes"].shape == (1, 64, 80)
