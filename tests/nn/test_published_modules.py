"""The public package's other blocks: state-dict keys, shapes and outputs as in its release 8.4.190, measured there."""
# ruff: noqa: F403, F405

import copy
import math
import zlib

import pytest
import torch
from torch import nn

from ultralytics.nn import modules, tasks
from ultralytics.nn.fuse import fold_all
from ultralytics.nn.modules import *  # the names that custom blocks import

# Class, arguments, channels in (0: tokens), (tensors, checksum of names and shapes), output: shape, (mean, std, last).
CASES = [
    (LightConv, (8, 12, 3), {}, 8, (12, 224254781), (2, 12, 8, 12), (0.0974156, 0.199656, 0)),
    (ConvTranspose, (8, 12), {}, 8, (6, 3233269485), (2, 12, 16, 24), (0.00662956, 0.202189, -0.2475)),
    (
        ConvTranspose,
        (8, 12, 3, 1, 1, False, False),
        {},
        8,
        (2, 2946730152),
        (2, 12, 8, 12),
        (0.244573, 0.97092, -0.999439),
    ),
    (DWConvTranspose2d, (8, 12, 3, 2, 1, 1), {}, 8, (2, 2714118307), (2, 12, 16, 24), (0.241727, 0.738854, -1.14803)),
    (Focus, (4, 8, 3), {}, 4, (6, 3439438961), (2, 8, 4, 6), (0.146895, 0.154789, -0.0587109)),
    (RepConv, (8, 8), {"bn": True}, 8, (17, 2163499997), (2, 8, 8, 12), (-0.203769, 0.106239, -0.164349)),
    (RepConv, (8, 16, 3, 2), {"act": False}, 8, (12, 1956447114), (2, 16, 4, 6), (-0.796589, 0.757392, 0.699413)),
    (ChannelAttention, (8,), {}, 8, (2, 3304670437), (2, 8, 8, 12), (0.00184648, 0.468876, 0.341081)),
    (SpatialAttention, (3,), {}, 8, (1, 2593058403), (2, 8, 8, 12), (0.00136318, 0.190294, 0.234926)),
    (CBAM, (8,), {}, 8, (3, 1590788580), (2, 8, 8, 12), (0.000968553, 0.240043, 0.188758)),
    (SPP, (8, 12), {}, 8, (12, 952765648), (2, 12, 8, 12), (-0.0925746, 0.199962, 0.270292)),
    (C1, (8, 12, 2), {}, 8, (18, 24521090), (2, 12, 8, 12), (0.070307, 0.21606, -0.131623)),
    (C3x, (8, 12, 2), {}, 8, (42, 4202089844), (2, 12, 8, 12), (0.0592044, 0.194715, 0.152451)),
    (RepC3, (8, 16, 2, 0.5), {}, 8, (42, 3342513827), (2, 16, 8, 12), (-0.000321849, 0.353817, 0.145186)),
    (C3TR, (16, 32, 2), {}, 16, (38, 1246095946), (2, 32, 8, 12), (467.528, 666.561, 329.93)),
    (BottleneckCSP, (8, 12, 2), {}, 8, (43, 4138636180), (2, 12, 8, 12), (-0.0766174, 0.21517, 0.0233464)),
    (C3k, (8, 12), {"k": 5}, 8, (30, 1903773432), (2, 12, 8, 12), (0.0592584, 0.188512, 0.173986)),
    (C3k2, (8, 12, 2), {}, 8, (36, 101180984), (2, 12, 8, 12), (-0.0877748, 0.19804, 0.260996)),
    (C3k2, (16, 16, 1, True), {"g": 2}, 16, (54, 1324990811), (2, 16, 8, 12), (-0.0343032, 0.202072, -0.015353)),
    (C3k2, (128, 128, 1, False, 0.5, True), {}, 128, (54, 3786432838), (2, 128, 8, 12), (0.647465, 1.28377, -0.215074)),
    (RepVGGDW, (8,), {}, 8, (12, 1979534301), (2, 8, 8, 12), (-0.0931508, 0.293247, -0.27737)),
    (CIB, (8, 8), {"lk": True}, 8, (36, 3564933518), (2, 8, 8, 12), (0.0816344, 0.732509, 0.783142)),
    (C2fCIB, (8, 12, 2, True), {}, 8, (72, 2981494636), (2, 12, 8, 12), (-0.0841834, 0.199254, 0.251492)),
    (Attention, (64, 4, 1.0), {}, 64, (18, 4233293288), (2, 64, 8, 12), (-0.449819, 3.39975, 3.84193)),
    (PSABlock, (64, 0.5, 2, False), {}, 64, (30, 4025736846), (2, 64, 8, 12), (-0.370514, 2.09153, 1.8426)),
    (PSA, (64, 64), {}, 64, (42, 4056310601), (2, 64, 8, 12), (1.47263, 2.58625, -0.064341)),
    (C2PSA, (128, 128, 2), {}, 128, (72, 675652056), (2, 128, 8, 12), (1.98636, 3.25385, 3.06262)),
    (C2fPSA, (64, 64, 2), {}, 64, (72, 3011552531), (2, 64, 8, 12), (4.9157, 7.40288, 4.85625)),
    (SCDown, (8, 12, 3, 2), {}, 8, (12, 2520466941), (2, 12, 4, 6), (-0.618274, 0.802157, 0.347508)),
    (HGStem, (3, 4, 8), {}, 3, (30, 2973690383), (2, 8, 2, 3), (0, 0, 0)),
    (
        HGBlock,
        (16, 4, 16),
        {"n": 2, "lightconv": True, "shortcut": True},
        16,
        (36, 1430749219),
        (2, 16, 8, 12),
        (0.154527, 0.723628, -0.834112),
    ),
    (AAttn, (64, 2, 4), {}, 64, (18, 2336958769), (2, 64, 8, 12), (-0.454295, 3.39137, 4.04724)),
    (ABlock, (64, 2), {}, 64, (30, 3841161402), (2, 64, 8, 12), (-0.836897, 4.01475, 4.21864)),
    (A2C2f, (64, 64, 1, True, 4, True), {}, 64, (73, 2503159750), (2, 64, 8, 12), (-0.249856, 1.99971, -0.0786513)),
    (A2C2f, (64, 64, 2, False), {}, 64, (96, 3697998276), (2, 64, 8, 12), (-0.0270611, 0.203926, 0.197725)),
    (TransformerLayer, (16, 4), {}, 0, (9, 2268680402), (2, 6, 16), (-0.0412964, 16.9516, -23.8264)),
    (TransformerBlock, (8, 16, 4, 2), {}, 8, (26, 1713816507), (2, 16, 8, 12), (-47.205, 467.962, 392.368)),
    (TransformerEncoderLayer, (16, 32, 4), {}, 0, (12, 3738350016), (2, 6, 16), (0.33204, 0.772343, 0.0252429)),
    (
        TransformerEncoderLayer,
        (16, 32, 4),
        {"normalize_before": True},
        0,
        (12, 3738350016),
        (2, 6, 16),
        (0.0583617, 2.60445, 0.882584),
    ),
    (AIFI, (16, 32, 4), {}, 16, (12, 3738350016), (2, 16, 8, 12), (0.317668, 0.72684, 0.0556817)),
    (MLPBlock, (16, 32), {}, 0, (4, 2178847443), (2, 6, 16), (-0.0307579, 2.66946, 0.295062)),
    (
        MLP,
        (16, 8, 16, 3),
        {"residual": True, "sigmoid": True},
        0,
        (6, 3725335815),
        (2, 6, 16),
        (0.51725, 0.376028, 0.931141),
    ),
    (LayerNorm2d, (8,), {}, 8, (2, 496512940), (2, 8, 8, 12), (0.671019, 0.785425, 0.680297)),
]


def wave(*shape, start=0):
    """sin(0.37 i), which needs no file to be known elsewhere."""
    return ((torch.arange(math.prod(shape)) + start) * 0.37).sin().view(shape)


@torch.no_grad()
def filled(block):
    """The block in eval mode, every tensor from the same formula, scaled to keep values in range."""
    for start, (name, tensor) in enumerate(block.state_dict().items()):
        values = wave(*tensor.shape, start=start)
        if name.endswith("running_var"):
            values = values.abs() + 0.5
        elif tensor.ndim > 1:
            values = values / math.sqrt(tensor[0].numel())
        if tensor.is_floating_point():
            tensor.copy_(values)
    return block.eval()


def name_of(value):
    return value.__name__ if isinstance(value, type) else ""


@pytest.mark.public("python::nn_modules_conv", "python::nn_modules_block")
@pytest.mark.parametrize(("cls", "args", "kwargs", "channels", "keys", "shape", "expected"), CASES, ids=name_of)
def test_as_published(cls, args, kwargs, channels, keys, shape, expected):
    block = filled(cls(*args, **kwargs))
    named = [f"{name} {tuple(tensor.shape)}" for name, tensor in block.state_dict().items()]
    assert (len(named), zlib.crc32("\n".join(named).encode())) == keys, named
    with torch.no_grad():
        y = block(wave(2, channels, 8, 12) if channels else wave(2, 6, 16))
    assert y.shape == shape
    rounding = 1e-5 * max(1, expected[1])
    assert (y.mean().item(), y.std().item(), y.flatten()[-1].item()) == pytest.approx(expected, rel=1e-4, abs=rounding)


@pytest.mark.parametrize(("cls", "args", "kwargs", "channels"), [case[:4] for case in CASES], ids=name_of)
def test_gradients_reach_every_parameter(cls, args, kwargs, channels):
    block = cls(*args, **kwargs)
    if not list(block.parameters()):
        return
    block(torch.randn(2, channels, 8, 12) if channels else torch.randn(2, 6, 16)).square().mean().backward()
    assert all(p.grad is not None for p in block.parameters())


@pytest.mark.parametrize(
    "block",
    [RepConv(8, 8, bn=True), RepConv(8, 8, g=4, bn=True, act=False), RepConv(8, 16, s=2), RepVGGDW(8)],
    ids=["identity", "groups", "stride", "depthwise"],
)
@torch.no_grad()
def test_parallel_branches_become_one_convolution(block):
    block, x = filled(block), torch.randn(2, 8, 9, 11)
    expected, fused = block(x), copy.deepcopy(block)
    fused.fuse_convs()
    assert set(fused.state_dict()) == {"conv.weight", "conv.bias"}
    torch.testing.assert_close(fused(x), expected, atol=1e-5, rtol=1e-5)
    fused.fuse_convs()  # once more changes nothing
    whole = nn.Sequential(block, nn.Conv2d(expected.shape[1], 3, 1))
    before = whole(x)
    fold_all(whole)
    assert set(whole[0].state_dict()) == {"conv.weight", "conv.bias"}
    torch.testing.assert_close(copy.deepcopy(whole)(x), before, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("cls", modules.OTHER_CHANNEL_MODULES, ids=name_of)
def test_a_yaml_may_name_them(cls):
    """With scaled channels, and repeats inside the block where it has any."""
    args = {SCDown: [64, 3, 2]}.get(cls, [64])
    rows = [[-1, 1, "Conv", [64, 3, 16]], [-1, 3, cls.__name__, args]]
    d = {"nc": 3, "scales": {"n": [0.67, 1, 64]}, "scale": "n", "backbone": rows}
    model = tasks.DetectionModel(d | {"head": [[[1], 1, "Detect", ["nc"]]]}, verbose=False).eval()
    block = model.model[1]
    repeats = cls in modules.OTHER_REPEAT_MODULES
    assert isinstance(block if repeats else block[1], cls)
    inner = getattr(block, "m", None)
    assert not repeats or len(inner if not isinstance(inner, TransformerBlock) else inner.tr) == 2
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        expected = model(image)[0]
        torch.testing.assert_close(model.fuse(verbose=False)(image)[0], expected, atol=1e-2, rtol=1e-4)


def test_an_add_on_of_the_same_name_takes_their_place(monkeypatch):
    class SPP(nn.Conv2d):
        pass

    monkeypatch.setitem(vars(tasks), "SPP", SPP)
    assert tasks.find_module("SPP") is SPP
    monkeypatch.undo()
    assert tasks.find_module("SPP") is modules.SPP


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RepConv(8, 8, k=5), "k=3 and p=1"),
        (lambda: SpatialAttention(5), "3 or 7"),
        (lambda: C2PSA(64, 128), "as many channels"),
        (lambda: PSA(64, 128), "as many channels"),
        (lambda: A2C2f(64, 40), "multiple of 32"),
        (lambda: MLP(4, 8, 2, 2, residual=True), "as many channels"),
        (lambda: AIFI(6, 8, 2)(torch.rand(1, 6, 2, 2)), "multiple of 4"),
    ],
)
def test_what_cannot_be_built_says_why(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_several_maps_and_positions():
    assert Index(1)([1, 2]) == 2
    pos = AIFI.build_2d_sincos_position_embedding(3, 2, 8)[0]  # rows first: tokens are row by row
    torch.testing.assert_close(pos[3], torch.tensor([0.84147, 0.01, 0.5403, 0.99995, 0, 0, 1, 1]), atol=1e-4, rtol=0)
    torch.testing.assert_close(pos[1], torch.tensor([0, 0, 1, 1, 0.84147, 0.01, 0.5403, 0.99995]), atol=1e-4, rtol=0)


def test_a_bias_of_attention_leaves_out_tokens():
    layer, x = TransformerEncoderLayer(16, 32, 4).eval(), torch.randn(2, 5, 16)
    padded = torch.tensor([[False] * 4 + [True]] * 2)
    torch.testing.assert_close(layer(x, src_key_padding_mask=padded)[:, :4], layer(x[:, :4]), atol=1e-5, rtol=1e-5)
    pos = torch.randn(2, 5, 16)
    assert not torch.allclose(layer(x, pos=pos), layer(x))


# v10Detect(4, (32, 48, 64)) of the public package, on `v10_maps`, its tensors from `filled_by_name`: mean, standard
# deviation and last number of what is decoded, and of the class logits of both sets of branches in eval and train mode.
V10 = {
    "decoded": (45.6602, 75.90852, 0.30567),
    "end2end": (19.80623, 74.09605, 2.0),
    "eval": ((-0.15292, 0.69485, -0.82045), (-0.14506, 0.56815, -0.51553)),
    "train": ((-0.14806, 0.67432, -0.84534), (-0.15266, 0.59772, -0.50431)),
}


def summary(x):
    return pytest.approx([x.mean().item(), x.std().item(), x.flatten()[-1].item()], abs=3e-5)


@torch.no_grad()
def test_the_head_of_yolov10():
    head = v10Detect(nc=4, ch=(32, 48, 64))
    head.stride = torch.tensor([8.0, 16.0, 32.0])
    state = head.state_dict()
    named = ";".join(f"{name}{tuple(tensor.shape)}" for name, tensor in state.items())
    assert (len(state), zlib.crc32(named.encode())) == (241, 145092944)
    for i, (name, tensor) in enumerate(state.items()):
        if tensor.is_floating_point() and not name.startswith("dfl"):
            values = 0.3 * torch.sin(torch.arange(tensor.numel()) * 1.7 + i).reshape(tensor.shape)
            tensor.copy_(values.abs() + 0.1 if "running_var" in name else values)
    sizes = (32, 8), (48, 4), (64, 2)
    maps = [torch.sin(torch.arange(c * s * s) * 0.3).reshape(1, c, s, s) for c, s in sizes]
    decoded, raw = head.eval()(maps)
    assert decoded.shape == (1, 8, 84) and list(V10["decoded"]) == summary(decoded)
    assert [list(x) for x in V10["eval"]] == [summary(raw[name]["scores"]) for name in ("one2many", "one2one")]
    head.end2end = True
    chosen, _ = head(maps)
    assert chosen.shape == (1, 84, 6) and list(V10["end2end"]) == summary(chosen)
    head.end2end = False
    head.export = True
    assert torch.equal(head(maps), decoded)
    raw = head.train()(maps)
    assert [list(x) for x in V10["train"]] == [summary(raw[name]["scores"]) for name in ("one2many", "one2one")]
    head.bias_init()  # the public numbers
    biases = [level[-1].bias[0].item() for level in (*head.cv3, *head.one2one_cv3)]
    assert biases == pytest.approx([-8.5409, -7.1546, -5.7683] * 2, abs=1e-4)


def test_the_second_set_of_branches_leaves_the_maps_alone():
    head = v10Detect(nc=2, ch=(8, 8))
    maps = [torch.rand(1, 8, s, s, requires_grad=True) for s in (4, 2)]
    raw = head(maps)
    raw["one2one"]["scores"].sum().backward()
    assert all(x.grad is None for x in maps) and head.one2one_cv3[0][-1].weight.grad is not None
    raw["one2many"]["scores"].sum().backward()
    assert all(x.grad is not None for x in maps)
