"""Images of one channel: from the files to batches, predictions, plots, and weights of the other kind."""

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from tests.training import data, network, settings, train
from ultralytics import YOLO
from ultralytics.data.classify.samples import build_class_dataset
from ultralytics.data.dataset import image_channels
from ultralytics.data.images import with_channels
from ultralytics.nn.tasks import DetectionModel
from ultralytics.nn.transfer import transfer
from ultralytics.utils.checkpoint import Checkpoint
from ultralytics.utils.errors import ConfigError, SourceError
from ultralytics.utils.plotting import plot_images

__all__ = ["data", "network", "settings", "train"]
NOISE = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
PICTURE = cv2.resize(NOISE, (64, 48), interpolation=cv2.INTER_CUBIC)
ALL_STEPS = {  # but for hsv, which gray images do without
    "mosaic": 0.5,
    "degrees": 20,
    "perspective": 0.0005,
    "scale": 0.3,
    "mixup": 0.5,
    "cutmix": 0.5,
    "copy_paste": 0.5,
    "flipud": 0.5,
    "fliplr": 0.5,
}
POLYGON = [0.3, 0.3, 0.7, 0.3, 0.7, 0.7, 0.3, 0.7]


@pytest.mark.parametrize("changes", [{"augment": False, "rect": True}, ALL_STEPS, ALL_STEPS | {"cache": "ram"}])
def test_gray_samples_are_the_colored_ones_in_gray(build, write_data, changes):
    described = write_data([np.roll(PICTURE, 8 * i, 1) for i in range(6)], [[(0, *POLYGON)]] * 6)
    colored, gray = (build(described | {"channels": c}, imgsz=64, **changes) for c in (3, 1))
    for position in range(6):
        a, b = colored[(0, position)], gray[(0, position)]
        assert b.img.shape == (*a.img.shape[:2], 1) and b.instances.boxes.tolist() == a.instances.boxes.tolist()
        difference = cv2.cvtColor(a.img, cv2.COLOR_BGR2GRAY).astype(int) - b.img[..., 0]
        assert np.abs(difference).max() <= 3  # rounded before each step or after it
    assert gray.collate([gray[0], gray[0]])["img"].shape[:2] == (2, 1)


def test_colors_and_the_users_steps_see_gray_images(build, write_data):
    seen = []

    def darker(image, bboxes, cls):
        seen.append(image.shape)
        return {"image": image // 2, "bboxes": bboxes, "cls": cls}

    described = write_data([PICTURE], [[(0, *POLYGON)]]) | {"channels": 1}
    plain = build(described, imgsz=64)[0]
    changed = build(described, imgsz=64, hsv_v=0.9, hsv_s=0.9, hsv_h=0.1, bgr=1.0, transforms=darker)[0]
    assert seen == [(64, 64, 1)] and (changed.img == plain.img // 2).all()
    assert torch.equal(build(described, imgsz=64).collate([plain])["img"][0, 0], torch.from_numpy(plain.img[..., 0]))


@pytest.mark.parametrize("policy", ["randaugment", "augmix", "autoaugment", None])
def test_gray_squares_of_classes(options, tmp_path, policy):
    (tmp_path / "any").mkdir()
    cv2.imwrite(str(tmp_path / "any" / "0.png"), PICTURE)
    opts = options(imgsz=32, auto_augment=policy, erasing=0.5, hsv_v=0.5)
    how = {"augment": True, "batch": 1, "channels": 1, "transforms": [lambda **sample: sample]}
    sample = build_class_dataset(tmp_path, {0: "any"}, opts, desc="train", **how)[(0, 0)]
    assert sample.img.shape == (1, 32, 32) and sample.img.dtype == torch.uint8


def test_gray_batches_are_drawn(tmp_path):
    level = np.full((1, 1, 32, 32), 200, np.uint8)
    drawn = plot_images(level, [0], [0], [[0.5, 0.5, 0.4, 0.4]], fname=tmp_path / "batch.jpg")
    assert (tmp_path / "batch.jpg").is_file() and (drawn[-1, -1] == 200).all()


def first_row(channels):
    rows = [[-1, 1, "Conv", [16, 3, 2]], [-1, 1, "Conv", [16, 3, 2]]]
    head = [[[0, 1], 1, "Detect", ["nc"]]]
    torch.manual_seed(channels)
    return DetectionModel({"nc": 2, "ch": channels, "backbone": rows, "head": head}, verbose=False).eval()


@pytest.mark.parametrize(("before", "after"), [(3, 1), (1, 3)])
def test_weights_of_the_other_kind_see_the_same_in_gray_images(before, after):
    """As in the public package from color to gray, whose first kernel is the sum over the channels."""
    source, model = first_row(before), first_row(after)
    done = transfer(model, Checkpoint(source.state_dict(), source.yaml))
    assert str(done).startswith(f"Transferred {len(model.state_dict())}/{len(model.state_dict())} items")
    assert [line for line in done.summary() if "gray" in line or "color" in line]
    level = torch.rand(1, 1, 32, 32)
    expected, found = (net(level.expand(-1, c, -1, -1))[0] for net, c in ((source, before), (model, after)))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_weights_of_six_channels_say_that_they_do_not_fit():
    model = first_row(3)
    done = transfer(model, Checkpoint(first_row(6).state_dict()))
    assert done.missing == {"model.0.conv.weight": "(16, 6, 3, 3) in the weights, (16, 3, 3, 3) in the network"}
    assert "the rest keeps its initialization: 0 Conv" in "\n".join(done.summary())


def gray(data, channels=1):
    """The YAML with that many channels."""
    path = data.with_name(f"channels{channels}.yaml")
    path.write_text(f"{data.read_text(encoding='utf-8')}channels: {channels}\n", encoding="utf-8")
    return str(path)


def test_color_weights_go_on_with_gray_images_and_resume(train, data, caplog):
    model = train(epochs=1, imgsz=32)
    color = model.trainer.best

    def stop(trainer):
        raise KeyboardInterrupt

    caplog.clear()
    with pytest.raises(KeyboardInterrupt):
        train(YOLO(color), data=gray(data), imgsz=32, callbacks={"on_fit_epoch_end": stop}, name="gray")
    assert "its input channels are summed to 1" in caplog.text and "channels=1 in place of channels=3" in caplog.text
    last = color.parents[2] / "gray" / "weights" / "last.pt"
    with pytest.raises(ConfigError, match="asks for channels 3 and the run has 1"):
        YOLO(last).train(resume=True, data=gray(data, 3))
    resumed = YOLO(last)
    resumed.train(resume=True)
    assert resumed.model.channels == 1 and resumed.trainer.epoch == 1
    with pytest.raises(ConfigError, match="has `channels: 3` and the network takes images of 1"):
        resumed.val(data=gray(data, 3), workers=0)
    assert resumed.heatmap(PICTURE, imgsz=32)[0].plot().shape == (32, 32, 3)
    assert resumed.routing(PICTURE, None, imgsz=32).layers


def test_other_channels_are_refused_where_files_are_read(network, data, train):
    network.write_text("channels: 6" + network.read_text(encoding="utf-8"), encoding="utf-8")
    assert isinstance(YOLO(network).model.model[0].conv, nn.Conv2d)
    with pytest.raises(SourceError, match="takes images of 6 channels, and those of a source have 3"):
        YOLO(network).predict(PICTURE, imgsz=32)
    with pytest.raises(ConfigError, match="images of 6 channels, and files are read with 3"):
        train(imgsz=32)
    assert image_channels({}) == 3 and with_channels(PICTURE, 3) is PICTURE
