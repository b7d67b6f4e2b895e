"""Every name that a module of the public package defines is there, or a sentence says what to use instead."""

import importlib
import json
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ultralytics import utils
from ultralytics.data import build
from ultralytics.data import utils as data_utils
from ultralytics.utils import ops
from ultralytics.utils.checks import check_version
from ultralytics.utils.errors import DatasetError
from ultralytics.utils.refused import RefusedImportError

# Of 8.4.190, and a few of earlier releases, by module; of a module that is refused whole none.
NAMES = json.loads(Path(__file__).with_name("names.json").read_text(encoding="utf-8"))


def imports(line):
    """Whether a line of import works; False if it is refused, and any other error is raised."""
    try:
        exec(line, {})
    except RefusedImportError:
        return False
    return True


def test_a_name_is_there_or_refused():
    lines = [f"from {module} import {name}" for module, names in NAMES.items() for name in names.split()]
    assert sum(map(imports, lines)) > 400 and len(lines) > 800


def test_refused_modules_are_refused_whole():
    for module in (module for module, names in NAMES.items() if not names):
        with pytest.raises(RefusedImportError, match="is not in this tree: "):
            importlib.import_module(module)


def test_rotated_boxes_with_angles_of_a_quarter_turn():
    boxes = [[10, 10, 4, 8, 0.3], [10, 10, 8, 4, 2.0], [1, 1, 3, 3, -1.0], [1, 1, 2, 5, 4.0]]
    expected = [[10, 10, 4, 8, 0.3], [10, 10, 4, 8, 0.4292], [1, 1, 3, 3, 0.5708], [1, 1, 2, 5, 0.8584]]
    found = ops.regularize_rboxes(torch.tensor(boxes))
    assert found.tolist() == [pytest.approx(row, abs=1e-4) for row in expected]


def test_values_to_fill():
    assert ops.empty_like(torch.zeros(2, 3, dtype=torch.int32)).dtype == torch.int32
    assert ops.empty_like(np.zeros((2, 3))).shape == (2, 3)


def test_masks_of_polygons():
    first = np.array([2.0, 2, 20, 2, 20, 14, 2, 14])
    second = np.array([10.0, 5, 30, 5, 30, 25, 10, 25])
    assert data_utils.polygon2mask((30, 40), [first]).sum() == 247
    both = data_utils.polygon2mask((30, 40), [first, second], color=3, downsample_ratio=2)
    assert (both.shape, both.sum(), both.max()) == ((15, 20), 391, 3)
    assert data_utils.polygons2masks((30, 40), [first, second], 1, 2).sum((1, 2)).tolist() == [69, 120]
    index_map, order = data_utils.polygons2masks_overlap((30, 40), [first.reshape(-1, 2), second.reshape(-1, 2)], 2)
    assert np.bincount(index_map.ravel()).tolist() == [146, 85, 69] and order.tolist() == [1, 0]
    assert index_map.dtype == np.uint8
    assert data_utils.polygons2masks_overlap((30, 40), [first] * 300)[0].dtype == np.int32


def test_sizes_and_checks_of_images(tmp_path):
    image = Image.new("RGB", (20, 30))
    exif = image.getexif()
    exif[0x0112] = 6  # to be turned
    image.save(tmp_path / "turned.jpg", exif=exif)
    image.save(tmp_path / "plain.jpg")
    for name, size in (("turned.jpg", (30, 20)), ("plain.jpg", (20, 30))):
        assert data_utils.exif_size(Image.open(tmp_path / name)) == size
        entry = str(tmp_path / name), 3
        assert data_utils.verify_image((entry, "val: ")) == (entry, 1, 0, "")
    Image.new("RGB", (5, 5)).save(tmp_path / "small.jpg")
    entry = str(tmp_path / "small.jpg"), 3
    found = data_utils.verify_image((entry, "val: "))
    assert found[:3] == (entry, 0, 1) and found[3].startswith(f"val: {entry[0]}: 5 x 5 pixels")


def test_the_yaml_of_a_folder(tmp_path):
    folder = tmp_path / "cells"
    (folder / "sub").mkdir(parents=True)
    with pytest.raises(DatasetError, match=r"expected one YAML .* or one named cells.yaml; found none"):
        data_utils.find_dataset_yaml(folder)
    for name in ("sub/x.yaml", "data.yaml"):
        (folder / name).write_text("")
        assert data_utils.find_dataset_yaml(folder) == folder / name
    (folder / "other.yaml").write_text("")
    with pytest.raises(DatasetError, match=r"found .*data.yaml, .*other.yaml"):
        data_utils.find_dataset_yaml(folder)
    (folder / "cells.yaml").write_text("")
    assert data_utils.find_dataset_yaml(folder) == folder / "cells.yaml"


def test_workers_draw_as_torch_is_seeded():
    drawn = []
    with torch.random.fork_rng():
        for seed in (5, 5, 6):
            torch.manual_seed(seed)
            build.seed_worker(0)
            drawn.append(np.random.rand())
    assert drawn[0] == drawn[1] != drawn[2]


def test_threads():
    @utils.threaded
    def add(x):
        return x + 1

    thread = add(1)
    assert isinstance(thread, threading.Thread) and thread.daemon
    thread.join()
    assert add(1, threaded=False) == 2

    inside = []

    @utils.ThreadingLocked()
    def enter():
        """Be alone."""
        inside.append(1)
        assert len(inside) == 1
        inside.pop()
        return "out"

    threads = [threading.Thread(target=enter) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (enter(), enter.__name__, enter.__doc__, inside) == ("out", "enter", "Be alone.", [])


def test_errors_that_are_logged(caplog):
    with utils.TryExcept("reading"):
        1 / 0  # noqa: B018
    assert "reading: division by zero" in caplog.text

    @utils.TryExcept(verbose=False)
    def fail():
        raise ValueError("hidden")

    assert fail() is None and "hidden" not in caplog.text
    with pytest.raises(KeyboardInterrupt), utils.TryExcept():
        raise KeyboardInterrupt


def test_addresses():
    for url, clean, name in (
        ("https://a.b/c.txt?auth=1", "https://a.b/c.txt", "c.txt"),
        (Path("https://a.b/c%20d.txt?x"), "https://a.b/c d.txt", "c d.txt"),
        ("/x/y.pt", "/x/y.pt", "y.pt"),
        ("rtsp://u:p@h:55/s?x=1", "rtsp://u:p@h:55/s", "s"),
    ):
        assert (utils.clean_url(url), utils.url2file(url)) == (clean, name)


def test_yaml_is_logged(caplog):
    utils.yaml_print({"a": 1, "b": [1, 2]})
    assert "a: 1\nb:\n- 1\n- 2\n" in caplog.text


@pytest.mark.parametrize(
    ("current", "required", "fits"),
    [
        ("1.2.3", "~=1.2", True),
        ("2.0", "~=1.2", True),
        ("1.1.9", "~=1.2", False),
        ("1.3", "~1.2", True),
        ("0.9", "~1.2", False),
        ("1.2.3", "^1.2", True),
        ("1.2.3", " >= 1.0 , < 2 ", True),
        ("2.1", ">=1.0,<2", False),
        ("1.2", "==1.2.0", True),
        ("1.2.3", "!=1.2.3", False),
        ("1.2.3", "1.4", False),
    ],
)
def test_versions_that_fit(current, required, fits):
    assert check_version(current, required) is fits
