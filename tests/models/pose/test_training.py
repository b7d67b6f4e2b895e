"""Pose estimation from end to end, on pictures drawn here: training, losses, measures, what is written and exported."""

import json
import re
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.close import PIXELS, partners
from tests.engine.runs import rows_of
from tests.models.runs import assert_killed_equals_whole, assert_left, tiny_run
from ultralytics import YOLO
from ultralytics.cfg import get_options
from ultralytics.engine.results import Results
from ultralytics.models.yolo.pose.task import PoseEvaluator, PoseTask
from ultralytics.utils import coco
from ultralytics.utils.errors import ConfigError
from ultralytics.utils.metrics import OKS_SIGMA, PoseMetrics, kpt_iou, oks_sigmas


def triangle(numbers, rng):
    """Corners of a triangle, and its label: they are the points, of which some count as unknown."""
    angle = rng.uniform(-0.4, 0.4) + np.array((-1.57, 0.7, 2.4))
    corners = rng.uniform(18, 46, 2) + rng.uniform(10, 16) * np.stack((np.cos(angle), np.sin(angle)), 1)
    low, high = corners.min(0) / 64, corners.max(0) / 64
    points = np.concatenate((corners / 64, rng.choice((0, 1, 2), (3, 1), p=(0.2, 0.2, 0.6))), 1)[:, :numbers]
    return corners, [*(low + high) / 2, *(high - low), *points.ravel()]


@pytest.fixture(params=[3])
def settings(tmp_path, request):
    """Options of a short run of the tiny network on triangles in tmp_path/runs/exp."""
    more = f"kpt_shape: [3, {request.param}]\nflip_idx: [0, 2, 1]\n"
    return tiny_run(tmp_path, "Pose, [nc, kpt_shape]", partial(triangle, request.param), most=2, more=more)


def batch_of(settings, **options):
    """All training pictures as one batch, not augmented; the dataset's mapping, the options and the dataset."""
    data = PoseTask.describe_data(settings["data"], ("train", "val"))
    options = get_options({"imgsz": 64, **options})
    images = PoseTask(options, data).dataset("train", augment=False, batch=12)
    return images.collate([images[i] for i in range(12)]), data, options, images


def test_a_training_from_end_to_end(settings, tmp_path):
    """Losses that fall, columns, pictures, weights that are opened as they were saved; the data's kpt_shape rules."""
    model = YOLO(settings["model"])
    assert model.model.kpt_shape == (17, 3)
    changes = {"epochs": 5, "plots": True, "optimizer": "AdamW", "lr0": 0.005, "warmup_epochs": 0.0, "mosaic": 0.5}
    model.train(**settings | changes)
    losses = ["box_loss", "pose_loss", "kobj_loss", "cls_loss", "dfl_loss"]
    rows = assert_left(model.trainer.save_dir, PoseTask, losses, ["Box", "Pose"])
    points = [float(row["train/pose_loss"]) for row in rows]
    assert 0 < points[-1] < 0.9 * points[0]
    best = YOLO(model.trainer.best)
    assert best.task == "pose" and best.model.kpt_shape == (3, 3)
    found = best.predict(np.full((64, 64, 3), 90, np.uint8), imgsz=64, conf=0.0001, verbose=False)[0]
    assert found.keypoints.shape == (len(found), 3, 3) and len(found) > 0
    again = YOLO(best.export(format="torchscript", imgsz=64))
    same = again.predict(np.full((64, 64, 3), 90, np.uint8), imgsz=64, conf=0.0001, verbose=False)[0]
    order = partners(*(torch.cat((r.boxes.data, r.keypoints.data.flatten(1)), 1) for r in (same, found)))
    torch.testing.assert_close(same.keypoints.data[order], found.keypoints.data, **PIXELS)

    more = YOLO(model.trainer.best)  # other keypoints: the head is new, the rest is kept
    text = Path(settings["data"]).read_text(encoding="utf-8")
    other = Path(settings["data"]).with_name("other.yaml")
    other.write_text(text.replace("[3, 3]", "[17, 3]").replace("flip_idx: [0, 2, 1]\n", ""), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"has kpt_shape \[17, 3\] and the network \[3, 3\]: validate on"):
        more.val(data=str(other), imgsz=64, verbose=False)


@pytest.mark.parametrize("settings", [2], indirect=True)
def test_two_numbers_a_point_train_and_say_nothing_of_visibility(settings):
    model = YOLO(settings["model"])
    model.train(**settings)
    assert all(float(row["train/kobj_loss"]) == 0 for row in rows_of(model.trainer.save_dir))
    found = model.predict(np.full((64, 64, 3), 90, np.uint8), imgsz=64, conf=0.0001, verbose=False)[0]
    assert found.keypoints.conf is None and not found.keypoints.has_visible and found.keypoints.shape[1:] == (3, 2)
    assert found.plot().shape == (64, 64, 3)


def test_other_keypoints_are_learned_on(settings):
    model = YOLO(settings["model"])
    model.train(**settings | {"epochs": 1})
    file = Path(settings["data"])
    file.write_text(file.read_text(encoding="utf-8").replace("[3, 3]", "[2, 3]").replace("[0, 2, 1]", "[0, 1]"))
    for label in file.parent.rglob("labels/*/*.txt"):
        lines = [" ".join(line.split()[:-3]) for line in label.read_text().splitlines()]
        label.write_text("\n".join(lines))
    again = YOLO(model.trainer.best)
    again.train(**settings | {"epochs": 1, "model": str(model.trainer.best)})
    assert again.model.kpt_shape == (2, 3)


@pytest.mark.public("engine::resume_incomplete")
def test_killed_at_any_moment(settings):
    assert_killed_equals_whole(settings | {"nbs": 8})


@pytest.mark.parametrize(("gain", "name", "column"), [(24.0, "pose", 1), (3.0, "kobj", 2)])
@pytest.mark.parametrize(
    ("settings", "sigmas"), [(3, None), (3, [0.05, 0.3, 0.1]), (2, None)], indirect=["settings"], ids=str
)
def test_losses_of_the_keypoints(settings, sigmas, gain, name, column):
    """Positive after positive, point after point, in float64; some points are not visible, v = 0."""
    batch, _, options, _ = batch_of(settings, **{name: gain})
    data = PoseTask.describe_data(settings["data"], ("train",)) | {"kpt_oks_sigmas": sigmas}
    model = PoseTask(get_options({"verbose": False}), data).build_model(YOLO(settings["model"]).model.yaml).train()
    model.args = options
    criterion = PoseTask(get_options()).criterion(model)
    raw = model(batch["img"] / 255)
    m = criterion.match(raw, batch)
    depth, places, seen = model.kpt_shape[1], [], []
    values = sigmas or [1 / 3] * 3
    for i, a in m.target.fg_mask.nonzero().tolist():
        truth = batch["keypoints"][batch["batch_idx"] == i][m.target.target_gt_idx[i, a]].double()
        stride = m.strides[a].item()
        x1, y1, x2, y2 = (m.target.target_bboxes[i, a] / stride).tolist()
        visible = sum(float(v != 0) for v in truth[:, 2])
        for k, (x, y, v) in enumerate(truth.tolist()):
            said = raw["kpts"][i, k * depth : (k + 1) * depth, a].double().tolist()
            px, py = (2 * said[j] + m.anchor_points[a, j].item() - 0.5 for j in (0, 1))
            squared = (px - x * 64 / stride) ** 2 + (py - y * 64 / stride) ** 2
            e = squared / (2 * (2 * values[k]) ** 2 * ((x2 - x1) * (y2 - y1) + 1e-9))
            places.append(3 / (visible + 1e-9) * (1 - np.exp(-e)) * (v != 0))
            if depth == 3:
                p = 1 / (1 + np.exp(-said[2]))
                seen.append(-np.log(p if v != 0 else 1 - p))
    assert len(places) > 60
    expected = {"pose": np.mean(places), "kobj": np.mean(seen) if seen else 0.0}[name] * gain
    assert criterion(raw, batch)[1][column].item() == pytest.approx(expected, rel=1e-4)


def test_seventeen_points_are_learned_by_the_sigmas_of_coco(settings):
    """Where the data give none; with two numbers a point there are no such sigmas."""
    generator = torch.Generator().manual_seed(0)
    batch = {
        "batch_idx": torch.tensor([0.0, 1]),
        "cls": torch.zeros(2, 1),
        "bboxes": torch.tensor([[0.5, 0.5, 0.6, 0.4]]).repeat(2, 1),
        "keypoints": torch.rand(2, 17, 3, generator=generator),
    }

    def loss(shape, sigmas=None):
        torch.manual_seed(0)
        data = {"nc": 2, "kpt_shape": shape, "kpt_oks_sigmas": sigmas}
        model = PoseTask(get_options({"verbose": False}), data).build_model(YOLO(settings["model"]).model.yaml).train()
        model.args = get_options()
        return PoseTask(get_options()).criterion(model)(model(torch.full((2, 3, 64, 64), 0.5)), batch)[1][1].item()

    for shape, own, other in (([17, 3], list(OKS_SIGMA), [1 / 17] * 17), ([17, 2], [1 / 17] * 17, list(OKS_SIGMA))):
        assert loss(shape) == loss(shape, own) > 0
        assert loss(shape, other) != pytest.approx(loss(shape), rel=1e-3)


def test_what_predictions_json_says_of_two_numbers_a_point():
    """A third is added, as COCO's format has it; the objects of the truth are judged by 0.53 of their box."""
    points = torch.tensor([[[50.0, 30], [70, 60]]])
    result = Results(np.zeros((100, 100, 3), np.uint8), "7.jpg", {0: "a"}, torch.tensor([[40.0, 20, 80, 70, 0.5, 0]]))
    result.update(keypoints=points)
    (row,) = PoseEvaluator.json_rows(PoseEvaluator.__new__(PoseEvaluator), result)
    assert row["keypoints"] == [50, 30, 1, 70, 60, 1] and row["image_id"] == 7
    known = coco.keypoints_annotation(np.array([[1.0, 2, 2], [0, 0, 0]]), np.array([0, 0, 10, 20]))
    assert known == {"keypoints": [1, 2, 2, 0, 0, 0], "num_keypoints": 1, "area": pytest.approx(106)}


def test_without_objects_keypoints_cost_nothing_and_have_gradients(settings):
    batch, data, options, _ = batch_of(settings)
    empty = {"cls": torch.zeros(0, 1), "bboxes": torch.zeros(0, 4), "batch_idx": torch.zeros(0)}
    model = PoseTask(get_options({"verbose": False}), data).build_model(YOLO(settings["model"]).model.yaml).train()
    model.args = options
    total, parts = PoseTask(get_options()).criterion(model)(
        model(batch["img"] / 255), batch | empty | {"keypoints": batch["keypoints"][:0]}
    )
    total.backward()
    assert parts[1] == parts[2] == 0 and all(p.grad is not None for p in model.model[-1].cv4.parameters())


def test_similarity_by_hand():
    """COCO's sigmas for its shape only; v = 0 does not count, none visible is similar to nothing."""
    assert oks_sigmas((17, 3)) == tuple(OKS_SIGMA) and len(OKS_SIGMA) == 17 and OKS_SIGMA[11] == pytest.approx(0.107)
    assert oks_sigmas((17, 2)) == (1 / 17,) * 17 and oks_sigmas((2, 3), [0.5, 1]) == (0.5, 1)
    rng = np.random.default_rng(0)
    truth, found = rng.uniform(0, 60, (3, 17, 3)), rng.uniform(0, 60, (4, 17, 3))
    truth[..., 2] = rng.integers(0, 3, (3, 17))
    truth[1, :, 2] = 0
    area = np.array((900.0, 400, 2500))
    ours = kpt_iou(*map(torch.tensor, (truth, found, area, OKS_SIGMA)))
    for i, j in np.ndindex(3, 4):
        seen = truth[i, :, 2] != 0
        d = ((truth[i, :, :2] - found[j, :, :2]) ** 2).sum(1)
        e = np.exp(-d / (2 * (2 * np.array(OKS_SIGMA)) ** 2 * (area[i] + 1e-7)))
        assert ours[i, j].item() == pytest.approx(e[seen].mean() if seen.any() else 0, abs=1e-6)


def test_a_perfect_network_is_measured_as_perfect(settings):
    """Of two classes; then with partners exchanged, in boxes that are still right."""
    batch, data, options, images = batch_of(settings, max_det=300)
    batch["keypoints"][..., 2] = 2

    def measure(order):
        evaluator = PoseTask(options, data).evaluator(images, Path(settings["project"]), 2, False)
        boxes, index, found = evaluator.boxes(batch), batch["batch_idx"], []
        for i in range(12):
            mine = index == i
            points = batch["keypoints"][mine][:, order] * torch.tensor((64, 64, 1))
            count = int(mine.sum())
            found.append(torch.cat((boxes[mine], torch.ones(count, 1), batch["cls"][mine], points.flatten(1)), 1))
        evaluator.update(found, batch)
        return evaluator.finish({})

    perfect = measure([0, 1, 2])
    assert isinstance(perfect, PoseMetrics) and perfect.pose.map == pytest.approx(0.995, abs=1e-3)
    exchanged = measure([1, 2, 0])
    assert exchanged.pose.map < perfect.pose.map - 0.3 and exchanged.box.map == perfect.box.map
    assert exchanged.fitness == pytest.approx(exchanged.pose.map + exchanged.box.map)
    assert {"Box-P", "Pose-P", "Pose-R"} <= set(exchanged.summary()[0])


def test_only_the_image_is_lost_whose_label_is_broken(settings, caplog):
    file = Path(settings["data"])
    folder = file.parent / "labels" / "train"
    good = "0 .5 .5 .2 .2 .5 .4 2 .4 .6 1 .6 .6"
    broken = {"02": "0 .5 .5 .2 .2 .5 .4 2", "03": f"{good} -1", "05": f"2{good[1:]} 0", "07": f"{good} 3"}
    for name, row in broken.items():
        (folder / f"{name}.txt").write_text(f"{good} 1\n{row}\n", encoding="utf-8")
    file.write_text(file.read_text(encoding="utf-8").replace("flip_idx: [0, 2, 1]\n", ""), encoding="utf-8")
    data = PoseTask.describe_data(str(file), ("train",))
    images = PoseTask(get_options({"imgsz": 64}), data).dataset("train", augment=True, batch=4)
    assert len(images) == 9
    assert (
        "02.txt:2: 8 numbers, but by kpt_shape [3, 3] a row is `class x y w h` and `x y v` of 3 points" in caplog.text
    )
    assert "03.txt:2: point 2 is 0.6 0.6 -1" in caplog.text
    assert "05.txt:2: class 2, but the classes are 0 to 1" in caplog.text
    odd = r"train: visibility is 0, 1 or 2, but 1 keypoints have another, such as 3 of point 2 in .*07\.txt: these are"
    assert re.search(odd, caplog.text)
    assert "has no flip_idx" in caplog.text and "fliplr and flipud are 0" in caplog.text


@pytest.fixture
def results():
    """Two objects of a picture of 120 x 200, of two points each."""
    points = torch.tensor([[[50.0, 30, 0.9], [70, 60, 0.8]], [[140, 20, 0.7], [160, 34, 0.1]]])
    boxes = torch.tensor([[41.0, 20, 84, 63, 0.9, 0], [125, 14, 167, 36, 0.5, 1]])
    return Results(np.full((120, 200, 3), 90, np.uint8), "a.jpg", {0: "red", 1: "blue"}, boxes=boxes, keypoints=points)


def test_results(results, tmp_path):
    assert len(results) == 2 and results.keypoints.shape == (2, 2, 3) and results.verbose() == "1 red, 1 blue, "
    assert results.keypoints.has_visible and results.keypoints.conf.shape == (2, 2)
    torch.testing.assert_close(results.keypoints.xyn * torch.tensor((200, 120)), results.keypoints.xy)
    np.testing.assert_allclose(results.numpy().keypoints.xyn[0, 0], (0.25, 0.25))
    one = results[1]
    assert len(one) == 1 and one.keypoints.data[0, 0].tolist() == pytest.approx([140, 20, 0.7])
    row = json.loads(results.to_json(normalize=True))[0]
    assert row["keypoints"] == {"x": [0.25, 0.35], "y": [0.25, 0.5], "visible": [0.9, 0.8]}
    assert json.loads(results.to_json())[1]["keypoints"]["x"] == [140, 160]
    results.save_txt(tmp_path / "a.txt", save_conf=True)
    line = (tmp_path / "a.txt").read_text().splitlines()[0].split()
    np.testing.assert_allclose(
        np.array(line, float), [0, 0.3125, 0.345833, 0.215, 0.358333, 0.25, 0.25, 0.9, 0.35, 0.5, 0.8, 0.9], atol=1e-5
    )
    assert len(results.to_df()) == 2


def test_keypoints_are_drawn(results):
    plain = results.plot(boxes=False)
    changed = (plain != 90).any(2)
    assert changed[30, 50] and changed[60, 70] and changed[20, 140] and not changed[34, 160]  # hardly visible
    assert not changed[45, 60]  # two points are no person
    points = np.stack((np.linspace(10, 190, 17), np.full(17, 60)), 1)[None]
    points[0, 5:7, 1] = 20
    person = Results(results.orig_img, "a.jpg", {0: "person"}, results.boxes.data[:1].numpy(), keypoints=points)
    drawn = (person.plot(boxes=False) != 90).any(2)
    left, right = points[0, 5], points[0, 6]
    x, y = ((left + right) / 2).round().astype(int)
    assert drawn[y - 1 : y + 1, x].any()  # the line between the shoulders
    assert not (person.plot(boxes=False, kpt_line=False) != 90).any(2)[y - 1 : y + 1, x].any()


def test_agreement_with_a_coco_evaluator(golden, dataset, tmp_path, caplog):
    """The keypoints of predictions.json, on the original pictures, measured by COCO's evaluator and by ours."""
    pytest.importorskip("faster_coco_eval")
    model = YOLO(golden / "weights" / "pose.pt")
    settings = {"imgsz": 224, "save_json": True, "save_txt": True, "workers": 0, "plots": False, "rect": True}
    data = dataset("glue_tubes_pose") / "data.yaml"
    caplog.set_level("INFO")
    ours = model.val(data=data, project=tmp_path, **settings)
    assert len(list((ours.save_dir / "labels").glob("*.txt"))) > 20
    rows = json.loads((ours.save_dir / "predictions.json").read_text())
    found = PoseTask.describe_data(data, ("val",))
    images = PoseTask(get_options({"imgsz": 224}), found).dataset("val", augment=False, batch=8)
    evaluator = PoseTask(get_options({}), found).evaluator(images, tmp_path, 1, False)
    truth = coco.coco_ground_truth(map(evaluator.truth, range(len(images))), model.names)
    theirs = coco.evaluate_coco(truth, rows, "keypoints", evaluator.sigmas)
    assert ours.pose.map == pytest.approx(theirs["AP"], abs=0.01)
    assert ours.pose.map50 == pytest.approx(theirs["AP50"], abs=0.01)
    assert "COCO, keypoints" in caplog.text and theirs["AP"] > 0.5
    by_size = {size: ours.results_dict[f"metrics/mAP50-95-{size}(P)"] for size in ("medium", "large")}
    assert by_size == pytest.approx(theirs["by_size"], abs=1e-6) and len(set(by_size.values())) == 2
