"""Networks that classify: parameters, GFLOPs, outputs, fusing, what their rows may not be."""

import copy

import numpy as np
import pytest
import torch

from tests.close import RAW
from ultralytics import YOLO
from ultralytics.nn.modules import Classify
from ultralytics.nn.tasks import ClassificationModel
from ultralytics.utils.errors import ModelError

COUNTS = {  # parameters, GFLOPs at 224, with 1000 classes; the reference's for yolov8-cls
    "yolov8{}-cls": [(2719288, 0.405), (6361736, 1.527), (17053336, 5.102), (37480744, 12.095), (57422840, 18.843)],
    "yolov8{}-DynamicConv-cls": [
        (3894344, 0.408), (11061912, 1.540), (27628712, 5.131), (56281400, 12.145), (86798856, 18.921)
    ],
}  # fmt: skip
CASES = [(name.format(s), *row) for name, rows in COUNTS.items() for s, row in zip("nsmlx", rows, strict=True)]


@pytest.mark.parametrize(("name", "parameters", "gflops"), CASES, ids=[case[0] for case in CASES])
def test_parameters_and_gflops(name, parameters, gflops):
    with torch.device("meta"):
        model = ClassificationModel(f"{name}.yaml", verbose=False)
    _, found, trained, computed = model.info(verbose=False)  # at 224 without being told
    assert (found, trained) == (parameters, parameters)
    assert computed == pytest.approx(gflops, rel=1e-3, abs=6e-4)
    assert model.stride.tolist() == [32] and model.task == "classify"


def test_norms_stay_as_pytorch_has_them():
    model = ClassificationModel("yolov8n-cls.yaml", nc=3, verbose=False)
    norms = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert {(m.eps, m.momentum) for m in norms} == {(1e-5, 0.1)}


def test_outputs_against_the_reference(golden):
    data = {key: torch.from_numpy(np.asarray(value)) for key, value in np.load(golden / "classify.npz").items()}
    model = YOLO(golden / "weights" / "classify.pt").model
    with torch.no_grad():
        probabilities, logits = model.eval()(data["batch.img"])
        fused = copy.deepcopy(model).fuse(verbose=False)(data["batch.img"])[1]
        trained = model.train()(data["batch.img"])
    torch.testing.assert_close(probabilities, data["eval.0"], atol=1e-3, rtol=0)
    torch.testing.assert_close(logits, data["eval.1"], atol=1e-3, rtol=0)
    torch.testing.assert_close(trained, data["train."], atol=1e-3, rtol=0)
    torch.testing.assert_close(fused, logits, **RAW)


@pytest.mark.parametrize("name", ["yolov8n-cls.yaml", "yolov8n-DynamicConv-cls.yaml"])
def test_fusing_changes_nothing(name):
    model = ClassificationModel(name, nc=3, verbose=False).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
    image = torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        before = model(image)[1]
        assert model.fuse(verbose=False).is_fused()
        torch.testing.assert_close(model(image)[1], before, atol=1e-5, rtol=1e-4)


def test_outputs_of_the_head():
    head = Classify(4, 3)
    image = torch.rand(2, 4, 5, 7)
    assert head(image).shape == (2, 3)
    probabilities, logits = head.eval()(image)
    torch.testing.assert_close(logits.softmax(1), probabilities)
    head.export = True
    torch.testing.assert_close(head(image), probabilities)
    assert head.half()(image.half()).dtype == torch.float32  # probabilities are never in half precision


def broken(*head):
    return {"nc": 3, "backbone": [[-1, 1, "Conv", [8, 3, 2]], [-1, 1, "Conv", [8, 3, 1]]], "head": [list(head)]}


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ((-1, 1, "Classify", []), "the first arg of Classify must be the number of output channels, found nothing"),
        ((-1, 1, "Classify", [5]), "the head is built for 5 classes, not 3: give it [nc]"),
        (([0, 1], 1, "Classify", ["nc"]), "Classify takes its input from one layer, not from [0, 1]"),
        ((-1, 1, "Conv", [3]), "the last row must be a head that classifies, such as Classify"),
    ],
)
def test_mistakes_in_the_last_row(row, said):
    with pytest.raises(ModelError) as caught:
        ClassificationModel(broken(*row), verbose=False)
    assert said in str(caught.value)
