"""ODConv, the second dynamic convolution, does all that the first one does."""

import pytest
import torch
import yaml
from torch import nn
from torch.nn import functional as F

from tests.nn.blocks import Case, build, lively
from ultralytics.nn.Addmodules import ODConv
from ultralytics.nn.routing import Recorder
from ultralytics.nn.tasks import DetectionModel


def odconv(*args, **kwargs) -> ODConv:
    """A lively ODConv at a temperature where its experts differ."""
    layer = build(Case(ODConv, args, kwargs))
    if layer.routing.temperature is not None:
        layer.routing.temperature.fill_(2)
    return layer


@torch.no_grad()
@pytest.mark.parametrize("groups", [1, 2])
def test_odconv_image_by_image(groups):
    """Attentions along experts, input channels, filters and places of the kernel, as in the formula."""
    layer, x = odconv(8, 6, 3, 2, groups=groups, bias=True, num_experts=3), torch.randn(4, 8, 7, 9)
    router, bank = layer.routing, layer.cond_conv.weight.view(3, 6, 8 // groups, 3, 3)
    for i, image in enumerate(x):
        hidden = (router.squeeze.weight @ image.mean((1, 2)) + router.squeeze.bias).relu()
        experts = ((router.weight @ hidden + router.bias) / 2).softmax(0)
        channel, filters, spatial = (
            (head.weight @ hidden + head.bias).sigmoid() for head in (router.channel, router.filter, router.spatial)
        )
        kernel = sum(experts[e] * bank[e] for e in range(3)) * filters.view(-1, 1, 1, 1) * spatial.view(3, 3)
        y = F.conv2d(image * channel.view(-1, 1, 1), kernel, experts @ layer.cond_conv.bias, 2, 1, 1, groups)
        torch.testing.assert_close(layer(x)[i], y, atol=1e-5, rtol=1e-4)
    assert router.squeeze.out_features == 16  # at least, however few channels there are
    assert ODConv(512, 8).routing.squeeze.out_features == 32


def test_odconv_leaves_out_what_another_attention_does():
    point, depthwise = ODConv(8, 8, 1).routing, ODConv(8, 8, 3, groups=8).routing
    assert point.spatial is None and point.filter is not None and point.gain == 0.25
    assert depthwise.filter is None and depthwise.spatial is not None and depthwise.gain == 0.25
    assert ODConv(8, 8, 3).routing.gain == 0.125


@torch.no_grad()
@pytest.mark.parametrize("args", [(8, 6, 3, 2), (8, 6, 1), (8, 8, 3, 1, "same", 2, 8), (8, 8, (1, 3), 1, "", 1, 4)])
def test_odconv_with_constant_kernels_computes_the_same(args):
    layer, x = odconv(*args, num_experts=3), torch.randn(3, 8, 7, 9)
    expected = layer(x)
    layer.cond_conv.portable = True
    torch.testing.assert_close(layer(x), expected, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_odconv_takes_a_norm_over_and_its_shift_is_not_weighted():
    layer, x = odconv(8, 6, 3, bias=True), torch.randn(3, 8, 5, 5)
    scale, shift, expected = torch.randn(6), torch.randn(6), layer(x)
    layer.fold_affine(scale, shift)
    for layer.cond_conv.portable in (False, True):
        y = expected * scale.view(-1, 1, 1) + shift.view(-1, 1, 1)
        torch.testing.assert_close(layer(x), y, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("router", [{}, {"router": "sigmoid"}, {"standardize": True}])
@pytest.mark.parametrize("k", [1, 3])
def test_odconv_starts_as_the_static_convolution_it_is_expanded_from(router, k):
    torch.manual_seed(0)
    static, x = nn.Conv2d(8, 12, k, 2, k // 2, groups=2), torch.randn(5, 8, 9, 9)
    layer = ODConv(8, 12, k, 2, groups=2, bias=True, **router)
    assert layer.kernel_shape == static.weight.shape
    layer.expand(static.weight, static.bias, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(layer(x), static(x), atol=5e-6, rtol=1e-5)
    layer(x).square().sum().backward()
    for head in (layer.routing, layer.routing.channel, layer.routing.filter):
        assert head.weight.grad.abs().max() > 0  # attentions are learned from the first step on


@torch.no_grad()
def test_odconv_starts_with_the_variance_of_one_convolution():
    torch.manual_seed(0)
    x = torch.randn(16, 32, 8, 8)
    static = torch.stack([nn.Conv2d(32, 64, 3, bias=False)(x).var() for _ in range(8)]).mean()
    ours = torch.stack([ODConv(32, 64, 3, padding=0)(x).var() for _ in range(8)]).mean()
    assert 0.8 < ours / static < 1.25


def test_odconv_anneals_its_softmax_as_the_paper_does():
    layer = ODConv(4, 8)
    seen = []
    for epoch in range(12):
        layer.routing.set_epoch(epoch, 100)
        seen.append(layer.routing.temperature.item())
    assert seen == pytest.approx([30 - 2.9 * epoch for epoch in range(10)] + [1, 1])
    assert ODConv(4, 8, temperature=4).routing.anneal_epochs == 0  # who gives one setting gives both


def test_the_router_of_odconv_is_seen():
    layer, x = odconv(8, 6, 3), torch.randn(5, 8, 6, 6)
    network = nn.Sequential(layer)
    with (recorder := Recorder(network))():
        network(x)
    (found,) = recorder.routing().layers
    assert (found.name, found.kind) == ("0", "ODConv") and found.distances.shape == (4, 4)
    torch.testing.assert_close(torch.from_numpy(found.weights), layer.routing_weights(x).detach())
    assert found.spread.max() > 1e-3


ROWS = "nc: 2\nbackbone:\n  - [-1, 1, Conv, [8, 3, 8]]\n  - [-1, 1, {row}]\nhead:\n  - [[0, 1], 1, Detect, [nc]]\n"


def network(row: str) -> DetectionModel:
    """A network with this module as its second row."""
    torch.manual_seed(0)
    return lively(DetectionModel(yaml.safe_load(ROWS.format(row=row)) | {"yaml_file": "my.yaml"}, verbose=False)).eval()


@torch.no_grad()
@pytest.mark.parametrize("given", ["Conv, [16, 3, 2]", "DynamicConvBnAct, [16, 3, 2]", "ODConvBnAct, [16, 3, 2]"])
@pytest.mark.parametrize("own", ["ODConvBnAct, [16, 3, 2]", "ODConvBnAct, [16, 3, 2, {num_experts: 2}]"])
def test_weights_of_a_convolution_become_an_odconv(given, own):
    source, model = network(given), network(own)
    done, x = model.load(source.state_dict()), torch.rand(2, 3, 32, 32)
    same = given == own
    assert done.copied.keys() | done.expanded.keys() == model.state_dict().keys()
    assert bool(done.expanded) != same
    routed = "Dynamic" in given or "OD" in given
    assert done.rerouted == (("model.1.conv",) if routed and not same else ())
    if not routed or same:
        torch.testing.assert_close(model(x)[0], source(x)[0], atol=1e-3, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize(
    "own", ["DynamicConvBnAct, [16, 3, 2, {g: 2}]", "ODConvBnAct, [16, 3, 2, {g: 2, num_experts: 2}]"]
)
def test_an_odconv_that_treats_all_images_alike_becomes_another_exactly(own):
    source, model = network("ODConvBnAct, [16, 3, 2, {g: 2}]"), network(own)
    router = source.model[1].conv.routing
    for head in (router, router.channel, router.filter, router.spatial):
        head.weight.zero_()  # the biases stay, which scale every part of the kernel
    assert model.load(source.state_dict()).rerouted == ()
    x = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(model(x)[0], source(x)[0], atol=1e-3, rtol=1e-4)
