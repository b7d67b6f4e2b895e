"""Checks that scripts begin with: results as in the public package 8.4.190, where not said otherwise."""

import logging
import sys
from pathlib import Path

import pytest
import torch

from ultralytics import YOLO
from ultralytics.utils import checks
from ultralytics.utils.errors import ConfigError, DependencyError


@pytest.mark.public("python::utils_checks")
@pytest.mark.parametrize(
    ("current", "required", "expected"),
    [
        ("1.10", "1.9", True),  # no operator: at least
        ("1.9", "1.10", False),
        ("2.0", "2.0.0", True),
        ("2.0.0", ">=1.8,<3", True),
        ("2.0", ">= 1, <3", True),
        ("2.0.0", "<2.0.0", False),
        ("2.0.1", "!=2.0.1", False),
        ("2.0", "==2.0.0", True),
        ("2.1.0+cu118", "==2.1.0", True),
        ("1.0.0rc1", ">=1.0", True),
        ("2.10.0.dev20251101+cu130", ">=2.10", True),
        ("2.0.0.1", ">2.0.0", True),
        ("v2.0", ">1", True),
        ("3.11.7", ">=3.8,<=3.11", False),
        ("2.1.3", "~=2.1", True),
        ("2.9", "~=2.1.0", True),  # as >=, as the public package reads it
        ("", "1", True),
        ("1.0", None, True),
        ("torch", ">=1.8", True),
        ("torch", ">=99", False),
        ("no-such-package", ">=1.8", False),
    ],
)
def test_versions(current, required, expected):
    assert checks.check_version(current, required) is expected


def test_a_version_that_does_not_fit_warns_or_raises(caplog):
    assert not checks.check_version("1.0", ">2", name="spam", verbose=True, msg="for eggs")
    assert "spam>2 is required, but spam==1.0 is installed for eggs" in caplog.text
    with pytest.raises(ModuleNotFoundError, match=r"spam>2 is required, but spam==1\.0 is installed"):
        checks.check_version("1.0", ">2", name="spam", hard=True)
    with pytest.raises(DependencyError, match="no-such-package>=1 is required but not installed"):
        checks.check_version("no-such-package", ">=1", hard=True)
    with pytest.raises(ConfigError, match="Invalid"):
        checks.check_version("1.0", "newest")
    assert checks.check_python("3.10") and not checks.check_python("3.99", hard=False)
    with pytest.raises(ModuleNotFoundError, match=r"Python3\.99 is required"):
        checks.check_python("3.99")


@pytest.mark.parametrize(
    ("requirements", "expected"),
    [
        ("numpy", True),
        ("torch>=99", False),
        (["numpy", "no-such-package>=2"], False),
        (("opencv-python>=4", "torch"), True),
        ("numpy>=1,<1.1", False),
        ("no-such-package; sys_platform == 'x'", True),  # not asked for on this system
        (["numpy>=1.0  # arrays", "", "# a comment"], True),
        ([("no-such-package", "numpy")], True),  # either
        (Path(__file__).parents[2] / "requirements.txt", True),
    ],
)
def test_requirements(requirements, expected):
    assert checks.check_requirements(requirements) is expected


@pytest.mark.public("python::utils_checks")
def test_nothing_is_installed_but_the_command_is_said(caplog, monkeypatch):
    monkeypatch.setattr("subprocess.Popen", lambda *_, **__: pytest.fail("it must not run anything"))
    caplog.set_level(logging.WARNING)
    assert not checks.check_requirements(["no-such-package>=2", "torch"], install=True, cmds="--no-deps")
    assert 'run `pip install "no-such-package>=2" --no-deps`' in caplog.text
    assert checks.check_requirements(["no-such-package"], exclude=["no-such-package"])
    with pytest.raises(ConfigError, match="'two words' is not a requirement"):
        checks.check_requirements("two words")


@pytest.mark.public("python::utils_checks")
@pytest.mark.parametrize(
    ("imgsz", "options", "expected"),
    [
        (640, {}, 640),
        (640, {"min_dim": 2}, [640, 640]),
        ([640], {}, 640),
        ((640,), {"min_dim": 2}, [640, 640]),
        ([640, 320], {}, [640, 320]),
        ([320, 640], {"max_dim": 1}, 640),
        (100, {}, 128),
        ([100, 65], {"stride": 64}, [128, 128]),
        ("640", {}, 640),
        ("[640,480]", {}, [640, 480]),
        (1, {"floor": 64}, 64),
        (320, {"stride": torch.tensor([8.0, 16.0, 32.0])}, 320),
    ],
)
def test_image_sizes(imgsz, options, expected, caplog):
    assert checks.check_imgsz(imgsz, **options) == expected
    assert ("in place of" in caplog.text) == (imgsz in (100, [100, 65], 1, [320, 640]))


@pytest.mark.parametrize("imgsz", [640.0, "a", [], [1, 2, 3], None])
def test_image_sizes_that_are_none(imgsz):
    with pytest.raises(ConfigError, match="imgsz="):
        checks.check_imgsz(imgsz)


def test_endings():
    checks.check_suffix(["a.pt", "b.PT", ""])
    checks.check_suffix("a.yml", (".yaml", ".yml"))
    with pytest.raises(ConfigError, match=r"source: a\.txt: expected a name ending in \.pt"):
        checks.check_suffix("a.txt", msg="source: ")


@pytest.mark.public("python::utils_checks")
def test_files_are_found_by_name(tmp_path):
    here = tmp_path / "mine.yaml"
    here.touch()
    assert checks.check_yaml(here) == str(here)
    assert checks.check_file("") == ""
    for name in ("default.yaml", "yolov8.yaml"):
        found = Path(checks.check_yaml(name))
        assert found.is_file() and found.name == name
    assert checks.check_file("nowhere.yaml", hard=False) == ""
    with pytest.raises(FileNotFoundError, match=r"there is no file yolov8-sgu\.yaml.*yolov8-seg\.yaml"):
        checks.check_yaml("yolov8-sgu.yaml")
    with pytest.raises(FileNotFoundError, match="nothing is ever downloaded"):
        checks.check_file("https://example.com/coco8.yaml")
    with pytest.raises(ConfigError, match="give a path"):
        checks.check_file("*.yaml")
    with pytest.raises(ConfigError, match=r"ending in \.yaml or \.yml"):
        checks.check_yaml("default.txt")


def test_ascii():
    assert checks.is_ascii("abc") and checks.is_ascii(5) and not checks.is_ascii("é")


def test_an_old_torch_is_named(monkeypatch):
    checks.require_torch()
    needed = Path(__file__).parents[2].joinpath("requirements.txt").read_text(encoding="utf-8")
    assert f"torch>={checks.MIN_TORCH}\n" in needed
    monkeypatch.setattr("torch.__version__", "2.6.0+cu124")
    with pytest.raises(DependencyError, match=r"^torch>=2\.7\.1 is required, but torch==2\.6\.0\+cu124 is installed"):
        YOLO("yolov8n.yaml")
    monkeypatch.setitem(sys.modules, "ultralytics.engine.model", None)  # an import that the old torch lets fail
    with pytest.raises(DependencyError, match=r"^torch>=2\.7\.1 is required"):
        exec("from ultralytics import YOLO", {})
    monkeypatch.setattr("torch.__version__", checks.MIN_TORCH)
    with pytest.raises(ModuleNotFoundError, match=r"ultralytics\.engine\.model"):
        exec("from ultralytics import YOLO", {})
