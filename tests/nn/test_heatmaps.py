"""Heat maps: they lie on the objects of their class, are those of their papers, and leave the network as it was."""

import copy
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from ultralytics import YOLO
from ultralytics.nn import heatmaps
from ultralytics.nn.heatmaps import METHODS, default_layers, find_layers
from ultralytics.utils.errors import ConfigError, ModelError
from ultralytics.utils.letterbox import letterbox_geometry

DATASETS = {
    "detect": "bccd",
    "segment": "nuclei_seg",
    "pose": "glue_tubes_pose",
    "obb": "nuclei_obb",
    "classify": "sign_digits_cls",
}


class OneMap(nn.Module):
    """A network of one map (1, 4, 3, 4), whose weights and image are sines."""

    def __init__(self):
        super().__init__()
        convs = nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.Conv2d(4, 3, 3, padding=1, bias=False)
        self.model = nn.Sequential(convs[0], nn.Sigmoid(), convs[1], nn.Flatten(2))
        for conv in convs:
            conv.weight.data = sines(*conv.weight.shape)

    def forward(self, x):
        return self.model(x)


def sines(*shape):
    return torch.sin(1.7 * torch.arange(int(np.prod(shape)), dtype=torch.float32)).reshape(shape)


# The package grad-cam 1.5.7 on OneMap, target layer model[1], the sum of the best logits above 0 explained.
GRAD_CAM = {
    "layercam": "0.4745 0.1612 0.1506 0.3583 1.0000 0.5170 0.0621 0.1916 0.1066 0.8411 0.0474 0.0000",
    "gradcam": "0.7623 0.7198 0.0000 0.0000 0.7445 0.7396 0.2170 0.0066 0.6659 1.0000 0.3385 0.0000",
    "gradcam++": "0.8284 0.6700 0.0000 0.1304 0.8185 0.7388 0.1864 0.1520 0.8860 1.0000 0.1827 0.1290",
    "eigencam": "0.0000 0.0000 1.0000 0.6702 0.0000 0.0000 0.4964 0.6973 0.0000 0.0000 0.3659 0.7476",
}


V10 = """nc: 2
{}
backbone: [[-1, 1, Conv, [8, 3, 8]], [-1, 1, Conv, [8, 3, 2]], [-1, 1, Conv, [8, 3, 2]]]
head: [[[0, 1, 2], 1, v10Detect, [nc]]]
"""


@pytest.mark.parametrize(
    ("line", "predicts", "other"), [("", "cv3", "one2one_cv3"), ("end2end: True", "one2one_cv3", "cv3")]
)
def test_heads_of_two_sets_are_explained_by_the_one_that_predicts(tmp_path, line, predicts, other):
    """A map is empty where the branches that predict are zero, and only there."""
    image = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    (tmp_path / "v10.yaml").write_text(V10.format(line), encoding="utf-8")
    for branch, empty in ((predicts, True), (other, False)):
        model = YOLO(tmp_path / "v10.yaml")
        for name, parameter in model.model.named_parameters():
            if f".{branch}." in name:
                parameter.data.zero_()
        (heat,) = model.heatmap(image, layer=0, imgsz=64)
        assert empty != heat.map.any()


@pytest.mark.parametrize("method", METHODS)
def test_maps_are_those_of_the_package_grad_cam(method):
    image = (sines(1, 3, 3, 4) + 1) / 2
    (heat,) = heatmaps.explain(OneMap(), image, lambda outputs: outputs, layer="1", method=method, conf=0.5)
    expected = torch.tensor([float(x) for x in GRAD_CAM[method].split()]).view(3, 4)
    torch.testing.assert_close(heat, expected, atol=1e-4, rtol=0)


def label_rows(image: Path) -> list[list[str]]:
    path = Path(str(image).replace("images", "labels")).with_suffix(".txt")
    return [line.split() for line in path.read_text(encoding="utf-8").split("\n") if line]


def boxes_of(image: Path, shape: tuple[int, int], classes: list[int]) -> np.ndarray:
    """Mask (H, W) of the objects' boxes on a letterboxed image, from the label file of any task."""
    rows = label_rows(image)
    height, width = cv2.imread(str(image)).shape[:2]
    (gain, _), (left, top) = letterbox_geometry(shape, (height, width))
    mask = np.zeros(shape, bool)
    for cls, *numbers in rows:
        values = np.array(numbers, float)
        if len(values) == 4 or "pose" in str(image):
            x, y, w, h = values[:4]
            corners = x - w / 2, y - h / 2, x + w / 2, y + h / 2
        else:
            corners = *values.reshape(-1, 2).min(0), *values.reshape(-1, 2).max(0)
        if int(cls) in classes:
            x1, y1, x2, y2 = corners
            columns = slice(round(left + gain * width * x1), round(left + gain * width * x2) + 1)
            mask[round(top + gain * height * y1) : round(top + gain * height * y2) + 1, columns] = True
    return mask


def share(model: YOLO, images: list[Path], classes: list[int], **options: object) -> tuple[float, float]:
    """Mean share of a map's mass inside the boxes of the classes, and the share of the image these cover."""
    found = model.heatmap([str(p) for p in images], classes=classes, imgsz=224, **options)
    masks = [boxes_of(p, h.map.shape, classes) for p, h in zip(images, found, strict=True)]
    inside = [(h.map * mask).sum() / max(h.map.sum(), 1e-9) for h, mask in zip(found, masks, strict=True)]
    return float(np.mean(inside)), float(np.mean([mask.mean() for mask in masks]))


CASES = [("detect", 0), ("detect", 1), ("segment", 0), ("pose", 0), ("obb", 0)]


@pytest.mark.parametrize(("task", "cls"), CASES, ids=[f"{task}-{cls}" for task, cls in CASES])
def test_a_map_lies_on_the_objects_of_its_class(golden, reference, task, cls):
    folder = reference / "data" / DATASETS[task] / "images" / "val"
    images = [p for p in sorted(folder.glob("*.jpg")) if any(int(row[0]) == cls for row in label_rows(p))][:4]
    model = YOLO(golden / "weights" / f"{task}.pt")
    trained, covered = share(model, images, [cls])
    untrained, _ = share(model.reset_weights(), images, [cls])
    print(f"{task} {cls}: {trained:.3f} of the map in the boxes, untrained {untrained:.3f}; area {covered:.3f}")
    assert trained > 1.5 * untrained and trained > 1.5 * covered


def test_what_a_map_of_classify_names_matters(golden, reference):
    """Gray over the hottest quarter of the pixels costs more of the class than over the coldest."""
    model = YOLO(golden / "weights" / "classify.pt")
    images = sorted((reference / "data" / "sign_digits_cls" / "val").glob("*/*.jpg"))[::10][:10]
    drops = []
    for heat in model.heatmap(images, imgsz=64, batch=10):
        by_heat = heat.map.ravel().argsort(kind="stable")
        pictures = [heat.image.copy() for _ in range(3)]
        pictures[1].reshape(-1, 3)[by_heat[: 32 * 32]] = pictures[2].reshape(-1, 3)[by_heat[-32 * 32 :]] = 114
        whole, cold, hot = (r.probs.data for r in model.predict(pictures, imgsz=64, verbose=False))
        drops.append((cold[whole.argmax()] - hot[whole.argmax()]).item())
    assert np.mean(drops) > 0.2 and np.mean(np.array(drops) > 0) > 0.8


@pytest.fixture
def picture_model(tmp_path):
    """A network with a dynamic and an add-on block, and an image."""
    path = tmp_path / "dynamic.yaml"
    path.write_text(
        "nc: 3\nbackbone:\n  - [-1, 1, Conv, [16, 3, 4]]\n  - [-1, 1, DynamicConv, [16, 3, 2]]\n"
        "  - [-1, 1, C2f, [32]]\n  - [-1, 1, SimAM, []]\n  - [-1, 1, Conv, [32, 3, 2]]\n  - [-1, 1, Conv, [32, 3, 2]]\n"
        "head:\n  - [[3, 4, 5], 1, Detect, [nc]]\n",
        encoding="utf-8",
    )
    image = np.random.default_rng(0).integers(0, 255, (64, 96, 3), dtype=np.uint8)
    torch.manual_seed(0)
    return YOLO(path), image


@pytest.mark.parametrize("method", METHODS)
def test_any_row_by_number_or_name_and_no_trace(picture_model, method):
    model, image = picture_model
    model.model.requires_grad_(True)
    model.model.model[0].conv.weight.requires_grad_(False)
    before = copy.deepcopy(model.model.state_dict())
    learns, highest = [p.requires_grad for p in model.model.parameters()], []
    for layer in (None, 0, 1, "DynamicConv", "model.2", "2.cv1", "2.cv1.conv", "SimAM", [1, "5"]):
        (heat,) = model.heatmap(image, layer, method, imgsz=96, conf=0.001)
        assert heat.map.shape == heat.image.shape[:2] == (64, 96) and (heat.image == image).all()
        assert heat.map.min() == 0 and heat.map.max() in (0, pytest.approx(1))  # 0: all speaks against the class
        highest.append(heat.map.max())
    assert max(highest) > 0
    for network in (model.model, model.network(model.resolve("predict", {}))):
        assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())
        assert all(p.grad is None for p in network.parameters())
    assert [p.requires_grad for p in model.model.parameters()] == learns and model.model.training
    assert all(torch.equal(v, before[k]) for k, v in model.model.state_dict().items())


def test_an_activation_in_place_does_not_reach_into_the_map(picture_model):
    network = picture_model[0].model.eval()
    conv = network.model[4].conv
    seen = []
    hook = conv.register_forward_hook(lambda m, args, output: seen.append(output.detach().clone()))
    with torch.enable_grad(), heatmaps.captured([conv]) as maps:
        network(torch.rand(1, 3, 64, 64))
    hook.remove()
    assert torch.equal(maps[conv], seen[0])


def test_wrong_layers_methods_and_classes(picture_model, tmp_path):
    model, image = picture_model
    with pytest.raises(ModelError, match=r"layer=6: the rows before the head are 0 to 5, .* such as model\.5\.cv2"):
        model.heatmap(image, 6)
    with pytest.raises(ModelError, match=r"layer='SimAN': .* the nearest names are SimAM"):
        model.heatmap(image, "SimAN")
    with pytest.raises(ConfigError, match=r"method='cam': expected one of layercam, gradcam, gradcam\+\+, eigencam"):
        model.heatmap(image, method="cam")
    with pytest.raises(ConfigError, match="eigencam explains no class"):
        model.heatmap(image, method="eigencam", classes=[0])
    with pytest.raises(ConfigError, match=r"classes=\[99\]: the network has the classes 0 to"):
        model.heatmap(image, classes=[99])
    with pytest.raises(ModelError, match="gives no feature map"):
        model.heatmap(image, "1.routing")
    assert not any(m._forward_hooks for m in model.network(model.resolve("predict", {})).modules())
    for options in ({"augment": True}, {"embed": [1]}):
        with pytest.raises(ConfigError, match="leave"):
            model.predict(image, visualize=True, **options)


def test_the_layers_that_feed_the_head(golden):
    for task, rows, (name, row) in (("detect", [15, 18, 21], ("SPPF", 9)), ("classify", [4, 6, 8], ("C2f", 8))):
        network = YOLO(golden / "weights" / f"{task}.pt").model.eval()
        assert default_layers(network, torch.rand(1, 3, 64, 64)) == [network.model[i] for i in rows]
        assert find_layers(network, name) == [network.model[row]]


@pytest.mark.public("python::predict_visualize")
@pytest.mark.parametrize("task", DATASETS)
def test_visualize_writes_a_map_an_image_and_changes_no_result(golden, reference, tmp_path, task):
    folder = reference / "data" / "bccd" / "images" / "val"
    images = sorted(folder.glob("*.jpg"))[:2]
    model = YOLO(golden / "weights" / f"{task}.pt")
    plain = model.predict(images, imgsz=64, verbose=False)
    results = model.predict(images, imgsz=64, visualize=True, project=str(tmp_path), name=task, verbose=False)
    for a, b in zip(plain, results, strict=True):
        for name in ("boxes", "obb", "probs", "keypoints"):
            if getattr(a, name) is not None:
                assert torch.equal(getattr(a, name).data, getattr(b, name).data)
    assert sorted(p.name for p in (tmp_path / task).iterdir()) == [f"{p.stem}_cam.jpg" for p in images]
    for path, heat in zip(images, model.heatmap(images, imgsz=64), strict=True):
        saved = cv2.imread(str(tmp_path / task / f"{path.stem}_cam.jpg"))
        assert saved.shape[:2] == (64, 64) and np.abs(saved.astype(int) - heat.plot()).mean() < 6  # compressed


def test_a_map_is_saved(picture_model, tmp_path):
    model, image = picture_model
    (heat,) = model.heatmap(image, imgsz=96)
    assert heat.save(tmp_path / "a.png") == tmp_path / "a.png"
    assert (cv2.imread(str(tmp_path / "a.png")) == heat.plot()).all() and (heat.plot() != image).any()
    assert (heat.plot(alpha=0) == image).all()
