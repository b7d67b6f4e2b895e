"""YOLO('x.onnx') and YOLO('x.torchscript'): the same results as the weights, and what they cannot do."""

import shutil
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.close import assert_same_detections
from ultralytics import YOLO
from ultralytics.nn.autobackend import OnnxNetwork
from ultralytics.utils.errors import CheckpointError, ConfigError, DependencyError, DeviceError
from ultralytics.utils.files import save_yaml

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")


CONF = 0.3225  # no confidence of a detection in the images below is nearer to it than 3e-4


def assert_same_boxes(found, expected) -> None:
    """The same detections, and some, in every image."""
    for ours, theirs in zip(found, expected, strict=True):
        assert len(ours) > 0
        assert_same_detections(ours.boxes.data, theirs.boxes.data)


@pytest.fixture
def weights(detector, tmp_path):
    """Weights of `detector` in a file of their own."""
    detector.save(tmp_path / "best.pt")
    return YOLO(tmp_path / "best.pt")


@pytest.fixture
def exported(weights):
    """`exported(**options)`: the network of the weights, exported for 160 pixels and opened again."""
    return lambda **options: YOLO(weights.export(**{"format": "onnx", "imgsz": 160, "simplify": False, **options}))


@pytest.fixture
def scripted(weights):
    """The same for TorchScript."""
    return lambda **options: YOLO(weights.export(**{"imgsz": 160, **options}))


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param("exported", marks=pytest.mark.public("exports::export_onnx")),
        pytest.param("scripted", marks=pytest.mark.public("exports::export_torchscript")),
    ],
)
def test_predict(kind, request, weights, picture):
    usual = {"verbose": False, "conf": CONF}
    many = [picture, picture[::-1].copy(), np.roll(picture, 40, 1), picture[:, ::-1].copy(), picture[:, 20:140]]
    fixed = request.getfixturevalue(kind)(batch=2)
    assert fixed.names == weights.names and fixed.task == "detect" and fixed.overrides["imgsz"] == 160
    expected = weights(many, imgsz=160, rect=False, **usual)
    assert_same_boxes(fixed(many, **usual), expected)  # two batches of two and one filled up
    assert_same_boxes(fixed(many[0], **usual), expected[:1])
    free = request.getfixturevalue(kind)(dynamic=True)
    assert_same_boxes(free(many[:4], imgsz=128, **usual), weights(many[:4], imgsz=128, **usual))  # rectangles
    assert free.predictor.args.rect and not fixed.predictor.args.rect
    assert free.device == torch.device("cpu")


def test_val_of_the_reference_network(golden, dataset, tmp_path):
    """Trained weights on real images: boxes and metrics of the .pt, whose data the file knows as well."""
    path = shutil.copyfile(golden / "weights" / "detect.pt", tmp_path / "detect.pt")
    images = [str(image) for image in sorted((dataset("bccd") / "images" / "val").iterdir())[:16]]
    (tmp_path / "val.txt").write_text("\n".join(images), encoding="utf-8")
    data = tmp_path / "few.yaml"
    save_yaml(data, {"path": str(tmp_path), "train": "val.txt", "val": "val.txt", "names": ["RBC", "WBC", "Platelets"]})
    usual = {"workers": 0, "plots": False, "verbose": False, "batch": 8}
    model = YOLO(path)
    model.overrides["data"] = str(data)
    for options, rect in (({"format": "onnx", "dynamic": True, "simplify": False}, True), ({"batch": 3}, False)):
        again = YOLO(model.export(imgsz=224, **options))
        assert again.overrides["data"] == str(data)
        expected = model.val(rect=rect, project=tmp_path / "runs", **usual, imgsz=224)
        found = again.val(project=tmp_path / "runs", **usual)
        assert expected.box.map > 0.4
        for name, value in expected.results_dict.items():
            tolerance = 0.01 if "precision" in name or "recall" in name else 0.003
            assert found.results_dict[name] == pytest.approx(value, abs=tolerance), name
        kept = {"verbose": False, "imgsz": 224}
        assert_same_boxes(again(images[:4], **kept), model(images[:4], rect=rect, **kept))


def test_half(weights, exported, picture):
    model = exported(half=True)
    assert model.model.dtype == torch.float16
    found, expected = model(picture, verbose=False)[0].boxes, weights(picture, imgsz=160, rect=False)[0].boxes
    assert abs(len(found) - len(expected)) <= 3
    assert found.conf[:3].numpy() == pytest.approx(expected.conf[:3].numpy(), abs=0.01)
    with pytest.raises(ConfigError, match=r"half=True: .*best\.onnx computes in float32; export it again with half"):
        exported()(picture, half=True)


def test_the_batch_of_the_training_is_repeated(exported, weights):
    weights.ckpt.args.update(batch=6)
    assert exported()._val_batch() == weights._val_batch() == 12


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"source": torch.rand(1, 3, 96, 64)}, r"made for images of \[160, 160\], not of \[96, 64\]: resize them"),
    ],
)
def test_what_the_file_decides(exported, picture, options, message):
    with pytest.raises(ConfigError, match=message):
        exported().predict(**{"source": picture, **options})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"imgsz": 96}, "is made for imgsz=160, which is used"),
        ({"rect": True}, "takes one image size, which is used"),
    ],
)
def test_the_file_decides_the_image_size_and_that_is_said(exported, picture, options, message, caplog):
    (found,), (usual,) = (exported().predict(picture, **given) for given in (options, {}))
    assert torch.equal(found.boxes.data, usual.boxes.data) and message in caplog.text


@pytest.mark.parametrize(
    "call", ["train", "export", "info", "fuse", "save", "routing", "to", "load"], ids=lambda name: name
)
def test_what_needs_layers(exported, call):
    arguments = {"routing": ["a.jpg"], "to": ["cpu"], "load": ["best.pt"]}.get(call, [])
    with pytest.raises(ConfigError, match=rf"^{call}\(\) needs the layers, .*best\.onnx .* open the \.pt"):
        getattr(exported(), call)(*arguments)


def test_files_that_are_none(tmp_path):
    for name in ("bad.onnx", "bad.torchscript"):
        with pytest.raises(CheckpointError, match=f"there is no .*{name}"):
            YOLO(tmp_path / name)
        (tmp_path / name).write_text("nothing")
        with pytest.raises(CheckpointError, match=rf"{name} cannot be read: .*export the network again"):
            YOLO(tmp_path / name)
    with pytest.raises(CheckpointError, match=r"x\.engine: such files are not read; .*format=onnx or torchscript"):
        YOLO("x.engine")


def test_files_of_others(exported, weights, tmp_path, picture):
    """With the metadata of the public package, which knows less; and without any."""
    exported()
    file = onnx.load(tmp_path / "best.onnx")
    theirs = {
        "names": str(weights.names),
        "stride": "32",
        "task": "detect",
        "author": "it's (somebody",
        "imgsz": "[160, 160]",
    }
    onnx.helper.set_model_props(file, theirs)
    onnx.save(file, tmp_path / "theirs.onnx")
    model = YOLO(tmp_path / "theirs.onnx")
    assert model.overrides == {"imgsz": 160, "model": str(tmp_path / "theirs.onnx")} and model._val_batch() is None
    usual = {"verbose": False, "conf": CONF}
    assert_same_boxes(model(picture, **usual), weights(picture, imgsz=160, rect=False, **usual))
    del file.metadata_props[:]
    onnx.save(file, tmp_path / "silent.onnx")
    with pytest.raises(CheckpointError, match=r"silent\.onnx does not tell its names, stride, task"):
        YOLO(tmp_path / "silent.onnx")


def test_without_onnxruntime(exported, monkeypatch):
    exported()
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(DependencyError, match="onnxruntime cannot be imported"):
        exported()


def test_devices(exported, scripted, caplog, monkeypatch):
    """A device that was asked for and is not served is an error; one found by itself is not used."""
    network = exported().model
    assert network.select_device("cpu") is network
    gpu = torch.device("cuda", 0)
    for model in (network, scripted().model):
        with pytest.raises(DeviceError, match=r"device=cuda:0: .*(onnxruntime-gpu|made for cpu; export it again)"):
            model.on(gpu)
        monkeypatch.setattr("ultralytics.nn.autobackend.select_device", lambda device: gpu)
        assert model.select_device(None).device == torch.device("cpu") and "Continuing with device=cpu" in caplog.text
        with pytest.raises(DeviceError):
            model.select_device(0)


def test_a_cuda_session_is_asked_for(exported, monkeypatch):
    started = []
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    network = exported().model
    providers = ["CUDAExecutionProvider", "CPUExecutionProvider"]

    def start(self, source, provider):
        started.append(provider)
        return SimpleNamespace(get_providers=lambda: providers)

    monkeypatch.setattr(OnnxNetwork, "_start", start)
    network.on(torch.device("cuda", 1))
    assert started == [("CUDAExecutionProvider", {"device_id": 1})] and network.device == torch.device("cuda", 1)
    del providers[0]  # onnxruntime could not load CUDA's libraries
    with pytest.raises(DeviceError, match="device=cuda:0: onnxruntime could not start CUDAExecutionProvider"):
        network.on(torch.device("cuda", 0))
    assert network.device == torch.device("cuda", 1)
