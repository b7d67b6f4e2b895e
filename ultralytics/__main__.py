"""The `yolo` command, also `python -m ultralytics`.

yolo TASK MODE name=value …      TASK, which the model decides anyhow, may be left out

yolo train data=my.yaml model=yolov8n.yaml epochs=50 imgsz=320
yolo train resume model=runs/train/exp/weights/last.pt
yolo val model=best.pt data=my.yaml split=test
yolo predict model=best.pt source=photos/ conf=0.5 save_txt
yolo export model=best.pt format=onnx
yolo info model=yolov8n.yaml                      parameters, GFLOPs and output of every row
yolo info model=folder/ scale=s                   every model YAML of a folder: what it costs, or its mistake
yolo speed model=best.pt,best.onnx imgsz=640 batch=1,8
yolo compare models=[yolov8n.yaml,mine.yaml] data=my.yaml seeds=[0,1,2]

yolo help | version | checks | cfg | copy-cfg | settings
"""

import platform
import shlex
import shutil
import sys
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import ultralytics
from ultralytics.cfg import DEFAULT_YAML, get_options
from ultralytics.cfg.command import MODES, Command, errors_as_sentences, parse_command, parse_words
from ultralytics.cfg.options import TASKS
from ultralytics.utils.errors import ConfigError
from ultralytics.utils.files import increment_path

Settings = dict[str, Any]


def main(debug: str | Sequence[str] = "") -> None:
    """Do what the words of the command line say; `debug`, a line or its words, takes their place."""
    words = shlex.split(debug) if isinstance(debug, str) else list(debug)
    with errors_as_sentences():
        command = parse_command(words or sys.argv[1:])
        if command.mode in SPECIAL:
            SPECIAL[command.mode]()
        else:
            RUN[command.mode](command)


# Modes that need no network, and no torch ------------------------------------------------------------------------


HELP = f"""{__doc__}
tasks: {", ".join(TASKS)}; modes: {", ".join(MODES)}
Options and their defaults are described in {DEFAULT_YAML}: `yolo cfg` prints it"""
SETTINGS = (
    f"There is no settings file. Defaults of all options are in {DEFAULT_YAML}, which you may edit; options of one "
    "run are given as name=value or in a file named by cfg=. Datasets are looked for beside their YAML, in the "
    "current folder and in datasets/; runs are kept in runs/, or where project= says"
)


def copy_default_cfg() -> None:
    """Copy default.yaml into the current folder, under a name that is not taken, to be edited and given as `cfg`."""
    copy = increment_path("default_copy.yaml")
    shutil.copyfile(DEFAULT_YAML, copy)
    print(f"{DEFAULT_YAML} copied to {copy}: edit it, and give it as yolo train cfg={copy} data=my.yaml")


def print_checks() -> None:
    """Print versions of what is installed, and which devices torch sees."""
    import torch

    print(f"ultralytics {ultralytics.__version__} in {Path(ultralytics.__file__).parent}")
    print(f"Python {platform.python_version()} on {platform.platform()}")
    needed = ("torch", "torchvision", "timm", "opencv-python", "matplotlib", "pyyaml")
    for name in (*needed, "onnx", "onnxruntime", "onnxslim", "tensorboard", "faster-coco-eval", "ray"):
        try:
            print(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:  # noqa: PERF203 (a dozen of them)
            print(f"{name}: not installed" + ("" if name in needed else ", an extra"))
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    print(f"CUDA {torch.version.cuda}: {', '.join(gpus)}" if gpus else "no CUDA device: networks run on the CPU")


SPECIAL: dict[str, Callable[[], None]] = {
    "help": lambda: print(HELP),
    "version": lambda: print(ultralytics.__version__),
    "checks": print_checks,
    "cfg": lambda: print(f"{DEFAULT_YAML}\n\n{DEFAULT_YAML.read_text(encoding='utf-8')}"),
    "copy-cfg": copy_default_cfg,
    "settings": lambda: print(SETTINGS),
}


# Modes with a network --------------------------------------------------------------------------------------------


def options_of(command: Command) -> Settings:
    """Options of the words; the task counts as one."""
    options = parse_words(command.words)[0]
    task = options.setdefault("task", command.task)
    if command.task not in (None, task):
        raise ConfigError(f"task={task} contradicts the word {command.task}: leave one of them out")
    return {name: value for name, value in options.items() if value is not None}


def open_model(options: Settings) -> Any:
    """YOLO of the option `model`, which is taken out; without it the newest weights that were trained here."""
    from ultralytics import YOLO
    from ultralytics.engine.cli import newest_weights

    model = options.pop("model", None) or get_options(options).model
    if model is None:
        model = newest_weights()
        print(f"model={model}, the newest")
    return YOLO(model, task=options.get("task"))


def train(command: Command) -> None:
    """Train; model and data that are not given are those of the task, which are built in."""
    from ultralytics.engine.cli import newest_weights
    from ultralytics.models.yolo import task_class

    options = options_of(command)
    resume = options.get("resume")
    if resume:
        path = resume if isinstance(resume, str) else options.get("model")
        options["model"] = options["resume"] = path or newest_weights(resumable=True)
    settings, in_files = task_class(options.get("task") or "detect").default_settings, get_options(options)
    for name in () if resume else ("model", "data"):
        if getattr(in_files, name) is None and not (name == "data" and str(in_files.model).endswith(".pt")):
            options[name] = settings[name]
            print(f"{name}={settings[name]}, as none is given")
    open_model(options).train(**options)


def val(command: Command) -> None:
    """Validate on the data that are given, or that the weights were trained on."""
    options = options_of(command)
    open_model(options).val(**options)


def predict(command: Command) -> None:
    """Predict on the source; images with the results are saved unless `save=False` is given."""
    options = {"save": True} | options_of(command)
    for _ in open_model(options).predict(stream=True, **options):  # one after another: memory stays what it is
        pass


def export(command: Command) -> None:
    """Write the network as a file of another format."""
    options = options_of(command)
    print(open_model(options).export(**options))


def info(command: Command) -> None:
    """Print what every row of a network costs and gives, or of a folder a line for every model YAML in it.

    `scale` is a letter in place of that in the name of the YAML.
    """
    options, own = parse_words(command.words, own=("detailed", "scale"))
    if unused := [name for name in options if name not in ("task", "model", "imgsz")]:
        raise ConfigError(f"{unused[0]} changes nothing in yolo info, which takes model, imgsz, scale and detailed")
    given, imgsz, scale = str(options.get("model") or ""), options.get("imgsz"), own.get("scale")
    if Path(given).is_dir() and given:
        from ultralytics.nn.info import check_folder

        for line in check_folder(Path(given), imgsz, scale):
            print(line)
    elif scale is not None:
        from ultralytics.nn.info import build

        if Path(given).suffix not in (".yaml", ".yml"):
            raise ConfigError(f"scale={scale}: goes with a model YAML, not with model={given}")
        build(given, scale).info(detailed=bool(own.get("detailed", True)), imgsz=imgsz)
    else:
        open_model(options).info(detailed=bool(own.get("detailed", True)), imgsz=imgsz)


def compare(command: Command) -> None:
    """Train variants of a network under equal conditions, and report."""
    from ultralytics.comparison.run import DEFAULTS, compare_variants

    options, own = parse_words(command.words, own=DEFAULTS)
    compare_variants({**DEFAULTS, **own, **options})


def speed(command: Command) -> None:
    """Print the speed of one or several files, measured in interleaved rounds."""
    from ultralytics.comparison.speed import speed_report

    options, own = parse_words(command.words, own=("model", "batch"))
    print(speed_report(own, options))


RUN: dict[str, Callable[[Command], None]] = {
    "speed": speed,
    "train": train,
    "val": val,
    "predict": predict,
    "export": export,
    "info": info,
    "compare": compare,
}

if __name__ == "__main__":
    main()
