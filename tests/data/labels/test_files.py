"""Which files a split consists of, and where the labels of an image are."""

from pathlib import Path, PurePosixPath, PureWindowsPath

import pytest

from ultralytics.data.labels import files as listing
from ultralytics.data.labels.files import label_path, labels_cache, list_images, read_list
from ultralytics.utils.errors import DatasetError


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def relative(files: list[str], folder: Path) -> list[str]:
    return [Path(file).relative_to(folder).as_posix() for file in files]


def test_folder_with_all_below_it_sorted(tmp_path):
    touch(tmp_path, "b.jpg", "a.PNG", "sub/deep/c.webp", "notes.txt", "a.jpg.bak", "ä 图.jpg", "no_suffix", "jpg")
    assert relative(list_images(tmp_path), tmp_path) == ["a.PNG", "b.jpg", "sub/deep/c.webp", "ä 图.jpg"]


def test_hidden_things_are_passed_over(tmp_path):
    touch(tmp_path, "a.jpg", "._a.jpg", ".thumbs/b.jpg")
    assert relative(list_images(tmp_path), tmp_path) == ["a.jpg"]


def test_folders_and_dead_links_named_like_images_are_listed(tmp_path):
    (tmp_path / "folder.jpg").mkdir()
    try:
        (tmp_path / "link.jpg").symlink_to(tmp_path / "gone.jpg")
    except OSError:
        pytest.skip("this system makes no links")
    assert relative(list_images(tmp_path), tmp_path) == ["folder.jpg", "link.jpg"]


def test_links_to_folders_are_followed_once(tmp_path):
    touch(tmp_path, "real/a.jpg", "set/b.jpg")
    try:
        (tmp_path / "set" / "more").symlink_to(tmp_path / "real", target_is_directory=True)
        for name in ("loop", "loop2"):  # two, as paths through them would double in number with every level
            (tmp_path / "set" / name).symlink_to(tmp_path / "set", target_is_directory=True)
    except OSError:
        pytest.skip("this system makes no links")
    assert relative(list_images(tmp_path / "set"), tmp_path / "set") == ["b.jpg", "more/a.jpg"]


def test_several_places_of_a_split(tmp_path):
    touch(tmp_path, "x/a.jpg", "y/b.jpg", "c.jpg", "d.jpg")
    (tmp_path / "list.txt").write_text("./d.jpg\n", encoding="utf-8")
    paths = [tmp_path / "y", tmp_path / "x", tmp_path / "c.jpg", tmp_path / "list.txt"]
    assert relative(list_images(paths), tmp_path) == ["c.jpg", "d.jpg", "x/a.jpg", "y/b.jpg"]


def test_an_image_listed_twice_is_there_twice(tmp_path):
    (tmp_path / "list.txt").write_text("./a.jpg\n./a.jpg\n", encoding="utf-8")
    assert relative(list_images(tmp_path / "list.txt"), tmp_path) == ["a.jpg", "a.jpg"]


def test_no_images_is_an_error(tmp_path):
    touch(tmp_path, "a.txt")
    with pytest.raises(DatasetError, match=r"No images in .*; image files end in"):
        list_images([tmp_path])


def test_entries_of_a_list(tmp_path, monkeypatch):
    touch(tmp_path, "set/images/a.jpg", "here/images/b.jpg")
    monkeypatch.chdir(tmp_path / "here")
    absolute = str(tmp_path / "abs.jpg")
    lines = ["./images/a.jpg", "images/a.jpg", "images/b.jpg", "gone.jpg", absolute, "  ", "../up.jpg"]
    (tmp_path / "set" / "list.txt").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    beside = tmp_path / "set"
    assert [Path(entry) for entry in read_list(beside / "list.txt")] == [
        beside / "images/a.jpg",
        beside / "images/a.jpg",
        Path("images/b.jpg"),
        beside / "gone.jpg",
        Path(absolute),
        beside / "../up.jpg",
    ]


def test_list_that_is_no_text(tmp_path):
    (tmp_path / "list.txt").write_bytes("a.jpg".encode("utf-16"))
    with pytest.raises(DatasetError, match=r"list\.txt: .* UTF-8"):
        list_images(tmp_path / "list.txt")


@pytest.mark.parametrize(
    ("image", "labels"),
    [
        ("/d/images/train/a.b.jpg", "/d/labels/train/a.b.txt"),
        ("/images/d/images/a.jpg", "/images/d/labels/a.txt"),
        ("images/a.jpg", "labels/a.txt"),
        ("/d/images.v2/a.jpg", "/d/images.v2/a.txt"),
        ("/d/train/images", "/d/train/images.txt"),
        ("/d/a.jpg", "/d/a.txt"),
        ("a.jpg", "a.txt"),
    ],
)
def test_label_path(image, labels):
    assert label_path(image) == Path(labels)


def test_label_path_on_windows(monkeypatch):
    monkeypatch.setattr(listing, "Path", PureWindowsPath)
    for image in (r"D:\d\images\train\a.jpg", "D:/d/images/train/a.jpg", r"D:\d/images\train/a.jpg"):
        assert label_path(image) == PureWindowsPath(r"D:\d\labels\train\a.txt")
    monkeypatch.setattr(listing, "Path", PurePosixPath)
    assert label_path(r"/d/ima\ges/a.jpg") == PurePosixPath(r"/d/ima\ges/a.txt")


def test_cache_lies_beside_the_folder_of_labels(tmp_path):
    assert labels_cache([str(tmp_path / "images" / "train" / "a.jpg")]) == tmp_path / "labels" / "train.cache"
