"""Options and their files, as people who know the public package give them (8.4.190; keys and defaults are facts)."""

from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.engine.runs import rows_of
from ultralytics import YOLO, cfg
from ultralytics.cfg import cfg2dict, check_dict_alignment, get_cfg, get_options
from ultralytics.cfg.options import OPTIONS
from ultralytics.cfg.published import CHANGE_NOTHING, NO_LONGER, OLDER_NAMES
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.utils.errors import ConfigError, OptionNameError
from ultralytics.utils.files import load_yaml

# What a run of the public package leaves in args.yaml where only these were given: data, epochs, batch, imgsz, device,
# workers, project, plots, verbose and optimizer.
ARGS = """
task: detect
mode: train
model: yolov8n.yaml
data: {data}
epochs: 1
time: null
patience: 100
batch: 2
imgsz: 64
save: true
save_period: -1
cache: false
device: cpu
workers: 0
project: {project}
name: train
exist_ok: false
pretrained: true
cls_remap: true
optimizer: SGD
verbose: false
seed: 0
deterministic: true
single_cls: false
rect: false
cos_lr: false
close_mosaic: 10
resume: false
amp: true
fraction: 1.0
profile: false
freeze: null
multi_scale: 0.0
compile: false
channels_last: null
overlap_mask: true
mask_ratio: 4
dropout: 0.0
val: true
split: val
save_json: false
conf: null
iou: 0.7
max_det: 300
quantize: null
dnn: false
plots: false
nms: null
source: null
vid_stride: 1
stream_buffer: false
visualize: false
augment: false
agnostic_nms: false
classes: null
retina_masks: false
embed: null
show: false
save_frames: false
save_txt: false
save_conf: false
save_crop: false
show_labels: true
show_conf: true
show_boxes: true
line_width: null
format: torchscript
optimize: false
dynamic: false
simplify: true
opset: null
workspace: null
lr0: 0.01
lrf: 0.01
momentum: 0.937
weight_decay: 0.0005
warmup_epochs: 3.0
warmup_momentum: 0.8
warmup_bias_lr: 0.1
distill_model: null
dis: 6.0
box: 7.5
cls: 0.5
cls_pw: 0.0
dfl: 1.5
pose: 12.0
kobj: 1.0
rle: 1.0
angle: 1.0
dlog: 1.0
dgrad: 0.5
dlam: 1.0
nbs: 64
hsv_h: 0.015
hsv_s: 0.7
hsv_v: 0.4
degrees: 0.0
translate: 0.1
scale: 0.5
shear: 0.0
perspective: 0.0
flipud: 0.0
fliplr: 0.5
bgr: 0.0
mosaic: 1.0
mixup: 0.0
cutmix: 0.0
copy_paste: 0.0
copy_paste_mode: flip
auto_augment: randaugment
erasing: 0.4
cfg: null
tracker: tracktrack.yaml
save_dir: {project}/train
"""
# What the last release of YOLOv8, 8.2.103, writes beside these.
OLDER_ARGS = "label_smoothing: 0.0\nsave_hybrid: false\nhalf: false\nkeras: false\nint8: false\ncrop_fraction: 1.0\n"


@pytest.fixture
def args_yaml(tmp_path, data):
    """args.yaml of a run of the public package on the tiny data."""
    path = tmp_path / "args.yaml"
    path.write_text(ARGS.format(data=data, project=tmp_path / "runs") + OLDER_ARGS, encoding="utf-8")
    return path


def test_a_public_runs_args_are_options_and_only_what_was_chosen_counts_as_given(args_yaml, data, tmp_path, caplog):
    found = get_options({"cfg": args_yaml})
    assert found.given == {
        *("task", "model", "data", "epochs", "batch", "imgsz", "device", "workers", "project", "name"),
        *("verbose", "optimizer", "plots"),
    }
    assert (found.batch, found.data, found.name, found.project) == (2, str(data), "train", str(tmp_path / "runs"))
    assert found.resolve("predict").rect is True  # not the false of the file, which is a default of training
    assert not [record for record in caplog.records if record.levelname == "WARNING"]
    assert "save_dir" in caplog.text


def test_a_public_runs_args_train_again_in_a_folder_of_their_own(args_yaml, network, tmp_path):
    (tmp_path / "runs" / "train").mkdir(parents=True)
    model = YOLO(network)
    model.train(cfg=args_yaml, model=str(network))
    assert model.trainer.save_dir == tmp_path / "runs" / "train2"
    assert len(rows_of(model.trainer.save_dir)) == 1


@pytest.mark.parametrize("name", CHANGE_NOTHING)
def test_values_that_change_nothing_are_taken_without_a_word(name, caplog):
    for value in CHANGE_NOTHING[name]:
        assert get_options({name: value}) == get_options()
    with pytest.raises(ConfigError, match=f"^{name} "):
        get_options({name: "something else"})
    assert not caplog.records


def test_names_of_earlier_releases_are_translated_and_said(caplog):
    values = {"boxes": False, "line_thickness": 3, "hide_labels": True, "hide_conf": "False", "quantize": 16}
    found = get_options(values)
    assert (found.show_boxes, found.line_width, found.show_labels, found.show_conf) == (False, 3, False, True)
    assert found.half is True
    said = [record.getMessage() for record in caplog.records]
    assert "hide_labels=True is the older name of show_labels=False" in said and len(said) == len(OLDER_NAMES)
    caplog.clear()
    assert get_options({"label_smoothing": 0.1, "save_hybrid": True, "crop_fraction": 0.5}) == get_options()
    assert len(caplog.records) == len(NO_LONGER) and "label_smoothing=0.1" in caplog.text
    assert "it is ignored here, too" in caplog.text


def test_save_dir_is_the_folder_of_the_run(tmp_path):
    found = get_options({"save_dir": str(tmp_path / "here")})
    assert (found.project, found.name, found.exist_ok) == (str(tmp_path), "here", True)


@pytest.mark.parametrize(
    "values",
    [
        {"int8": True}, {"nms": True}, {"quantize": 8}, {"tracker": "mine.yaml"},
        {"workspace": 8}, {"dis": 3.0}, {"cls_pw": 0.5}, {"stream_buffer": True}, {"distill_model": "a.pt"},
        {"dnn": 1}, {"mode": "trained"}, {"cls_remap": False},
    ],
)  # fmt: skip
def test_what_would_change_something_is_refused_by_name(values):
    with pytest.raises(ConfigError, match=f"^{next(iter(values))} "):
        get_cfg(overrides=values)


# test_cfg_rejects_fuzzed_values: whatever comes, an option is a value of its type or an error that names it.
JUNK = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.lists(st.integers(), max_size=3),
    st.dictionaries(st.text(max_size=2), st.integers(), max_size=1),
)  # fmt: skip


@pytest.mark.public("python::cfg_rejects_fuzzed_values")
@given(st.sampled_from(sorted({*OPTIONS, *CHANGE_NOTHING} - {"cfg"})), JUNK)
def test_cfg_rejects_fuzzed_values(name, value):
    try:
        found = get_cfg(overrides={name: value})
    except ConfigError as exc:
        assert str(exc).startswith(name) and isinstance(exc, ValueError)
    else:
        assert vars(found).keys() == OPTIONS.keys()
        # What was taken is a value that is taken again, and stays what it is.
        assert name == "source" or get_cfg(overrides=vars(found)) == found


@pytest.mark.public("python::cfg_rejects_fuzzed_values")
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", "ten"),
        ("lr0", "fast"),
        ("save", "maybe"),
        ("imgsz", -1),
        ("conf", 1.5),
        ("workers", 0.5),
        ("seed", -1),
    ],
)
def test_wrong_values_are_value_errors(name, value):
    with pytest.raises(ValueError, match=f"^{name}={value!r}: expected "):
        get_cfg(overrides={name: value})


@pytest.mark.public("python::cfg_init")
def test_cfg_init(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SyntaxError, match=r"there is no option 'imgszz'.*imgsz") as caught:
        check_dict_alignment({"imgsz": 640}, {"imgszz": 320}, KeyError("cause"))
    assert isinstance(caught.value, OptionNameError) and isinstance(caught.value.__cause__, KeyError)
    check_dict_alignment({"imgsz": 640}, {"imgsz": 320, "mine": 1}, allowed_custom_keys={"mine"})
    cfg.copy_default_cfg()
    copy = tmp_path / "default_copy.yaml"
    assert load_yaml(copy) == dict(cfg.DEFAULT_CFG_DICT) == cfg2dict(copy)
    assert cfg2dict(SimpleNamespace(a=1)) == cfg2dict({"a": 1}) == {"a": 1}
    found = get_cfg(copy, {"imgsz": 96})
    assert (found.imgsz, found.epochs, dict(found).keys()) == (96, 100, OPTIONS.keys())
    cfg.copy_default_cfg()  # the first copy, which may have been edited, stays
    assert (tmp_path / "default_copy2.yaml").exists()


# test_train_multi: one network, several datasets, each from the same start.
@pytest.mark.public("python::train_multi")
def test_train_multi(network, settings, data, tmp_path):
    model = YOLO(network)
    before = {name: tensor.clone() for name, tensor in model.model.state_dict().items()}
    run = {**settings, "epochs": 1, "data": [str(data), str(tmp_path / "gone.yaml"), str(data)]}
    scores = model.train(**run)
    assert list(scores) == ["data", "gone", "data_2"] and scores["gone"] is None
    assert scores["data"] == scores["data_2"] and "metrics/mAP50(B)" in scores["data"]
    folder = tmp_path / "runs" / "multitrain"
    assert load_yaml(folder / "multitrain_results.json") == scores
    assert (folder / "data_2" / "weights" / "best.pt").exists()
    assert all(tensor.equal(before[name]) for name, tensor in model.model.state_dict().items())
    with pytest.raises(ConfigError, match=r"data=\[.*several datasets are for train"):
        model.val(data=[str(data), str(data)])


@pytest.mark.public("engine::train_multi_custom_trainer_metrics_and_failure_keys")
def test_a_trainer_of_ones_own_on_several_datasets(network, settings, data, tmp_path):
    class Mine(DetectionTrainer):
        scores: ClassVar[list] = []

        def final_eval(self):
            metrics = super().final_eval()
            self.scores.append(dict(metrics.results_dict))
            return metrics

    (tmp_path / "broken.yaml").write_text("names: [a]\n", encoding="utf-8")
    places = [str(tmp_path / "broken.yaml"), str(data), str(tmp_path / "gone.yaml")]
    found = YOLO(network).train(trainer=Mine, **{**settings, "epochs": 1, "data": places})
    assert list(found) == ["broken", "data", "gone"] and found["broken"] is found["gone"] is None
    assert [found["data"]] == Mine.scores and found["data"]["fitness"] >= 0


# test_train_pretrained: from the weights a YOLO was opened with, and from scratch; a run may be called 0.
@pytest.mark.public("python::train_pretrained")
@pytest.mark.parametrize("pretrained", [True, False])
def test_train_pretrained(train, settings, pretrained, caplog):
    first = train(epochs=1)
    again = train(YOLO(first.trainer.best), epochs=1, pretrained=pretrained, name=0, exist_ok=True)
    assert again.trainer.save_dir.name == "0" and again.trainer.save_dir.parent.name == "runs"
    assert ("Transferred" in caplog.text) is pretrained


# test_predict_img, classify: `classes` leaves the probabilities of these as they are, and none to the others.
@pytest.mark.public("python::predict_img")
def test_classes_of_classify(golden, picture, tmp_path, caplog):
    model = YOLO(golden / "weights" / "classify.pt")
    every = model(picture)[0].probs.data
    (chosen,) = model(picture, classes=[0, 3, 77])
    assert chosen.probs.data[[0, 3]].equal(every[[0, 3]]) and chosen.probs.data.count_nonzero() == 2
    assert {row["class"] for row in chosen.summary()} == {0, 3} == {*chosen.probs.top5[:2]}
    assert "classes=[77]: the network has the classes 0 to 9" in caplog.text
    (nothing,) = model(picture, classes=[77])
    assert (nothing.summary(), nothing.verbose()) == ([], "(no detections), ")
    assert not (nothing.plot() != picture).any() and not (tmp_path / "none.txt").exists()
    assert not Path(nothing.save_txt(tmp_path / "none.txt")).exists()
