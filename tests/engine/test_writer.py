"""What a prediction leaves on disk."""

import cv2
import numpy as np
import pytest

from ultralytics.models.yolo.detect import DetectionPredictor
from ultralytics.utils.errors import YOLOError


@pytest.fixture
def save(detector, tmp_path):
    """`save(source, **options)`: folder that a prediction of the surest boxes saved into, below tmp_path/runs."""

    def run(source, **options):
        options = {"imgsz": 160, "max_det": 4, "project": tmp_path / "runs", "verbose": False, **options}
        detector.predict(source, **options)
        return detector.predictor.save_dir

    return run


@pytest.fixture
def write(picture, tmp_path):
    """`write(name)`: the picture in a file below tmp_path."""

    def run(name):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(cv2.imencode(path.suffix, picture)[1])
        return path

    return run


def read(path):
    return cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)


def names(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_nothing_is_left_unless_asked_for(save, write, tmp_path):
    assert save(write("a.png")) is None
    assert not (tmp_path / "runs").exists()


def test_pictures(save, write, picture, detector):
    folder = save(write("红 ä.png"), save=True)
    assert names(folder) == ["红 ä.png"]
    assert (read(folder / "红 ä.png") == detector.predictor.results[0].plot()).all()
    assert names(save(picture, save=True)) == ["image0.jpg"]
    gray = write("g.png").with_name("g.pgm")
    gray.write_bytes(cv2.imencode(".pgm", picture[..., 0])[1])
    folder = save(gray, save=True)
    assert names(folder) == ["g.jpg"] and read(folder / "g.jpg").shape == picture.shape


@pytest.mark.parametrize(
    "option", [{"show_labels": False}, {"show_conf": False}, {"show_boxes": False}, {"line_width": 6}]
)
def test_how_pictures_are_drawn(save, write, option):
    source = write("a.png")
    plain, changed = (read(save(source, save=True, **o) / "a.png") for o in ({}, option))
    assert (plain != changed).any()
    if "show_boxes" in option:
        assert (changed == read(source)).all()


def test_label_files(save, write, detector):
    folder = save(write("a.png"), save_txt=True)
    assert names(folder) == ["labels/a.txt"]
    boxes = detector.predictor.results[0].boxes
    rows = np.loadtxt(folder / "labels" / "a.txt")
    np.testing.assert_allclose(rows, np.column_stack((boxes.cls, boxes.xywhn)), atol=1e-5)
    sure = np.loadtxt(save(write("a.png"), save_txt=True, save_conf=True) / "labels" / "a.txt")
    np.testing.assert_allclose(sure, np.column_stack((rows, boxes.conf)), atol=1e-5)


def test_crops(save, write):
    folder = save(write("a.png"), save_crop=True)
    assert len(names(folder)) == 4 and "crops/c/a.jpg" in names(folder)


def test_run_folders(save, write, tmp_path):
    path = write("a.png")
    found = [save(path, save=True).name for _ in range(3)]
    assert found == ["exp", "exp2", "exp3"]
    assert save(path, save_txt=True, name="mine", project=tmp_path / "there") == tmp_path / "there" / "mine"
    rows = (tmp_path / "there" / "mine" / "labels" / "a.txt").read_text()
    assert save(path, save_txt=True, name="mine", project=tmp_path / "there").name == "mine2"
    again = save(path, save_txt=True, name="mine", project=tmp_path / "there", exist_ok=True)
    assert again.name == "mine" and (again / "labels" / "a.txt").read_text() == rows


def test_the_folder_of_runs(detector, picture, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    detector.predict(picture, save=True)
    assert (tmp_path / "runs" / "detect" / "exp" / "image0.jpg").is_file()


def test_sources_of_one_name_do_not_overwrite_each_other(save, write):
    files = [write("one/a.png"), write("two/A.png"), write("two/a.jpg")]
    folder = save(files, save=True, save_txt=True)
    assert names(folder) == ["A_2.png", "a.png", "a_3.jpg", *(f"labels/{n}.txt" for n in ("A_2", "a", "a_3"))]


def test_a_folder_that_cannot_be_written(save, write, tmp_path):
    (tmp_path / "file").write_text("")
    for option in ("save", "save_txt", "save_crop"):
        with pytest.raises(YOLOError, match="cannot be written"):
            save(write("a.png"), project=tmp_path / "file", **{option: True})


@pytest.fixture
def clip(tmp_path, picture):
    """A video of 24 frames, 160 x 120, 12 a second."""
    path = tmp_path / "clip ä.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 12, (160, 120))
    for i in range(24):
        writer.write(np.roll(picture, 5 * i, 1))
    writer.release()
    return path


def frames_of(path):
    capture = cv2.VideoCapture(str(path))
    frames = []
    while (read := capture.read())[0]:
        frames.append(read[1])
    return frames, capture.get(cv2.CAP_PROP_FPS)


def test_videos(save, clip, detector):
    folder = save(clip, save=True, batch=5)
    frames, fps = frames_of(folder / "clip ä.mp4")
    assert len(frames) == 24 and fps == 12
    assert np.abs(frames[-1].astype(int) - detector.predictor.results[-1].plot()).mean() < 12  # compressed
    frames, fps = frames_of(save(clip, save=True, vid_stride=3) / "clip ä.mp4")
    assert len(frames) == 8 and fps == 4


def test_files_of_single_frames(save, clip):
    folder = save(clip, save_txt=True, vid_stride=12)
    assert names(folder) == ["labels/clip ä_1.txt", "labels/clip ä_2.txt"]


def test_a_video_twice_and_a_picture_between(save, clip, picture):
    folder = save([clip, picture, clip], save=True)
    assert names(folder) == ["clip ä.mp4", "clip ä_2.mp4", "image1.jpg"]
    assert [len(frames_of(folder / name)[0]) for name in ("clip ä.mp4", "clip ä_2.mp4")] == [24, 24]


def test_a_stream_that_is_left_early_leaves_a_video_that_plays(detector, clip, tmp_path):
    results = detector.predict(clip, stream=True, save=True, imgsz=160, project=tmp_path / "runs", verbose=False)
    for _ in range(5):
        next(results)
    results.close()
    assert len(frames_of(tmp_path / "runs" / "exp" / "clip ä.mp4")[0]) == 5


def test_a_predictor_that_is_called_again_keeps_the_first_files(write, detector, tmp_path):
    options = {"imgsz": 160, "save": True, "project": str(tmp_path / "runs"), "verbose": False}
    predictor = DetectionPredictor(overrides=options)
    for name in ("a.jpg", "b.jpg"):
        predictor(str(write(name)), model=detector.model.eval())
    assert names(predictor.save_dir) == ["a.jpg", "b.jpg"]
