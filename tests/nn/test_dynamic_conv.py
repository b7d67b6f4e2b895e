"""DynamicConv and its relatives: against timm's layer, against the tutorial's code, and in every number format."""

import copy
import importlib.util
import inspect
import io
import warnings

import pytest
import torch
import yaml
from torch import nn

from ultralytics.nn import Addmodules
from ultralytics.nn.Addmodules.DynamicConv import (
    C2f_DynamicConv,
    C2f_GhostModule_DynamicConv,
    C2f_GhostResidual_DynamicConv,
    ConvBnAct,
    DynamicConv,
    DynamicConvBnAct,
    GhostBottleneck,
    GhostModule,
)
from ultralytics.nn.model_yaml import yaml_model_load
from ultralytics.nn.modules import Conv
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.errors import ModelError


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("batch", [1, 3])
def test_dynamic_conv_is_what_the_paper_says(k, batch):
    torch.manual_seed(0)
    layer = DynamicConv(6, 8, k, 2 if k == 3 else 1, groups=2 if k == 3 else 1)
    x = torch.randn(batch, 6, 9, 7)
    experts = layer.cond_conv.weight.view(4, *layer.cond_conv.weight_shape)
    for image, y in zip(x, layer(x), strict=True):
        alpha = torch.sigmoid(layer.routing.weight @ image.mean((1, 2)) + layer.routing.bias)
        kernel = sum(a * w for a, w in zip(alpha, experts, strict=True))
        stride, groups = layer.cond_conv.stride, layer.cond_conv.groups
        expected = nn.functional.conv2d(image[None], kernel, None, stride, k // 2, groups=groups)[0]
        torch.testing.assert_close(y, expected, atol=1e-5, rtol=1e-5)


def test_each_expert_starts_like_a_convolution():
    torch.manual_seed(0)
    bank = DynamicConv(32, 64, 3, bias=True).cond_conv
    bound = 1 / (32 * 9) ** 0.5
    for expert in bank.weight.detach():
        assert expert.abs().max() <= bound
        assert expert.std() == pytest.approx(bound / 3**0.5, rel=0.02)
    assert bank.bias.abs().max() <= bound
    assert not torch.equal(bank.weight[0], bank.weight[1])


@pytest.mark.parametrize("router", [{}, {"router": "softmax"}, {"router": "softmax", "temperature": 30}], ids=str)
@pytest.mark.parametrize("experts", [1, 2, 4, 8])
@pytest.mark.parametrize(("groups", "bias"), [(1, False), (1, True), (4, False), (64, False)])
def test_output_variance_is_that_of_one_convolution(groups, bias, experts, router):
    torch.manual_seed(0)
    x = torch.randn(8, 64, 12, 12)

    def power(make):  # of several, as a layer has few kernels to average over where it is depthwise
        return torch.stack([make()(x).square().mean() for _ in range(12)]).mean()

    dynamic = power(lambda: DynamicConv(64, 64, 3, groups=groups, bias=bias, num_experts=experts, **router))
    static = power(lambda: nn.Conv2d(64, 64, 3, padding=1, groups=groups, bias=bias))
    assert (dynamic / static).item() == pytest.approx(1, abs=0.1)


def test_four_experts_and_sigmoid_start_as_timms_do():
    layers = pytest.importorskip("timm.layers")
    torch.manual_seed(0)
    routing, theirs = nn.Linear(8, 4), layers.CondConv2d(8, 12, 3, bias=True)
    expected = [*routing.state_dict().values(), *theirs.state_dict().values()]
    torch.manual_seed(0)
    ours = DynamicConv(8, 12, 3, bias=True).state_dict()
    assert list(ours) == ["routing.weight", "routing.bias", "cond_conv.weight", "cond_conv.bias"]
    for tensor, other in zip(ours.values(), expected, strict=True):
        torch.testing.assert_close(tensor, other, atol=1e-7, rtol=1e-6)  # timm computes its bound in steps


def test_softmax_routing_with_a_temperature():
    torch.manual_seed(0)
    layer = DynamicConv(6, 8, num_experts=3, router="softmax", temperature=5)
    x = torch.randn(2, 6, 4, 4)
    logits = nn.functional.linear(x.mean((2, 3)), layer.routing.weight, layer.routing.bias)
    torch.testing.assert_close(layer.routing_weights(x), (logits / 5).softmax(1))
    assert layer.state_dict()["routing.temperature"] == 5
    layer.routing.set_epoch(3, 10)
    assert layer.routing.temperature == 5  # nothing said of annealing


@pytest.mark.parametrize(
    ("epochs", "temperatures"),
    [(20, [31, 25, 19, 13, 7, 1, 1]), (4, [31, 21, 11, 1]), (1, [31])],
)
def test_annealing_ends_in_the_last_epoch_at_the_latest(epochs, temperatures):
    layer = DynamicConv(6, 8, router="softmax", temperature=31, anneal_epochs=5)
    seen = []
    for epoch in range(len(temperatures)):
        layer.routing.set_epoch(epoch, epochs)
        seen.append(layer.routing.temperature.item())
    assert seen == pytest.approx(temperatures)


@pytest.mark.parametrize("batches", [[1] * 30, [8] * 20, [3, 1, 5]])
def test_running_statistics_are_those_of_the_images_seen(batches):
    """Newer batches weigh more; what was there before the first, mean 0 and variance 1, fades."""
    torch.manual_seed(0)
    layer = DynamicConv(4, 8, 3, standardize=True)
    offset = torch.arange(4).view(4, 1, 1)
    seen = [torch.randn(n, 4, 6, 6) * (1 + torch.rand(n, 4, 1, 1)) + offset for n in batches]
    for images in seen:
        layer.routing_weights(images)
    shares = [0.1 * 0.9 ** (len(batches) - 1 - i) / n for i, n in enumerate(batches)]
    share = torch.tensor(shares, dtype=torch.float64).repeat_interleave(torch.tensor(batches)).unsqueeze(1)
    pooled = torch.cat([images.mean((2, 3)) for images in seen]).double()
    mean = (share * pooled).sum(0)
    square = (share * pooled**2).sum(0) + 0.9 ** len(batches)
    torch.testing.assert_close(layer.routing.running_mean.double(), mean, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(layer.routing.running_var.double(), square - mean**2, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("router", [{}, {"router": "softmax", "temperature": 3}])
def test_routing_by_what_is_standardised(router):
    torch.manual_seed(0)
    layer = DynamicConv(4, 8, 3, standardize=True, **router).eval()
    layer.routing.running_mean.normal_()
    layer.routing.running_var.uniform_(0.5, 2)
    before = copy.deepcopy(layer.state_dict())
    x = torch.randn(3, 4, 6, 6)
    pooled = nn.functional.batch_norm(x.mean((2, 3)), before["routing.running_mean"], before["routing.running_var"])
    logits = nn.functional.linear(pooled, layer.routing.weight, layer.routing.bias)
    expected = (logits / 3).softmax(1) if router else logits.sigmoid()
    torch.testing.assert_close(layer.routing_weights(x), expected)
    assert all(torch.equal(value, before[name]) for name, value in layer.state_dict().items())  # only training moves
    layer.train().requires_grad_(False)(x)  # them, and not if the layer is frozen
    assert all(torch.equal(value, before[name]) for name, value in layer.state_dict().items())


def test_a_router_that_standardises_tells_images_apart_whose_means_are_alike():
    torch.manual_seed(0)
    plain, standardized = DynamicConv(16, 8, 3), DynamicConv(16, 8, 3, standardize=True)
    standardized.load_state_dict(plain.state_dict(), strict=False)
    images = [torch.full((8, 16, 4, 4), 0.5) + 0.02 * torch.randn(8, 16, 1, 1) for _ in range(100)]
    for batch in images:
        standardized(batch)
    spreads = [layer.eval().routing_weights(torch.cat(images)).std(0).mean().item() for layer in (plain, standardized)]
    assert spreads[0] < 0.005 and spreads[1] > 0.08


SETTINGS_YAML = """
nc: 2
backbone:
  - [-1, 1, Conv, [8, 3, 8]]
  - [-1, {n}, {module}, [16, {args}{settings}]]
head:
  - [[0, 1], 1, Detect, [nc]]
"""
ARGS = {
    "DynamicConv": "3, 2, ",
    "DynamicConvBnAct": "3, 2, ",
    "ConvBnAct": "3, 2, ",
    "GhostModule": "1, 2, 3, 2, ",
    "GhostBottleneck_DynamicConv": "3, 2, ",
    "C2f_DynamicConv": "",
    "C2f_GhostResidual_DynamicConv": "True, ",
}


def build_row(module, settings):
    text = SETTINGS_YAML.format(n=2 if "C2f" in module else 1, module=module, args=ARGS[module], settings=settings)
    return DetectionModel(yaml.safe_load(text) | {"yaml_file": "my.yaml"}, verbose=False)


@pytest.mark.parametrize("module", ARGS)
def test_settings_from_a_yaml(module):
    model = build_row(
        module, "{num_experts: 3, router: softmax, temperature: 30, anneal_epochs: 10, standardize: True}"
    )
    layers = [m for m in model.modules() if isinstance(m, DynamicConv)]
    assert layers and all(m.cond_conv.num_experts == 3 and m.routing.temperature == 30 for m in layers)
    assert all(m.routing.running_mean is not None for m in layers)
    for layer in layers:
        layer.routing.set_epoch(10, 20)
        assert layer.routing.temperature == 1
    model.train()(torch.rand(2, 3, 32, 32))["boxes"].sum().backward()
    assert all(p.grad is not None for layer in layers for p in layer.parameters())


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ("{router: argmax}", "router must be one of sigmoid, softmax, not 'argmax'"),
        ("{router: softmax, temperature: 0}", "temperature must be a number above 0, such as 30, not 0"),
        ("{router: softmax, temperature: hot}", "temperature must be a number above 0, such as 30, not 'hot'"),
        ("{temperature: 30}", "temperature and anneal_epochs are a softmax's: add router: softmax"),
        ("{router: softmax, anneal_epochs: 10}", "anneal_epochs lowers the temperature to 1, so that must be above 1"),
        ("{router: softmax, temperature: 9, anneal_epochs: 0.5}", "anneal_epochs must be a whole number of epochs"),
        ("{standardize: 1}", "standardize must be True or False, not 1"),
        ("{num_experts: 0}", "num_experts must be a whole number from 1, not 0"),
        ("{experts: 8}", "unexpected keyword argument 'experts'"),
    ],
)
@pytest.mark.parametrize("module", ["DynamicConv", "C2f_DynamicConv"])
def test_settings_that_make_no_sense(module, settings, sentence):
    with pytest.raises(ModelError, match=r"^my\.yaml, row 1 ") as caught:
        build_row(module, settings)
    assert sentence in str(caught.value)


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize(
    "args", [(8, 8, 1), (8, 8, 3, 2), (8, 8, 1, 1, "", 1, 1, True), (8, 8, 3, 1, "same", 1, 4, True)]
)
def test_autocast_routes_and_mixes_in_float32(args, batch):
    torch.manual_seed(0)
    layer = DynamicConv(*args)
    x = torch.randn(batch, 8, 8, 8)
    exact, alpha = layer(x), layer.routing_weights(x)
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x)
        assert layer.routing_weights(x).dtype == torch.float32
        assert torch.equal(layer.routing_weights(x), alpha)
        assert layer(x.bfloat16()).dtype == torch.bfloat16
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.float(), exact, atol=0.03, rtol=0.03)
    y.float().square().mean().backward()
    assert all(p.grad.dtype == torch.float32 and p.grad.isfinite().all() for p in layer.parameters())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_whole_layer_in_other_formats(dtype):
    torch.manual_seed(0)
    layer = DynamicConv(8, 8, 3)
    x = torch.randn(2, 8, 8, 8)
    other = copy.deepcopy(layer).to(dtype)
    y = other(x.to(dtype))
    assert y.dtype == dtype and other.routing_weights(x.to(dtype)).dtype == torch.promote_types(dtype, torch.float32)
    torch.testing.assert_close(y.float(), layer(x), atol=0.03, rtol=0.03)


def test_copies_after_a_forward_pass():
    layer = C2f_DynamicConv(8, 8, 2)
    y = layer(torch.randn(2, 8, 4, 4))
    y.sum().backward()
    twin = copy.deepcopy(layer)
    torch.save(layer, buffer := io.BytesIO())
    assert buffer.tell()
    assert all(torch.equal(a, b) for a, b in zip(twin.parameters(), layer.parameters(), strict=True))


@pytest.mark.parametrize(
    ("kwargs", "sentence"),
    [({"padding": "reflect"}, "padding must be"), ({"groups": 3}, "cannot be split into 3 groups")],
)
def test_impossible_geometry(kwargs, sentence):
    with pytest.raises(ValueError, match=sentence):
        DynamicConv(4, 6, 3, **kwargs)


def test_rows_may_rely_on_the_order_of_arguments():
    def names(cls):
        return [name for name, p in inspect.signature(cls).parameters.items() if p.kind is not p.VAR_KEYWORD]

    conv = "in_features out_features kernel_size stride padding dilation groups bias num_experts"
    assert names(DynamicConv) == conv.split()
    conv_bn = "in_chs out_chs kernel_size stride dilation pad_type skip act_layer norm_layer drop_path_rate num_experts"
    assert names(ConvBnAct) == conv_bn.split()
    ghost = "inp oup kernel_size ratio dw_size stride act_layer num_experts"
    assert names(GhostModule) == ghost.split()
    bottleneck = "in_chs out_chs dw_kernel_size stride act_layer se_ratio drop_path num_experts"
    assert names(GhostBottleneck) == bottleneck.split()
    assert names(C2f_GhostModule_DynamicConv)[:6] == ["c1", "c2", "n", "shortcut", "g", "e"]


def test_both_names_are_one_class():
    assert C2f_DynamicConv is C2f_GhostModule_DynamicConv
    assert Addmodules.DynamicConv is DynamicConv  # the class, not the file of that name


@pytest.fixture(scope="module")
def tutorial(reference):
    """The module of the tutorial this add-on follows."""
    pytest.importorskip("timm")
    spec = importlib.util.spec_from_file_location("tutorial_core", reference / "tutorial" / "core.py")
    module = importlib.util.module_from_spec(spec)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("DynamicConv", (8, 12, 3, 2)),
        ("DynamicConv", (8, 12, 3, 1, "", 2, 4, True, 3)),
        ("ConvBnAct", (8, 8, 3, 1, 1, "", True)),
        ("ConvBnAct", (8, 12, 3, 2)),
        ("GhostModule", (8, 13)),
        ("GhostModule", (8, 12, 3, 3, 5, 2)),
        ("GhostBottleneck", (8, 8)),
        ("GhostBottleneck", (8, 12, 5, 2)),
        ("C2f_GhostModule_DynamicConv", (8, 12, 2, True)),
    ],
)
@pytest.mark.parametrize("batch", [1, 3])
def test_equals_the_tutorials_code(tutorial, name, args, batch):
    torch.manual_seed(0)
    ours = getattr(importlib.import_module("ultralytics.nn.Addmodules.DynamicConv"), name)(*args)
    theirs = getattr(tutorial, name)(*args)
    theirs.load_state_dict(ours.state_dict())  # strict: the same keys
    x = torch.randn(batch, 8, 10, 10)
    for mode in (True, False):
        torch.testing.assert_close(ours.train(mode)(x), theirs.train(mode)(x.clone()), atol=1e-5, rtol=1e-4)


def test_squeeze_excite_and_drop_path_work_on_todays_timm():
    pytest.importorskip("timm")
    torch.manual_seed(0)
    block = GhostBottleneck(8, 8, act_layer=nn.GELU, se_ratio=0.25, drop_path=0.5)
    assert block.se.fc1.weight.shape == (4, 16, 1, 1)  # a quarter of the 16 inner channels
    x = torch.randn(64, 8, 4, 4)
    unchanged = (block.train()(x) == x).flatten(1).all(1)
    assert 10 < unchanged.sum() < 54  # about half of the images skip the block
    assert not (block.eval()(x) == x).flatten(1).all(1).any()
    block(x).sum().backward()
    assert all(p.grad is not None for p in block.parameters())


def test_feature_info_of_conv_bn_act():
    block = ConvBnAct(4, 6, 3)
    assert block.feature_info("expansion") == {"module": "act1", "hook_type": "forward", "num_chs": 6}
    assert block.feature_info("bottleneck") == {"module": "", "hook_type": "", "num_chs": 6}


def test_c2f_has_no_residual_and_passes_the_number_of_experts_on():
    plain, shortcut = (C2f_DynamicConv(8, 8, 1, s) for s in (False, True))
    shortcut.load_state_dict(plain.state_dict())
    x = torch.randn(2, 8, 4, 4)
    torch.testing.assert_close(plain(x), shortcut(x))
    assert C2f_DynamicConv(8, 8, num_experts=1).m[0].primary_conv[0].cond_conv.num_experts == 1


def test_conv_bn_act_of_one_expert_is_the_cores_conv():
    """Same args, same names but for the kernel, same result once the kernel is the same."""
    torch.manual_seed(0)
    for args in [(8, 12), (8, 12, 3, 2), (8, 8, 4, 2), (8, 8, (1, 3), 1, (0, 1), 4), (8, 8, 3, 1, None, 1, 2)]:
        static, ours = Conv(*args), DynamicConvBnAct(*args, num_experts=1, router="softmax")
        ours.conv.cond_conv.weight.data = static.conv.weight.data.flatten()[None]
        x = torch.randn(2, 8, 10, 10)
        torch.testing.assert_close(ours(x), static(x), atol=1e-5, rtol=1e-5)
        assert list(dict(ours.named_children())) == ["conv", "bn", "act"]


def test_ghost_residual_honours_shortcut_and_groups():
    torch.manual_seed(0)
    plain, shortcut = (C2f_GhostResidual_DynamicConv(8, 8, 1, s).eval() for s in (False, True))
    shortcut.load_state_dict(plain.state_dict())
    x = torch.randn(2, 4, 4, 4)
    torch.testing.assert_close(shortcut.m[0](x), x + plain.m[0](x))
    assert C2f_GhostResidual_DynamicConv(8, 8, g=2).m[0].cv1.conv.cond_conv.groups == 2


def test_the_activation_of_the_yaml_reaches_every_dynamic_convolution_with_norm():
    for name in ("yolov8n-DynamicConvBnAct.yaml", "yolov8n-C2f-DynamicConv-residual.yaml"):
        model = DetectionModel(yaml_model_load(name) | {"activation": "nn.Hardswish"}, verbose=False)
        acts = {type(m.act) for m in model.modules() if isinstance(m, DynamicConvBnAct)}
        assert acts == {nn.Hardswish}


@pytest.mark.parametrize("router", [{}, {"router": "softmax", "temperature": 30}, {"standardize": True}])
@pytest.mark.parametrize("experts", [1, 2, 4, 8])
@pytest.mark.parametrize("bias", [True, False])
def test_expanded_layer_is_the_static_convolution(router, experts, bias):
    torch.manual_seed(0)
    static = nn.Conv2d(8, 12, 3, 2, 1, groups=2, bias=bias)
    layer = DynamicConv(8, 12, 3, 2, groups=2, bias=bias, num_experts=experts, **router)
    layer.expand(static.weight, static.bias, generator=torch.Generator().manual_seed(1))
    x = torch.randn(5, 8, 9, 9)
    torch.testing.assert_close(layer(x), static(x), atol=2e-6, rtol=1e-5)
    if experts > 1:
        bank = layer.cond_conv.weight * experts * layer.routing.even_weight
        difference = (bank - static.weight.flatten()).std() / static.weight.std()
        assert difference.item() == pytest.approx(0.1 * (1 - 1 / experts) ** 0.5, rel=0.05)
        layer(x).square().sum().backward()
        assert layer.routing.weight.grad.abs().max() > 0  # routing is learnt from the first step on
        assert (layer.routing.weight.grad[0] != layer.routing.weight.grad[1]).any()


def test_what_cannot_be_expanded():
    layer = DynamicConv(4, 6, 3)
    with pytest.raises(ValueError, match=r"the experts are \(6, 4, 3, 3\), the kernel is \(6, 4, 1, 1\)"):
        layer.expand(torch.zeros(6, 4, 1, 1))
    with pytest.raises(ValueError, match="build the layer with bias: True"):
        layer.expand(torch.zeros(6, 4, 3, 3), torch.zeros(6))
