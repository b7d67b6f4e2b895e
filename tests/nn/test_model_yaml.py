"""Which file a model YAML's name stands for, its scale, and the rows that a forgotten number leaves behind."""

import pytest

from tests.nn.described import HEAD, build, describe, layers
from ultralytics.cfg import CFG_DIR
from ultralytics.nn.tasks import DetectionModel, parse_model, yaml_model_load
from ultralytics.utils.errors import ModelError
from ultralytics.utils.files import load_yaml, save_yaml


def test_letter_in_the_name_is_the_scale():
    d = yaml_model_load("yolov8s-C2f-DynamicConv.yaml")
    assert d["scale"] == "s"
    assert d["yaml_file"] == "yolov8s-C2f-DynamicConv.yaml"
    assert d["backbone"][2][2] == "C2f_DynamicConv"


def test_a_path_wins_and_may_carry_a_letter_its_file_has_not(tmp_path, monkeypatch):
    d = yaml_model_load("yolov8.yaml")
    text = "nc: 7\nscales: {n: [1, 0.5, 64], q: [1, 1, 64]}\nbackbone: [[-1, 1, Conv, [64, 3, 2]]]\nhead: []\n"
    (tmp_path / "yolov8.yaml").write_text(text, encoding="utf-8")
    assert yaml_model_load(tmp_path / "yolov8q.yaml")["scale"] == "q"
    monkeypatch.chdir(tmp_path)
    mine = yaml_model_load("yolov8n.yaml")
    assert (mine["nc"], mine["scale"], d["nc"]) == (7, "n", 80)


@pytest.mark.parametrize(
    "name", ["yolov8s_CBAM.yaml", "yolov8sCBAM.yaml", "my_yolov8s.yaml", "yolov8s copy.yaml", "yolov8s.best.yaml"]
)
def test_a_letter_anywhere_is_the_scale_if_it_can_only_be_one(name, tmp_path):
    text = "nc: 7\nscales: {n: [1, 0.5, 64], s: [1, 1, 64]}\nbackbone: [[-1, 1, Conv, [64, 3, 2]]]\nhead: []\n"
    for file in (name, name.replace("8s", "8")):  # its own file, and the file without the letter
        (tmp_path / file).write_text(text, encoding="utf-8")
        assert yaml_model_load(tmp_path / name)["scale"] == "s"
        (tmp_path / file).unlink()
    (tmp_path / name).write_text(text.replace("s: [", "m: ["), encoding="utf-8")
    if name != "yolov8s.best.yaml":
        assert "scale" not in yaml_model_load(tmp_path / name)  # the file has no such scale: just a name


def test_a_row_that_nobody_takes_is_said(tmp_path, warnings):
    rows = "backbone: [[-1, 1, Conv, [8]], [0, 1, Conv, [8], a], [0, 1, Conv, [8]]]\nhead: [[[-1], 1, Detect, [nc]]]\n"
    (tmp_path / "mine.yaml").write_text("nc: 1\n" + rows, encoding="utf-8")
    yaml_model_load(tmp_path / "mine.yaml")
    assert len(warnings()) == 1 and "no row takes the output of row 1 [0, 1, 'Conv', [8], 'a']" in warnings()[0]
    (tmp_path / "mine.yaml").write_text("nc: 1\n" + rows.replace("[[-1], 1, D", "[[a, -1], 1, D"), encoding="utf-8")
    yaml_model_load(tmp_path / "mine.yaml")
    assert len(warnings()) == 1


def test_numbers_that_were_not_raised_behind_an_inserted_row_are_said(tmp_path, warnings):
    file, d = tmp_path / "yolov8n-SE.yaml", load_yaml(CFG_DIR / "models" / "v8" / "yolov8.yaml")
    d["backbone"].append([-1, 1, "SE", [16]])  # row 10, the README's
    save_yaml(file, d)
    yaml_model_load(file)
    (said,) = warnings()
    assert said.startswith(f"{file}: rows were inserted into those of yolov8.yaml or taken out, and numbers behind")
    assert said.endswith(
        "row 18 Concat takes 12, which is row 13 now; row 23 Detect takes 15, which is row 16 now; "
        "row 23 Detect takes 18, which is row 19 now; row 23 Detect takes 21, which is row 22 now"
    )
    for row in d["head"]:
        row[0] = [f if f < 10 else f + 1 for f in row[0]] if isinstance(row[0], list) else row[0]
    save_yaml(file, d)
    yaml_model_load(file)
    assert len(warnings()) == 1


@pytest.mark.parametrize("file", sorted(CFG_DIR.glob("models/**/*.yaml")), ids=lambda file: file.stem)
def test_no_model_of_the_tree_has_forgotten_numbers(file, warnings):
    yaml_model_load(file)
    assert not warnings()


@pytest.mark.parametrize(("key", "value"), [("reg_max", 8), ("end2end", True)])
def test_keys_that_would_change_the_head_are_not_ignored(key, value):
    with pytest.raises(ModelError, match=f"mine.yaml: `{key}: {value}` "):
        build([-1, 1, "Conv", [8]], **{key: value})
    assert build([-1, 1, "Conv", [8]], reg_max=16, end2end=False).model[-1].reg_max == 16


@pytest.mark.parametrize("name", ["yolov8z.yaml", "yolov8z-p2.yaml"])
def test_a_letter_that_is_no_scale(name):
    with pytest.raises(ModelError, match=f"{name}.*no scale 'z'.*it has n, s, m, l, x"):
        yaml_model_load(name)


def test_a_letter_for_a_file_without_scales(tmp_path):
    (tmp_path / "yolov8-own.yaml").write_text("nc: 1\nbackbone: []\nhead: []\n", encoding="utf-8")
    with pytest.raises(ModelError, match="no `scales` at all"):
        yaml_model_load(tmp_path / "yolov8n-own.yaml")
    (tmp_path / "yolov8n-own.yaml").write_text("nc: 1\nbackbone: []\nhead: []\n", encoding="utf-8")
    assert yaml_model_load(tmp_path / "yolov8n-own.yaml")["nc"] == 1  # its own name, not a scale


@pytest.mark.parametrize("name", ["yolov8N.yaml", "yolov8nano.yaml", "YOLOV8n.yaml", "yolov8-Dynamic.yaml"])
def test_other_letters_are_part_of_the_name(name, tmp_path):
    with pytest.raises(ModelError, match=f"{name}.*nearest"):
        yaml_model_load(name)
    (tmp_path / name).write_text("scales: {q: [1, 1, 64]}\nbackbone: []\nhead: []\n", encoding="utf-8")
    assert "scale" not in yaml_model_load(tmp_path / name)


def test_no_letter_takes_the_first_scale_with_a_warning(warnings):
    d = describe([-1, 1, "Conv", [64]], scales={"s": [1, 0.5, 1024], "n": [1, 0.25, 1024]})
    assert parse_model(d, 3, verbose=False)[0][0].conv.out_channels == 32
    assert d["scale"] == "s"
    assert len(warnings()) == 1
    assert "mine.yaml: no scale letter" in warnings()[0]


def test_a_network_remembers_how_to_build_it_again():
    first = DetectionModel("yolov8s.yaml", ch=1, nc=5, verbose=False)
    again = DetectionModel(first.yaml, verbose=False)
    shapes = [{k: v.shape for k, v in model.state_dict().items()} for model in (first, again)]
    assert shapes[0] == shapes[1]
    assert (again.nc, again.names[4], again.model[0].conv.in_channels) == (5, "4", 1)


def test_multiples_of_older_yamls():
    row = [-1, 6, "C2f", [64, True]]
    (block,) = layers(row, depth_multiple=0.33, width_multiple=0.5, head=HEAD)[:1]
    assert (block.cv2.conv.out_channels, len(block.m)) == (32, 2)


@pytest.mark.parametrize("scale", [[0.33, 0.25], "big", [1, 2, "x"]])
def test_a_malformed_scale(scale):
    with pytest.raises(ModelError, match=r"mine.yaml: scale 'n' must be \[depth, width, max_channels\]"):
        build([-1, 1, "Conv", [8]], scales={"n": scale}, scale="n")


def test_scales_that_are_no_mapping():
    with pytest.raises(ModelError, match=r"mine\.yaml: `scales:` must be rows"):
        build([-1, 1, "Conv", [8]], scales=[1, 1, 64])
