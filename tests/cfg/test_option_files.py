"""Options from files: default.yaml as people edit it, files of their own, those that runs leave."""

from pathlib import Path

import pytest

from ultralytics import cfg
from ultralytics.cfg import get_options
from ultralytics.utils.errors import ConfigError
from ultralytics.utils.files import save_yaml


def test_a_file_of_options_lies_below_explicit_ones(tmp_path):
    path = tmp_path / "my.yaml"
    path.write_text("imgsz: 96\nlr0: 1e-3\nclasses: [0, 2]\n", encoding="utf-8")
    found = get_options({"epochs": 5}, {"cfg": path, "imgsz": 64})
    assert (found.imgsz, found.lr0, found.classes, found.epochs, found.cfg) == (64, 1e-3, [0, 2], 5, None)
    assert found.given == {"imgsz", "lr0", "classes", "epochs"}


def test_the_options_of_a_run_are_a_file_of_options(tmp_path):
    before = get_options({"imgsz": 96, "freeze": [0, "model.1"], "name": "007", "multi_scale": True})
    save_yaml(tmp_path / "args.yaml", before.as_dict())
    assert get_options({"cfg": tmp_path / "args.yaml"}).as_dict() == before.as_dict()


@pytest.mark.parametrize(
    ("text", "said"),
    [("imgsz: big", "imgsz='big'"), ("imgsize: 3", "'imgsize'"), ("cfg: b.yaml", "cfg cannot"),
     ("mode: trainn", "mode must be one of"),
     ("name: [7]", "expected text"), ("1: 2", "no option 1"), ("imgsz: 1\nimgsz: 2", "line 2")],
)  # fmt: skip
def test_mistakes_in_a_file_name_the_file(tmp_path, text, said):
    path = tmp_path / "my.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        get_options({"cfg": path})
    assert str(caught.value).startswith(str(path))
    assert said in str(caught.value)


@pytest.fixture
def edited(tmp_path, monkeypatch):
    """Edit a copy of default.yaml that is used instead of it."""

    def edit(old: str, new: str) -> Path:
        text = cfg.DEFAULT_YAML.read_text(encoding="utf-8")
        assert old in text
        path = tmp_path / "default.yaml"
        path.write_text(text.replace(old, new), encoding="utf-8")
        monkeypatch.setattr(cfg, "DEFAULT_YAML", path)
        return path

    return edit


def test_default_yaml_is_edited(edited):
    edited("imgsz: 640", "imgsz: 320")
    assert get_options().imgsz == 320
    assert get_options({"imgsz": 64}).imgsz == 64


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("task:", "task: detection", "task='detection': expected detect"),
        ("epochs: 100", "epochs: -3", "epochs=-3"),
        ("epochs: 100", "epoch: 100", "did you mean epochs"),
        ("epochs: 100", "epochs 100", "line"),
        ("epochs: 100", "#", "no row for epochs"),
        ("epochs: 100", "epochs:", "epochs=None"),
        ("cfg:", "cfg: none.yaml", "none.yaml"),
    ],
)
def test_a_mistake_in_default_yaml_names_the_file(edited, old, new, said):
    path = edited(old, new)
    with pytest.raises(ConfigError) as caught:
        get_options()
    assert said in str(caught.value)
    assert str(path) in str(caught.value) or "none.yaml" in said
