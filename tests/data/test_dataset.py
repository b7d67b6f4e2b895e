"""Samples and batches: which image, which partners, which shape."""

import pickle
import shutil
from functools import partial
from math import prod
from multiprocessing.reduction import ForkingPickler

import cv2
import numpy as np
import pytest
import torch
from scipy import stats

from ultralytics.data import dataset as D
from ultralytics.data.cache import loading as pictures
from ultralytics.data.labels.files import list_images
from ultralytics.data.labels.rows import parse_box_rows
from ultralytics.data.labels.scan import scan
from ultralytics.data.labels.store import LabelStore
from ultralytics.data.utils import load_data_yaml
from ultralytics.utils.errors import ConfigError, DatasetError
from ultralytics.utils.letterbox import rect_shapes

EVERYTHING = {
    **{"mosaic": 0.8, "mixup": 0.3, "cutmix": 0.3, "degrees": 20, "scale": 0.4, "translate": 0.1},
    **{"hsv_h": 0.1, "hsv_s": 0.5, "hsv_v": 0.4, "fliplr": 0.5, "flipud": 0.2, "bgr": 0.1},
}


def same(a, b) -> bool:
    """Whether two samples are equal."""
    return (
        np.array_equal(a.img, b.img)
        and np.array_equal(a.instances.boxes, b.instances.boxes)
        and np.array_equal(a.instances.cls, b.instances.cls)
        and a.im_file == b.im_file
    )


@pytest.fixture
def decoded(monkeypatch) -> list[str]:
    """The files that are decoded from now on."""
    files, read = [], pictures.read_image
    monkeypatch.setattr(
        pictures, "read_image", lambda path, *size, **how: files.append(str(path)) or read(path, *size, **how)
    )
    return files


def test_a_sample_is_a_pure_function_of_seed_epoch_and_position(numbered, build) -> None:
    data = numbered(20)
    forward, backward = build(data, **EVERYTHING), build(data, **EVERYTHING)
    keys = [(epoch, position) for epoch in (0, 3) for position in range(20)]
    samples = {key: forward[key] for key in keys}
    assert all(same(samples[key], backward[key]) for key in reversed(keys))
    assert not all(same(samples[0, p], samples[3, p]) for p in range(20))
    other = build(data, **EVERYTHING, seed=1)
    assert not all(same(samples[0, p], other[0, p]) for p in range(20))
    assert same(forward[7], samples[0, 7])


@pytest.mark.public("python::dataloader_seed_varies_sampling_order")
def test_each_epoch_shuffles_all_images_anew_and_validation_none(numbered, build) -> None:
    data = numbered(50)
    dataset, validation = build(data), build(data, augment=False)
    orders = [dataset.order(epoch) for epoch in range(3)]
    assert all(sorted(order) == list(range(50)) for order in orders)
    assert len({tuple(order) for order in orders}) == 3
    assert dataset.order(1).tolist() == orders[1].tolist()
    assert [validation[i].img[0, 0, 0] for i in range(50)] == list(range(50))
    assert [dataset[2, p].img[16, 16, 0] for p in range(50)] == orders[2].tolist()
    with pytest.raises(IndexError, match="50"):
        validation[50]


def partners(dataset, monkeypatch, positions: range) -> list[tuple[int, int]]:
    """(position, image) of the partners of all mosaics."""
    found, mosaic4 = [], D.augment_sample.__globals__["mosaic4"]

    def watch(samples, size, rng):
        found.extend((position, int(s.img[0, 0, 0])) for s in samples[1:])
        return mosaic4(samples, size, rng)

    monkeypatch.setitem(D.augment_sample.__globals__, "mosaic4", watch)
    for position in positions:
        dataset[0, position]
    return found


def test_mosaic_partners_come_from_the_previous_eight_batches(numbered, build, monkeypatch) -> None:
    dataset = build(numbered(100), mosaic=1.0, batch=2)
    at = {int(image): position for position, image in enumerate(dataset.order(0))}
    back = np.array([(p, p - at[image]) for p, image in partners(dataset, monkeypatch, range(100))])
    early, late = back[back[:, 0] < 15], back[back[:, 0] >= 15]
    assert (early[:, 1] >= 0).all() and (early[:, 1] <= early[:, 0]).all()
    counts = np.bincount(late[:, 1], minlength=16)
    assert len(counts) == 16 and stats.chisquare(counts).pvalue > 1e-3


def test_mosaic_partners_come_from_all_images_when_cached(numbered, build, monkeypatch) -> None:
    dataset = build(numbered(60), mosaic=1.0, batch=1, cache="ram")
    images = [image for _, image in partners(dataset, monkeypatch, range(60))]
    assert stats.chisquare(np.bincount(images, minlength=60)).pvalue > 1e-3


@pytest.mark.usefixtures("nothing_kept")
def test_one_decode_per_mosaic(numbered, build, decoded: list[str]) -> None:
    dataset = build(numbered(60), mosaic=1.0, mixup=0.5, batch=2)
    for position in range(60):
        dataset[0, position]
    assert len(decoded) == len(set(decoded)) == 60
    for position in range(60):
        dataset[1, position]
    assert len(decoded) == 120


@pytest.mark.parametrize("mixing", [EVERYTHING, EVERYTHING | {"mosaic": 0, "mixup": 0, "cutmix": 0}])
def test_a_dataset_that_fits_into_memory_is_decoded_once(numbered, build, decoded, monkeypatch, mixing: dict) -> None:
    data = numbered(20)
    dataset = build(data, **mixing, batch=1)
    monkeypatch.setattr(pictures, "KEPT_BYTES", 20 * 32 * 32 * 3 - 1)
    decoded_anew = build(data, **mixing, batch=1)
    assert dataset.images.keeps and not decoded_anew.images.keeps
    for epoch in range(3):
        assert all(same(dataset[epoch, p], decoded_anew[epoch, p]) for p in range(20))
    assert len(decoded) == 20 + 3 * 20


def test_what_a_transform_writes_into_its_image_is_not_kept(numbered, build) -> None:
    dataset = build(numbered(3))
    before = dataset.get_image_and_label(1)["img"].copy()
    for _ in range(2):
        dataset.get_image_and_label(1)["img"][:] = 0
    np.testing.assert_array_equal(dataset.get_image_and_label(1)["img"], before)


def test_what_is_kept_takes_a_quarter_of_the_free_memory_at_most(numbered, build, monkeypatch) -> None:
    data, needed = numbered(4), 4 * 32 * 32 * 3
    for free, processes, keeps in (
        (4 * needed, 1, True),
        (4 * needed - 1, 1, False),
        (4 * needed, 2, False),
        (None, 2, True),
    ):
        monkeypatch.setattr(pictures, "available_memory", lambda free=free: free)
        monkeypatch.setattr(pictures, "process_rank", lambda processes=processes: (0, processes))
        assert build(data).images.keeps == keeps
    assert not build(data, augment=False).images.keeps and not build(data, cache="disk").images.keeps


def test_close_mosaic_is_read_from_the_epoch(numbered, build, decoded: list[str]) -> None:
    dataset = build(numbered(8), mosaic=1.0, epochs=10, close_mosaic=4)
    values = {epoch: [len(np.unique(dataset[epoch, p].img)) for p in range(8)] for epoch in (9, 5, 6, 0)}
    assert max(values[6] + values[9]) == 1 and min(values[0]) >= 1 and max(values[0]) > 1 and max(values[5]) > 1


def test_fraction_takes_the_first_images_for_training_only(numbered, build) -> None:
    data = numbered(10)
    assert [len(build(data, fraction=f)) for f in (1.0, 0.5, 0.26, 0.01)] == [10, 5, 3, 1]
    assert len(build(data, fraction=0.5, augment=False)) == 10
    assert build(data, fraction=0.3).labels.file(2).endswith("0002.png")


@pytest.mark.parametrize("augment", [True, False])
def test_classes_and_single_cls(numbered, build, augment: bool) -> None:
    data = numbered(10)

    def found(**changes) -> list[list[float]]:
        dataset = build(data, augment=augment, **changes)
        samples = [dataset[0, p] for p in range(10)]
        return [sample.instances.cls.tolist() for sample in sorted(samples, key=lambda s: s.im_file)]

    assert found() == [[i % 8] for i in range(10)]
    assert found(classes=[1, 5]) == [[i % 8] if i % 8 in (1, 5) else [] for i in range(10)]
    assert found(single_cls=True) == [[0]] * 10
    assert found(single_cls=True, classes=[1, 5]) == [[0] if i % 8 in (1, 5) else [] for i in range(10)]
    with pytest.raises(ConfigError, match=r"classes=\[8, 99\]: the dataset has the classes 0 to 7"):
        found(classes=[99, 1, 8])


SHAPES = [(20, 40), (40, 20), (32, 32), (24, 40), (40, 30), (16, 40), (30, 40)]


def shaped(write_data) -> dict:
    return write_data(
        [np.full((*shape, 3), i, np.uint8) for i, shape in enumerate(SHAPES)], [[(0, 0.5, 0.5, 1, 1)]] * 7
    )


@pytest.mark.parametrize("augment", [True, False])
def test_rect_gives_each_batch_its_own_shape(write_data, build, augment: bool) -> None:
    data = shaped(write_data)
    dataset = build(data, augment=augment, rect=True, batch=3, imgsz=64, mosaic=1.0, mixup=1.0)
    order, canvases = rect_shapes(np.array(SHAPES), 3, 64, 32, 0.0 if augment else 0.5)
    expected = [tuple(canvas) for canvas in canvases.tolist()]
    assert expected == ([(64, 64), (64, 64), (64, 32)] if augment else [(64, 96), (96, 96), (96, 64)])
    for epoch in range(3):
        samples = [dataset[epoch, p] for p in range(7)]
        batches = [dataset.collate(samples[i : i + 3]) for i in range(0, 7, 3)]
        assert sorted(tuple(batch["img"].shape[2:]) for batch in batches) == sorted(expected)
        assert len(batches[-1]["img"]) == 1
        values = [int(np.median(s.img[s.img != 114])) for s in samples]  # no picture is joined to another
        assert sorted(values) == list(range(7))
        assert augment or values == order.tolist()
    square = build(data, augment=augment, batch=3, imgsz=64)
    assert {square[i].size for i in range(7)} == {(64, 64)}


def test_rect_training_shuffles_whole_batches(write_data, build) -> None:
    dataset = build(shaped(write_data), rect=True, batch=2, imgsz=64)
    orders = {tuple(dataset.order(epoch)) for epoch in range(20)}
    assert len(orders) == 6
    for order in orders:
        assert order[-1] == 6 and {order[i : i + 2] for i in (0, 2, 4)} == {(0, 1), (2, 3), (4, 5)}


def test_rect_training_says_that_pictures_are_not_joined(write_data, build, caplog) -> None:
    data = shaped(write_data)
    build(data, rect=True, augment=False, mosaic=1.0)
    build(data, rect=True, mosaic=0)
    assert "mosaic" not in caplog.text
    build(data, rect=True, mosaic=1.0)
    assert "mosaic, copy_paste, mixup and cutmix are off" in caplog.text


def test_imgsz_is_one_number(numbered, build) -> None:
    with pytest.raises(ConfigError, match="imgsz"):
        build(numbered(2), imgsz=[64, 32])


@pytest.mark.parametrize("size", [(192, 256), (517, 643)])
def test_large_jpegs_are_decoded_reduced_for_training_only_and_labels_fit(
    write_data, build, painted, assert_boxes_on_colors, size: tuple[int, int]
) -> None:
    h, w = size
    boxes = [(0, h // 2, w // 3, h), (w // 2, 0, w, h // 4)]
    xywh = [((a + c) / 2 / w, (b + d) / 2 / h, (c - a) / w, (d - b) / h) for a, b, c, d in boxes]
    data = write_data([painted(size, boxes, [0, 1]).img], [[(i, *box) for i, box in enumerate(xywh)]])
    png = data["train"][0] / "0000.png"
    cv2.imwrite(str(png.with_suffix(".jpg")), cv2.imread(str(png)), [cv2.IMWRITE_JPEG_QUALITY, 98])
    png.unlink()
    full, reduced = (build(data, imgsz=64, reduced_decode=on)[0] for on in (False, True))
    assert_boxes_on_colors(reduced, slack=1.01)
    np.testing.assert_array_equal(reduced.instances.boxes, full.instances.boxes)
    assert not np.array_equal(reduced.img, full.img) and np.abs(reduced.img.astype(int) - full.img).mean() < 4
    for cache, same_as in (("ram", reduced), ("disk", full), (False, reduced)):
        on = build(data, imgsz=64, cache=cache, reduced_decode=True)
        np.testing.assert_array_equal(on[0].img, same_as.img)
    np.testing.assert_array_equal(build(data, imgsz=64, augment=False, reduced_decode=True)[0].img, full.img)
    full, same = (build(data, imgsz=max(size) // 2 + 1, reduced_decode=on)[0] for on in (False, True))
    np.testing.assert_array_equal(same.img, full.img)


def test_the_users_transforms_join_in(numbered, build) -> None:
    def paint(image, bboxes, cls):
        return {"image": np.full_like(image, 200), "bboxes": bboxes, "cls": cls + 1}

    data = numbered(4)
    for transforms, times in (([paint, paint], 2), (paint, 1)):
        sample = build(data, transforms=transforms)[0, 0]
        assert (sample.img == 200).all() and sample.instances.cls.tolist() == [int(sample.im_file[-5]) + times]


def test_an_image_that_becomes_unreadable_is_replaced_and_said_once(numbered, build, caplog) -> None:
    data = numbered(10)
    dataset = build(data, mosaic=1.0)
    (data["train"][0] / "0003.png").unlink()
    samples = [dataset[epoch, p] for epoch in range(3) for p in range(10)]
    assert len(samples) == 30 and not any(s.im_file.endswith("0003.png") for s in samples)
    assert caplog.text.count("0003.png") == 1 and "takes its place" in caplog.text


def test_with_rect_the_replacement_fits_the_batch(write_data, build) -> None:
    data = shaped(write_data)
    dataset = build(data, rect=True, batch=3, imgsz=64, augment=False)
    whole = [dataset[i].size for i in range(7)]
    for i in (5, 1):
        (data["train"][0] / f"000{i}.png").unlink()
    assert [dataset[i].size for i in range(7)] == whole


def test_a_data_set_that_is_gone_is_one_sentence(numbered, build, caplog) -> None:
    data = numbered(30)
    dataset = build(data, mosaic=1.0)
    dataset[0, 0]
    shutil.rmtree(data["train"][0])
    with pytest.raises(DatasetError, match=r"^[^\n]*cannot be read any more[^\n]*$"):
        for position in range(30):
            dataset[0, position]
    assert "takes its place" not in caplog.text


def test_workers_do_not_copy_the_labels(numbered, build) -> None:
    dataset = build(numbered(4), mosaic=1.0)
    n = 20_000
    rows = {
        "names": np.zeros(n, np.uint8),
        **dict.fromkeys(("name_ends", "object_ends"), np.arange(1, n + 1)),
        "point_ends": np.zeros(n, np.int64),
        "shapes": np.full((n, 2), 32, np.int32),
        "cls": np.zeros(n, np.float32),
        "boxes": np.zeros((n, 4), np.float32),
        "points": np.zeros((0, 2), np.float32),
        "extra": np.zeros((0, 0), np.float32),
    }
    large = D.YOLODataset(LabelStore(rows), dataset.options, augment=True, batch=4, data={"nc": 8, "channels": 3})
    pickled = len(ForkingPickler.dumps(large))
    assert pickled < 20_000 and pickle.loads(pickle.dumps(dataset))[0, 0].img.shape == (32, 32, 3)


def test_collate_makes_the_batch(painted, numbered, build) -> None:
    collate = build(numbered(1)).collate
    first = painted((32, 64), [(0, 0, 16, 32), (32, 8, 64, 16)], [2, 1])
    empty = painted((32, 64), [], [])
    batch = collate([first, empty, first])
    assert batch["img"].dtype == torch.uint8 and batch["img"].shape == (3, 3, 32, 64)
    assert batch["img"][0, :, 0, 0].tolist() == first.img[0, 0, ::-1].tolist()
    assert batch["batch_idx"].tolist() == [0, 0, 2, 2] and batch["batch_idx"].dtype == torch.float32
    assert batch["cls"].tolist() == [[2], [1], [2], [1]] and batch["cls"].dtype == torch.float32
    assert batch["bboxes"].dtype == torch.float32
    assert batch["bboxes"][:2].tolist() == [[0.125, 0.5, 0.25, 1], [0.75, 0.375, 0.5, 0.25]]
    assert batch["im_file"] == ("painted.png",) * 3
    assert batch["ori_shape"] == batch["resized_shape"] == ((32, 64),) * 3
    assert "ratio_pad" not in batch
    nothing = collate([empty])
    assert nothing["bboxes"].shape == (0, 4) and nothing["cls"].shape == (0, 1) and nothing["batch_idx"].shape == (0,)


@pytest.mark.parametrize(("name", "data_name", "imgsz"), [("detect", "bccd", 224), ("pose", "glue_tubes_pose", 224)])
def test_validation_batches_equal_the_reference(reference, golden, build, options, name, data_name, imgsz) -> None:
    expected = np.load(golden / f"{name}.npz")
    data = load_data_yaml(reference / "data" / data_name / "data.yaml")
    parse = partial(parse_box_rows, keypoint_numbers=prod(data.get("kpt_shape", (0,))))
    labels = scan(list_images(data["val"])[:4], data["nc"], parse)
    dataset = D.YOLODataset(labels, options(imgsz=imgsz), augment=False, batch=4, data=data)
    batch = dataset.collate([dataset[i] for i in range(4)])
    np.testing.assert_array_equal(batch["img"], np.round(expected["batch.img"] * 255))
    for key in ("cls", "bboxes", "batch_idx"):
        np.testing.assert_array_equal(batch[key], expected[f"batch.{key}"])
    gain, pad = batch["ratio_pad"][0]
    assert gain == (0.35, 0.35) and batch["resized_shape"][0] == (224, 224)
    assert pad == ((0, 28) if name == "detect" else (0, 49))


def test_fraction_may_be_a_number_of_images(numbered, build) -> None:
    data = numbered(6)
    assert [len(build(data, fraction=n).labels) for n in (2, 4, 100)] == [2, 4, 6]
    assert len(build(data, fraction=2, augment=False).labels) == 6


def test_a_training_set_without_an_object_stops(write_data, build) -> None:
    data = write_data([np.zeros((32, 32, 3), np.uint8)] * 2, [(), ()])
    with pytest.raises(DatasetError, match=r"train: not one of its 2 images has an object; the labels of .*0000\.png"):
        build(data)
    assert len(build(data, augment=False).labels) == 2  # a validation says so in its own words
    folder = data["train"][0].parent
    (folder / "labels").rename(folder / "label")
    with pytest.raises(DatasetError, match=r"would be in .*0000\.txt; if they are in .*label, rename that folder to"):
        build(data)
