"""Statistics of augmented images against those of the public package 8.4.190."""

import cv2
import numpy as np
import pytest
from scipy import stats

from ultralytics.cfg import get_options
from ultralytics.data import augment as A
from ultralytics.data.dataset import YOLODataset
from ultralytics.data.instances import Instances, Sample
from ultralytics.data.labels.files import list_images
from ultralytics.data.labels.scan import scan
from ultralytics.data.utils import load_data_yaml

# Mean and standard error within images, over four passes of the training split of `bccd` at 320 pixels: default options
# but for the colors, which are off; partners from all images; mean sides per image as fractions of the image.
GEOMETRY = {
    1.0: {
        "boxes": (24.215635738831615, 0.3604867369017069),
        "width": (0.14731926200879397, 0.001279878626065592),
        "height": (0.1451945065287073, 0.0012870771441566935),
        "root of area": (0.1419829106873663, 0.0012040592996546667),
        "padding": (0.1137206863455756, 0.003952325924042694),
    },
    0.0: {
        "boxes": (13.201890034364261, 0.0246460279858781),
        "width": (0.16058662355176567, 0.001223445465515015),
        "height": (0.15988034915972718, 0.0013637371060611979),
        "root of area": (0.15817170687775126, 0.0012405837085595946),
        "padding": (0.3353471243422466, 0.007771140134395699),
    },
}
# Mean and standard deviation over 100 images of the median change of a pixel, and the range it may have.
COLOR = {
    "hue": (-0.71, 1.686979549372191, -3, 3),
    "saturation": (0.9777214303925823, 0.4275798872030162, 0.25, 1.75),
    "value": (1.0368979921467718, 0.211299740785551, 0.55, 1.45),
}
# Mean and standard deviation over 4000 images of three squares.
MARKERS = {
    "scale x": (1.0039745420068502, 0.2881570912403476),
    "scale y": (1.0039745387881995, 0.2881570958345795),
    "shift x": (0.000147820882499218, 0.057597073808622064),
    "shift y": (0.00041864585131406784, 0.05847790074340331),
    "flipped": (0.5175, 0.4996936561534477),
}
SIDE = 128  # of the image with markers, pixels


@pytest.fixture(scope="module")
def bccd(reference):
    """`bccd(**changes)`: the training set."""
    data = load_data_yaml(reference / "data" / "bccd" / "data.yaml")
    labels = scan(list_images(data["train"]), data["nc"])  # leaves no cache in the reference folder

    def build(**changes) -> YOLODataset:
        options = get_options({"imgsz": 320, "close_mosaic": 0, "cache": "ram", **changes})
        return YOLODataset(labels, options, augment=True, batch=16, data=data)

    return build


def measure(sample: Sample) -> dict[str, float]:
    """The figures of one image."""
    boxes = sample.instances.normalized(sample.size)
    sides = boxes[:, 2:].mean(0) if len(boxes) else (np.nan, np.nan)
    area = np.sqrt(boxes[:, 2:].prod(1)).mean() if len(boxes) else np.nan
    padding = (sample.img == 114).all(-1).mean()
    return {"boxes": len(boxes), "width": sides[0], "height": sides[1], "root of area": area, "padding": padding}


@pytest.mark.parametrize("mosaic", [1.0, 0.0])
def test_geometry(bccd, mosaic: float) -> None:
    dataset = bccd(mosaic=mosaic, hsv_h=0, hsv_s=0, hsv_v=0)
    epochs = [[measure(dataset[epoch, int(p)]) for p in np.argsort(dataset.order(epoch))] for epoch in range(2)]
    for name, (mean, error) in GEOMETRY[mosaic].items():
        values = np.array([[figures[name] for figures in epoch] for epoch in epochs])
        found, count = np.nanmean(values), np.isfinite(values).sum()
        own_error = np.sqrt(np.nanmean(np.nanvar(values, axis=0, ddof=1)) / count)
        assert abs(found - mean) < 3 * np.hypot(error, own_error), f"{name}: {found} instead of {mean}"


def test_color(bccd) -> None:
    still = {"cache": False, "mosaic": 0, "scale": 0, "translate": 0, "fliplr": 0}
    changed, plain = bccd(**still), bccd(**still, hsv_h=0, hsv_s=0, hsv_v=0)
    changes = []
    for position in range(0, len(plain), 2):
        before, after = (cv2.cvtColor(d[0, position].img, cv2.COLOR_BGR2HSV).astype(float) for d in (plain, changed))
        padding = (plain[0, position].img == 114).all(-1)
        usable = (
            ~padding & (before[..., 1] > 20) & (before[..., 1] < 120) & (before[..., 2] > 40) & (before[..., 2] < 150)
        )
        if usable.sum() >= 50:
            before, after = before[usable], after[usable]
            turn = np.median((after[:, 0] - before[:, 0] + 90) % 180 - 90)
            changes.append((turn, *np.median(after[:, 1:] / before[:, 1:], axis=0)))
    assert len(changes) > 40
    for values, (name, (mean, std, low, high)) in zip(np.array(changes).T, COLOR.items(), strict=True):
        assert abs(values.mean() - mean) < 3 * np.hypot(std / 10, values.std() / np.sqrt(len(values))), name
        assert values.std() == pytest.approx(std, rel=0.25), name
        assert values.min() >= low and values.max() <= high, name


def test_markers() -> None:
    """Three squares tell scale, shift and flip: both uniform, and half of the images flipped."""
    at = np.array([(0.4, 0.4), (0.6, 0.4), (0.4, 0.6)], np.float32) * SIDE
    markers = Instances(np.arange(3, dtype=np.float32), np.concatenate((at - SIDE / 40, at + SIDE / 40), axis=1))
    sample = Sample(np.zeros((SIDE, SIDE, 3), np.uint8), markers, "", (SIDE, SIDE))
    settings = A.AugmentSettings(get_options(), (SIDE, SIDE))
    found = {name: [] for name in MARKERS}
    for seed in range(2000):
        objects = A.augment(sample, lambda: sample, settings, np.random.default_rng(seed)).instances
        if len(objects) == 3:
            (x, y), (right, _), (_, low) = objects.normalized(sample.size)[:, :2]
            found["scale x"].append(abs(right - x) / 0.2)
            found["scale y"].append((low - y) / 0.2)
            found["shift x"].append((x + right) / 2 - 0.5)
            found["shift y"].append((y + low) / 2 - 0.5)
            found["flipped"].append(float(right < x))
    assert len(found["flipped"]) == 2000
    for name, (mean, std) in MARKERS.items():
        values = np.array(found[name])
        assert abs(values.mean() - mean) < 3 * np.hypot(std / np.sqrt(4000), values.std() / np.sqrt(2000)), name
    for name, low, high in (("scale x", 0.5, 1.5), ("shift x", -0.1, 0.1), ("shift y", -0.1, 0.1)):
        assert stats.kstest(found[name], "uniform", (low, high - low)).pvalue > 1e-3, name
    assert stats.binomtest(int(sum(found["flipped"])), 2000).pvalue > 1e-3
