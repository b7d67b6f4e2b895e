"""Dataset YAMLs: where things are looked for, what the classes are called, and a sentence for every mistake."""

from pathlib import Path

import pytest

from ultralytics.data import utils
from ultralytics.data.shapes.scenes import Recipe
from ultralytics.data.utils import load_data_yaml
from ultralytics.utils.errors import ConfigError, DatasetError


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A folder that is the current one, with an empty source tree beside it."""
    for name in ("home", "tree"):
        (tmp_path / name).mkdir()
    (tmp_path / "tree" / "pyproject.toml").touch()
    monkeypatch.chdir(tmp_path / "home")
    monkeypatch.setattr(utils, "SOURCE_TREE", tmp_path / "tree")
    return tmp_path / "home"


def make(folder: Path, text: str, splits=("train", "val"), name: str = "data.yaml") -> Path:
    for split in splits:
        (folder / "images" / split).mkdir(parents=True, exist_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


BASIC = "train: images/train\nval: images/val\nnames: [a, b]\n"


def test_without_a_path_everything_is_beside_the_yaml(home):
    data = load_data_yaml(make(home / "set", BASIC))
    assert data["path"] == home / "set"
    assert data["yaml_file"] == home / "set" / "data.yaml"
    assert data["train"] == [home / "set" / "images" / "train"]
    assert data["val"] == [home / "set" / "images" / "val"]
    assert data["test"] == []
    assert data["names"] == {0: "a", 1: "b"}
    assert data["nc"] == 2 and "channels" not in data  # the network decides


def test_path_is_the_first_place_that_exists(home):
    file = make(home / "yamls", "path: set\n" + BASIC, splits=())
    places = [
        home / "yamls" / "set",
        home / "set",
        home / "datasets" / "set",
        home.parent / "tree" / "datasets" / "set",
    ]
    for place in reversed(places):
        for split in ("train", "val"):
            (place / "images" / split).mkdir(parents=True)
        assert load_data_yaml(file)["path"] == place


def test_absolute_path_and_home(home, monkeypatch):
    make(home / "set", "")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    for path in (home / "set", "~/set"):
        file = make(home / "yamls", f"path: {path}\n" + BASIC, splits=())
        assert load_data_yaml(file)["path"] == home / "set"


def test_error_names_every_place_tried(home):
    file = make(home / "yamls", "path: set\n" + BASIC, splits=())
    with pytest.raises(DatasetError, match="train: images/train` does not exist") as caught:
        load_data_yaml(file)
    tree = home.parent / "tree" / "datasets"
    for folder in (home / "yamls", home, home / "datasets", tree):
        assert str(folder / "set" / "images" / "train") in str(caught.value)
    assert str(caught.value).endswith("; correct the path")


def test_only_what_is_needed_has_to_be_there(home):
    file = make(home / "set", BASIC + "test: images/test\n")
    assert load_data_yaml(file)["test"] == [home / "set" / "images" / "test"]
    with pytest.raises(DatasetError, match="test: images/test"):
        load_data_yaml(file, need=("test",))
    assert load_data_yaml(make(home / "b", "val: images/val\nnames: [a]"), need=("val",))["train"] == []


@pytest.mark.parametrize("split", ["train", "val"])
def test_missing_split_is_named(home, split):
    text = "".join(line for line in BASIC.splitlines(True) if not line.startswith(split))
    with pytest.raises(DatasetError, match=f"has no `{split}:`"):
        load_data_yaml(make(home, text))


def test_splits_may_be_lists_of_folders_and_lists_of_images(home):
    (home / "more.txt").touch()
    file = make(home, "train: [images/train, more.txt]\nval: images/val\nnames: [a]")
    assert load_data_yaml(file)["train"] == [home / "images" / "train", home / "more.txt"]


def test_validation_is_another_word_for_val(home):
    file = make(home, BASIC.replace("val:", "validation:"))
    assert load_data_yaml(file)["val"] == [home / "images" / "val"]


def test_a_yaml_of_roboflow_is_understood(home):
    for split in ("train", "valid"):
        (home / "set" / split / "images").mkdir(parents=True)
    file = make(home / "set", "train: ../train/images\nval: ../valid/images\nnc: 1\nnames: ['a']", splits=())
    assert load_data_yaml(file)["val"] == [home / "set" / "valid" / "images"]


def test_links_are_not_followed(home):
    make(home / "real", "")
    (home / "set").mkdir()
    try:
        (home / "set" / "images").symlink_to(home / "real" / "images", target_is_directory=True)
    except OSError:
        pytest.skip("this system makes no links")
    assert load_data_yaml(make(home / "set", BASIC, splits=()))["train"] == [home / "set" / "images" / "train"]


def test_names_as_a_mapping_in_any_order(home):
    file = make(home, "train: images/train\nval: images/val\nnc: 3\nnames:\n  2: no\n  0: 人\n  1: 7\n")
    assert list(load_data_yaml(file)["names"].items()) == [(0, "人"), (1, "7"), (2, "no")]


def test_numbers_of_names_may_be_text(home):
    file = make(home, "train: images/train\nval: images/val\nnames: {'0': a, '1': b}\n")
    assert load_data_yaml(file)["names"] == {0: "a", 1: "b"}


def test_nc_alone_makes_names(home):
    file = make(home, "train: images/train\nval: images/val\nnc: 2\n")
    assert load_data_yaml(file)["names"] == {0: "class_0", 1: "class_1"}


@pytest.mark.parametrize(
    ("classes", "sentence"),
    [
        ("", "neither `names:` nor `nc:`"),
        ("nc: 3\nnames: [a, b]", "`nc: 3`, but there are 2 names"),
        ("nc: 0\nnames: []", "`nc: 0` is not a number of classes"),
        ("nc: two", "`nc: two` is not a number of classes"),
        ("names: []", "neither a list nor a mapping"),
        ("names: cat", "neither a list nor a mapping"),
        ("names: {1: a, 2: b}", "keys 1, 2, expected 0 to 1"),
        ("names: {a: 0}", "keys 'a', expected 0 to 0; write the number first: `0: a`"),
        ("names: {'1': a, '2': b}", "keys 1, 2, expected 0 to 1"),
        ("names: [a, , b]", "not valid YAML"),
        ("names: [a, ~]", "the name of class 1 is None"),
        ("names: [a, [b]]", "the name of class 1 is"),
        ("names: [a]\nchannels: 4", "`channels: 4`"),
    ],
)
def test_mistakes_in_the_classes(home, classes, sentence):
    with pytest.raises((DatasetError, ConfigError), match=sentence) as caught:
        load_data_yaml(make(home, f"train: images/train\nval: images/val\n{classes}\n"))
    assert "data.yaml" in str(caught.value)


@pytest.mark.parametrize("value", ["3", "{a: b}", "[1, 2]"])
def test_a_split_of_another_kind_is_refused(home, value):
    with pytest.raises(DatasetError, match=r"`train: .*is not a folder"):
        load_data_yaml(make(home, f"train: {value}\nval: images/val\nnames: [a]\n"))


def test_missing_yaml_names_near_ones():
    with pytest.raises(DatasetError, match=r"no dataset YAML nowhere\.yaml"):
        load_data_yaml("nowhere.yaml")


def test_a_folder_is_no_yaml(home):
    with pytest.raises(
        DatasetError, match=r"is a folder: give the YAML that .*, such as .*data\.yaml; folders of classes"
    ):
        load_data_yaml(home)


def test_unknown_keys_are_kept(home):
    data = load_data_yaml(make(home, BASIC + "kpt_shape: [2, 3]\nflip_idx: [0, 1]\nlicense: CC0\n"))
    assert (data["kpt_shape"], data["flip_idx"], data["license"]) == ([2, 3], [0, 1], "CC0")


def test_download_is_never_run(home):
    text = f"path: gone\n{BASIC}download: |\n  from pathlib import Path\n  Path('{home.as_posix()}/ran').touch()\n"
    with pytest.raises(DatasetError, match="never run"):
        load_data_yaml(make(home / "yamls", text, splits=()))
    assert not (home / "ran").exists()


def test_generated_dataset_is_drawn_where_datasets_live(home, monkeypatch):
    drawn = []

    def draw(folder):
        if not drawn:
            make(folder, "")
        drawn.append(folder)

    monkeypatch.setattr("ultralytics.data.shapes.draw.draw_shapes", draw)
    file = make(home / "yamls", "path: shapes\ngenerate: shapes\n" + BASIC, splits=())
    for _ in range(2):
        assert load_data_yaml(file)["path"] == home.parent / "tree" / "datasets" / "shapes"
    assert drawn == 2 * [home.parent / "tree" / "datasets" / "shapes"]  # the second time there is nothing to do


def test_an_installed_package_draws_under_the_current_folder(home, monkeypatch):
    monkeypatch.setattr("ultralytics.data.shapes.draw.draw_shapes", lambda folder: make(folder, ""))
    (home.parent / "tree" / "pyproject.toml").unlink()
    file = make(home / "yamls", "path: shapes\ngenerate: shapes\n" + BASIC, splits=())
    assert load_data_yaml(file)["path"] == home / "datasets" / "shapes"


def test_rows_of_drawn_datasets(home, monkeypatch):
    """What label rows hold is the YAML's to say, by the keys of the generator; scenes are those of `shapes`."""
    drawn = {}

    def draw(folder, **how):
        drawn.update(how)
        make(folder, "")

    monkeypatch.setattr("ultralytics.data.shapes.draw.draw_shapes", draw)
    names = "train: images/train\nval: images/val\nnames: [disc, star]\n"
    text = "path: outlines\ngenerate: {kind: shapes, rows: polygons}\n"
    load_data_yaml(make(home / "yamls", text + names, splits=()))
    assert drawn == {"labels": "polygons", "recipe": Recipe(classes=("disc", "star"))}
    file = make(home / "wrong", "path: wrong\ngenerate: {kind: shapes, rows: masks}\n" + names, splits=())
    with pytest.raises(DatasetError, match="rows is 'masks', expected boxes, polygons, corners, rotated or folders"):
        load_data_yaml(file)


def test_only_shapes_can_be_drawn(home):
    file = make(home / "yamls", "path: cats\ngenerate: cats\n" + BASIC, splits=())
    with pytest.raises(DatasetError, match="`generate: cats` is unknown"):
        load_data_yaml(file)


def test_real_datasets(reference):
    for folder in sorted((reference / "data").glob("*/data.yaml")):
        data = load_data_yaml(folder)
        assert data["nc"] == len(data["names"]) > 0
        assert data["val"][0].is_dir()
