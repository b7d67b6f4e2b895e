"""What a dataset YAML may ask to have drawn."""

import json
from pathlib import Path

import cv2
import pytest

from ultralytics.cfg import resolve_yaml
from ultralytics.data.classify.folders import load_class_folders
from ultralytics.data.utils import load_data_yaml
from ultralytics.utils.errors import DatasetError
from ultralytics.utils.files import load_yaml, save_yaml

WANTED = {
    "kind": "shapes",
    "seed": 3,
    "train": 3,
    "val": 2,
    "test": 0,
    "pictures": [[96, 64]],
    "objects": [2, 3],
    "sides": [16, 32],
    "clutter": 0,
}


@pytest.fixture
def draw(tmp_path):
    """`draw(**changes)`: the dataset of a YAML whose `generate` has these changes."""

    def run(names=("plain disc", "striped star"), **changes) -> dict:
        data = {
            "path": str(tmp_path / "drawn"),
            "generate": WANTED | changes,
            "train": "images/train",
            "val": "images/val",
        }
        save_yaml(tmp_path / "mine.yaml", data | {"names": list(names)})
        return load_data_yaml(tmp_path / "mine.yaml")

    return run


def test_the_scenes_are_as_the_yaml_wants_them(draw, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = Path(draw()["path"])
    pictures = sorted(folder.glob("images/*/*.jpg"))
    assert [path.relative_to(folder).as_posix() for path in pictures] == [
        *(f"images/train/000{i}.jpg" for i in range(3)),
        *(f"images/val/000{i}.jpg" for i in range(2)),
    ]
    assert {cv2.imread(str(path)).shape for path in pictures} == {(64, 96, 3)}
    truth = json.loads((folder / "truth" / "train.json").read_text(encoding="utf-8"))
    assert {item["name"] for scene in truth["scenes"] for item in scene["objects"]} <= {"plain disc", "striped star"}
    before = pictures[0].read_bytes()
    assert draw()["path"] == folder and pictures[0].read_bytes() == before
    draw(seed=4)  # another dataset takes the place of what was drawn
    assert pictures[0].read_bytes() != before


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"kind": "cats"}, "`generate: cats` is unknown"),
        ({"objcts": [1, 2]}, "there is no setting 'objcts', the nearest are: objects"),
        ({"objects": 3}, r"objects is 3, expected \[minimum, maximum\]"),
        ({"sides": [40, 20]}, "sides is .40.*, 20.*, expected the smaller number first"),
        ({"pictures": [[96]]}, "pictures is .* expected a list of"),
        ({"train": 0}, "train is 0, expected an integer of at least 1"),
        ({"hidden": 2}, "hidden is 2, expected a number from 0 to 1"),
        ({"names": ["striped cat"]}, "'striped cat' cannot be drawn; names are shapes"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_mistakes(draw, changes, words):
    with pytest.raises(DatasetError, match=words) as error:
        draw(**changes)
    assert "mine.yaml" in str(error.value)


def test_the_harder_set_is_many_small_objects(tmp_path):
    data = load_yaml(resolve_yaml("shapes-hard.yaml", "datasets"))
    few = {**data, "generate": {**data["generate"], "train": 4, "val": 1}, "path": str(tmp_path / "drawn")}
    save_yaml(tmp_path / "few.yaml", few)
    found = load_data_yaml(tmp_path / "few.yaml")
    rows = [row for path in Path(found["path"]).glob("labels/*/*.txt") for row in path.read_text().splitlines()]
    assert found["nc"] == 12 and len(rows) > 5 * 6
    assert max(float(number) for row in rows for number in row.split()[3:]) <= 56 * 2**0.5 / 192


def test_folders_of_images_of_one_class(tmp_path):
    """As many images of each class, in the folder of that class; a larger dataset begins like a smaller one."""
    stars = []
    wanted = {name: value for name, value in WANTED.items() if name != "objects"} | {"rows": "folders", "train": 4}
    names = ["plain disc", "striped star"]
    for count in (4, 6):
        data = {
            "path": str(tmp_path / f"drawn{count}"),
            "generate": wanted | {"train": count},
            "train": "train",
            "val": "val",
        }
        save_yaml(tmp_path / "mine.yaml", data | {"names": names})
        found = load_class_folders(tmp_path / "mine.yaml")
        assert list(found["names"].values()) == names
        assert [len(list((found["train"] / name).iterdir())) for name in names] == [count // 2] * 2
        assert {cv2.imread(str(path)).shape for path in found["val"].rglob("*.jpg")} == {(64, 96, 3)}
        stars.append((found["train"] / "striped star" / "0003.jpg").read_bytes())
    assert stars[0] == stars[1]


def test_the_built_in_folders(tmp_path, monkeypatch):
    data = load_yaml(resolve_yaml("shapes-cls.yaml", "datasets"))
    few = {**data, "generate": {**data["generate"], "train": 8, "val": 8, "test": 0}, "path": str(tmp_path / "drawn")}
    save_yaml(tmp_path / "few.yaml", few)
    found = load_class_folders(tmp_path / "few.yaml")
    assert found["nc"] == 8 and len(list(found["train"].rglob("*.jpg"))) == 8


def test_objects_do_not_go_with_folders(draw):
    with pytest.raises(DatasetError, match="objects does not go with rows: folders, whose images have one each"):
        draw(rows="folders")
