"""The shipped dataset YAMLs: complete, and nothing in them that fetches."""

from pathlib import Path

import pytest
import yaml

import ultralytics

FOLDER = Path(ultralytics.__file__).parent / "cfg" / "datasets"


def read(name: str) -> dict:
    return yaml.safe_load((FOLDER / name).read_text(encoding="utf-8"))


SHAPES = [("shapes", 8), ("shapes-seg", 8), ("shapes-hard", 12)]


@pytest.mark.parametrize(("name", "classes"), [*SHAPES, ("coco", 80), ("coco128", 80), ("VOC", 20)])
def test_names_are_complete_and_paths_relative(name, classes):
    data = read(f"{name}.yaml")
    assert list(data["names"]) == list(range(classes))
    assert len(set(data["names"].values())) == classes
    assert data["path"] == name and data["train"] and data["val"]
    assert set(data) <= {"path", "train", "val", "test", "names", "generate"}


def test_coco_names_are_those_of_the_reference(reference):
    file = next((reference / "data" / "coco_mini").glob("*.yaml"))
    names = yaml.safe_load(file.read_text(encoding="utf-8"))["names"]
    assert read("coco.yaml")["names"] == read("coco128.yaml")["names"] == names


def test_what_is_not_built_in_says_where_to_get_it():
    for name in ("coco", "coco128", "VOC"):
        text = (FOLDER / f"{name}.yaml").read_text(encoding="utf-8")
        assert "Nothing is fetched for you" in text and "http" in text
