"""Datasets, loaders and label files under published names; numbers are those of the public package (8.4.190)."""

import json

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset

from ultralytics.cfg import get_cfg
from ultralytics.data.augment import classify_augmentations
from ultralytics.data.build import build_dataloader, build_yolo_dataset, load_inference_source
from ultralytics.data.converter import coco80_to_coco91_class, coco91_to_coco80_class, convert_coco
from ultralytics.data.dataset import ClassificationDataset
from ultralytics.data.loaders import LoadPilAndNumpy, LoadTensor
from ultralytics.data.utils import check_cls_dataset, check_det_dataset, verify_image_label
from ultralytics.utils.errors import ConfigError, DatasetError


class Numbers(Dataset):
    """The numbers from 0."""

    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        return index


@pytest.mark.public("python::dataloader_caps_workers_to_batches")
def test_a_loader_of_any_dataset_has_no_more_workers_than_batches(monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    loader = build_dataloader(Numbers(10), batch=4, workers=8)
    assert (loader.num_workers, len(loader)) == (3, 3)
    assert build_dataloader(Numbers(10), batch=4, workers=0).num_workers == 0


@pytest.mark.public("python::dataloader_seed_varies_sampling_order")
def test_the_order_follows_from_the_seed():
    def orders(seed):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            loader = build_dataloader(Numbers(32), batch=8, workers=0)
        return [torch.cat(list(loader)).tolist() for _ in range(2)]

    first, second = orders(0)
    assert sorted(first) == sorted(second) == list(range(32)) and first != second
    assert orders(0) == [first, second] and orders(1)[0] not in (first, second)
    plain = build_dataloader(Numbers(32), batch=8, workers=0, shuffle=False)
    assert torch.cat(list(plain)).tolist() == list(range(32))


@pytest.mark.public("python::dataloader_empty_dataset_uses_dataloader_validation")
def test_nothing_to_load_is_refused_by_the_loader_of_torch():
    with pytest.raises(ValueError, match="should be a positive integer value"):
        build_dataloader(Numbers(0), batch=4, workers=0)


@pytest.mark.public("python::dataloader_cap_preserves_distributed_drop_last")
@pytest.mark.parametrize(("rank", "processes", "sizes"), [(0, 1, [4, 4]), (0, 2, [2, 2]), (1, 2, [2, 2])])
def test_the_last_batch_is_dropped_by_every_process(monkeypatch, rank, processes, sizes):
    """Each process takes its share of every batch; the number of batches is that of one process."""
    monkeypatch.setattr("ultralytics.data.build.process_rank", lambda: (rank, processes))
    loader = build_dataloader(Numbers(10), batch=4, workers=8, rank=rank, drop_last=True)
    assert len(loader) == 2 and [len(keys) for keys in loader.batch_sampler] == sizes
    assert len(build_dataloader(Numbers(10), batch=4, workers=8, rank=rank)) == 3


@pytest.mark.public("python::build_yolo_dataset_hyp_isolated")
def test_options_of_one_dataset_are_not_those_of_another(data):
    described = check_det_dataset(data)
    args = get_cfg(overrides={"task": "detect", "imgsz": 32, "mosaic": 1.0})
    before = dict(vars(args))
    train, val = (
        build_yolo_dataset(args, described[mode], 4, described, mode, rect=mode == "val") for mode in ("train", "val")
    )
    args.mosaic, args.imgsz = 0.0, 64
    assert (train.options.mosaic, train.options.imgsz) == (1.0, 32) == (val.options.mosaic, val.options.imgsz)
    args.mosaic, args.imgsz = 1.0, 32
    assert vars(args) == before and train.augment and not val.augment and not train.rect and val.rect


@pytest.mark.public("python::yolo_dataset_label_encoding")
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_label_files_with_and_without_a_mark(data, encoding):
    for file in data.parent.rglob("labels/val/*.txt"):
        file.write_text("1 0.5 0.5 0.25 0.25\n", encoding=encoding)
    described = check_det_dataset(data)
    dataset = build_yolo_dataset(get_cfg(overrides={"imgsz": 32}), described["val"], 4, described, "val")
    assert all(dataset[i].instances.cls.tolist() == [1] for i in range(4))


@pytest.fixture
def verify(tmp_path):
    """`verify(rows)`: what verify_image_label says of an image with these rows, paths apart."""

    def run(rows, keypoints=False, shape=(0, 0), single_cls=False):
        cv2.imwrite(str(tmp_path / "a.png"), np.full((40, 60, 3), 90, np.uint8))
        (tmp_path / "a.txt").write_text(rows, encoding="utf-8")
        return verify_image_label((f"{tmp_path}/a.png", f"{tmp_path}/a.txt", "p: ", keypoints, 3, *shape, single_cls))

    return run


@pytest.mark.public("python::verify_image_label_keeps_polygons_sharing_a_box")
def test_polygons_of_one_box_are_two_objects(verify):
    first, second = "0 0.1 0.1 0.5 0.1 0.5 0.5 0.1 0.5\n", "0 0.1 0.1 0.5 0.3 0.3 0.5\n"
    _, labels, shape, polygons, keypoints, *counts, said = verify(first + second)
    np.testing.assert_allclose(labels, [[0, 0.3, 0.3, 0.4, 0.4]] * 2, atol=1e-6)
    assert [len(p) for p in polygons] == [4, 3] and shape == (40, 60) and keypoints is None
    assert counts == [0, 1, 0, 0] and not said
    assert len(verify(first + first)[1]) == 1 and "1 duplicate" in verify(first + first)[-1]


@pytest.mark.public("python::verify_image_label_whitespace_lines")
def test_lines_of_blanks_are_no_rows(verify):
    _, labels, *_, said = verify("0 0.5 0.5 0.2 0.2\n   \n\t\n1 0.25 0.25 0.1 0.1\n\n")
    np.testing.assert_allclose(labels, [[0, 0.5, 0.5, 0.2, 0.2], [1, 0.25, 0.25, 0.1, 0.1]])
    assert not said and verify("   \n\t\n")[5:9] == (0, 1, 1, 0) == verify("")[5:9]


def test_what_else_is_said_of_a_label_file(verify):
    keypoints = verify("0 0.5 0.5 0.2 0.2 0.4 0.4 2 0.6 0.6 1\n", True, (2, 3))[4]
    np.testing.assert_allclose(keypoints, [[[0.4, 0.4, 2], [0.6, 0.6, 1]]])
    assert verify("2 0.5 0.5 0.2 0.2\n", single_cls=True)[1][0, 0] == 2
    for rows in ("5 0.5 0.5 0.2 0.2\n", "0 1.5 0.5 0.2 0.2\n"):
        *nothing, missing, found, empty, faulty, said = verify(rows)
        assert nothing == [None] * 5 and (missing, found, empty, faulty) == (0, 1, 0, 1) and said


GRAY = np.arange(40 * 60, dtype=np.uint8).reshape(40, 60)
BGR = np.dstack((GRAY, GRAY // 2, GRAY // 3))
BGRA = np.dstack((BGR, np.full_like(GRAY, 255)))
# Values of the pixel in row 0, column 9, in three channels and in one.
PICTURES = {
    "gray": (GRAY, [9, 9, 9], 9),
    "one channel": (GRAY[..., None], [9, 9, 9], 9),
    "color": (BGR, [9, 4, 3], 4),
    "transparent": (BGRA, [9, 4, 3], 4),
    "pillow": (Image.fromarray(BGR), [3, 4, 9], 5),
    "gray pillow": (Image.fromarray(GRAY), [9, 9, 9], 9),
    "transparent pillow": (Image.fromarray(BGRA), [3, 4, 9], 5),
}


@pytest.mark.public("python::predict_ndarray_channels", "python::single_check_channel_order_and_contiguity")
@pytest.mark.parametrize("kind", PICTURES)
def test_pictures_in_memory(kind):
    picture, color, gray = PICTURES[kind]
    for channels, expected in ((3, color), (1, [gray])):
        ((paths, (image,), texts),) = LoadPilAndNumpy(picture, channels=channels)
        assert paths == ["image0.jpg"] and texts == [""]
        assert image.shape == (40, 60, channels) and image.dtype == np.uint8 and image.flags.c_contiguous
        assert image[0, 9].tolist() == expected
    flipped = LoadPilAndNumpy(BGR[:, ::-1])
    assert flipped.im0[0].flags.c_contiguous and flipped.im0[0][0, -10].tolist() == [9, 4, 3]


@pytest.mark.public("python::load_tensor_uint8")
def test_a_tensor_of_bytes_is_divided(caplog):
    bytes_ = (torch.arange(3 * 32 * 32).reshape(1, 3, 32, 32) % 256).to(torch.uint8)
    loader = LoadTensor(bytes_)
    ((paths, tensor, texts),) = loader
    assert (len(loader), loader.bs, loader.mode, paths, texts) == (1, 1, "image", ["image0.jpg"], [""])
    torch.testing.assert_close(tensor, bytes_ / 255)
    assert tensor.flatten()[:3].tolist() == pytest.approx([0, 0.0039215686, 0.0078431377]) and "255" in caplog.text
    ((_, same, _),) = LoadTensor(bytes_.float() / 255)
    assert torch.equal(same, bytes_.float() / 255)


@pytest.mark.public("python::predict_callback_and_setup")
def test_a_loader_of_ones_own_is_a_source(detector, picture, tmp_path):
    for i in range(3):
        cv2.imwrite(str(tmp_path / f"{i}.png"), np.roll(picture, i, 1))
    loader, sizes = load_inference_source(str(tmp_path / "*.png"), batch=2), []
    detector.add_callback("on_predict_batch_end", lambda predictor: sizes.append(len(predictor.results)))
    results = detector.predict(loader, imgsz=64, batch=2, verbose=False)
    assert len(results) == 3 == len(loader.files) and sizes == [2, 1] and len(loader) == 2
    with pytest.raises(ConfigError, match="buffer=True"):
        load_inference_source("a.png", buffer=True)


@pytest.fixture
def folders(tmp_path):
    """`folders(train=, val=)`: a folder of these classes, two images each."""

    def make(**splits):
        for split, names in splits.items():
            for name in names:
                for i in range(2):
                    (file := tmp_path / "pets" / split / name / f"{i}.png").parent.mkdir(parents=True, exist_ok=True)
                    cv2.imwrite(str(file), np.full((12, 14, 3), 90 + i, np.uint8))
        return tmp_path / "pets"

    return make


@pytest.mark.public("python::classification_split_class_alignment")
@pytest.mark.parametrize(
    ("val", "expected"),
    [
        (["cat", "cow", "dog"], [("cat", 0), ("cat", 0), ("cow", 1), ("cow", 1), ("dog", 2), ("dog", 2)]),
        (["cow", "dog"], [("cow", 1), ("cow", 1), ("dog", 2), ("dog", 2)]),
        (["ape", "dog"], [("dog", 2), ("dog", 2)]),
    ],
)
def test_classes_of_a_split_are_those_of_training(folders, val, expected, caplog):
    data = check_cls_dataset(folders(train=["cat", "cow", "dog"], val=val))
    dataset = ClassificationDataset(data["val"], get_cfg(overrides={"imgsz": 32}), names=data["names"])
    assert [(file.replace("\\", "/").split("/")[-2], cls) for file, cls in dataset.samples] == expected
    assert ("ape" in caplog.text) is ("ape" in val)
    assert [dataset[i]["cls"] for i in range(len(dataset))] == [cls for _, cls in expected]


@pytest.mark.public("python::classification_fraction_samples_across_classes")
def test_a_fraction_is_taken_of_every_class(folders):
    root = folders(train=["cat", "cow", "dog"])
    args = get_cfg(overrides={"imgsz": 32, "fraction": 0.5})
    assert [cls for _, cls in ClassificationDataset(root / "train", args, augment=True).samples] == [0, 1, 2]
    assert len(ClassificationDataset(root / "train", args)) == 6


@pytest.mark.public("python::classify_transforms_train")
@pytest.mark.parametrize("policy", [None, "randaugment", "augmix", "autoaugment"])
def test_augmentations_of_a_picture(policy):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        steps = classify_augmentations(size=32, auto_augment=policy, hflip=1.0, erasing=1.0)
        first, second = steps(image), steps(image)
    for tensor in (first, second):
        assert tensor.shape == (3, 32, 32) and tensor.dtype is torch.float32 and 0 <= tensor.min() < tensor.max() <= 1
    assert not torch.equal(first, second)


@pytest.mark.public("python::data_converter")
def test_annotations_of_coco_become_label_files(tmp_path, monkeypatch):
    assert coco91_to_coco80_class()[9:13] == [9, 10, None, 11] and len(coco91_to_coco80_class()) == 91
    assert coco80_to_coco91_class()[9:13] == [10, 11, 13, 14] and len(coco80_to_coco91_class()) == 80
    boxes = [{"image_id": 1, "category_id": 13, "bbox": [10, 20, 30, 40], "iscrowd": 0, "segmentation": []}]
    content = {"images": [{"id": 1, "file_name": "a.jpg", "height": 100, "width": 200}], "annotations": boxes}
    (tmp_path / "json").mkdir()
    (tmp_path / "json" / "instances_val.json").write_text(json.dumps(content), encoding="utf-8")
    convert_coco(str(tmp_path / "json"), str(tmp_path / "out"), cls91to80=True)
    (file,) = (tmp_path / "out").rglob("a.txt")
    assert [float(v) for v in file.read_text(encoding="utf-8").split()] == pytest.approx([11, 0.125, 0.4, 0.15, 0.4])


@pytest.mark.parametrize(
    ("damage", "options", "error"),
    [
        ({"category_id": 100}, {}, (ConfigError, "category 100 is not COCO's")),
        ({"category_id": 0}, {}, (ConfigError, "category 0 is not COCO's")),
        (
            {"bbox": None},
            {},
            (DatasetError, r"annotation 7 is not as COCO has them .*bbox \[left, top"),
        ),
        ({"bbox": [1, 2]}, {}, (DatasetError, "annotation 7")),
        ({"segmentation": {"size": [2, 2], "counts": "a"}}, {"use_segments": True}, (DatasetError, "run-length masks")),
    ],
)
def test_annotations_that_cannot_be_converted(damage, options, error, tmp_path):
    item = {"id": 7, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]} | damage
    content = {"images": [{"id": 1, "file_name": "a.jpg", "height": 9, "width": 9}], "annotations": [item]}
    (tmp_path / "a.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(error[0], match=error[1]) as raised:
        convert_coco(tmp_path, tmp_path / "out", **options)
    assert "a.json" in str(raised.value)


def test_a_dataset_that_is_not_there_is_never_downloaded(tmp_path):
    with pytest.raises(DatasetError, match="missing"):
        check_det_dataset(tmp_path / "missing.yaml")
