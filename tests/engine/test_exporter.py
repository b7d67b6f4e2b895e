"""Exported files, run by their own runtimes, compute what the network does; what they hold and cost; refusals."""

import json
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tests.close import PIXELS, RAW, SCORES
from ultralytics import YOLO
from ultralytics.cfg import CFG_DIR
from ultralytics.engine import exporter
from ultralytics.nn import tasks
from ultralytics.nn.autobackend import as_list
from ultralytics.utils.errors import ConfigError, DependencyError, ModelError
from ultralytics.utils.files import save_yaml
from ultralytics.utils.torch_utils import get_flops

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

TUTORIAL = ("yolov8n.yaml", "yolov8n-DynamicConv.yaml", "yolov8n-C2f-DynamicConv.yaml")


def pictures(batch: int, height: int, width: int) -> torch.Tensor:
    """Images of colored blocks, darker and brighter ones, (B, 3, H, W) in 0..1."""
    blocks = torch.rand(batch, 3, height // 8, width // 8) * torch.linspace(0.5, 1, batch).view(-1, 1, 1, 1)
    return blocks.repeat_interleave(8, 2).repeat_interleave(8, 3)


@torch.no_grad()
def livelier(model: YOLO) -> YOLO:
    """The network with norms as after training and scores all over 0..1, quite other ones for other images."""
    for module in model.model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
        if hasattr(module, "routing"):
            module.routing.weight *= 2
    model.model.train()(pictures(8, 128, 128))
    for branch in getattr(model.model.model[-1], "cv3", []):
        branch[-1].weight *= 2
        branch[-1].bias.fill_(-1)
    return model


@pytest.fixture
def network(tmp_path, monkeypatch):
    """`network(yaml)`: a lively network; what is exported goes to tmp_path."""
    monkeypatch.chdir(tmp_path)

    def build(yaml: str | Path, nc: int = 4) -> YOLO:
        torch.manual_seed(0)
        return livelier(YOLO(yaml, nc=nc))

    return build


@pytest.fixture
def tiny(network, tmp_path):
    """A network of five layers, one of them dynamic."""
    rows = "[-1, 1, Conv, [8, 3, 4]], [-1, 1, DynamicConv, [8, 3, 2]], [-1, 1, Conv, [16, 3, 2]]"
    path = tmp_path / "tiny.yaml"
    path.write_text(f"nc: 4\nbackbone: [{rows}]\nhead: [[[1, 2], 1, Detect, [nc]]]\n", encoding="utf-8")
    return network(path)


def session(path: str) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def load(path: str, **options) -> torch.jit.ScriptModule:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return torch.jit.load(path, **options)


def expected_of(model: YOLO, images: torch.Tensor) -> torch.Tensor:
    """What the network, not fused and as it was built, decodes."""
    with torch.no_grad():
        outputs = model.model.eval()(images)
    return outputs[0] if isinstance(outputs, tuple) else outputs


def assert_same(found, expected) -> None:
    """Boxes (B, 4, A) in pixels and scores are equal but for rounding; the images of a batch differ."""
    found = torch.as_tensor(found)
    assert expected[:, 4:].std() > 0.01 and (len(expected) == 1 or (expected[0] - expected[-1])[4:].abs().max() > 0.05)
    torch.testing.assert_close(found[:, :4], expected[:, :4], **PIXELS)
    torch.testing.assert_close(found[:, 4:], expected[:, 4:], **SCORES)


def kernels_are_constants(file: onnx.ModelProto) -> bool:
    """Whether every convolution's kernel stands in the file."""
    constant = {entry.name for entry in file.graph.initializer}
    constant |= {out for node in file.graph.node if node.op_type in ("Constant", "Identity") for out in node.output}
    return all(node.input[1] in constant for node in file.graph.node if node.op_type == "Conv")


@pytest.mark.public("exports::export_onnx_matrix")
@pytest.mark.parametrize("yaml", TUTORIAL)
def test_dynamic_onnx_takes_any_batch_and_size(network, yaml):
    model = network(yaml)
    path = model.export(format="onnx", imgsz=64, dynamic=True, simplify=False)
    assert path == f"{Path(yaml).stem}.onnx" and kernels_are_constants(onnx.load(path))
    run = session(path)
    assert [run.get_inputs()[0].name, *run.get_inputs()[0].shape] == ["images", "batch", 3, "height", "width"]
    for batch, height, width in ((1, 96, 64), (3, 64, 64), (8, 64, 96)):
        images = pictures(batch, height, width)
        (found,) = run.run(["output0"], {"images": images.numpy()})
        assert_same(found, expected_of(model, images))


@pytest.mark.public("exports::export_onnx_matrix")
@pytest.mark.parametrize(("yaml", "batch"), [(TUTORIAL[0], 1), (TUTORIAL[1], 1), (TUTORIAL[1], 4), (TUTORIAL[2], 4)])
def test_static_onnx(network, yaml, batch):
    model = network(yaml)
    path = model.export(format="onnx", imgsz=[64, 96], batch=batch, simplify=False)
    images = pictures(batch, 64, 96)
    assert session(path).get_inputs()[0].shape == [batch, 3, 64, 96]
    assert_same(session(path).run(None, {"images": images.numpy()})[0], expected_of(model, images))


@pytest.mark.public("exports::export_torchscript_matrix")
@pytest.mark.parametrize(
    ("yaml", "settings"), [(TUTORIAL[0], {}), (TUTORIAL[1], {"dynamic": True}), (TUTORIAL[2], {"batch": 4})]
)
def test_torchscript(network, yaml, settings):
    model = network(yaml)
    path = model.export(format="torchscript", imgsz=64, **settings)
    run = load(path)
    shapes = [(1, 96, 64), (3, 64, 64), (8, 64, 96)] if "dynamic" in settings else [(settings.get("batch", 1), 64, 64)]
    for batch, *size in shapes:
        images = pictures(batch, *size)
        with torch.no_grad():
            assert_same(run(images), expected_of(model, images))


def test_the_static_graph_is_the_cheapest(tiny, caplog):
    """One convolution a layer and anchor points as constants; the dynamic one computes every expert and says so."""
    gflops = get_flops(tiny.model, 64)
    tiny.export(format="onnx", imgsz=64)
    static = onnx.load("tiny.onnx")
    assert f"{gflops:.2f} GFLOPs an image, as in PyTorch" in caplog.text
    assert not {"Range", "Shape", "Tile"} & {node.op_type for node in static.graph.node}
    assert not kernels_are_constants(static)
    caplog.clear()
    tiny.export(format="onnx", imgsz=64, dynamic=True)
    dynamic = get_flops(exporter.prepare_network(tiny.model, dynamic=True), 64)
    kernel = 2 * 8 * 8 * 9 / 1e9  # of the dynamic layer: 8 to 8 channels, 3 x 3
    assert dynamic - gflops == pytest.approx(3 * 64 * kernel - 4 * kernel)  # on 8 x 8 positions; nothing is mixed
    assert f"{dynamic:.2f} GFLOPs an image, in PyTorch {gflops:.2f}" in caplog.text
    assert "any batch and size, such as images (2, 3, 64, 64) float32 -> output0 (2, 8, 80)" in caplog.text
    assert "measured with onnxruntime" in caplog.text


def test_what_a_file_tells_of_itself(tiny):
    tiny.model.names = {0: "cell", 1: "it's", 2: "细胞", 3: "d"}
    tiny.overrides["data"] = "cells.yaml"
    tiny.export(format="onnx", imgsz=[64, 96], batch=2, opset=17, simplify=False)
    tiny.export(format="torchscript", imgsz=[64, 96], batch=2)
    file, config = onnx.load("tiny.onnx"), {"config.txt": ""}
    assert file.opset_import[0].version == 17
    onnx.checker.check_model(file)
    properties = {entry.key: entry.value for entry in file.metadata_props}
    assert properties["names"] == str(tiny.model.names)
    assert (properties["stride"], properties["task"], properties["batch"]) == ("16", "detect", "2")
    assert (properties["imgsz"], properties["channels"], properties["head"]) == ("[64, 96]", "3", "Detect")
    assert "'data': 'cells.yaml'" in properties["args"] and "'opset': 17" in properties["args"]
    load("tiny.torchscript", _extra_files=config)
    found = json.loads(config["config.txt"])
    assert found["names"] == {"0": "cell", "1": "it's", "2": "细胞", "3": "d"} and found["imgsz"] == [64, 96]
    assert found["args"]["device"] == "cpu" and "opset" not in found["args"] and found["args"]["data"] == "cells.yaml"


def test_weights_are_exported_beside_themselves(tiny, tmp_path):
    tiny.save(tmp_path / "run" / "weights.v2.pt")
    path = YOLO(tmp_path / "run" / "weights.v2.pt").export(imgsz=64)
    assert path == str(tmp_path / "run" / "weights.v2.torchscript") and Path(path).is_file()


@pytest.mark.public("exports::export_onnx_matrix")
def test_simplify(tiny):
    nodes = []
    for simplify in (False, True):
        tiny.export(format="onnx", imgsz=64, simplify=simplify)
        nodes.append(len(onnx.load("tiny.onnx").graph.node))
    assert nodes[1] < 0.8 * nodes[0]


@pytest.mark.public("exports::export_onnx_matrix")
def test_half(tiny):
    tiny.export(format="onnx", imgsz=64, simplify=False)
    full = Path("tiny.onnx").stat().st_size
    tiny.export(format="onnx", imgsz=64, simplify=False, half=True, batch=2)
    assert Path("tiny.onnx").stat().st_size < 0.7 * full
    images = pictures(2, 64, 64).half()
    (found,) = session("tiny.onnx").run(None, {"images": images.numpy()})
    assert found.dtype == np.float32  # decoding is never below
    expected = expected_of(tiny, images.float())
    np.testing.assert_allclose(found[:, :4], expected[:, :4], rtol=1e-3, atol=0.5)
    np.testing.assert_allclose(found[:, 4:], expected[:, 4:], atol=0.02)


def test_the_network_stays_as_it_was(tiny):
    tiny.model.train()
    before = {name: tensor.clone() for name, tensor in tiny.model.state_dict().items()}
    tiny.export(imgsz=64, dynamic=True, half=True)
    assert tiny.model.training and not tiny.model.is_fused() and not tiny.model.model[-1].export
    assert not tiny.model.model[1].cond_conv.portable and all(p.requires_grad for p in tiny.model.model[0].parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in tiny.model.state_dict().items())


def test_sizes_are_raised_to_the_stride(tiny, caplog):
    tiny.export(imgsz=[50, 100])
    assert "imgsz=[64, 112]" in caplog.text and "(1, 3, 64, 112)" in caplog.text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"conf": 0.5}, "conf changes nothing in an exported file: export.. takes batch, device, dynamic"),
        ({"opset": 17}, "opset belongs to format=onnx, not to torchscript"),
        ({"simplify": False}, "simplify belongs to format=onnx"),
        ({"format": "engine"}, "format='engine': expected onnx or torchscript"),
        ({"int8": True}, "int8 is not supported: .*onnxruntime"),
        ({"batch": -1}, "batch=-1 is for training: give model.export.. a number"),
    ],
)
def test_refused_options(tiny, options, message):
    with pytest.raises(ConfigError, match=message):
        tiny.export(**options)


@pytest.fixture
def without(monkeypatch):
    """`without(package)`: as if it was not installed."""

    def hide(package: str) -> None:
        monkeypatch.setitem(sys.modules, package, None)

    return hide


@pytest.mark.parametrize("package", ["onnx", "onnxslim"])
def test_missing_packages(tiny, without, package):
    without(package)
    with pytest.raises(DependencyError, match=rf'^{package} cannot be imported .*pip install "\.\[export\]"'):
        tiny.export(format="onnx", imgsz=64)
    assert tiny.export(imgsz=64) and not Path("tiny.onnx").exists()


def test_without_a_runtime_files_are_written_and_not_compared(tiny, without, caplog):
    without("onnxruntime")
    tiny.export(format="onnx", imgsz=64, simplify=False)
    assert Path("tiny.onnx").is_file() and "not compared with PyTorch: onnxruntime cannot be imported" in caplog.text


class Baked(nn.Module):
    """A block that keeps the size it was traced with."""

    def __init__(self, c1: int, c2: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c1, c2, 1)

    def forward(self, x):
        batch, _, height, width = map(int, x.shape)
        return self.conv(x.mean(1).reshape(batch, 1, height, width) + x)


class Refused(Baked):
    """A block with an operation that ONNX has not."""

    def forward(self, x):
        return self.conv(torch.special.bessel_j0(x))


@pytest.fixture
def with_block(network, tmp_path, monkeypatch):
    """`with_block(cls)`: a network with one's own block, registered as any other."""

    def build(block: type, row: str = "[8]") -> YOLO:
        for sets in ("channel_modules", "repeat_modules"):
            monkeypatch.setattr(tasks, sets, set(getattr(tasks, sets)))
        monkeypatch.setattr(tasks, block.__name__, block, raising=False)
        tasks.register_module(block)
        path = tmp_path / "own.yaml"
        rows = f"[-1, 1, Conv, [8, 3, 8]], [-1, 1, {block.__name__}, {row}]"
        path.write_text(f"nc: 4\nbackbone: [{rows}]\nhead: [[[1], 1, Detect, [nc]]]\n", encoding="utf-8")
        return network(path)

    return build


@pytest.mark.parametrize("kind", ["onnx", "torchscript"])
def test_sizes_kept_as_constants_are_found(with_block, kind):
    model = with_block(Baked)
    with pytest.raises(ModelError, match=rf"own\.{kind} (would not compute|cannot be made)"):
        model.export(format=kind, imgsz=64, dynamic=True)
    assert not Path(f"own.{kind}").exists()
    assert Path(model.export(format=kind, imgsz=64, batch=2)).is_file()


class Scaled(Baked):
    """A block whose result depends on the size it was traced with, which no runtime complains of."""

    def forward(self, x):
        return self.conv(x) * (int(x.shape[2]) / 8)


@pytest.mark.parametrize("kind", ["onnx", "torchscript"])
def test_files_that_compute_something_else_are_not_left(with_block, kind):
    model = with_block(Scaled)
    with pytest.raises(ModelError, match=rf"own\.{kind} would not compute .* \(3, 3, 72, 64\): .*dynamic=False"):
        model.export(format=kind, imgsz=64, dynamic=True)
    assert not Path(f"own.{kind}").exists()


def test_a_graph_that_cannot_be_simplified(tiny, monkeypatch, caplog):
    monkeypatch.setattr("onnxslim.slim", lambda file: 1 / 0)
    tiny.export(format="onnx", imgsz=64)
    assert "not simplified, onnxslim says: division by zero" in caplog.text and Path("tiny.onnx").is_file()


def test_operations_that_onnx_has_not(with_block):
    with pytest.raises(ModelError, match=r"own\.onnx cannot be made of this network: .*bessel_j0"):
        with_block(Refused).export(format="onnx", imgsz=64)


class Squeezed(nn.Module):
    """A user's own block: channel attention by hand."""

    def __init__(self, c1: int, c2: int, ratio: int = 4) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c1, c2, 3, padding=1)
        self.gate = nn.Sequential(nn.Linear(c2, c2 // ratio), nn.ReLU(), nn.Linear(c2 // ratio, c2))

    def forward(self, x):
        y = self.conv(x)
        return y * self.gate(y.mean((2, 3)))[..., None, None].sigmoid()


def test_a_block_of_ones_own(with_block):
    model = with_block(Squeezed, "[8, 2]")
    path = model.export(format="onnx", imgsz=64, dynamic=True, simplify=False)
    images = pictures(3, 96, 64)
    assert_same(session(path).run(None, {"images": images.numpy()})[0], expected_of(model, images))


MORE = {"Conv": [3], "DWConv": [3], "ConvBnAct": [3, 2], "DynamicConvBnAct": [3], "DynamicConv": [3, 2, "", 1, 2]}
# Concat and heads are in networks below and above, other blocks in tests/nn/test_blocks.py.
MODULES = [name for name, cls in tasks.known_modules().items() if cls in tasks.channel_modules]
YAMLS = [tasks.yaml_model_load(file) for file in sorted((CFG_DIR / "models").rglob("*.yaml"))]
HEADS = {d["head"][-1][2]: d for d in YAMLS}  # a YAML for each head
TRUNK = [
    [-1, 1, "Conv", [16, 3, 4]],
    [-1, 1, "Conv", [16, 3, 2]],
    [-1, 1, "Conv", [16, 3, 2]],
    [-1, 1, "Conv", [16, 3, 2]],
]


def small(network, tmp_path, row: list, head: dict) -> YOLO:
    """A network of four convolutions, `row` and the head of a YAML."""
    at, _, name, args = head["head"][-1]
    last = [at if isinstance(at, int) else [1, 2, 4], 1, name, args]
    d = {key: value for key, value in head.items() if key not in ("scales", "scale", "yaml_file")}
    save_yaml(tmp_path / "small.yaml", d | {"nc": 4, "backbone": TRUNK, "head": [row, last]})
    return network(tmp_path / "small.yaml")


def assert_any_batch(model: YOLO) -> None:
    """Three images of another size than it was exported with."""
    path = model.export(format="onnx", imgsz=64, dynamic=True, simplify=False)
    assert kernels_are_constants(onnx.load(path))
    images = pictures(3, 64, 96)
    model.model.model[-1].export = True
    with torch.no_grad():
        expected = as_list(model.model.eval()(images))
    found = session(path).run(None, {"images": images.numpy()})
    for ours, theirs in zip(found, expected, strict=True):
        assert (theirs[0] - theirs[-1]).abs().max() > 1e-3
        rounding = 1e-4 * max(1, theirs.abs().max().item() / 10)  # boxes are in pixels
        # float32 rounds relatively, and other processors otherwise; the reference outputs allow boxes 0.05 px
        torch.testing.assert_close(torch.as_tensor(ours), theirs, atol=rounding, rtol=RAW["rtol"])
        assert np.abs(ours - theirs.numpy()).max() <= 0.05


@pytest.mark.parametrize("name", MODULES)
def test_every_module(network, tmp_path, name):
    assert_any_batch(small(network, tmp_path, [-1, 1, name, [16, *MORE.get(name, [])]], HEADS["Detect"]))


def test_a_router_that_standardises(network, tmp_path):
    model = small(network, tmp_path, [-1, 1, "DynamicConv", [16, 3, 2, {"standardize": True}]], HEADS["Detect"])
    model.model.model[4].routing.running_mean.fill_(0.1)
    model.model.model[4].routing.running_var.fill_(0.01)
    assert_any_batch(model)


@pytest.mark.public("exports::export_onnx_matrix")
@pytest.mark.parametrize("name", HEADS)
def test_every_head(network, tmp_path, name):
    assert_any_batch(small(network, tmp_path, [[-1, 3], 1, "Concat", [1]], HEADS[name]))
