"""The `yolo` command, as people who know the public package type it."""

import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import ultralytics
from tests.test_imports import imported_by
from ultralytics import YOLO, cfg
from ultralytics.__main__ import RUN, SPECIAL, main
from ultralytics.cfg.command import MODES, REFUSED_MODES, SPECIAL_MODES, Command, parse_command, parse_words
from ultralytics.utils.files import load_yaml

ROOT = Path(__file__).parents[2]


@pytest.fixture
def yolo(tmp_path, monkeypatch, capsys):
    """`yolo("train data=a.yaml")` in tmp_path: what it printed; the sentence it ended with, or None."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("YOLO_TRACEBACK", raising=False)

    def run(line: str) -> tuple[str, str | None]:
        sentence = None
        monkeypatch.setattr(sys, "argv", ["yolo", *line.split()])
        try:
            main()
        except SystemExit as end:
            sentence = str(end.code)
        return capsys.readouterr().out, sentence

    return run


SHORT = "imgsz=32 batch=4 workers=0 device=cpu plots=False"


@pytest.mark.public("cli::train")
def test_train(yolo, words, tmp_path):
    line = f"train {words['task']} model=tiny.yaml {words['data']} epochs=1 nbs=4 cache=disk {SHORT}"
    _, sentence = yolo(line)
    assert sentence is None
    assert (tmp_path / "runs" / "train" / "exp" / "weights" / "best.pt").exists()


@pytest.mark.public("cli::val", "python::val")
def test_val(yolo, words, weights, caplog):
    saved = "" if words["task"] == "classify" else "save_txt"
    _, sentence = yolo(f"val {words['task']} model={weights} {words['data']} {SHORT} {saved}")
    assert sentence is None and "Speed: " in caplog.text


@pytest.mark.public("cli::predict")
def test_predict(yolo, words, weights, tmp_path):
    saved = "save_txt" if words["task"] == "classify" else "save_txt save_crop"
    _, sentence = yolo(
        f"{words['task']} predict model={weights} source={words['image']} imgsz=32 {saved} visualize=False"
    )
    assert sentence is None
    assert (tmp_path / "runs" / "detect" / "exp" / words["image"].name).exists()


@pytest.mark.public("cli::export")
def test_export(yolo, words, weights, tmp_path):
    out, sentence = yolo(f"export {words['task']} model={weights} format=torchscript imgsz=32 optimize=False")
    assert sentence is None and str(tmp_path / "best.torchscript") in out
    assert (tmp_path / "best.torchscript").exists()


@pytest.mark.public("cli::special_modes")
def test_special_modes(yolo, tmp_path):
    for name in SPECIAL_MODES:
        out, sentence = yolo(name)
        assert sentence is None and out.strip(), name
    assert yolo("version")[0] == f"{ultralytics.__version__}\n" == yolo("-v")[0]
    assert yolo("help")[0] == yolo("")[0] == yolo("train --help")[0] == yolo("-h")[0]
    assert "epochs: 100" in yolo("cfg")[0]
    assert "There is no settings file" in yolo("settings reset")[0]
    assert load_yaml(tmp_path / "default_copy.yaml") == dict(cfg.DEFAULT_CFG_DICT)


@pytest.mark.public("cli::cli_imports_defer_torchvision")
@pytest.mark.parametrize("mode", ["version", "help", "cfg", "settings", "copy-cfg"])
def test_words_about_the_package_import_no_torch(mode, tmp_path, monkeypatch):
    code = f"from ultralytics.__main__ import main; main('{mode}')"
    if mode == "copy-cfg":
        code = f"from ultralytics.cfg.command import parse_command; parse_command(['{mode}'])"
    assert not imported_by(code, tmp_path) & {"torch", "numpy", "cv2", "torchvision", "timm"}


def test_it_is_a_module_and_two_commands(tmp_path):
    section = (
        (ROOT / "pyproject.toml").read_text(encoding="utf-8").partition("[project.scripts]\n")[2].partition("[")[0]
    )
    scripts = dict(re.findall(r'^(\w+) = "(.+)"$', section, re.MULTILINE))
    assert set(scripts) == {"yolo", "ultralytics"}
    for entry in scripts.values():
        module, _, function = entry.partition(":")
        assert getattr(import_module(module), function) is main is cfg.entrypoint
    command = [sys.executable, "-m", "ultralytics", "version"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == f"{ultralytics.__version__}\n" and not done.stderr


def test_every_mode_has_a_function():
    assert set(RUN) == set(MODES) and set(SPECIAL) == set(SPECIAL_MODES)


@pytest.mark.parametrize(
    ("line", "command"),
    [
        ("train data=a.yaml", Command("train", None, ("data=a.yaml",))),
        ("detect train data=a.yaml model=b.pt", Command("train", "detect", ("data=a.yaml", "model=b.pt"))),
        ("predict segment source=0", Command("predict", "segment", ("source=0",))),
        ("imgsz=64 val", Command("val", None, ("imgsz=64",))),
        ("mode=export model=a.pt", Command("export", None, ("model=a.pt",))),
        ("task=obb mode=train", Command("train", None, ("task=obb",))),
        ("train --imgsz=64 epochs = 3 data= a.yaml", Command("train", None, ("imgsz=64", "epochs=3", "data=a.yaml"))),
        ("predict classes=[0, 2] save, show", Command("predict", None, ("classes=[0, 2]", "save=True", "show=True"))),
        ("settings runs_dir=/x", Command("settings", None, ("runs_dir=/x",))),
        ("checks version", Command("checks", None, ("version",))),
        ("train val=False", Command("train", None, ("val=False",))),
    ],
)
def test_grammar(line, command):
    assert parse_command(line.split()) == command


def test_a_file_of_options_names_the_mode(tmp_path):
    path = tmp_path / "args.yaml"
    path.write_text("mode: val\nimgsz: 64\n", encoding="utf-8")
    assert parse_command([f"cfg={path}"]) == Command("val", None, (f"cfg={path}",))


MISTAKES = [
    ("predictt model=a.pt", "OptionNameError: yolo predictt: did you mean predict"),
    ("detekt train", "OptionNameError: yolo detekt: did you mean detect"),
    ("train imgszz=64", "OptionNameError: there is no option 'imgszz': did you mean imgsz"),
    ("train imgsz", "ConfigError: imgsz has no value: write imgsz=value"),
    ("train a.yaml", "OptionNameError: yolo a.yaml: .*Tasks are detect"),
    ("mode=trai", "OptionNameError: yolo mode=trai: did you mean train"),
    ("detect", "ConfigError: what is to be done\\? Write one of train, val"),
    ("model=a.pt", "ConfigError: what is to be done"),
    ("train val", "ConfigError: yolo train val: one at a time; an option is written val=True"),
    ("track model=a.pt", "ConfigError: yolo track: tracking is not supported"),
    ("login KEY", "ConfigError: yolo login: belongs to an online service"),
    ("detect train task=segment", "ConfigError: task=segment contradicts the word detect"),
    ("predict model=gone.pt source=a.jpg", "CheckpointError: .*gone.pt"),
    ("val", "CheckpointError: there is no best.pt below runs/train"),
    ("train resume", "CheckpointError: there is no last.pt below runs/train"),
    ("export model=yolov8n.yaml format=engine", "ConfigError: format='engine': expected onnx or torchscript"),
    ("predict save_frames", "ConfigError: save_frames belongs to saving single frames"),
    ("export int8 model=a.pt", "ConfigError: int8 is not supported: quantization needs"),
    ("train scale=s", "ConfigError: scale='s': .*name: write model=yolov8s.yaml"),
    ("info model=yolov8n.yaml epochs=3", "ConfigError: epochs changes nothing in yolo info"),
    ("compare data=shapes.yaml", "ConfigError: models= is missing"),
    ("compare models=[a.yaml] modells=3", "OptionNameError: .*modells"),
    ("segment predict model=yolov8n.yaml source=a.jpg", "ConfigError: task=segment was asked for"),
]


@pytest.mark.parametrize(("line", "pattern"), MISTAKES, ids=[line for line, _ in MISTAKES])
def test_a_mistake_is_one_sentence(yolo, line, pattern):
    _, sentence = yolo(line)
    assert sentence is not None and "\n" not in sentence and re.match(pattern, sentence), sentence


def test_every_refused_mode_says_why():
    for name, reason in REFUSED_MODES.items():
        with pytest.raises(ValueError, match=f"^yolo {name}: {re.escape(reason)}$"):
            parse_command([name])


def test_info_and_what_is_taken_where_nothing_is_given(yolo, monkeypatch, caplog):
    assert yolo("info model=yolov8n.yaml imgsz=320")[1] is None
    assert "3157200" in caplog.text.replace(",", "")
    asked = {}
    monkeypatch.setattr(YOLO, "train", lambda self, **options: asked.update(options))
    out, _ = yolo("classify train epochs=3")
    assert asked == {"epochs": 3, "task": "classify", "data": "shapes-cls.yaml"}
    assert "model=yolov8n-DynamicConv-cls.yaml, as none is given" in out


# Lines as the documentation of train, val, predict and export has them, one for every option, and older habits. The
# public package takes all of them and of REFUSED (8.4.190, run by its own parser).
LINES = """
detect train data=coco8.yaml model=yolov8n.yaml epochs=100 imgsz=640
detect train data=coco8.yaml model=yolov8n.pt epochs=100 imgsz=640
detect train data=coco8.yaml model=yolov8n.yaml pretrained=yolov8n.pt epochs=100 imgsz=640
detect train data=[coco8.yaml,coco128.yaml] model=yolov8n.pt
segment train data=coco8-seg.yaml model=yolov8n-seg.yaml overlap_mask=False mask_ratio=2
pose train data=coco8-pose.yaml model=yolov8n-pose.pt pose=10 kobj=2.0 flipud=0.0
obb train data=dota8.yaml model=yolov8n-obb.yaml angle=1.0
classify train data=mnist160 model=yolov8n-cls.pt epochs=100 imgsz=64 dropout=0.2 auto_augment=augmix erasing=0.3
train resume model=path/to/last.pt
train resume=True
train data=a.yaml model=b.yaml time=0.5 patience=50 save_period=10
train data=a.yaml model=b.yaml batch=-1
train data=a.yaml model=b.yaml batch=0.7
train data=a.yaml model=b.yaml cache=ram
train data=a.yaml model=b.yaml cache workers=4 device=0
train data=a.yaml model=b.yaml device=cpu project=runs name=0 exist_ok
train data=a.yaml model=b.yaml optimizer=AdamW lr0=0.001 lrf=0.1 momentum=0.9 weight_decay=0.0
train data=a.yaml model=b.yaml optimizer=RAdam
train data=a.yaml model=b.yaml seed=1 deterministic=False single_cls=True classes=[0,2]
train data=a.yaml model=b.yaml rect multi_scale=0.5 cos_lr close_mosaic=0
train data=a.yaml model=b.yaml multi_scale=0.25
train data=a.yaml model=b.yaml amp=False
train data=a.yaml model=b.yaml amp=fp16
train data=a.yaml model=b.yaml fraction=0.1
train data=a.yaml model=b.yaml fraction=200
train data=a.yaml model=b.yaml profile=False freeze=10
train data=a.yaml model=b.yaml freeze=[0,1,2]
train data=a.yaml model=b.yaml warmup_epochs=1 warmup_momentum=0.5 warmup_bias_lr=0.05
train data=a.yaml model=b.yaml box=7 cls=1 dfl=2 nbs=32 plots val=False compile=False
train data=a.yaml model=b.yaml hsv_h=0.1 hsv_s=0.5 hsv_v=0.5 degrees=10 translate=0.2 scale=0.9 shear=2
train data=a.yaml model=b.yaml perspective=0.0005
train data=a.yaml model=b.yaml scale=0.5,1.2
train data=a.yaml model=b.yaml flipud=0.5 fliplr=0.5 bgr=0.1 mosaic=0.5 mixup=0.1 cutmix=0.1
train data=a.yaml model=b.yaml copy_paste=0.3 copy_paste_mode=mixup
train data=a.yaml model=b.yaml label_smoothing=0.1
train data=a.yaml model=b.yaml cls_pw=0.0 cls_remap=True dis=6 distill_model=None
train data=a.yaml model=b.yaml imgsz=[640]
train cfg=args.yaml
train data=a.yaml model=b.yaml save_dir=runs/here
val model=yolov8n.pt
detect val model=path/to/best.pt data=coco8.yaml batch=16 imgsz=640 conf=0.25 iou=0.7 device=0
val model=best.pt data=a.yaml split=test save_json=True save_txt save_conf plots=True
val model=best.pt data=a.yaml half=True
val model=best.pt data=a.yaml augment
val model=best.pt data=a.yaml save_hybrid=True dnn=False max_det=100 rect=False agnostic_nms
val model=best.pt data=a.yaml classes=0 verbose=False
val model=yolov8n-seg.pt retina_masks
detect predict model=yolov8n.pt source=image.jpg
predict model=yolov8n.pt source=0 show stream_buffer=False
predict model=yolov8n.pt source='photos/*.jpg' imgsz=480,640 conf=0.5 iou=0.6 half=True
predict model=yolov8n.pt source=video.mp4 vid_stride=2 save_frames=False
predict model=yolov8n.pt source=a.jpg augment=True agnostic_nms=True classes=[0, 2] max_det=50
predict model=yolov8n.pt source=a.jpg visualize=False embed=None batch=4
predict model=yolov8n.pt source=a.jpg save_txt save_conf save_crop line_width=2
predict model=yolov8n.pt source=a.jpg show_labels=False show_conf=False show_boxes=False
predict model=yolov8n.pt source=a.jpg hide_labels=True hide_conf=True line_thickness=2 boxes=True
predict model=yolov8n.pt source=a.jpg classes=99
predict model=yolov8n.pt source=a.jpg tracker=botsort.yaml
predict model=yolov8n-seg.pt source=a.jpg retina_masks=True
predict --model=yolov8n.pt --source=a.jpg --save=True
predict model = yolov8n.pt source = a.jpg
export model=yolov8n.pt format=onnx
export model=yolov8n.pt format=torchscript optimize=False
export model=yolov8n.pt format=onnx imgsz=640,480 dynamic simplify opset=12
export model=yolov8n.pt format=onnx opset=11 simplify=False
export model=yolov8n.pt format=onnx int8=False nms=False workspace=4 keras=False batch=4 device=cpu
export model=yolov8n.pt format=onnx half=True
export model=yolov8n-cls.pt format=onnx imgsz=224,224
"""
# The others, which would do what this tree does not.
REFUSED = {
    "train data=a.yaml model=b.yaml optimizer=MuSGD": "optimizer='MuSGD': expected auto",
    "train data=a.yaml model=b.yaml cls_pw=0.5": "cls_pw is not supported",
    "predict model=yolov8n.pt source=a.jpg save_frames": "save_frames belongs to saving single frames of a video",
    "export model=yolov8n.pt format=engine": "format='engine': expected onnx or torchscript",
    "export model=yolov8n.pt format=onnx int8=True": "int8 is not supported",
    "export model=yolov8n.pt format=onnx nms=True": "nms is not supported",
    "export model=yolov8n.pt format=onnx workspace=8": "workspace belongs to TensorRT",
}


def test_lines_of_the_documentation():
    lines = LINES.strip().splitlines()
    assert len(lines) >= 65
    for line in lines:
        command = parse_command(line.split())
        options, _ = parse_words(command.words)
        assert command.mode in RUN and (options or "tracker" in line or "cfg" in line), line


@pytest.mark.parametrize("line", REFUSED)
def test_refused_lines_name_the_option(line):
    with pytest.raises(ValueError, match=REFUSED[line]):
        parse_words(parse_command(line.split()).words)
