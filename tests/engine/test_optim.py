"""Parameter groups, optimizers, the schedule and the moving average of the weights."""

import copy
import json
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ultralytics.cfg import get_options
from ultralytics.engine.optim import (
    Schedule,
    build_optimizer,
    describe_optimizer,
    param_groups,
    resolve_optimizer,
    scaled_decay,
)
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.errors import TrainingError
from ultralytics.utils.torch_utils import ModelEMA

HERE = Path(__file__).parent
GROUPS = json.loads((HERE / "groups.json").read_text(encoding="utf-8"))
SCHEDULES = json.loads((HERE / "schedule.json").read_text(encoding="utf-8"))


class Net(nn.Module):
    """A network with a parameter for every rule of the groups."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.group_norm = nn.GroupNorm(2, 4)
        self.routing = nn.Linear(4, 2)
        self.position_bias_table = nn.Parameter(torch.ones(4))
        self.gamma = nn.Parameter(torch.ones(4))

    def forward(self, x):
        return self.routing(
            (self.group_norm(self.norm(self.conv(x))).mean((2, 3)) + self.position_bias_table) * self.gamma
        )


class MyBatchNorm(nn.BatchNorm2d):
    """Norm by its own name."""


class Shifter(nn.LayerNorm):
    """Norm by its base class's name."""


def build(optimizer="SGD", batch=64, model=None, **values):
    """Optimizer of a small network."""
    options = get_options({"optimizer": optimizer, **values})
    return build_optimizer(model or Net(), options, scaled_decay(options, batch))


def test_groups_by_name_and_layer():
    groups = {name: list(parameters) for name, parameters in param_groups(Net()).items()}
    assert groups == {
        "weight": ["gamma", "conv.weight", "routing.weight"],
        "bn": ["norm.weight", "group_norm.weight"],
        "bias": ["position_bias_table", "norm.bias", "group_norm.bias", "routing.bias"],
    }


def test_norm_layers_are_known_by_their_own_or_their_bases_name():
    groups = param_groups(nn.Sequential(MyBatchNorm(3), Shifter(3), nn.Linear(3, 3)))
    assert list(groups["bn"]) == ["0.weight", "1.weight"]
    assert list(groups["weight"]) == ["2.weight"]


def test_a_shared_parameter_is_in_one_group_once():
    net = Net()
    net.twin = net.conv
    assert [name for name, p in param_groups(net)["weight"].items() if p is net.conv.weight] == ["conv.weight"]


@pytest.mark.parametrize("yaml", GROUPS)
def test_reference_groups(yaml):
    groups = param_groups(DetectionModel(yaml, verbose=False))
    assert {name: sorted(parameters) for name, parameters in groups.items()} == {n: GROUPS[yaml][n] for n in groups}
    frozen = [n for parameters in groups.values() for n, p in parameters.items() if not p.requires_grad]
    assert frozen == GROUPS[yaml]["frozen"]


def test_a_frozen_parameter_stays_until_it_is_unfrozen():
    net = Net()
    net.conv.requires_grad_(False)
    before = copy.deepcopy(net.state_dict())
    optimizer = build(model=net)
    for frozen in (True, False):
        net.conv.requires_grad_(not frozen)
        net(torch.rand(2, 3, 8, 8)).square().sum().backward()
        optimizer.step()
        assert torch.equal(net.conv.weight, before["conv.weight"]) is frozen
        assert not torch.equal(net.routing.weight, before["routing.weight"])


def test_nothing_left_to_train_is_an_error():
    with pytest.raises(TrainingError, match="freeze=9 leaves no parameter"):
        build(model=Net().requires_grad_(False), freeze=9)


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("SGD", torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
        ("RMSProp", torch.optim.RMSprop, {"momentum": 0.9}),
        ("Adam", torch.optim.Adam, {"betas": (0.9, 0.999)}),
        ("AdamW", torch.optim.AdamW, {"betas": (0.9, 0.999)}),
        ("NAdam", torch.optim.NAdam, {"betas": (0.9, 0.999)}),
    ],
)
def test_every_optimizer(name, kind, expected):
    net = Net()
    optimizer = build(name, model=net, lr0=0.02, momentum=0.9)
    assert type(optimizer) is kind
    assert [group["name"] for group in optimizer.param_groups] == ["weight", "bn", "bias"]
    for group in optimizer.param_groups:
        assert group["lr"] == 0.02
        assert {key: group[key] for key in expected} == expected
    before = net.conv.weight.clone()
    net(torch.rand(2, 3, 8, 8)).square().sum().backward()
    optimizer.step()
    assert not torch.equal(net.conv.weight, before)


def test_sgd_without_momentum():
    assert not build(momentum=0).param_groups[0]["nesterov"]


@pytest.mark.parametrize(("batch", "images"), [(64, 64), (16, 64), (48, 48), (128, 128), (3, 63)])
def test_decay_is_scaled_to_the_images_of_a_step_and_spares_norms_and_biases(batch, images):
    decays = [group["weight_decay"] for group in build(batch=batch, weight_decay=0.01).param_groups]
    assert decays == [pytest.approx(0.01 * images / 64), 0, 0]


def test_nbs_sets_decay_and_accumulation():
    usual, small = (get_options({"nbs": nbs}) for nbs in (64, 20))
    assert scaled_decay(small, 16) == 0.0005 * 16 / 20
    assert [Schedule(o, 100, 16).at(5000).accumulate for o in (usual, small)] == [4, 1]


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        (6400, ("AdamW", 0.001429, 0.9, 0.0)),  # 100 steps x 100 epochs: just not above 10,000
        (6401, ("SGD", 0.01, 0.9, 0.0)),
    ],
)
def test_auto_chooses_by_the_steps_of_the_run(images, expected):
    o = resolve_optimizer(get_options({"epochs": 100}), nc=3, images=images, batch=16)
    assert (o.optimizer, o.lr0, o.momentum, o.warmup_bias_lr) == expected


def test_auto_counts_batches_larger_than_nbs():
    assert resolve_optimizer(get_options(), nc=80, images=12_801, batch=128).optimizer == "SGD"
    assert resolve_optimizer(get_options(), nc=80, images=12_800, batch=128).optimizer == "AdamW"


def test_auto_keeps_what_was_given():
    options = get_options({"lr0": 0.01, "momentum": 0.8, "warmup_bias_lr": 0.2})
    o = resolve_optimizer(options, nc=3, images=100, batch=16)
    assert (o.optimizer, o.lr0, o.momentum, o.warmup_bias_lr) == ("AdamW", 0.01, 0.8, 0.2)


def test_a_named_optimizer_is_left_alone():
    options = get_options({"optimizer": "SGD"})
    assert resolve_optimizer(options, nc=3, images=10, batch=1) is options


def test_description_counts_what_is_trained():
    net = Net()
    net.conv.requires_grad_(False)
    assert describe_optimizer(build("AdamW", model=net, lr0=0.002)) == (
        "AdamW(lr=0.002, momentum=0.937), weight decay 0.0005, on 2 weight, 2 bn, 4 bias tensors"
    )
    assert describe_optimizer(build("SGD", momentum=0.5)).startswith("SGD(lr=0.01, momentum=0.5)")


@pytest.mark.parametrize("name", SCHEDULES)
def test_reference_schedule(name):
    case = SCHEDULES[name]
    batch = case["settings"]["batch"]
    options = resolve_optimizer(get_options(case["settings"]), nc=3, images=case["batches"] * batch, batch=batch)
    optimizer = build_optimizer(Net(), options, scaled_decay(options, batch))
    schedule = Schedule(options, case["batches"], batch)
    ema = ModelEMA(Net())
    assert type(optimizer).__name__ == case["optimizer"]
    assert [group["weight_decay"] for group in optimizer.param_groups] == case["weight_decay"]

    last_step, steps = -1, 0
    for i, lr in enumerate(case["lr"]):
        schedule.apply(optimizer, i)
        accumulate = schedule.at(i).accumulate
        if i - last_step >= accumulate:
            last_step, steps = i, steps + 1
        weight, norm, bias = optimizer.param_groups
        assert weight["lr"] == norm["lr"] == pytest.approx(lr, abs=1e-9)
        assert bias["lr"] == pytest.approx(case["bias_lr"][i], abs=1e-9)
        assert (accumulate, steps) == (case["accumulate"][i], case["steps"][i])
        assert ema.decay(steps) == pytest.approx(case["ema_decay"][i], abs=1e-12)
        if case["momentum"]:
            assert bias["momentum"] == pytest.approx(case["momentum"][i], abs=1e-9)
        else:
            assert list(bias["betas"]) == case["betas"]


def schedule(batches=10, batch=16, **values):
    """A schedule of ten epochs."""
    return Schedule(get_options({"epochs": 10, **values}), batches, batch)


@pytest.mark.parametrize(
    ("changed", "iteration", "field", "before", "after"),
    [
        ({"lr0": 0.02}, 50, "lr", 0.00505, 0.0101),
        ({"lrf": 0.5}, 50, "lr", 0.00505, 0.0075),
        ({"cos_lr": True}, 40, "lr", 0.00604, 0.01 * ((1 - math.cos(0.4 * math.pi)) / 2 * -0.99 + 1)),
        ({"epochs": 20}, 50, "lr", 0.00505, 0.01 * (0.75 * 0.99 + 0.01)),
        ({"momentum": 0.5}, 50, "momentum", 0.937, 0.5),
        ({"warmup_momentum": 0.1}, 0, "momentum", 0.8, 0.1),
        ({"warmup_bias_lr": 0.4}, 0, "bias_lr", 0.1, 0.4),
        ({"warmup_epochs": 1.0}, 10, "lr", 0.00901 / 3, 0.00901),
        ({"warmup_epochs": 0.0}, 0, "momentum", 0.8, 0.937),
        ({"nbs": 32}, 50, "accumulate", 4, 2),
    ],
)
def test_every_option_changes_the_schedule(changed, iteration, field, before, after):
    assert getattr(schedule().at(iteration), field) == pytest.approx(before)
    assert getattr(schedule(**changed).at(iteration), field) == pytest.approx(after)


def test_warm_up_leaves_the_last_epoch_and_a_single_epoch_has_none():
    assert schedule(warmup_epochs=30).warmup == 90
    assert schedule(epochs=1).warmup == 0
    assert schedule(epochs=1).at(0).lr == 0.01


def test_accumulation_never_exceeds_the_run():
    assert schedule(batches=2, batch=1, epochs=3).at(5).accumulate == 6


@settings(max_examples=100, deadline=None)
@given(
    batches=st.integers(1, 40), batch=st.integers(1, 200), epochs=st.integers(1, 12), warmup=st.floats(0, 8),
    cos_lr=st.booleans(),
)  # fmt: skip
def test_settings_stay_within_their_ends(batches, batch, epochs, warmup, cos_lr):
    s = schedule(batches=batches, batch=batch, epochs=epochs, warmup_epochs=warmup, cos_lr=cos_lr)
    every = [s.at(i) for i in range(batches * epochs)]
    assert all(0 <= x.lr <= 0.01 and 0 <= x.bias_lr <= 0.1 and 0.8 <= x.momentum <= 0.937 for x in every)
    assert all(1 <= x.accumulate <= max(round(64 / batch), 1) for x in every)
    assert [x.lr for x in every[s.warmup :]] == [s.lr(i // batches) for i in range(s.warmup, batches * epochs)]
    assert every[-1].lr == s.lr(epochs - 1)


def test_average_of_all_float_state():
    net = Net().train()
    ema = ModelEMA(net, decay=0.9, tau=10)
    before = {name: value.clone() for name, value in ema.ema.state_dict().items()}
    net(torch.rand(2, 3, 8, 8)).sum().backward()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(1)
    ema.update(net)
    d = 0.9 * (1 - math.exp(-0.1))
    assert ema.updates == 1
    assert not ema.ema.training
    assert not any(p.requires_grad for p in ema.ema.parameters())
    for name, value in net.state_dict().items():
        expected = value if name.endswith("num_batches_tracked") else before[name] * d + value * (1 - d)
        torch.testing.assert_close(ema.ema.state_dict()[name], expected)


def test_equal_weights_stay_bit_for_bit():
    net = Net()
    ema = ModelEMA(net)
    for _ in range(5):
        ema.update(net)
    assert all(torch.equal(ema.ema.state_dict()[name], value) for name, value in net.state_dict().items())


def test_a_shared_tensor_moves_once():
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    net[1] = net[0]
    ema = ModelEMA(net, decay=0.5, tau=1e-9)
    before = ema.ema[0].weight.clone()
    with torch.no_grad():
        net[0].weight.add_(1)
    ema.update(net)
    torch.testing.assert_close(ema.ema[1].weight, before + 0.5)


def test_average_is_independent_of_the_model():
    net = Net()
    ema = ModelEMA(net)
    with torch.no_grad():
        net.gamma.add_(1)
    assert torch.equal(ema.ema.gamma, torch.ones(4))


def test_average_of_a_model_that_keeps_a_tensor_of_its_forward_pass():
    net = Net()
    net.kept = net(torch.rand(2, 3, 8, 8))
    ema = ModelEMA(net)
    assert torch.equal(ema.ema.kept, net.kept)
    assert net.kept.requires_grad and not ema.ema.kept.requires_grad


def test_average_resumes_from_tensors_and_a_count():
    torch.manual_seed(0)
    states = []
    net = Net()
    for _ in range(6):
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.add_(torch.randn_like(parameter))
        states.append(copy.deepcopy(net.state_dict()))

    def run(ema, some):
        for state in some:
            net.load_state_dict(state)
            ema.update(net)
        return ema

    straight = run(ModelEMA(Net()), [])
    straight.ema.load_state_dict(states[0])
    resumed = ModelEMA(Net())
    first = run(copy.deepcopy(straight), states[:3])
    resumed.ema.load_state_dict(first.ema.state_dict())
    resumed.updates = first.updates
    run(resumed, states[3:])
    run(straight, states)
    assert resumed.updates == straight.updates == 6
    assert all(torch.equal(resumed.ema.state_dict()[n], v) for n, v in straight.ema.state_dict().items())
