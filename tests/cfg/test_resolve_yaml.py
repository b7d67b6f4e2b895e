"""Which file a bare name of a model or dataset means."""

import pytest

from ultralytics import cfg
from ultralytics.cfg import resolve_yaml
from ultralytics.utils.errors import DatasetError, ModelError


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """A cfg folder with two models and a dataset, and a current folder elsewhere."""
    for name in ("models/v8/yolov8.yaml", "models/v8/yolov8-p2.yaml", "datasets/shapes.yaml"):
        path = tmp_path / "cfg" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "here").mkdir()
    monkeypatch.setattr(cfg, "CFG_DIR", tmp_path / "cfg")
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "cfg"


@pytest.mark.parametrize("name", ["yolov8.yaml", "yolov8n.yaml", "yolov8x.yaml"])
def test_bare_model_names_with_and_without_scale(shipped, name):
    assert resolve_yaml(name) == shipped / "models" / "v8" / "yolov8.yaml"


def test_scale_letters_before_a_suffix(shipped):
    assert resolve_yaml("yolov8s-p2.yaml") == shipped / "models" / "v8" / "yolov8-p2.yaml"


def test_datasets_have_no_scale(shipped):
    assert resolve_yaml("shapes.yaml", "datasets") == shipped / "datasets" / "shapes.yaml"
    with pytest.raises(DatasetError, match=r"no dataset YAML shape\.yaml.*shapes\.yaml"):
        resolve_yaml("shape.yaml", "datasets")


def test_a_path_wins(shipped, tmp_path):
    own = tmp_path / "here" / "yolov8.yaml"
    own.touch()
    assert resolve_yaml("yolov8n.yaml").resolve() == own
    assert resolve_yaml(str(own)) == own
    exact = tmp_path / "here" / "yolov8n.yaml"
    exact.touch()
    assert resolve_yaml("yolov8n.yaml").resolve() == exact


def test_a_path_may_carry_a_scale_letter(shipped):
    folder = shipped / "models" / "v8"
    assert resolve_yaml(folder / "yolov8m-p2.yaml") == folder / "yolov8-p2.yaml"


@pytest.mark.parametrize("name", ["yolov8-p3.yaml", "elsewhere/yolov8.yaml"])
def test_what_is_not_there_names_the_nearest(shipped, name):
    with pytest.raises(ModelError) as caught:
        resolve_yaml(name)
    assert str(caught.value).startswith(f"there is no model YAML {name}, ")
    assert "yolov8" in str(caught.value).split("nearest")[1]
