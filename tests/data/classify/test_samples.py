"""Samples for classification: crops by torchvision, options of the augmentation, the same for any number of workers."""

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from ultralytics.cfg import get_options
from ultralytics.data.build import build_loader
from ultralytics.data.classify.folders import part_of_classes
from ultralytics.data.classify.samples import build_class_dataset, center_crop, fixed_torch_seed, random_crop
from ultralytics.models.yolo.classify.task import ClassifyTask
from ultralytics.utils.errors import ConfigError

STILL = {"scale": 0.0, "fliplr": 0.0, "auto_augment": None, "hsv_h": 0.0, "hsv_s": 0.0, "hsv_v": 0.0, "erasing": 0.0}


@pytest.fixture
def folder(tmp_path):
    """A split of two classes with eight images of noise each, 40 x 60."""
    rng = np.random.default_rng(0)
    for i in range(16):
        path = tmp_path / "train" / "ab"[i % 2] / f"{i:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = cv2.resize(rng.integers(0, 256, (8, 12, 3), np.uint8), (60, 40), interpolation=cv2.INTER_NEAREST)
        path.write_bytes(cv2.imencode(".png", noise)[1].tobytes())
    return tmp_path / "train"


@pytest.fixture
def build(folder):
    """`build(augment, **options)`: the dataset at 32 pixels, in batches of 4."""

    def make(augment=True, transforms=(), **options):
        options = get_options({"imgsz": 32} | options)
        how = {"augment": augment, "batch": 4, "desc": "train", "transforms": transforms}
        return build_class_dataset(folder, {0: "a", 1: "b"}, options, **how)

    return make


@pytest.mark.parametrize(("size", "side"), [((60, 40), 32), ((40, 60), 32), ((33, 50), 64), ((61, 61), 32)])
def test_the_square_in_the_middle(size, side):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8))
    short, long = min(size), max(size)
    other = int(side * long / short)
    resized = image.resize((side, other) if size[0] <= size[1] else (other, side), Image.Resampling.BILINEAR)
    left, top = round((resized.width - side) / 2), round((resized.height - side) / 2)
    expected = np.asarray(resized)[top : top + side, left : left + side]
    np.testing.assert_array_equal(center_crop(side)(image), expected)


def test_validation_goes_through_the_images_in_order(build):
    dataset = build(augment=False)
    samples = [dataset[i] for i in range(16)]
    assert [s.cls for s in samples] == [0] * 8 + [1] * 8
    assert samples[0].ori_shape == (40, 60)
    assert samples[3].im_file.endswith("06.png")
    expected = np.array(center_crop(32)(Image.open(samples[3].im_file)))
    np.testing.assert_array_equal(samples[3].img.permute(1, 2, 0), expected)
    batch = dataset.collate(samples[6:10])
    assert batch["img"].shape == (4, 3, 32, 32) and batch["img"].dtype == torch.uint8
    assert batch["cls"].tolist() == [0, 0, 1, 1] and batch["cls"].dtype == torch.int64


def batches(dataset, workers, epochs=2):
    loader = build_loader(dataset, workers)
    found = []
    for epoch in range(epochs):
        loader.set_epoch(epoch)
        found += [(b["img"], b["cls"], b["im_file"]) for b in loader]
    return found


def test_samples_and_draws_of_a_network_do_not_mix(build):
    """torchvision and Dropout on a CPU draw from one generator, so that no thread may load meanwhile."""
    seen = []
    for _ in range(2):
        torch.manual_seed(0)
        drawn = []
        for batch in build_loader(build(hsv_h=0.3)):
            drawn += [batch["img"], *(torch.nn.functional.dropout(torch.ones(100_000)) for _ in range(20))]
        seen.append(drawn)
    assert all(map(torch.equal, *seen)) and not build_loader(build()).prefetches
    assert build_loader(build(augment=False)).prefetches and build_loader(build(), pin_memory=True).prefetches


def test_the_same_samples_for_any_number_of_workers(build):
    torch.manual_seed(1)
    alone = batches(build(), 0)
    torch.manual_seed(2)
    for found, expected in zip(batches(build(), 2), alone, strict=True):
        assert torch.equal(found[0], expected[0]) and torch.equal(found[1], expected[1]) and found[2] == expected[2]
    files = [file for *_, files in alone[:4] for file in files]
    assert len(set(files)) == 16  # every image once an epoch
    assert files != [file for *_, files in alone[4:] for file in files]
    assert not torch.equal(build()[0, 3].img, build(seed=1)[0, 3].img)


def test_draws_leave_no_trace(build):
    dataset, state = build(), torch.get_rng_state()
    dataset[0, 1]
    assert torch.equal(torch.get_rng_state(), state)
    with pytest.raises(RuntimeError), fixed_torch_seed(3):
        torch.rand(1)
        raise RuntimeError
    assert torch.equal(torch.get_rng_state(), state)


def different(a, b, n=16):
    """Fraction of samples that differ."""
    return np.mean([not torch.equal(a[0, i].img, b[0, i].img) for i in range(n)])


def flipped(a, b, dims):
    return np.mean([torch.equal(a[0, i].img, b[0, i].img.flip(dims)) for i in range(16)])


def test_nothing_random_is_left(build):
    """All off: the whole image, squeezed to the ratio that is nearest to its own."""
    still = build(**STILL)
    assert different(still, build(**STILL)) == 0
    sample = still[0, 0]
    image = Image.open(sample.im_file)
    width = round(40 * 4 / 3)
    left = (60 - width) // 2
    expected = image.crop((left, 0, left + width, 40)).resize((32, 32), Image.Resampling.BILINEAR)
    assert (sample.img.permute(1, 2, 0).float() - torch.from_numpy(np.array(expected)).float()).abs().mean() < 12


@pytest.mark.public("python::classify_transforms_train")
@pytest.mark.parametrize(
    ("options", "low", "high"),
    [
        ({"scale": 0.5}, 1, 1),
        ({"hsv_h": 0.3}, 0.8, 1),
        ({"hsv_s": 0.7}, 0.8, 1),
        ({"hsv_v": 0.4}, 0.8, 1),
        ({"auto_augment": "randaugment"}, 0.6, 1),
        ({"auto_augment": "augmix"}, 0.6, 1),
        ({"auto_augment": "autoaugment"}, 0.6, 1),
        ({"erasing": 1.0}, 0.8, 1),
        ({"erasing": 0.5}, 0.1, 0.9),
    ],
    ids=str,
)
def test_each_option_changes_images(build, options, low, high):
    assert low <= different(build(**STILL), build(**STILL | options)) <= high


def test_with_a_policy_colors_are_its_own(build):
    policy = STILL | {"auto_augment": "randaugment"}
    assert different(build(**policy), build(**policy | {"hsv_h": 0.4, "hsv_s": 0.9, "hsv_v": 0.9})) == 0


def test_flips(build):
    still = build(**STILL)
    assert flipped(still, build(**STILL | {"fliplr": 1.0}), [2]) == 1
    assert flipped(still, build(**STILL | {"flipud": 1.0}), [1]) == 1
    assert 0 < flipped(still, build(**STILL | {"fliplr": 0.5}), [2]) < 1


def test_erasing_blackens_a_rectangle(build):
    dataset = build(**STILL | {"erasing": 1.0})
    for i in range(16):
        black = (dataset[0, i].img == 0).all(0)
        rows, columns = torch.nonzero(black.any(1)).flatten(), torch.nonzero(black.any(0)).flatten()
        area = len(rows) * len(columns) / 32**2
        assert black[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].float().mean() > 0.5
        assert 0.01 < area < 0.7


@pytest.mark.parametrize("cache", [True, "ram", "disk"])
def test_images_are_the_same_from_a_cache(build, folder, cache):
    assert different(build(), build(cache=cache)) == 0
    assert len(list(folder.rglob("*.npy"))) == (16 if cache == "disk" else 0)


def test_a_fraction_of_the_training_images(build):
    assert len(build(fraction=0.5)) == 8 and len(build(augment=False, fraction=0.5)) == 16
    assert sorted(build(fraction=0.5).labels.cls) == [0] * 4 + [1] * 4


def test_steps_of_the_users_own(build):
    def invert(image, bboxes, cls, rng):
        assert bboxes.shape == (0, 4) and image.shape == (32, 32, 3)
        return {"image": 255 - image, "bboxes": bboxes, "cls": cls}

    still, inverted = build(**STILL), build(**STILL, transforms=[invert])
    assert torch.equal(inverted[0, 2].img, 255 - still[0, 2].img)


def test_hues_beyond_the_circle(build):
    with pytest.raises(ConfigError, match=r"hsv_h=0\.7: for classification at most 0\.5"):
        build(auto_augment=None, hsv_h=0.7)


def test_an_image_that_has_become_unreadable(build, folder, caplog):
    dataset = build(augment=False)
    (folder / "a" / "00.png").write_bytes(b"")
    sample = dataset[0]
    assert sample.im_file.endswith("02.png") and "another image takes its place" in caplog.text


def test_images_of_the_classes_asked_for(build):
    assert sorted(build(classes=[1], fraction=0.5).labels.cls) == [1] * 4
    assert sorted(build(augment=False, classes=[1]).labels.cls) == [1] * 8
    with pytest.raises(ConfigError, match=r"classes=\[2\]: the dataset has the classes 0 to 1; leave out others"):
        build(classes=[1, 2])


@pytest.mark.public("python::classification_fraction_samples_across_classes")
def test_fraction_as_a_number_is_spread_over_the_classes():
    """The counts are those of the public package for 10 classes of 40 images."""
    cls = np.repeat(np.arange(10), 40)
    assert np.bincount(cls[part_of_classes(cls, 25)], minlength=10).tolist() == [3, 2, 3, 2, 3, 2, 2, 3, 2, 3]
    assert cls[part_of_classes(cls, 3)].tolist() == [0, 4, 9]
    assert len(part_of_classes(cls, 1000)) == 400


def test_scale_may_be_a_pair():
    crop = random_crop(get_options({"imgsz": 32, "scale": [0.2, 0.9]})).transforms[0]
    assert tuple(crop.scale) == (0.2, 0.9)
    with pytest.raises(ConfigError, match=r"scale=\[0\.5, 1\.2\]: classification crops a part of the image"):
        ClassifyTask.check_options(get_options({"scale": [0.5, 1.2], "imgsz": 32}), "train")
