"""From a model YAML to a network, and every way to get it wrong."""

import copy
import inspect
import logging

import pytest
import torch
from torch import nn

from ultralytics.cfg import CFG_DIR
from ultralytics.nn import tasks
from ultralytics.nn.Addmodules.DynamicConv import ConvBnAct, DynamicConv
from ultralytics.nn.modules import C2f, Conv
from ultralytics.nn.tasks import DetectionModel, find_task, parse_model, register_module, yaml_model_load
from ultralytics.utils.errors import ModelError
from ultralytics.utils.files import load_yaml, save_yaml

HEAD = [[[-1], 1, "Detect", ["nc"]]]


def describe(*backbone, head=HEAD, **keys):
    """A model YAML as a mapping."""
    return {"nc": 2, "yaml_file": "mine.yaml", "backbone": list(backbone), "head": list(head)} | keys


def build(*backbone, **keys):
    """The network of such a mapping."""
    return DetectionModel(describe(*backbone, **keys), verbose=False)


def layers(*backbone, ch=3, **keys):
    """Its layers alone."""
    return parse_model(describe(*backbone, **keys), ch, verbose=False)[0]


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


@pytest.fixture
def warnings(caplog):
    """Texts of warnings logged so far."""
    caplog.set_level(logging.WARNING, "ultralytics")
    return lambda: [record.getMessage() for record in caplog.records]


# Names and scales


def test_letter_in_the_name_is_the_scale():
    d = yaml_model_load("yolov8s-C2f-DynamicConv.yaml")
    assert d["scale"] == "s"
    assert d["yaml_file"] == "yolov8s-C2f-DynamicConv.yaml"
    assert d["backbone"][2][2] == "C2f_DynamicConv"


def test_a_path_wins_and_may_carry_a_letter_its_file_has_not(tmp_path, monkeypatch):
    d = yaml_model_load("yolov8.yaml")
    text = "nc: 7\nscales: {n: [1, 0.5, 64], q: [1, 1, 64]}\nbackbone: [[-1, 1, Conv, [64, 3, 2]]]\nhead: []\n"
    (tmp_path / "yolov8.yaml").write_text(text, encoding="utf-8")
    assert yaml_model_load(tmp_path / "yolov8q.yaml")["scale"] == "q"
    monkeypatch.chdir(tmp_path)
    mine = yaml_model_load("yolov8n.yaml")
    assert (mine["nc"], mine["scale"], d["nc"]) == (7, "n", 80)


@pytest.mark.parametrize(
    "name", ["yolov8s_CBAM.yaml", "yolov8sCBAM.yaml", "my_yolov8s.yaml", "yolov8s copy.yaml", "yolov8s.best.yaml"]
)
def test_a_letter_anywhere_is_the_scale_if_it_can_only_be_one(name, tmp_path):
    text = "nc: 7\nscales: {n: [1, 0.5, 64], s: [1, 1, 64]}\nbackbone: [[-1, 1, Conv, [64, 3, 2]]]\nhead: []\n"
    for file in (name, name.replace("8s", "8")):  # its own file, and the file without the letter
        (tmp_path / file).write_text(text, encoding="utf-8")
        assert yaml_model_load(tmp_path / name)["scale"] == "s"
        (tmp_path / file).unlink()
    (tmp_path / name).write_text(text.replace("s: [", "m: ["), encoding="utf-8")
    if name != "yolov8s.best.yaml":
        assert "scale" not in yaml_model_load(tmp_path / name)  # the file has no such scale: just a name


def test_a_row_that_nobody_takes_is_said(tmp_path, warnings):
    rows = "backbone: [[-1, 1, Conv, [8]], [0, 1, Conv, [8], a], [0, 1, Conv, [8]]]\nhead: [[[-1], 1, Detect, [nc]]]\n"
    (tmp_path / "mine.yaml").write_text("nc: 1\n" + rows, encoding="utf-8")
    yaml_model_load(tmp_path / "mine.yaml")
    assert len(warnings()) == 1 and "no row takes the output of row 1 [0, 1, 'Conv', [8], 'a']" in warnings()[0]
    (tmp_path / "mine.yaml").write_text("nc: 1\n" + rows.replace("[[-1], 1, D", "[[a, -1], 1, D"), encoding="utf-8")
    yaml_model_load(tmp_path / "mine.yaml")
    assert len(warnings()) == 1


def test_numbers_that_were_not_raised_behind_an_inserted_row_are_said(tmp_path, warnings):
    file, d = tmp_path / "yolov8n-SE.yaml", load_yaml(CFG_DIR / "models" / "v8" / "yolov8.yaml")
    d["backbone"].append([-1, 1, "SE", [16]])  # row 10, the README's
    save_yaml(file, d)
    yaml_model_load(file)
    (said,) = warnings()
    assert said.startswith(f"{file}: rows were inserted into those of yolov8.yaml or taken out, and numbers behind")
    assert said.endswith(
        "row 18 Concat takes 12, which is row 13 now; row 23 Detect takes 15, which is row 16 now; "
        "row 23 Detect takes 18, which is row 19 now; row 23 Detect takes 21, which is row 22 now"
    )
    for row in d["head"]:
        row[0] = [f if f < 10 else f + 1 for f in row[0]] if isinstance(row[0], list) else row[0]
    save_yaml(file, d)
    yaml_model_load(file)
    assert len(warnings()) == 1


@pytest.mark.parametrize("file", sorted(CFG_DIR.glob("models/**/*.yaml")), ids=lambda file: file.stem)
def test_no_model_of_the_tree_has_forgotten_numbers(file, warnings):
    yaml_model_load(file)
    assert not warnings()


@pytest.mark.parametrize(("key", "value"), [("reg_max", 8), ("end2end", True)])
def test_keys_that_would_change_the_head_are_not_ignored(key, value):
    with pytest.raises(ModelError, match=f"mine.yaml: `{key}: {value}` "):
        build([-1, 1, "Conv", [8]], **{key: value})
    assert build([-1, 1, "Conv", [8]], reg_max=16, end2end=False).model[-1].reg_max == 16


@pytest.mark.parametrize("name", ["yolov8z.yaml", "yolov8z-p2.yaml"])
def test_a_letter_that_is_no_scale(name):
    with pytest.raises(ModelError, match=f"{name}.*no scale 'z'.*it has n, s, m, l, x"):
        yaml_model_load(name)


def test_a_letter_for_a_file_without_scales(tmp_path):
    (tmp_path / "yolov8-own.yaml").write_text("nc: 1\nbackbone: []\nhead: []\n", encoding="utf-8")
    with pytest.raises(ModelError, match="no `scales` at all"):
        yaml_model_load(tmp_path / "yolov8n-own.yaml")
    (tmp_path / "yolov8n-own.yaml").write_text("nc: 1\nbackbone: []\nhead: []\n", encoding="utf-8")
    assert yaml_model_load(tmp_path / "yolov8n-own.yaml")["nc"] == 1  # its own name, not a scale


@pytest.mark.parametrize("name", ["yolov8N.yaml", "yolov8nano.yaml", "YOLOV8n.yaml", "yolov8-Dynamic.yaml"])
def test_other_letters_are_part_of_the_name(name, tmp_path):
    with pytest.raises(ModelError, match=f"{name}.*nearest"):
        yaml_model_load(name)
    (tmp_path / name).write_text("scales: {q: [1, 1, 64]}\nbackbone: []\nhead: []\n", encoding="utf-8")
    assert "scale" not in yaml_model_load(tmp_path / name)


def test_no_letter_takes_the_first_scale_with_a_warning(warnings):
    d = describe([-1, 1, "Conv", [64]], scales={"s": [1, 0.5, 1024], "n": [1, 0.25, 1024]})
    assert parse_model(d, 3, verbose=False)[0][0].conv.out_channels == 32
    assert d["scale"] == "s"
    assert len(warnings()) == 1
    assert "mine.yaml: no scale letter" in warnings()[0]


def test_a_network_remembers_how_to_build_it_again():
    first = DetectionModel("yolov8s.yaml", ch=1, nc=5, verbose=False)
    again = DetectionModel(first.yaml, verbose=False)
    shapes = [{k: v.shape for k, v in model.state_dict().items()} for model in (first, again)]
    assert shapes[0] == shapes[1]
    assert (again.nc, again.names[4], again.model[0].conv.in_channels) == (5, "4", 1)


def test_multiples_of_older_yamls():
    row = [-1, 6, "C2f", [64, True]]
    (block,) = layers(row, depth_multiple=0.33, width_multiple=0.5, head=HEAD)[:1]
    assert (block.cv2.conv.out_channels, len(block.m)) == (32, 2)


@pytest.mark.parametrize("scale", [[0.33, 0.25], "big", [1, 2, "x"]])
def test_a_malformed_scale(scale):
    with pytest.raises(ModelError, match=r"mine.yaml: scale 'n' must be \[depth, width, max_channels\]"):
        build([-1, 1, "Conv", [8]], scales={"n": scale}, scale="n")


def test_scales_that_are_no_mapping():
    with pytest.raises(ModelError, match=r"mine\.yaml: `scales:` must be rows"):
        build([-1, 1, "Conv", [8]], scales=[1, 1, 64])


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
