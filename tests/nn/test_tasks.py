"""From a model YAML to a network, and every way to get it wrong."""

import copy
import inspect
import logging

import pytest
import torch
from torch import nn

from tests.nn.described import build, describe, layers
from ultralytics.nn import tasks
from ultralytics.nn.Addmodules.DynamicConv import ConvBnAct, DynamicConv
from ultralytics.nn.modules import C2f, Conv
from ultralytics.nn.tasks import DetectionModel, find_task, register_module, yaml_model_load
from ultralytics.utils.errors import ModelError


@pytest.fixture
def sets():
    """The sets and names of tasks.py, as they were after the test."""
    names, channel, repeat = dict(vars(tasks)), set(tasks.channel_modules), set(tasks.repeat_modules)
    yield
    for name in set(vars(tasks)) - set(names):
        delattr(tasks, name)
    vars(tasks).update(names)
    tasks.channel_modules.intersection_update(channel)
    tasks.channel_modules.update(channel)
    tasks.repeat_modules.intersection_update(repeat)
    tasks.repeat_modules.update(repeat)


# Rows


def test_width_depth_and_repeats():
    scales = {"n": [0.5, 0.25, 128]}
    built = layers(
        [-1, 1, "Conv", [100, 3, 2]], [-1, 5, "C2f", [512, True]], [-1, 5, "Conv", [128]], scales=scales, scale="n"
    )
    assert built[0].conv.out_channels == 32  # 25 to the next multiple of 8
    assert (built[1].cv2.conv.out_channels, len(built[1].m)) == (32, 2)  # at most 128; round(2.5) is even
    assert isinstance(built[2], nn.Sequential) and len(built[2]) == 2


def test_classes_that_equal_a_width_are_scaled_all_the_same():
    assert DetectionModel("yolov8n.yaml", nc=64, verbose=False).model[0].conv.out_channels == 16


def test_keyword_arguments_of_any_module():
    built = layers(
        [-1, 1, "Conv", [8, 3, {"s": 2, "act": "nn.ReLU()"}]],
        [-1, 1, "DynamicConv", [8, 3, {"num_experts": 8}]],
        [-1, 1, "C2f_DynamicConv", [8, {"num_experts": 2}]],
        [-1, 1, "nn.Upsample", [{"scale_factor": 2, "mode": "nearest"}]],
    )
    assert built[0].conv.stride == (2, 2) and isinstance(built[0].act, nn.ReLU)
    assert built[1].routing.out_features == 8
    assert built[2].m[0].primary_conv[0].routing.out_features == 2
    assert built[3].scale_factor == 2.0


BACKBONES = tasks.Timm, tasks.TorchVision, tasks.Index  # take names of models, or lists of maps
ORDINARY = [n for n, cls in tasks.known_modules().items() if not hasattr(cls, "task") and cls not in BACKBONES]


@pytest.mark.parametrize("name", ORDINARY)
def test_every_module_may_be_given_its_arguments_by_name(name):
    """All that have a default, with it: the same network as without them."""
    cls = getattr(tasks, name)
    required = {"ConvBnAct": {"kernel_size": 3}}.get(name, {})
    parameters = inspect.signature(cls).parameters.values()
    optional = [p for p in parameters if p.default is not p.empty and p.name != "n"]
    named = required | {p.name: p.default for p in optional if not isinstance(p.default, type)}
    joins = name in ("Concat", "WeightedSum")
    channels = [16] if any(p.default is p.empty for p in parameters if p.kind is not p.VAR_KEYWORD) else []
    args, origin = ([channels * 2] if joins and channels else channels, [0, 0] if joins else -1)
    built, plain = (layers([-1, 1, "Conv", [16]], [origin, 1, name, [*args, a]])[1] for a in (named, required))
    shapes, plain_shapes = ({k: t.shape for k, t in m.state_dict().items()} for m in (built, plain))
    assert isinstance(built, cls) and shapes == plain_shapes


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("Detect", [{"nc": "nc"}]),
        ("OBB", ["nc", {"ne": 1}]),
        ("Segment", ["nc", 16, {"npr": 64}]),
        ("Segment", [{"nc": "nc", "nm": 16, "npr": 64}]),
        ("Pose", ["nc", {"kpt_shape": "kpt_shape"}]),
        ("Classify", ["nc", {"k": 3, "s": 2}]),
    ],
)
def test_every_head_may_be_given_its_arguments_by_name(name, args):
    keys = {"kpt_shape": [5, 3], "scales": {"n": [1, 0.5, 1024]}, "scale": "n"}
    origin = -1 if name == "Classify" else [0, 1]
    rows = [-1, 1, "Conv", [32, 3, 8]], [-1, 1, "Conv", [32, 3, 2]]
    head = layers(*rows, head=[[origin, 1, name, args]], **keys)[-1]
    assert head.nc == 2
    if name == "Segment":
        assert (head.nm, head.proto.cv1.conv.out_channels) == (16, 32)  # the width scales the latter
    if name == "Pose":
        assert head.kpt_shape == (5, 3)
    if name == "Classify":
        assert head.conv.conv.kernel_size == (3, 3)


def test_args_written_as_text():
    built = layers(
        [-1, 1, "Conv", [8, 3, 2, "None", 1, 1, "False"]],
        [-1, 1, "DynamicConv", [16, 3, 2, "", 1, 1, False, 8]],
        [-1, 1, "ConvBnAct", [8, "3", 1, 1, "", False, "nn.SiLU"]],
        [-1, 1, "nn.Upsample", ["None", "factor", "nearest"]],
        factor=2,
    )
    assert isinstance(built[0].act, nn.Identity) and built[0].conv.padding == (1, 1)
    assert isinstance(built[1], DynamicConv) and built[1].routing.out_features == 8
    assert isinstance(built[2], ConvBnAct) and isinstance(built[2].act1, nn.SiLU)
    assert (built[3].mode, built[3].scale_factor) == ("nearest", 2.0)


def test_no_text_is_ever_run(tmp_path):
    trap = f"__import__('pathlib').Path({str(tmp_path / 'trap')!r}).touch()"
    with pytest.raises(ModelError, match=r"is not a class of torch\.nn"):
        build([-1, 1, "Conv", [8]], activation=trap)
    with pytest.raises(ModelError, match="row 0"):
        build([-1, 1, "Conv", [8, trap]])
    with pytest.raises(ModelError, match="row 0"):
        build([-1, 1, f"nn.{trap}", [8]])
    assert not (tmp_path / "trap").exists()


def test_activation_replaces_the_default_in_this_model_alone():
    model = DetectionModel(yaml_model_load("yolov8n.yaml") | {"activation": "nn.LeakyReLU(0.2)"}, verbose=False)
    acts = {m.act for m in model.modules() if isinstance(m, Conv)}
    assert len(acts) == 1 and next(iter(acts)).negative_slope == 0.2
    assert isinstance(Conv(1, 1).act, nn.SiLU)
    assert isinstance(DetectionModel("yolov8n.yaml", verbose=False).model[0].act, nn.SiLU)
    other = layers([-1, 1, "Conv", [8, 1, {"act": False}]], activation="torch.nn.Mish()")
    assert isinstance(other[0].act, nn.Identity)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("nn.Conv2d", "missing 3 required positional arguments"),
        ("nn.BatchNorm2d(8)", "12 elements not 8"),
        ("nn.GLU()", "changes the shape"),
        (5, "'int' object"),
    ],
)
def test_what_is_no_activation_for_every_layer(text, reason):
    with pytest.raises(ModelError, match=rf"^mine.yaml: `activation: .*{reason}.* write one such as nn\.ReLU") as told:
        build([-1, 1, "Conv", [8]], activation=text)
    assert "\n" not in str(told.value)
    assert isinstance(build([-1, 1, "Conv", [8]], activation="nn.PReLU").model[0].act, nn.PReLU)


def test_layers_further_back():
    model = build([-1, 1, "Conv", [8, 3, 2]], [-1, 1, "Conv", [8, 3]], [[-1, -2, 0], 1, "Concat", [1]])
    assert model.save == [0]
    assert model.model.shapes[2] == (1, 24, 128, 128)
    assert model.train()(torch.rand(2, 3, 32, 32))["boxes"].shape == (2, 64, 256)


def test_a_head_may_count_its_maps_backwards():
    yaml = yaml_model_load("yolov8n.yaml")
    backwards = yaml | {"head": [*yaml["head"][:-1], [[-7, -4, -1], *yaml["head"][-1][1:]]]}
    found, expected = DetectionModel(backwards, verbose=False).eval(), DetectionModel(yaml, verbose=False).eval()
    assert found.stride.tolist() == [8, 16, 32]
    found.load_state_dict(expected.state_dict())
    images = torch.rand(1, 3, 64, 64)
    assert torch.equal(found(images)[0], expected(images)[0])


def test_batch_norms_of_add_ons_too_have_the_familys_settings():
    for m in DetectionModel("yolov8n-C2f-DynamicConv.yaml", verbose=False).modules():
        if isinstance(m, nn.BatchNorm2d):
            assert (m.eps, m.momentum) == (1e-3, 0.03)


def test_building_leaves_statistics_alone_and_the_network_in_training_mode():
    model = DetectionModel("yolov8n.yaml", verbose=False)
    assert model.training and model.model[0].bn.num_batches_tracked == 0


def test_task_of_a_yaml():
    assert (
        find_task(yaml_model_load("yolov8n-p2.yaml")) == DetectionModel("yolov8n.yaml", verbose=False).task == "detect"
    )
    with pytest.raises(ModelError, match=r"mine.yaml, row 1 .*last row must be a head"):
        find_task(describe([-1, 1, "Conv", [8]], head=[[-1, 1, "Conv", [8]]]))
    with pytest.raises(ModelError, match=r"last row must be a detection head"):
        build([-1, 1, "Conv", [8]], head=[[-1, 1, "Conv", [8]]])


# Add-ons


class Attention(nn.Module):
    """Takes the channels it gets, like many attention blocks."""

    def __init__(self, channels, factor=4):
        super().__init__()
        self.gate = nn.Conv2d(channels, channels, 1, groups=factor)

    def forward(self, x):
        return x * self.gate(x).sigmoid()


class Wide(nn.Module):
    """Takes channels in and out."""

    def __init__(self, c1, c2, k=1):
        super().__init__()
        self.conv = nn.Conv2d(c1, c2, k, padding=k // 2)

    def forward(self, x):
        return self.conv(x)


class Deep(C2f):
    """Takes the repeat count after them."""


def test_a_class_in_no_set_gets_its_args_as_they_are_and_gives_what_comes_out(sets, caplog):
    tasks.Attention, tasks.Wide = Attention, Wide
    caplog.set_level(logging.INFO, "ultralytics")
    d = describe([-1, 1, "Conv", [8, 3, 2]], [-1, 1, "Attention", [8, 2]], [-1, 1, "Wide", [8, 12]])
    model = DetectionModel(d, verbose=True)
    assert model.model[1].gate.groups == 2
    assert model.model[3].cv2[0][0].conv.in_channels == 12
    assert "8x128x128    Attention" in caplog.records[2].getMessage()
    assert "parameters" in caplog.records[-1].getMessage()


def test_register_module(sets):
    assert register_module(Wide) is Wide
    register_module(Deep, repeats=True)
    model = build([-1, 1, "Wide", [8, 3]], [-1, 3, "Deep", [16, True]])
    assert isinstance(model.model[0], Wide) and len(model.model[1].m) == 3
    assert model.model[1].m[0].add


def test_registering_never_takes_a_name_of_the_core(sets):
    for name in ("Conv", "Detect", "DetectionModel", "parse_model", "nn"):
        with pytest.raises(ModelError, match=f"{name} is a name of the core"):
            register_module(type(name, (nn.Module,), {}))
    assert tasks.Conv is Conv


def test_registering_may_take_the_name_of_a_further_block_of_the_public_package(sets):
    mine = register_module(type("SPP", (Wide,), {}))
    assert tasks.find_module("SPP") is mine


def test_registering_a_name_twice(sets, warnings):
    register_module(Wide)
    register_module(copy.copy(Wide))
    assert warnings() == []
    other = type("DynamicConv", (Wide,), {"__module__": "elsewhere"})
    register_module(other)
    assert len(warnings()) == 1
    assert "that of elsewhere replaces that of ultralytics.nn.Addmodules.DynamicConv" in warnings()[0]
    assert isinstance(build([-1, 1, "DynamicConv", [8]]).model[0], other)


# Mistakes


def mistake(*backbone, **keys):
    """What building says about it; always the YAML and the row."""
    with pytest.raises(ModelError) as caught:
        build(*backbone, **keys)
    message = str(caught.value)
    assert message.startswith("mine.yaml, row ")
    assert "\n" not in message
    return message


def test_unknown_module():
    message = mistake([-1, 1, "Conv", [8]], [-1, 1, "DynamicConvv", [8, 3]])
    assert "row 1 [-1, 1, DynamicConvv, [8, 3]]" in message
    assert "no module 'DynamicConvv'; the nearest known names are DynamicConv" in message
    assert "[-1, 1, MyBlock, [c1, …]]" in message and "`channel_modules`" in message and "register_module()" in message
    assert "known names are" in mistake([-1, 1, "Q", [8]])
    assert "nn.Upsampel" in mistake([-1, 1, "nn.Upsampel", []])
    assert "make_divisible" in mistake([-1, 1, "make_divisible", [8]])


def test_module_in_no_set(sets):
    tasks.Wide = Wide
    hint = "Wide is in neither of the sets in ultralytics/nn/tasks.py"
    assert hint in mistake([-1, 1, "Conv", [8]], [-1, 1, "Wide", [16, 3]])  # Wide(16, 3): 16 channels expected, 8 came
    assert "write [c1, w(64), …]" in mistake([-1, 1, "Conv", [8]], [-1, 1, "Wide", [16, 3]])
    tasks.Attention = Attention  # takes its input channels alone: no set is of use
    message = mistake([-1, 1, "Conv", [8]], [-1, 1, "Attention", [4]])
    assert "write c1 for the channels that come in" in message and "put it into" not in message
    message = mistake([-1, 1, "Conv", [16]], [-1, 1, "Wide", []])
    assert "Wide() cannot be built: TypeError" in message and hint in message
    tasks.Deep = Deep
    assert "put it into both, `channel_modules` and `repeat_modules`" in mistake([-1, 3, "Deep", [8, True]])


def test_module_in_the_wrong_set(sets):
    register_module(Deep)
    message = mistake([-1, 3, "Deep", [8, True]])
    assert "takes the repeat count `n`" in message and "True would be read as n" in message
    assert "not in `repeat_modules`" in message
    assert "n would stay 1" in mistake([-1, 3, "Deep", [8]])
    assert len(build([-1, 1, "Deep", [8, 2]]).model[0].m) == 2  # a count of one's own is fine
    register_module(Wide, repeats=True)
    message = mistake([-1, 3, "Wide", [8]])
    assert "is in `repeat_modules`" in message and "3 would be read as k" in message


def test_in_the_repeat_set_alone(sets):
    tasks.Deep = Deep
    tasks.repeat_modules.add(Deep)
    assert len(build([-1, 3, "Deep", [8, True]]).model[0].m) == 3


def test_wrong_channels():
    message = mistake([-1, 1, "Conv", [8]], [-1, 1, "Conv", [16, 3, 1, "None", 3]])
    assert "row 1" in message and "Conv(8, 16, 3, 1, None, 3) cannot be built: ValueError" in message
    message = mistake([-1, 1, "Conv", [8]], [-1, 2, "Conv", [16, 3]])  # the second copy gets 16
    assert "Conv cannot take what comes in, (1, 8, 256, 256): RuntimeError" in message
    assert "expected input[1, 16, 256, 256] to have 8 channels" in message and "(conv.py, line" in message
    message = mistake([-1, 1, "Conv", [8, 3, 2]], [-1, 1, "Conv", [8, 3, 2]], [[0, 1], 1, "Concat", [1]])
    assert "(1, 8, 128, 128), (1, 8, 64, 64)" in message


def test_first_row_has_only_the_image():
    assert "the first row has only the image" in mistake([0, 1, "Conv", [8]])


def test_classes_have_to_be_given():
    d = describe([-1, 1, "Conv", [8]])
    del d["nc"]
    for wrong in ({}, {"nc": "many"}, {"nc": 0}, {"nc": True}):
        with pytest.raises(ModelError, match=r"mine\.yaml: `nc:` must be the number of classes"):
            DetectionModel(d | wrong, verbose=False)
    assert DetectionModel(d, nc=4, verbose=False).nc == 4


def test_a_head_with_a_number_cannot_follow_the_data():
    d = describe([-1, 1, "Conv", [8]], head=[[[-1], 1, "Detect", [80]]])
    with pytest.raises(ModelError, match=r"mine.yaml: the head is built for 80 classes, not 3: give it \[nc\]"):
        DetectionModel(d, nc=3, verbose=False)


@pytest.mark.parametrize("part", ["backbone", "head"])
def test_parts_have_to_be_there(part):
    d = describe([-1, 1, "Conv", [8]])
    del d[part]
    with pytest.raises(ModelError, match=f"mine.yaml: `{part}:` must be a list of rows"):
        DetectionModel(d, verbose=False)


# The model's own methods


def test_load_takes_over_what_fits(caplog):
    caplog.set_level(logging.INFO, "ultralytics")
    source, target = (DetectionModel("yolov8n.yaml", nc=nc, verbose=False) for nc in (80, 3))
    target.load(source.state_dict(), verbose=True)
    assert torch.equal(target.model[0].conv.weight, source.model[0].conv.weight)
    lines = [r.getMessage() for r in caplog.records]
    assert lines[0] == "Transferred 313/355 items from pretrained weights"
    assert any(line.strip().startswith("model.22.cv3.0.2.bias") for line in lines[1:])


def test_info_in_detail(caplog):
    caplog.set_level(logging.INFO, "ultralytics")
    model = DetectionModel("yolov8n.yaml", verbose=False)
    assert model.info(detailed=True) == (225, 3_157_200, 3_157_184, pytest.approx(8.743, rel=1e-3))
    lines = [r.getMessage() for r in caplog.records]
    assert lines[-1] == "yolov8n: 225 layers, 3,157,200 parameters, 3,157,184 gradients, 8.74 GFLOPs"
    rows = [line.split() for line in lines[1:-1]]
    assert rows[0] == ["0", "-1", "464", "0.088", "16x320x320", "Conv", "[64,", "3,", "2]"]
    assert len(rows) == 23
    assert model.info(verbose=False, imgsz=320)[3] == pytest.approx(8.743 / 4, rel=1e-3)
