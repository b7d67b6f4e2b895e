"""Every kind of source gives the same frames, and everything else a sentence."""

import logging
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from ultralytics.data import loaders
from ultralytics.data.loaders import Frame, load_source
from ultralytics.utils.errors import SourceError

BGR = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
RGB = np.ascontiguousarray(BGR[..., ::-1])


def save(path: Path, pixels: np.ndarray = BGR) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(path.suffix, pixels)[1].tobytes())
    return path


def save_video(path: Path, frames: int = 7) -> Path:
    """A video whose frame i, from 0, has the gray value 30 * i."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 12, (32, 24))
    for i in range(frames):
        writer.write(np.full((24, 32, 3), 30 * i, np.uint8))
    writer.release()
    return path


class Watched:
    """A cv2.VideoCapture that logs its calls and may announce another number of frames."""

    def __init__(self, path: str, log: list[str], announced: int | None = None) -> None:
        self.capture = real_capture(path)
        self.log = log
        self.announced = announced

    def get(self, what: int) -> float:
        counted = what == cv2.CAP_PROP_FRAME_COUNT and self.announced is not None
        return self.announced if counted else self.capture.get(what)

    def grab(self) -> bool:
        self.log.append("grab")
        return self.capture.grab()

    def retrieve(self) -> tuple[bool, np.ndarray]:
        return self.capture.retrieve()

    def release(self) -> None:
        self.log.append("release")
        self.capture.release()


real_capture = cv2.VideoCapture


def names(source) -> list[str]:
    return [Path(frame.path).name for frame in load_source(source)]


def only(source) -> Frame:
    (frame,) = load_source(source)
    return frame


@pytest.mark.parametrize("kind", [str, Path])
def test_image_by_its_path(tmp_path, kind):
    frame = only(kind(save(tmp_path / "ä 图.png")))
    np.testing.assert_array_equal(frame.image, BGR)
    assert frame == Frame(frame.image, str(tmp_path / "ä 图.png"))


def test_relative_paths_become_absolute(tmp_path, monkeypatch):
    save(tmp_path / "a.png")
    monkeypatch.chdir(tmp_path)
    assert only("a.png").path == str(tmp_path / "a.png")


def test_content_counts_and_not_the_name(tmp_path):
    save(tmp_path / "a.png").rename(tmp_path / "photo")
    np.testing.assert_array_equal(only(tmp_path / "photo").image, BGR)


def test_arrays():
    gray = BGR[..., 0]
    transparent = np.dstack([BGR, np.zeros((20, 30), np.uint8)])
    np.testing.assert_array_equal(only(BGR).image, BGR)
    np.testing.assert_array_equal(only(BGR[:, ::-1]).image, BGR[:, ::-1])
    for array in (gray, gray[..., None]):
        np.testing.assert_array_equal(only(array).image, np.stack([gray] * 3, -1))
    assert (only(transparent).image == 255).all()
    assert only(BGR).path == "image0.jpg"


def test_pillow_images(tmp_path):
    np.testing.assert_array_equal(only(Image.fromarray(RGB)).image, BGR)
    deep = Image.fromarray(np.full((20, 20), 0x4000, np.uint16))
    assert (only(deep).image == 0x40).all()
    path = save(tmp_path / "a.png")
    with Image.open(path) as image:
        assert only(image).path == str(path)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(RGB).save(tmp_path / "turned.png", exif=exif)
    with Image.open(tmp_path / "turned.png") as image:
        np.testing.assert_array_equal(only(image).image, np.rot90(BGR, -1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.uint8])
def test_tensors(dtype):
    rgb = torch.from_numpy(RGB).permute(2, 0, 1)
    tensor = rgb if dtype == torch.uint8 else (rgb / 255).to(dtype)
    np.testing.assert_allclose(only(tensor.requires_grad_(dtype.is_floating_point)).image.astype(int), BGR, atol=0)
    frames = list(load_source(torch.stack([tensor, tensor])))
    assert [frame.path for frame in frames] == ["image0.jpg", "image1.jpg"]
    np.testing.assert_array_equal(frames[1].image, BGR)


def test_list_of_everything_keeps_its_order(tmp_path):
    save(tmp_path / "folder" / "b.png")
    save(tmp_path / "folder" / "a.jpg")
    tensors = torch.zeros(2, 3, 8, 8)
    source = [tmp_path / "folder", BGR, tensors, str(save_video(tmp_path / "v.avi", 2)), Image.fromarray(RGB)]
    expected = ["a.jpg", "b.png", "image2.jpg", "image3.jpg", "image4.jpg", "v.avi", "v.avi", "image6.jpg"]
    assert names(source) == expected
    assert names(tuple(source)) == expected
    assert len(load_source(source)) == 7


def test_a_folder_of_folders(tmp_path):
    for name in ("b/2.png", "a/1.png", "a/notes.txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        save(path) if path.suffix == ".png" else path.write_text("", encoding="utf-8")
    assert [Path(frame.path).name for frame in load_source(tmp_path)] == ["1.png", "2.png"]
    save(tmp_path / "0.png")
    assert [Path(frame.path).name for frame in load_source(tmp_path)] == ["0.png"]


def test_folder_of_images_and_videos_by_name(tmp_path):
    for name in ("c.JPG", "a.png", ".hidden.png", "sub/d.png"):
        save(tmp_path / name)
    (tmp_path / "notes.md").touch()
    save_video(tmp_path / "b.avi", 2)
    assert names(tmp_path) == ["a.png", "b.avi", "b.avi", "c.JPG"]


def test_patterns(tmp_path):
    for name in ("a.png", "b.jpg", "sub/c.png", "sub/deep/d.png"):
        save(tmp_path / name)
    (tmp_path / "sub" / "e.txt").touch()
    assert names(f"{tmp_path}/*.png") == ["a.png"]
    assert names(f"{tmp_path}/*") == ["a.png", "b.jpg"]
    assert names(f"{tmp_path}/**/*.png") == ["a.png", "c.png", "d.png"]
    assert names(f"{tmp_path}/[ab].*") == ["a.png", "b.jpg"]


def test_a_name_with_brackets_is_a_name_first(tmp_path):
    assert names(save(tmp_path / "a[1].png")) == ["a[1].png"]
    assert names(save(tmp_path / "b[1]" / "c.png").parent) == ["c.png"]


def test_txt_list_counts_from_its_own_folder(tmp_path):
    save(tmp_path / "set" / "images" / "b.png")
    save(tmp_path / "set" / "a.png")
    save_video(tmp_path / "v.avi", 1)
    lines = ["./images/b.png", "", "a.png", str(tmp_path / "v.avi")]
    (tmp_path / "set" / "list.txt").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    assert names(tmp_path / "set" / "list.txt") == ["b.png", "a.png", "v.avi"]


def test_video_frames_and_what_is_known_of_them(tmp_path):
    frames = list(load_source(save_video(tmp_path / "ü.avi")))
    assert [(f.is_video, f.frame, f.frames, f.fps) for f in frames] == [(True, i, 7, 12.0) for i in range(1, 8)]
    assert [round(frame.image.mean() / 30) for frame in frames] == list(range(7))


def test_vid_stride_takes_every_nth_frame(tmp_path):
    frames = list(load_source(save_video(tmp_path / "v.avi"), vid_stride=3))
    assert [round(frame.image.mean() / 30) for frame in frames] == [2, 5]
    assert [(frame.frame, frame.frames) for frame in frames] == [(1, 2), (2, 2)]


def test_videos_are_decoded_frame_by_frame_and_closed(tmp_path, monkeypatch):
    log = []
    path = save_video(tmp_path / "v.avi")
    monkeypatch.setattr(loaders.cv2, "VideoCapture", lambda path: Watched(path, log))
    stream = iter(load_source(path))
    next(stream)
    assert log == ["grab"]
    stream.close()
    assert log == ["grab", "release"]


def test_camera_by_number(tmp_path, monkeypatch):
    path = save_video(tmp_path / "v.avi", 3)
    opened = []
    monkeypatch.setattr(loaders.cv2, "VideoCapture", lambda which: opened.append(which) or real_capture(str(path)))
    for source in (0, "0"):
        frame = next(iter(load_source(source)))
        assert (frame.path, frame.is_video) == ("0", True)
    assert opened == [0, 0]


def test_a_file_named_like_a_number_is_a_file(tmp_path, monkeypatch):
    save(tmp_path / "a.png").rename(tmp_path / "0")
    monkeypatch.chdir(tmp_path)
    assert not only("0").is_video


def test_broken_files_among_others_are_skipped_and_named(tmp_path, caplog):
    save(tmp_path / "good.png")
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "text.mp4").write_text("no video", encoding="utf-8")
    data = save(tmp_path / "cut.jpg", np.zeros((200, 200, 3), np.uint8)).read_bytes()
    (tmp_path / "cut.jpg").write_bytes(data[: len(data) // 2])
    source = load_source(tmp_path)
    with caplog.at_level(logging.WARNING, "ultralytics"):
        for _ in range(2):
            assert [Path(frame.path).name for frame in source] == ["good.png"]
            assert [Path(path).name for path, _ in source.skipped] == ["cut.jpg", "empty.jpg", "folder.jpg", "text.mp4"]
    assert len(caplog.messages) == 8
    reasons = " ".join(reason for _, reason in source.skipped)
    for word in ("truncated", "zero bytes", "a folder", "no frame"):
        assert word in reasons


def test_a_pattern_finds_a_file_once_however_links_lead_to_it(tmp_path):
    save(tmp_path / "a" / "1.png")
    (tmp_path / "a" / "again").symlink_to(tmp_path / "a", target_is_directory=True)
    assert names(str(tmp_path / "**" / "*.png")) == ["1.png"]


def test_missing_file_in_a_list_is_skipped(tmp_path):
    source = load_source([tmp_path / "gone.jpg", save(tmp_path / "a.png")])
    assert [Path(frame.path).name for frame in source] == ["a.png"]
    assert source.skipped == [(str(tmp_path / "gone.jpg"), "no such file")]


def test_nothing_readable_is_an_error(tmp_path):
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).touch()
    with pytest.raises(SourceError, match="None of the 2"):
        list(load_source(tmp_path))


@pytest.mark.parametrize("name", ["a.jpg", "a.mp4", "a"])
def test_a_single_broken_file_is_an_error(tmp_path, name):
    (tmp_path / name).write_text("neither image nor video", encoding="utf-8")
    for source in (tmp_path / name, [tmp_path / name]):
        with pytest.raises(SourceError, match=name):
            list(load_source(source))


@pytest.mark.parametrize("stop", [True, False])
def test_a_video_that_ends_early_is_said_so(tmp_path, caplog, monkeypatch, stop):
    path = save_video(tmp_path / "v.avi", 5)
    announced = 50 if stop else 5
    monkeypatch.setattr(loaders.cv2, "VideoCapture", lambda path: Watched(path, [], announced))
    assert len(list(load_source(path))) == 5
    assert any("ends after 5 of 50 frames" in message for message in caplog.messages) == stop


@pytest.mark.parametrize(
    "source",
    [
        "http://host/a.jpg",
        "https://youtu.be/x",
        "rtsp://host/stream",
        "screen",
        "screen 0 10 10 100 100",
    ],
)
def test_streams_are_refused(source):
    with pytest.raises(SourceError, match="screens and network streams are not read"):
        load_source(source)


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("gone.jpg", r"gone\.jpg: no such file"),
        ("gone/*.jpg", r"No image or video in the pattern gone"),
        ([], "empty"),
        (None, "A NoneType is no source"),
        ([BGR, 1.5], "A float is no source"),
        ({"a": 1}, "A dict is no source"),
    ],
)
def test_what_is_no_source(tmp_path, monkeypatch, source, sentence):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceError, match=sentence):
        load_source(source)


def test_folders_and_lists_without_images(tmp_path):
    (tmp_path / "a.md").touch()
    (tmp_path / "list.txt").write_text("\n", encoding="utf-8")
    with pytest.raises(SourceError, match="No image or video in the folder"):
        load_source(tmp_path)
    with pytest.raises(SourceError, match="the list is empty"):
        load_source(tmp_path / "list.txt")
    (tmp_path / "list.txt").write_bytes(b"\xff\xfea\0")
    with pytest.raises(SourceError, match="UTF-8"):
        load_source(tmp_path / "list.txt")


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        (BGR.astype(np.float32), r"an array \(20, 30, 3\) float32, expected \(H, W, 3\) uint8"),
        (np.zeros((2, 20, 30, 3), np.uint8), r"an array \(2, 20, 30, 3\)"),
        (np.zeros((20, 30, 5), np.uint8), r"an array \(20, 30, 5\)"),
        (np.zeros((0, 30, 3), np.uint8), r"an array \(0, 30, 3\)"),
        (torch.zeros(2, 8, 8), r"a tensor of shape \(2, 8, 8\)"),
        (torch.zeros(8, 8), r"a tensor of shape \(8, 8\)"),
        (torch.full((3, 8, 8), 200.0), "divide it by 255"),
        (torch.full((3, 8, 8), torch.nan), "outside 0..1"),
        (torch.zeros(3, 8, 8, dtype=torch.int64), "int64, expected"),
        (Image.fromarray(np.zeros((8, 8), np.float32)), "floating-point"),
    ],
)
def test_what_is_no_image(source, sentence):
    with pytest.raises(SourceError, match=sentence) as caught:
        list(load_source([BGR, source]))
    assert str(caught.value).startswith("image1.jpg: ")


def test_real_photos_and_videos(reference):
    photos = list(load_source(f"{reference}/data/photos/**/*"))
    assert len(photos) >= 4
    for video in sorted((reference / "data" / "video").glob("*.mp4")):
        frame = next(iter(load_source(video)))
        assert frame.image.ndim == 3
        assert frame.frames > 100
        assert 5 < frame.fps < 100
    mixed = load_source(reference / "data" / "video", vid_stride=400)
    assert {Path(frame.path).suffix for frame in mixed} == {".mp4"}
