"""Networks out of weights files, and the model classes of the tasks, by the names of the public package."""

import pytest
import torch

from ultralytics import YOLO
from ultralytics.nn import tasks
from ultralytics.nn.modules import Conv
from ultralytics.nn.tasks import DetectionModel, OBBModel, PoseModel, SegmentationModel
from ultralytics.utils.checkpoint import load_checkpoint
from ultralytics.utils.errors import CheckpointError, ModelError

TASKS = ["detect", "segment", "pose", "obb", "classify"]


@pytest.mark.parametrize("task", TASKS)
def test_the_network_of_a_file_is_the_one_that_yolo_opens(golden, task):
    file = golden / "weights" / f"{task}.pt"
    model, ckpt = tasks.load_checkpoint(file)
    expected = YOLO(file).model
    assert type(model) is type(expected) is tasks.MODEL_CLASSES[task]
    assert model.names == expected.names and model.task == task and not model.training
    assert model.dtype == torch.float32 and model.pt_path == str(file)
    assert all(torch.equal(value, expected.state_dict()[name]) for name, value in model.state_dict().items())
    assert ckpt["model"] is model and ckpt["ema"] is None
    assert ckpt["train_args"] == model.args == load_checkpoint(file).args and ckpt["train_args"]["imgsz"]


def test_loading_as_older_scripts_do(golden):
    file = str(golden / "weights" / "detect.pt")
    model = tasks.attempt_load_weights(file, torch.device("cpu"))
    assert not model.is_fused() and tasks.attempt_load_weights([file], fuse=True).is_fused()
    one, ckpt = tasks.attempt_load_one_weight(file, device="cpu", inplace=False)
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(one(image)[0], model(image)[0])
    content, path = tasks.torch_safe_load(file)
    assert path == file and content.keys() == ckpt.keys() and content["epoch"] == ckpt["epoch"]


def test_files_that_give_no_network(golden, tmp_path):
    file = golden / "weights" / "detect.pt"
    with pytest.raises(ModelError, match="ensembles are not supported, found 2 weights files"):
        tasks.attempt_load_weights([file, file])
    torch.save(load_checkpoint(file).state_dict, tmp_path / "bare.pt")
    with pytest.raises(CheckpointError, match=r"bare\.pt holds weights only"):
        tasks.attempt_load_weights(tmp_path / "bare.pt")
    with pytest.raises(CheckpointError, match=r"there is no none\.pt"):
        tasks.torch_safe_load(tmp_path / "none.pt")
    checkpoint = load_checkpoint(file)
    del checkpoint.state_dict["model.0.conv.weight"]
    with pytest.raises(CheckpointError, match=r"mine\.pt does not fit .*\(1 entries differ, as model\.0\.conv\.weight"):
        tasks.model_from_checkpoint(checkpoint, "mine.pt")


@pytest.mark.parametrize(("cls", "task"), [(SegmentationModel, "segment"), (PoseModel, "pose"), (OBBModel, "obb")])
def test_classes_of_tasks_build_their_own_networks_only(cls, task):
    assert cls(verbose=False).task == task
    with pytest.raises(
        ModelError, match=f"yolov8n.yaml: {cls.__name__} needs a head for {task}, .*Detect, is for detect"
    ):
        cls("yolov8n.yaml", verbose=False)


def test_keypoints_of_the_data():
    model = PoseModel("yolov8n-pose.yaml", 3, 1, (5, 2), False)
    assert model.kpt_shape == (5, 2) and model.yaml["kpt_shape"] == [5, 2] and model.nc == 1
    assert PoseModel(verbose=False).kpt_shape == (17, 3)
    d = {"nc": 1, "backbone": [[-1, 1, "Conv", [8, 3, 8]]], "head": [[[0], 1, "Pose", ["nc", [4, 3]]]]}
    with pytest.raises(ModelError, match=r"built for kpt_shape \[4, 3\] and the data have \[5, 2\]"):
        PoseModel(d, data_kpt_shape=[5, 2], verbose=False)


def test_the_task_and_the_scale_of_a_network(golden):
    network = DetectionModel("yolov8n.yaml", verbose=False)
    assert tasks.guess_model_task(network) == tasks.guess_model_task("yolov8n.yaml") == "detect"
    assert tasks.guess_model_task(tasks.yaml_model_load("yolov8n-seg.yaml")) == "segment"
    assert tasks.guess_model_task(golden / "weights" / "obb.pt") == "obb"
    assert [tasks.guess_model_scale(name) for name in ("a/yolov8x-seg.yaml", "yolov8.yaml", "my.yaml")] == ["x", "", ""]
    assert network.max_stride == 32 and isinstance(network.max_stride, int)
    assert isinstance(network.model[0], Conv)
