"""Options: defaults, types and ranges, refusals with their reasons; annotations, table and default.yaml agree."""

import copy
import inspect
import math
import pickle
import re
from itertools import accumulate, islice
from pathlib import Path
from types import SimpleNamespace, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np
import pytest
import torch

from ultralytics import cfg
from ultralytics.cfg import Options, get_options, parse_overrides
from ultralytics.cfg.options import METHOD_DEFAULTS, NOT_IMPLEMENTED, OPTIONS, UNSUPPORTED
from ultralytics.models import yolo
from ultralytics.utils.errors import ConfigError

DEFAULTS = """
task= model= data= epochs=100 time= patience=100 batch= imgsz=640 save= save_period=-1 cache=False device=
workers=8 project= name= exist_ok=False pretrained=True optimizer=auto verbose=True seed=0 deterministic=True
single_cls=False rect= cos_lr=False close_mosaic=10 resume=False amp=True fraction=1.0 freeze= multi_scale=0.0
compile=False sync_bn=False channels_last= val=True split=val save_json=False conf= iou=0.7 max_det=300 half=False
plots=True source= vid_stride=1 agnostic_nms=False embed= classes= show=False save_txt=False save_conf=False
save_crop=False reduced_decode=False
show_labels=True show_conf=True show_boxes=True line_width= lr0=0.01 lrf=0.01 momentum=0.937 weight_decay=0.0005
warmup_epochs=3.0 warmup_momentum=0.8 warmup_bias_lr=0.1 box=7.5 cls=0.5 dfl=1.5 angle=1.0 nbs=64 hsv_h=0.015 hsv_s=0.7
hsv_v=0.4 degrees=0.0 translate=0.1 scale=0.5 shear=0.0 perspective=0.0 flipud=0.0 fliplr=0.5 bgr=0.0 mosaic=1.0
mixup=0.0 cutmix=0.0 cfg= format=torchscript dynamic=False simplify=True opset=
augment=False copy_paste=0.0 copy_paste_mode=flip overlap_mask=True mask_ratio=4 retina_masks=False
pose=12.0 kobj=1.0 iou_loss=ciou inner_ratio=0.0 focaler= nwd=0.0 nwd_c=12.8 cls_loss=bce assign_iou=ciou
dropout=0.0 auto_augment=randaugment erasing=0.4 visualize=False
"""


def test_defaults():
    found = get_options()
    assert found.as_dict() == parse_overrides(DEFAULTS.split())
    assert found.given == frozenset()
    assert set(found.as_dict()) == set(OPTIONS)


def default_yaml() -> dict[str, dict[str, str]]:
    """Comments of default.yaml by option, by heading."""
    groups = {}
    for row in cfg.DEFAULT_YAML.read_text(encoding="utf-8").splitlines():
        assert len(row) <= 120
        if heading := re.fullmatch(r"# (.+?) -{5,}", row):
            groups[heading[1]] = {}
        elif row and not row.startswith("#"):
            name, comment = re.fullmatch(r"(\w+):.*? # (.+)", row).groups()
            list(groups.values())[-1][name] = comment
    return groups


def test_fields_and_default_yaml_agree():
    """The same options in the same order below the same headings, each with its comment, cut at most at a semicolon."""
    rows = re.findall(r"^    # (.+)|^    (\w+): .*  # (.+)", inspect.getsource(Options), re.MULTILINE)
    groups = {}
    for heading, name, comment in rows:
        if heading:
            groups[heading] = {}
        else:
            list(groups.values())[-1][name] = comment
    expected = default_yaml()
    assert [(h, list(group)) for h, group in groups.items()] == [(h, list(group)) for h, group in expected.items()]
    assert [name for group in groups.values() for name in group] == [n for n in get_type_hints(Options) if n != "given"]
    for heading, group in groups.items():
        for name, comment in group.items():
            assert comment in accumulate(expected[heading][name].split("; "), "{}; {}".format), name


def test_the_table_has_the_groups_of_default_yaml():
    names = iter(OPTIONS)
    for group in default_yaml().values():
        assert set(islice(names, len(group))) == set(group)
    assert not list(names)


def fits(value: object, hint: object) -> bool:
    """Whether a value is of an annotated type."""
    if get_origin(hint) in (Union, UnionType):
        return any(fits(value, part) for part in get_args(hint))
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    if get_origin(hint) is list:
        return type(value) is list and all(fits(item, get_args(hint)[0]) for item in value)
    return hint is Any or type(value) is hint


@pytest.mark.parametrize("method", ["train", "val", "predict"])
def test_resolved_defaults_are_of_the_annotated_types(method):
    options = get_options().resolve(method)
    for name, hint in get_type_hints(Options).items():
        if name != "given":
            assert fits(getattr(options, name), hint), name


def test_the_tasks_are_those_of_the_table_of_classes():
    assert tuple(yolo.TASK_CLASSES) == cfg.TASKS


def test_the_three_lists_do_not_overlap():
    assert not set(OPTIONS) & set(NOT_IMPLEMENTED)
    assert not set(OPTIONS) & set(UNSUPPORTED)
    assert not set(NOT_IMPLEMENTED) & set(UNSUPPORTED)


ACCEPTED = [
    ("epochs", 1, 1),
    ("epochs", np.int64(7), 7),
    ("lr0", 1, 1.0),
    ("lr0", np.float32(0.5), 0.5),
    ("time", None, None),
    ("time", 0.5, 0.5),
    ("batch", -1, -1),
    ("imgsz", [480, 640], [480, 640]),
    ("imgsz", (480, 640), [480, 640]),
    ("cache", "ram", "ram"),
    ("cache", "Disk", "disk"),
    ("cache", True, True),
    ("device", 0, 0),
    ("device", "cuda:0", "cuda:0"),
    ("device", [0], [0]),
    ("device", torch.device("cpu"), "cpu"),
    ("device", "", None),
    ("model", Path("a") / "b.pt", str(Path("a", "b.pt"))),
    ("project", "", None),
    ("optimizer", "adamw", "AdamW"),
    ("optimizer", "rmsprop", "RMSProp"),
    ("amp", "BF16", "bf16"),
    ("amp", False, False),
    ("pretrained", "best.pt", "best.pt"),
    ("resume", "", None),
    ("resume", True, True),
    ("freeze", 10, 10),
    ("freeze", [0, "model.22.dfl"], [0, "model.22.dfl"]),
    ("freeze", "model.0", ["model.0"]),
    ("multi_scale", True, 0.5),
    ("multi_scale", False, 0.0),
    ("multi_scale", 0.25, 0.25),
    ("classes", 0, [0]),
    ("classes", (0, 2), [0, 2]),
    ("save", "no", False),
    ("val", "On", True),
    ("source", 0, 0),
    ("conf", 0, 0.0),
    ("fraction", 1, 1.0),
    ("fraction", 200, 200),
    ("batch", 0.7, 0.7),
    ("batch", 8.0, 8),
    ("epochs", 3.0, 3),
    ("imgsz", [256], 256),
    ("imgsz", (256,), 256),
    ("scale", (0.5, 1.2), [0.5, 1.2]),
    ("name", 0, "0"),
    ("project", 3, "3"),
    ("data", ["a.yaml", "b.yaml"], ["a.yaml", "b.yaml"]),
    ("amp", "fp16", True),
    ("amp", "FP32", False),
    ("channels_last", None, None),
    ("optimizer", "RMSprop", "RMSProp"),
    ("opset", 11, 11),
    ("line_width", 2, 2),
    ("format", "ONNX", "onnx"),
    ("opset", "17", 17),
    ("auto_augment", "AugMix", "augmix"),
    ("auto_augment", "", None),
    ("iou_loss", "WIoU3", "wiou3"),
    ("inner_ratio", 0, 0.0),
    ("inner_ratio", 1.25, 1.25),
    ("focaler", (0, 0.95), [0.0, 0.95]),
    ("focaler", "", None),
    ("nwd", 1, 1.0),
]


@pytest.mark.parametrize(("name", "value", "expected"), ACCEPTED)
def test_values_are_taken_in_their_type(name, value, expected):
    found = getattr(get_options({name: value}), name)
    assert found == expected
    assert type(found) is type(expected)
    assert found is None or fits(found, get_type_hints(Options)[name])


def test_any_source_is_taken_as_it_is():
    image = np.zeros((2, 2, 3), np.uint8)
    assert get_options({"source": image}).source is image


INVALID = [
    ("epochs", 0, "an integer of at least 1"),
    ("epochs", 1.5, "an integer of at least 1"),
    ("epochs", True, "an integer of at least 1"),
    ("epochs", "many", "an integer of at least 1"),
    ("epochs", None, "an integer of at least 1"),
    ("time", 0, "a number above 0"),
    ("batch", 0, "-1, an integer of at least 1, a number above 0, up to 0.99 or None"),
    ("batch", 1.5, "-1, an integer of at least 1"),
    ("imgsz", 16, "an integer of at least 32 or [height, width]"),
    ("imgsz", [640, 480, 320], "an integer of at least 32 or [height, width]"),
    ("imgsz", [], "an integer of at least 32 or [height, width]"),
    ("save", 1, "True, False or None"),
    ("opset", 10, "11, 12, 13, 14, 15, 16, 17, 18, 19, 20 or None"),
    ("format", "engine", "onnx or torchscript"),
    ("verbose", None, "True or False"),
    ("verbose", "maybe", "True or False"),
    ("cache", "gpu", "True, False, ram or disk"),
    ("amp", "fp8", "True, False, bf16, fp16 or fp32"),
    ("optimizer", "Lion", "auto, SGD, Adam, Adamax, AdamW, NAdam, RAdam or RMSProp"),
    ("split", "training", "train, val or test"),
    ("fraction", 0, "a number above 0, up to 1 or an integer of at least 2"),
    ("fraction", 1.1, "a number above 0, up to 1"),
    ("scale", 1.5, "a number from 0 to 1 or [minimum, maximum]"),
    ("scale", [0.5], "a number from 0 to 1 or [minimum, maximum]"),
    ("scale", [0, 1], "a number from 0 to 1 or [minimum, maximum]"),
    ("multi_scale", 2, "True, False or a number from 0 to 1"),
    ("freeze", -1, "a layer's name"),
    ("iou_loss", 3, "the name of a loss"),
    ("cls_loss", "b c", "the name of a loss"),
    ("inner_ratio", 0.4, "0 or a number from 0.5 to 1.5"),
    ("inner_ratio", 2, "0 or a number from 0.5 to 1.5"),
    ("focaler", [0.5], r"[d, u], two numbers from 0 to 1 or None"),
    ("nwd", 1.1, "a number from 0 to 1"),
    ("nwd_c", 0, "a number above 0"),
    ("freeze", [0.5], "a layer's name"),
    ("classes", "car", "an integer of at least 0"),
    ("classes", [-1], "an integer of at least 0"),
    ("device", 0.5, "an index such as 0, cuda:0, cpu, mps or None"),
    ("device", True, "an index such as 0"),
    ("model", 8, "a path or None"),
    ("name", True, "text or None"),
    ("data", ["a.yaml", 3], "a path, a list of such or None"),
    ("lr0", -0.1, "a number of at least 0"),
    ("lr0", "fast", "a number of at least 0"),
    ("lr0", math.nan, "a number of at least 0"),
    ("lr0", math.inf, "a number of at least 0"),
    ("momentum", 1.0, "a number from 0 to 0.9999"),
    ("fliplr", 1.5, "a number from 0 to 1"),
    ("fliplr", False, "a number from 0 to 1"),
    ("degrees", 270, "a number from 0 to 180"),
    ("conf", 25, "a number from 0 to 1 or None"),
    ("task", "depth", "detect"),
    ("task", ["detect"], "detect"),
    ("line_width", 0, "an integer of at least 1 or None"),
    ("mask_ratio", 33, "an integer from 1 to 32"),
    ("copy_paste_mode", "mosaic", "flip or mixup"),
]


@pytest.mark.parametrize(("name", "value", "expected"), INVALID)
def test_wrong_values_name_option_value_and_what_is_expected(name, value, expected):
    with pytest.raises(ConfigError) as caught:
        get_options({name: value})
    message = str(caught.value)
    assert message.startswith(f"{name}={value!r}: expected ")
    assert expected in message


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_refuses_something_or_takes_all(name):
    if name == "source":
        assert get_options({name: object}).source is object
        return
    with pytest.raises(ConfigError, match=f"^{name}="):
        get_options({name: {"a": object()}})


@pytest.mark.parametrize("name", NOT_IMPLEMENTED)
def test_options_not_implemented_say_what_they_belong_to(name):
    with pytest.raises(ConfigError, match=f"^{name} belongs to {NOT_IMPLEMENTED[name]}"):
        get_options({name: True})


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_unsupported_options_say_why(name):
    with pytest.raises(ConfigError) as caught:
        get_options({name: "another"})
    assert str(caught.value) == f"{name} {UNSUPPORTED[name]}"


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [
        ("img_size", "imgsz"),
        ("lr", "lr0 or lrf"),
        ("iou_thres", "iou"),
        ("Epochs", "epochs"),
        ("hide_label", "show_labels"),
    ],
)
def test_unknown_names_come_with_the_nearest(wrong, meant):
    with pytest.raises(ConfigError) as caught:
        get_options({wrong: 1})
    assert str(caught.value).startswith(f"there is no option {wrong!r}: did you mean ")
    assert set(meant.split(" or ")) <= set(str(caught.value).rstrip("?").split())


def test_several_mistakes_are_told_at_once():
    with pytest.raises(ConfigError, match=r"^epochs=0: expected .* \(also refused: mode, tracker\)$"):
        get_options({"epochs": 0, "mode": "trainn", "tracker": "a.yaml", "imgsz": 320})


def test_later_overrides_win_and_given_counts_what_was_said():
    found = get_options({"imgsz": 320, "epochs": 3}, {"imgsz": 64, "conf": None})
    assert (found.imgsz, found.epochs, found.given) == (64, 3, {"imgsz", "epochs"})


def test_methods_have_defaults_of_their_own():
    assert METHOD_DEFAULTS["train"] == {
        "project": "runs/train", "name": "exp", "batch": 16, "rect": False, "conf": 0.001, "save": True,
    }  # fmt: skip
    assert METHOD_DEFAULTS["val"] == METHOD_DEFAULTS["train"] | {"project": "runs/val", "rect": True}
    assert METHOD_DEFAULTS["predict"] == {
        "project": "runs/detect", "name": "exp", "batch": 1, "rect": True, "conf": 0.25, "save": False,
    }  # fmt: skip


def test_resolve_fills_in_what_was_left_open_only():
    found = get_options({"conf": 0.6, "name": "mine"}).resolve("predict")
    assert (found.conf, found.batch, found.rect, found.save, found.name) == (0.6, 1, True, False, "mine")
    assert found.project == "runs/detect"
    assert found.given == {"conf", "name"}
    assert get_options({"rect": True}).resolve("train").rect is True


def test_options_are_read_only_values():
    found = get_options({"imgsz": 64})
    changed = found.replace(epochs=3)
    assert (changed.epochs, found.epochs, changed.given) == (3, 100, {"imgsz", "epochs"})
    assert found.replace(multi_scale=True).multi_scale == 0.5
    with pytest.raises(ConfigError, match="epochs=0"):
        found.replace(epochs=0)
    with pytest.raises(AttributeError, match=r"options\.replace\(epochs=3\)"):
        found.epochs = 3
    with pytest.raises(AttributeError, match=r"no option 'img_size'.*imgsz"):
        found.img_size  # noqa: B018
    assert getattr(found, "nothing", 5) == 5
    found.as_dict()["imgsz"] = 1
    assert found.imgsz == 64
    assert repr(found) == "Options(imgsz=64)"


def test_options_travel_to_other_processes():
    found = get_options({"imgsz": 64})
    for other in (pickle.loads(pickle.dumps(found)), copy.deepcopy(found), copy.copy(found)):
        assert isinstance(other, Options)
        assert other == found
        assert other.given == {"imgsz"}
    assert found != get_options()
    assert found != SimpleNamespace(imgsz=64)
