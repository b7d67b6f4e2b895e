"""Pretrained weights in networks that are not the one they come from."""

import copy
import logging
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.close import RAW
from ultralytics.models.yolo import task_class
from ultralytics.nn import tasks
from ultralytics.nn.Addmodules.DynamicConv import ConvBnAct, DynamicConv
from ultralytics.nn.modules import Conv, Detect
from ultralytics.nn.modules.head import branch
from ultralytics.nn.tasks import DetectionModel, yaml_model_load
from ultralytics.nn.transfer import transfer
from ultralytics.nn.transfer.report import row_of
from ultralytics.utils.checkpoint import Checkpoint, load_checkpoint


@pytest.fixture(scope="session")
def trained(golden):
    """yolov8n trained on three classes, by the public package."""
    return load_checkpoint(golden / "weights" / "detect.pt")


@pytest.fixture(scope="session")
def images(golden):
    """Four pictures, (4, 3, 224, 224) in 0..1."""
    return torch.from_numpy(np.load(golden / "detect.npz")["batch.img"])


def build(d, nc=3):
    """A network with weights of its own and norms that have seen something."""
    torch.manual_seed(1)
    return DetectionModel(d, nc=nc, verbose=False)


def bare(checkpoint):
    """The weights as a .safetensors file has them."""
    return dict(sorted(checkpoint.state_dict.items()))


def edited(at, *inserted, name="yolov8n.yaml", removed=0):
    """A model YAML with rows inserted before row `at` or removed from there on, and every `from` renumbered."""
    d = yaml_model_load(name)
    rows = [list(row) for row in d["backbone"] + d["head"]]
    for row in rows:
        sources = row[0] if isinstance(row[0], list) else [row[0]]
        moved = [f if f < at else max(f + len(inserted) - removed, at - 1) for f in sources]
        row[0] = moved if isinstance(row[0], list) else moved[0]
    rows[at : at + removed] = map(list, inserted)
    split = len(d["backbone"])
    return d | {"backbone": rows[:split], "head": rows[split:]}


def renumbered(name, at, by):
    """The name of an entry of row `at` or later once `by` rows have come in before it."""
    model, row, rest = name.split(".", 2)
    return f"{model}.{int(row) + by if int(row) >= at else row}.{rest}"


def lost(model, weights, names):
    """Entries of `weights` that are not found again at the names that `names(entry)` gives."""
    state = model.state_dict()
    return {name for name, t in weights.items() if names(name) not in state or not torch.equal(state[names(name)], t)}


# Rows inserted and removed


@pytest.mark.parametrize("form", [lambda c: c, bare], ids=["checkpoint", "bare"])
@pytest.mark.parametrize(
    ("at", "rows"),
    [
        (5, [[-1, 1, "Conv", [256, 3, 1]]]),
        (0, [[-1, 1, "nn.Conv2d", [3, 3, 1]]]),
        (13, [[-1, 1, "Conv", [512, 3, 1]], [-1, 1, "nn.Identity", []], [-1, 1, "C2f", [512]]]),
        (10, [[-1, 1, "C2f", [1024, True]]]),
        (10, [[-1, 1, "nn.Identity", []]]),
    ],
    ids=["after row 4", "first", "neck", "before a row without weights", "no weights"],
)
def test_an_inserted_row_has_no_weights_and_all_others_have(trained, form, at, rows):
    model = build(edited(at, *rows))
    before = copy.deepcopy(model.state_dict())
    done = model.load(form(trained))
    assert not lost(model, trained.state_dict, lambda name: renumbered(name, at, len(rows)))
    new = {name for name in before if at <= int(name.split(".")[1]) < at + len(rows)}
    assert done.missing == dict.fromkeys(new, "not in the weights") and not done.unused
    assert all(torch.equal(model.state_dict()[name], before[name]) for name in new)


@pytest.mark.parametrize("form", [lambda c: c, bare], ids=["checkpoint", "bare"])
@pytest.mark.parametrize("at", [2, 6, 8])
def test_a_removed_row_takes_only_its_own_weights(trained, form, at):
    model = build(edited(at, removed=1))
    done = model.load(form(trained))
    assert not done.missing and done.unused_rows == [at]
    names = {name for name in trained.state_dict if name.startswith(f"model.{at}.")}
    kept = {name: t for name, t in trained.state_dict.items() if name not in names}
    assert set(done.unused) == names
    assert not lost(model, kept, lambda name: renumbered(name, at, -1))


def test_a_row_as_large_as_the_next_is_told_by_its_args(trained):
    model = build(edited(16, [-1, 1, "Conv", [256, 3, 1]]))
    assert model.load(trained).origins[17] == 16
    assert not lost(model, trained.state_dict, lambda name: renumbered(name, 16, 1))


chains = st.lists(st.integers(1, 30), min_size=2, max_size=7, unique=True)


@settings(max_examples=25, deadline=None)
@given(widths=chains, kept=st.lists(st.booleans(), min_size=7, max_size=7), data=st.data())
def test_only_rows_that_come_or_go_lose_weights(widths, kept, data):
    def network(rows):
        torch.manual_seed(len(rows))
        layers = [Conv(*row) if isinstance(row, tuple) else torch.nn.SiLU() for row in rows]
        return torch.nn.ModuleDict({"model": torch.nn.Sequential(*layers)})

    rows = list(pairwise(widths))
    after = [row for row, stays in zip(rows, kept, strict=False) if stays]
    for new in data.draw(st.lists(st.sampled_from([(40, 41), (50, 51), (60, 61), "act"]), max_size=3, unique=True)):
        after.insert(data.draw(st.integers(0, len(after))), new)
    source, target = network(rows), network(after)
    done = transfer(target, source.state_dict())
    whole = {i: rows.index(row) for i, row in enumerate(after) if row in rows}
    assert {i: j for i, j in done.origins.items() if any(k.startswith(f"model.{i}.conv") for k in done.copied)} == whole
    for i, j in whole.items():
        assert torch.equal(target["model"][i].conv.weight, source["model"][j].conv.weight)


# Heads


@pytest.mark.parametrize(("name", "level"), [("yolov8n-p2.yaml", 1), ("yolov8n-p6.yaml", 0)])
def test_levels_of_the_head_come_along(trained, name, level):
    model = build(name)
    model.load(trained)
    own, source = model.model[-1].state_dict(), trained.state_dict
    assert torch.equal(own[f"cv2.{level}.0.conv.weight"], source["model.22.cv2.0.0.conv.weight"])
    assert torch.equal(own[f"cv2.{level}.2.bias"], source["model.22.cv2.0.2.bias"])


@pytest.mark.parametrize("name", ["segment", "pose", "obb"])
def test_the_detection_part_of_other_heads(golden, name):
    weights = load_checkpoint(golden / "weights" / f"{name}.pt")
    done = build("yolov8n.yaml", nc=1).load(weights)
    assert len(done.copied) == 355 and not done.missing
    assert all(".cv4." in name or ".proto." in name for name in done.unused) and done.unused


@pytest.mark.parametrize(
    ("task", "suffix"), [("segment", "seg"), ("pose", "pose"), ("obb", "obb"), ("classify", "cls")]
)
def test_networks_of_other_tasks(golden, task, suffix):
    """All weights find their places behind an inserted row, and all static ones in a dynamic network."""
    weights = load_checkpoint(golden / "weights" / f"{task}.pt")

    def made(d):
        d = d | {"nc": len(weights.names)} | ({"kpt_shape": [2, 3]} if task == "pose" else {})
        return task_class(task).model_class(d, verbose=False)

    longer = made(edited(2, [-1, 1, "Conv", [128, 3, 1]], name=f"yolov8n-{suffix}.yaml"))
    done = longer.load(weights)
    assert set(map(row_of, done.missing)) == {2} and not done.unused
    assert not lost(longer, weights.state_dict, lambda name: renumbered(name, 2, 1))
    done = made(yaml_model_load(f"yolov8n-DynamicConv-{suffix}.yaml")).load(weights)
    assert not done.missing and not done.unused
    assert done.expanded["model.1.cond_conv.weight"] == "model.1.conv.weight"


def test_a_head_with_a_branch_more_keeps_what_detect_has(trained, monkeypatch):
    class Angled(Detect):
        def __init__(self, nc=80, ch=()):
            super().__init__(nc, ch)
            self.cv4 = torch.nn.ModuleList([branch(c, 32, 1) for c in ch])

    monkeypatch.setattr(tasks, "Angled", Angled, raising=False)
    d = edited(22, [[15, 18, 21], 1, "Angled", ["nc"]], removed=1)
    done = build(d).load(trained)
    assert len(done.copied) == 355 and not done.unused
    assert all(".cv4." in name for name in done.missing)


def test_another_number_of_classes_costs_the_class_branch(trained):
    done = build("yolov8n.yaml", nc=80).load(trained)
    assert str(done) == "Transferred 313/355 items from pretrained weights"
    assert all(".cv3." in name for name in done.missing)
    assert done.missing["model.22.cv3.0.2.bias"] == "(3,) in the weights, (80,) in the network"


def test_other_widths_stay_at_their_rows(trained):
    done = build("yolov8s.yaml").load(trained)
    assert all(i == j for i, j in done.origins.items())


# Classes known by name


@pytest.mark.parametrize(
    ("names", "places"),
    [
        (["Platelets", "RBC", "WBC"], {0: 2, 1: 0, 2: 1}),
        (["new", "WBC", "RBC"], {1: 1, 2: 0}),
        (["WBC"], {0: 1}),
        (["a", "b", "c"], {0: 0, 1: 1, 2: 2}),
        (["0", "1", "2"], {0: 0, 1: 1, 2: 2}),
    ],
)
def test_classes_find_their_namesakes(trained, names, places):
    model = build("yolov8n.yaml", nc=len(names))
    model.names = dict(enumerate(names))
    before = copy.deepcopy(model.state_dict())
    done = model.load(trained)
    whole = len(places) == len(names)
    assert len(done.copied) == (355 if whole else 349)
    for end in ("weight", "bias"):
        name = f"model.22.cv3.1.2.{end}"
        assert whole or done.missing[name] == "2 of 3 classes have a namesake in the weights"
        for i in range(len(names)):
            expected = trained.state_dict[name][places[i]] if i in places else before[name][i]
            assert torch.equal(model.state_dict()[name][i], expected)


def test_classes_find_their_namesakes_in_both_sets_of_yolov10():
    rows = {"backbone": [[-1, 1, "Conv", [8, 3, 2]]], "head": [[[0], 1, "v10Detect", ["nc"]]]}
    source, model = build(rows, nc=3), build(rows, nc=2)
    source.names, model.names = {0: "a", 1: "b", 2: "c"}, {0: "new", 1: "a"}
    done = model.load(source)
    for branch_name in ("cv3", "one2one_cv3"):
        name = f"model.1.{branch_name}.0.2.weight"
        assert torch.equal(model.state_dict()[name][1], source.state_dict()[name][0])
        assert done.missing[name] == "1 of 2 classes have a namesake in the weights"
    stranger = build(rows, nc=5).load(Checkpoint(source.state_dict()))
    assert not [line for line in stranger.summary() if "only a part" in line]  # class branches alone differ


# Static to dynamic


def outputs(model, images):
    """Raw box and class outputs of a network in eval mode."""
    with torch.no_grad():
        raw = model.eval()(images)[1]
    return raw["boxes"], raw["scores"]


@pytest.mark.parametrize(("where", "row"), [("BnAct", 7), ("-late", 7), ("-early", 0)])
def test_a_static_network_goes_on_as_a_dynamic_one(trained, images, where, row):
    static, dynamic = build("yolov8n.yaml"), build(f"yolov8n-DynamicConv{where}.yaml")
    static.load(trained)
    done = dynamic.load(trained)
    assert not done.missing and not done.unused and not done.changed
    assert done.expanded[f"model.{row}.conv.cond_conv.weight"] == f"model.{row}.conv.weight"
    for found, expected in zip(outputs(dynamic, images), outputs(static, images), strict=True):
        torch.testing.assert_close(found, expected, **RAW)
    static.train(), dynamic.train()
    torch.testing.assert_close(dynamic(images)["scores"], static(images)["scores"], rtol=1e-4, atol=1e-3)


def test_every_router_learns_from_the_first_step(trained, images):
    model = build("yolov8n-DynamicConvBnAct.yaml")
    model.load(trained)
    routers = [m.routing for m in model.modules() if isinstance(m, DynamicConv)]
    assert routers and not any(p.any() for router in routers for p in router.parameters())
    preds = model.train()(images[:2])
    (preds["boxes"].square().mean() + preds["scores"].square().mean()).backward()
    assert all(p.grad.any() for router in routers for p in router.parameters())


def test_noise_is_small_cancels_out_and_depends_on_the_seed_alone(trained):
    banks = []
    for seed in (0, 0, 1):
        model = build("yolov8n-DynamicConvBnAct.yaml")
        model.load(trained, seed=seed)
        banks.append(model.model[5].conv.cond_conv.weight)
        torch.rand(seed + 1)
    assert torch.equal(banks[0], banks[1]) and not torch.equal(banks[0], banks[2])
    kernel = trained.state_dict["model.5.conv.weight"].flatten()
    torch.testing.assert_close(banks[0].sum(0) * 0.5, kernel, rtol=1e-5, atol=1e-6)
    apart = (banks[0] - kernel / 2).std() / kernel.std()
    assert 0 < apart < 0.2
    assert not torch.equal(banks[0][0], banks[0][1])


def test_without_a_norm_the_scale_is_kept_and_the_loss_is_said(trained, caplog):
    caplog.set_level(logging.INFO, "ultralytics")
    model = build("yolov8n-DynamicConv.yaml")
    done = model.load(trained)
    assert str(done) == "Transferred 337/337 items from pretrained weights"
    assert done.changed == tuple(f"model.{i}" for i in (1, 3, 5, 7, 16, 19))
    assert "6 dynamic convolutions lack the norm and the activation" in caplog.text
    norm = torch.nn.BatchNorm2d(64, eps=1e-3)
    conv = torch.nn.Conv2d(32, 64, 3, 2, 1, bias=False)
    for module, path in ((norm, "bn"), (conv, "conv")):
        module.load_state_dict({k: trained.state_dict[f"model.3.{path}.{k}"] for k in module.state_dict()})
    x = torch.rand(2, 32, 20, 20)
    with torch.no_grad():
        expected = norm.eval()(conv(x)) - norm(torch.zeros(1, 64, 1, 1))
        torch.testing.assert_close(model.model[3](x), expected, atol=1e-4, rtol=1e-4)


class Net(torch.nn.Module):
    """A network of one row."""

    def __init__(self, row):
        super().__init__()
        self.model = torch.nn.Sequential(row)

    def forward(self, x):
        return self.model(x)


def settled(module):
    """The module with norms that are not the identity."""
    torch.manual_seed(3)
    for m in module.modules():
        if isinstance(m, torch.nn.BatchNorm2d):
            for t in (m.weight, m.running_var):
                torch.nn.init.uniform_(t, 0.5, 1.5)
            for t in (m.bias, m.running_mean):
                torch.nn.init.normal_(t)
            m.eps = 1e-3
    return module.eval()


@pytest.mark.parametrize("router", [{}, {"router": "softmax", "temperature": 5.0}])
@pytest.mark.parametrize(
    ("own", "source"),
    [
        (lambda **k: DynamicConv(8, 16, 3, bias=True, **k), lambda: torch.nn.Conv2d(8, 16, 3, padding=1)),
        (lambda **k: DynamicConv(8, 16, 3, groups=4, **k), lambda: torch.nn.Conv2d(8, 16, 3, 1, 1, 1, 4, bias=False)),
        (lambda **k: DynamicConv(8, 16, 3, bias=True, **k), lambda: Conv(8, 16, 3, act=False)),
        (lambda **k: ConvBnAct(8, 16, 3, act_layer=torch.nn.SiLU, **k), lambda: Conv(8, 16, 3)),
    ],
    ids=["bias", "groups", "folded norm", "ConvBnAct"],
)
@torch.no_grad()
def test_one_convolution_becomes_dynamic(own, source, router):
    static, dynamic = settled(Net(source())), settled(Net(own(num_experts=3, **router)))
    done = transfer(dynamic, static.state_dict())
    assert not done.missing and not done.unused
    x = torch.rand(2, 8, 9, 9)
    torch.testing.assert_close(dynamic(x), static(x), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"num_experts": 4}, {"num_experts": 8}),
        ({"num_experts": 4}, {"num_experts": 4, "router": "softmax"}),
        ({"num_experts": 4, "router": "softmax", "temperature": 3.0}, {"num_experts": 2}),
        ({"num_experts": 4}, {"num_experts": 4, "standardize": True}),
        ({"num_experts": 4, "standardize": True}, {"num_experts": 4}),
    ],
)
@torch.no_grad()
def test_other_experts_start_from_what_the_old_ones_amount_to(before, after):
    old, new = Net(DynamicConv(4, 6, 3, **before)), Net(DynamicConv(4, 6, 3, **after))
    old.model[0].routing.weight.zero_()
    old.model[0].routing.bias.normal_()
    done = transfer(new, old.state_dict())
    assert set(done.expanded.values()) == {"model.0.cond_conv.weight"} and not done.missing
    x = torch.randn(2, 4, 9, 9)
    torch.testing.assert_close(new(x), old(x), atol=1e-5, rtol=1e-4)


def test_dynamic_weights_stay_as_they_are_in_the_same_network(golden):
    weights = load_checkpoint(golden / "weights" / "detect-DynamicConv.pt")
    model = build("yolov8n-DynamicConv.yaml")
    assert not model.load(weights).expanded
    assert not lost(model, weights.state_dict, str)


# The report


@pytest.fixture
def said(caplog):
    """`said(d, weights, **how)`: the lines that loading the weights into the network of a YAML logs."""

    def load(d, weights, nc=3, **how):
        network = build(d, nc)
        caplog.clear()
        with caplog.at_level(logging.INFO, "ultralytics"):
            network.load(weights, **how)
        return [record.getMessage() for record in caplog.records]

    return load


def test_the_long_report_goes_row_by_row(trained, said):
    d = edited(5, [-1, 1, "Conv", [256, 3, 1]], name="yolov8n-DynamicConvBnAct.yaml")
    lines = said(d, trained, nc=4, verbose=True)
    assert lines[0] == "Transferred 361/373 items from pretrained weights"
    assert lines[5:9] == [
        "  row 4 C2f: 36 copied",
        "  row 5 Conv: 6 re-initialized",
        "  row 6 DynamicConvBnAct from row 5: 5 copied, 3 expanded",
        "  row 7 C2f from row 6: 36 copied",
    ]
    assert lines[18:20] == [
        "  row 23 Detect from row 22: 79 copied, 6 re-initialized",
        "    model.23.cv3.0.2.weight: (3, 64, 1, 1) in the weights, (4, 64, 1, 1) in the network",
    ]
    assert len(lines) == 25


def test_the_long_report_names_what_nothing_takes(trained, said):
    lines = said(edited(8, removed=1), Checkpoint(trained.state_dict | {"anchors": torch.ones(1)}), verbose=True)
    assert lines[-2:] == ["  row 8 of the weights: not used", "  anchors: not in the network"]


def test_the_short_report_names_rows_on_one_side_only(trained, said):
    first = "Transferred {} items from pretrained weights".format
    assert said("yolov8n.yaml", trained) == [first("355/355")]
    assert said("yolov8n.yaml", trained, nc=80) == [first("313/355")]
    assert said("yolov8n-DynamicConvBnAct.yaml", trained) == [first("367/367")]
    assert said(edited(8, removed=1), trained) == [
        first("331/331"),
        "  rows of the weights with no place in the network: 8",
    ]
    more = [[-1, 1, "Conv", [256, 3, 1]]] * 6
    assert said(edited(5, *more), trained) == [
        first("355/391"),
        "  rows that keep their initialization: 5 Conv, 6 Conv, 7 Conv, 8 Conv and 2 more",
    ]


def test_the_short_report_says_that_shapes_differ(trained, said):
    """Weights of another scale: nearly all rows, and the boxes of the head as well as its classes."""
    assert said("yolov8s.yaml", trained) == [
        "Transferred 32/355 items from pretrained weights",
        "  rows that keep their initialization, as their shapes differ: 0 Conv, 1 Conv, 2 C2f, 3 Conv and 12 more "
        "(model.0.conv.weight: (16, 3, 3, 3) in the weights, (32, 3, 3, 3) in the network)",
        "  rows that got only a part of their weights, the rest keeps its initialization: 22 Detect",
    ]


def test_the_short_report_says_that_experts_which_are_mixed_otherwise_compute_something_else(trained, said):
    old = build("yolov8n-DynamicConvBnAct.yaml")
    old.load(trained)
    d = yaml_model_load("yolov8n-DynamicConvBnAct.yaml")
    for row in d["backbone"] + d["head"]:
        row[3] = [*row[3], {"num_experts": 8}] if row[2] == "DynamicConvBnAct" else row[3]
    assert said(d, old.state_dict()) == ["Transferred 367/367 items from pretrained weights"]  # routers are 0: the same
    for row in (1, 19):
        torch.nn.init.normal_(old.model[row].conv.routing.weight)
    [line] = said(d, old.state_dict())[1:]
    assert "2 dynamic convolutions have other experts or another router" in line
    assert line.endswith("model.1.conv, model.19.conv")
    assert len(said("yolov8n-DynamicConvBnAct.yaml", old.state_dict())) == 1  # the same layers, routers and all


def test_the_short_report_names_rows_that_got_only_a_part(trained, said):
    """A static network of a dynamic one has its norms and not its kernels; one of a fused one lacks the norms."""
    dynamic, fused = build("yolov8n-DynamicConv-late.yaml"), build("yolov8n.yaml")
    part = "  rows that got only a part of their weights, the rest keeps its initialization: "
    assert said("yolov8n.yaml", dynamic.state_dict())[1:] == [f"{part}7 Conv, 16 Conv, 19 Conv"]
    assert said("yolov8n.yaml", fused.fuse(verbose=False).state_dict())[1:] == [
        f"{part}0 Conv, 1 Conv, 2 C2f, 3 Conv and 13 more"
    ]


def test_a_yaml_of_another_kind_is_no_hindrance(trained):
    for yaml in ({}, "yolov8n.yaml", {"backbone": None}, {"backbone": [[1], None, "x"], "head": [{}]}):
        assert len(build("yolov8n.yaml").load(Checkpoint(trained.state_dict, yaml)).copied) == 355
