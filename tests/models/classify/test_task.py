"""Classification's answers to the loops, against the reference's numbers and each other."""

import json
from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd
import pytest
import torch

from tests.steps import as_batch, assert_reference_steps, reference_arrays
from ultralytics import YOLO
from ultralytics.cfg import get_options
from ultralytics.data.loaders import Frame
from ultralytics.models.yolo.classify.task import ClassifyTask
from ultralytics.utils.errors import ConfigError
from ultralytics.utils.loss import v8ClassificationLoss
from ultralytics.utils.metrics import ClassifyMetrics


@pytest.fixture(scope="module")
def trained(golden):
    """The reference's network of ten digits."""
    return YOLO(golden / "weights" / "classify.pt")


def read(golden, name):
    return json.loads((golden / name).read_text(encoding="utf-8"))


def test_five_steps_of_sgd_against_the_reference(golden):
    arrays = reference_arrays(golden / "classify.npz")
    arrays["batch.cls"] = arrays["batch.cls"].long()
    model = YOLO(golden / "weights" / "classify.pt").model.train()
    criterion = ClassifyTask(get_options()).criterion(model)
    assert_reference_steps(model, arrays, ClassifyTask.loss_names, criterion)
    loss, items = criterion(model(arrays["batch.img"]), as_batch(arrays))
    assert items.tolist() == [loss.item()] and not items.requires_grad


def test_the_loss_takes_the_outputs_of_both_modes():
    logits, cls = torch.randn(4, 3), torch.tensor([0, 2, 1, 1])
    expected = -logits.log_softmax(1)[range(4), cls].mean()
    for outputs in (logits, (logits.softmax(1), logits)):
        torch.testing.assert_close(v8ClassificationLoss()(outputs, {"cls": cls})[0], expected)


def test_predictions_against_the_reference(trained, golden, dataset):
    expected = read(golden, "classify-predict.json")
    files = [dataset("sign_digits_cls") / image["file"] for image in expected["images"]]
    results = trained(files, imgsz=expected["imgsz"], batch=8, verbose=False)
    for result, image in zip(results, expected["images"], strict=True):
        assert list(result.orig_shape) == image["shape"]
        np.testing.assert_allclose(result.probs.data, image["probs"], atol=1e-3)
        assert result.boxes is None


def test_validation_against_the_reference(trained, golden, dataset, tmp_path):
    expected = read(golden, "classify-val.json")
    settings = {key: expected[key] for key in ("imgsz", "batch", "rect", "conf", "iou")}
    metrics = trained.val(data=dataset("sign_digits_cls"), workers=0, verbose=False, project=tmp_path, **settings)
    assert metrics.results_dict == pytest.approx(expected["results"], abs=0.003)
    assert list(metrics.results_dict) == list(expected["results"])
    assert metrics.confusion_matrix.matrix.sum(0).tolist() == [10] * 10
    assert np.trace(metrics.confusion_matrix.matrix) == 62
    assert metrics.summary() == [{"top1_acc": 0.62, "top5_acc": 0.99}]
    left = {path.name for path in metrics.save_dir.iterdir()}
    assert left == {
        "confusion_matrix.png", "confusion_matrix_normalized.png", "paper.md", "paper.csv", "paper.tex",
        *(f"val_batch{i}_{what}.jpg" for i in range(3) for what in ("labels", "pred")),
    }  # fmt: skip


def test_classes_are_measured_among_themselves(trained, dataset):
    data = dataset("sign_digits_cls")
    (every,) = trained.val(data=data, plots=False, workers=0, verbose=False).per_class[None, :, 0]
    only = trained.val(data=data, classes=[7], plots=False, workers=0, verbose=False)
    assert only.top1 == 1 > every[7] - 1e-9  # the only class there is left is the most probable of them
    assert only.nt_per_class.tolist() == [0] * 7 + [only.nt_per_class[7]] + [0] * 2


def test_accuracies_against_their_definition():
    rng = np.random.default_rng(0)
    scores, targets = rng.random((50, 7)), rng.integers(7, size=50)
    metrics = ClassifyMetrics({i: str(i) for i in range(7)})
    assert metrics.results_dict == {"metrics/accuracy_top1": 0, "metrics/accuracy_top5": 0, "fitness": 0}
    order = (-scores).argsort(1)[:, :5]
    for part in (slice(0, 20), slice(20, 50)):
        metrics.update_stats(order[part], targets[part])
    metrics.process()
    better = (scores > scores[range(50), targets][:, None]).sum(1)
    assert (metrics.top1, metrics.top5) == pytest.approx(((better < 1).mean(), (better < 5).mean()))
    assert metrics.fitness == pytest.approx((metrics.top1 + metrics.top5) / 2)
    assert metrics.per_class[3] == pytest.approx([(better[targets == 3] < k).mean() for k in (1, 5)])


def test_fewer_than_five_classes():
    metrics = ClassifyMetrics({0: "a", 1: "b"})
    metrics.update_stats(np.array([[0, 1], [1, 0]]), np.array([0, 0]))
    metrics.process()
    assert (metrics.top1, metrics.top5) == (0.5, 1.0)


@pytest.fixture
def classified(picture):
    """A result: 0.5 dog, 0.3 cat, 0.1, 0.06, 0.03, 0.01."""
    names = {0: "cat", 1: "dog", 2: "cow", 3: "红", 4: "e", 5: "f"}
    probs = torch.tensor([0.3, 0.5, 0.1, 0.06, 0.03, 0.01])
    task, frame = ClassifyTask(get_options()), Frame(picture, "a/b.jpg")
    return task.to_result(probs, (64, 64), frame, SimpleNamespace(names=names))


def test_what_a_result_says(classified, tmp_path):
    probs = classified.probs
    assert (probs.top1, probs.top5) == (1, [1, 0, 2, 3, 4])
    assert probs.top1conf == pytest.approx(0.5) and probs.top5conf.tolist() == pytest.approx(
        [0.5, 0.3, 0.1, 0.06, 0.03]
    )
    assert classified.verbose() == "dog 0.50, cat 0.30, cow 0.10, 红 0.06, e 0.03, "
    rows = classified.summary()
    assert rows[0] == {"name": "dog", "class": 1, "confidence": 0.5} and len(rows) == 5
    assert json.loads(classified.to_json(decimals=2))[3] == {"name": "红", "class": 3, "confidence": 0.06}
    pd.testing.assert_frame_equal(classified.to_df(), pd.DataFrame(rows))
    text = tmp_path / "b.txt"
    classified.save_txt(text)
    assert text.read_text(encoding="utf-8") == "0.50 dog\n0.30 cat\n0.10 cow\n0.06 红\n0.03 e\n"
    arrays = classified.numpy().probs
    assert isinstance(arrays.data, np.ndarray) and (arrays.top1, arrays.top5) == (probs.top1, probs.top5)


def test_scores_are_drawn_in_a_corner(classified, picture):
    changed = (classified.plot() != picture).any(2)
    rows, columns = np.nonzero(changed)
    assert rows.max() > 4 * 11 and columns.min() < 10 and rows.min() < 10
    assert columns.max() < 90
    assert not (classified.plot(labels=False) != picture).any()
    assert (classified.plot(conf=False) != picture).any(2).sum() < changed.sum()


def test_pictures_of_a_batch(tmp_path):
    batch = {
        "img": torch.full((2, 3, 64, 64), 255, dtype=torch.uint8),
        "cls": torch.tensor([0, 1]),
        "im_file": ("a.jpg", "b.jpg"),
    }
    found = [torch.tensor([0.9, 0.1]), torch.tensor([0.8, 0.2])]
    ClassifyTask(get_options(), {"names": {0: "x", 1: "y"}}).plot_batch(batch, tmp_path / "labels.png")
    ClassifyTask(get_options(), {"names": {0: "x", 1: "y"}}).plot_predictions(batch, found, tmp_path / "found.png")
    labels, predicted = (cv2.imread(str(tmp_path / f"{name}.png")) for name in ("labels", "found"))
    half = labels.shape[1] // 2
    marked = [
        (part != 255).any(2)[30:].sum()
        for whole in (labels, predicted)
        for part in (whole[:, : half - 4], whole[:, half + 4 :])
    ]
    assert all(marked) and marked[3] > 1.5 * marked[2]  # a wrong class is followed by the true one


@pytest.mark.parametrize(
    ("method", "options", "said"),
    [
        ("train", {"single_cls": True}, "single_cls=True: classification gives every image one class"),
        ("train", {"multi_scale": 0.5}, "multi_scale=0.5: training images are cropped at random scales already"),
        ("train", {"rect": True}, "rect=True: classification crops every image to a square"),
        ("val", {"imgsz": [64, 96]}, "imgsz=[64, 96]: classification crops squares"),
        ("val", {"save_json": True}, "save_json=True"),
        ("val", {"save_txt": True}, "save_txt=True: classes are written by predict"),
        ("predict", {"save_crop": True}, "save_crop=True"),
    ],
    ids=str,
)
def test_options_that_make_no_sense_are_refused(method, options, said):
    model = YOLO("yolov8n-cls.yaml", nc=2)
    with pytest.raises(ConfigError) as caught:
        getattr(model, method)(**options)
    assert said in str(caught.value)


def test_pictures_are_224_pixels_unless_told_otherwise(picture):
    model = YOLO("yolov8n-cls.yaml", nc=2)
    seen = []
    model.model.register_forward_pre_hook(lambda _, args: seen.append(tuple(args[0].shape)))
    model(picture, verbose=False)
    model(picture, imgsz=100, verbose=False)  # a multiple of the stride
    model(torch.rand(2, 3, 64, 96), verbose=False)  # tensors as they are
    assert seen == [(1, 3, 224, 224), (1, 3, 128, 128), (2, 3, 64, 96)]
