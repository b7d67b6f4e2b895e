"""The table of options: what each takes, and why some names are not options. Defaults are in default.yaml."""

from collections.abc import Mapping
from typing import Any

from ultralytics.cfg.kinds import (
    DEVICE,
    FLAG,
    FLAG_OR_PATH,
    FRACTION,
    INVALID,
    PATH,
    SOURCE,
    TEXT,
    OptionType,
    any_of,
    choice,
    integer,
    list_of,
    number,
    optional,
    pair,
    positive,
)
from ultralytics.models.yolo import TASKS
from ultralytics.utils.errors import ConfigError
from ultralytics.utils.files import nearest


def _read_task(value: Any) -> Any:
    """A task of the table in models/yolo, where a new one is added."""
    return value if isinstance(value, str) and value in TASKS else INVALID


def _read_multi_scale(value: Any) -> Any:
    """True means half as much more or less, False none."""
    flag = FLAG.read(value)
    return FRACTION.read(value) if flag is INVALID else 0.5 * flag


OPTIONS: dict[str, OptionType] = {
    "task": optional(OptionType(tuple(TASKS), _read_task)),
    **dict.fromkeys(("model", "data", "cfg"), optional(PATH)),
    "device": optional(DEVICE),
    **dict.fromkeys(("project", "name"), optional(TEXT)),
    **dict.fromkeys(("exist_ok", "verbose", "deterministic"), FLAG),
    "seed": integer(0),
    # training
    "epochs": integer(1),
    "time": optional(positive()),
    "patience": integer(0),
    "batch": optional(any_of(choice(-1), integer(1))),
    "imgsz": any_of(integer(32), pair(integer(32), "[height, width]")),
    "save": optional(FLAG),
    "save_period": integer(-1),
    "cache": any_of(FLAG, choice("ram", "disk")),
    "workers": integer(0),
    "pretrained": optional(FLAG_OR_PATH),
    "optimizer": choice("auto", "SGD", "Adam", "AdamW", "NAdam", "RMSProp"),
    "rect": optional(FLAG),
    "close_mosaic": integer(0),
    "resume": optional(FLAG_OR_PATH),
    "amp": any_of(FLAG, choice("bf16")),
    "fraction": positive(1),
    "freeze": optional(any_of(integer(0), list_of(any_of(integer(0), OptionType(("a layer's name",), TEXT.read))))),
    "multi_scale": OptionType((*FLAG.alternatives, *FRACTION.alternatives), _read_multi_scale),
    **dict.fromkeys(("single_cls", "cos_lr", "compile", "channels_last", "val", "plots"), FLAG),
    "nbs": integer(1),
    "dropout": number(0, 0.9999),
    # validation and prediction
    "split": choice("train", "val", "test"),
    "conf": optional(FRACTION),
    "iou": FRACTION,
    "max_det": integer(1),
    "source": SOURCE,
    "vid_stride": integer(1),
    "classes": optional(list_of(integer(0))),
    **dict.fromkeys(("save_json", "half", "agnostic_nms", "show"), FLAG),
    **dict.fromkeys(("save_txt", "save_conf", "save_crop", "show_labels", "show_conf", "show_boxes"), FLAG),
    "line_width": optional(integer(1)),
    **dict.fromkeys(("overlap_mask", "retina_masks"), FLAG),
    "mask_ratio": integer(1, 32),
    # export
    "format": choice("onnx", "torchscript"),
    **dict.fromkeys(("dynamic", "simplify"), FLAG),
    "opset": optional(choice(*range(13, 21))),
    # optimizer and loss
    **dict.fromkeys(("lr0", "lrf", "weight_decay", "warmup_epochs", "warmup_bias_lr"), number(0)),
    **dict.fromkeys(("box", "cls", "dfl", "pose", "kobj", "angle"), number(0)),
    **dict.fromkeys(("momentum", "warmup_momentum"), number(0, 0.9999)),
    # augmentation
    **dict.fromkeys(("hsv_h", "hsv_s", "hsv_v", "translate", "scale"), FRACTION),
    **dict.fromkeys(("flipud", "fliplr", "bgr", "mosaic", "mixup", "cutmix"), FRACTION),
    "copy_paste": FRACTION,
    "copy_paste_mode": choice("flip", "mixup"),
    "erasing": FRACTION,
    "auto_augment": optional(choice("randaugment", "augmix", "autoaugment")),
    "degrees": number(0, 180),
    "shear": number(0, 89),
    "perspective": number(0, 0.01),
}

NOT_IMPLEMENTED: dict[str, str] = {
    "tracker": "tracking",
    "stream_buffer": "live streams",
    "save_frames": "saving single frames of a video",
    "visualize": "images of feature maps",
    "embed": "image embeddings",
    "augment": "test-time augmentation",
}

_NEWER = "belongs to networks newer than YOLOv8; the losses of YOLOv8 are weighted by box, cls and dfl"
_TEACHER = (
    "belongs to distillation, which is not part of this tree; start from a trained network with pretrained=best.pt"
)
UNSUPPORTED: dict[str, str] = {
    "mode": "is not needed, as the method called decides: model.train(), model.val() or model.predict()",
    "profile": "is not taken, as speed is measured by the scripts in benchmarks/ and stands in the results' `speed`",
    "dnn": "is not taken, as ONNX files run with onnxruntime, not with OpenCV's DNN module",
    "distill_model": _TEACHER,
    "dis": _TEACHER,
    "cls_pw": "is not taken, as classes are not weighted by how rare they are; list images of rare classes more often",
    **dict.fromkeys(("rle", "dlog", "dgrad", "dlam"), _NEWER),
    "cls_remap": "is not taken, as class numbers are those of the label files; edit those, or pick some with classes",
    "int8": "is not taken, as quantizing needs images of yours; give the .onnx to onnxruntime's quantize_static",
    "nms": "is not taken, as exported files give all boxes, of which predict and val keep the best themselves",
    "optimize": "is not taken, as torch has given up its optimizer for phones; give the .onnx to the phone's runtime",
    "workspace": "is TensorRT's; it makes an engine of the .onnx: trtexec --onnx=best.onnx --memPoolSize=workspace:4G",
    "quantize": "is not taken; half=True runs the network in float16 on a GPU",
}


def check_name(name: str) -> None:
    """Refuse a name that is not an option: with its reason, or with the nearest names."""
    if name in OPTIONS:
        return
    if name in NOT_IMPLEMENTED:
        raise ConfigError(f"{name} comes with {NOT_IMPLEMENTED[name]}, which is not there yet: leave it out")
    if name in UNSUPPORTED:
        raise ConfigError(f"{name} {UNSUPPORTED[name]}")
    near = nearest(str(name), OPTIONS)
    hint = f"did you mean {' or '.join(near)}?" if near else "ultralytics/cfg/default.yaml lists all"
    raise ConfigError(f"there is no option {name!r}: {hint}")


def check_value(name: str, value: Any) -> Any:
    """The value an option takes, in its type; ConfigError names option, value and what was expected."""
    check_name(name)
    found = OPTIONS[name].read(value)
    if found is INVALID:
        raise ConfigError(f"{name}={value!r}: expected {OPTIONS[name].expected}")
    return found


def check_values(values: Mapping[str, Any], where: str = "") -> dict[str, Any]:
    """Every value checked. The error starts with `where`, the file they stand in, and ends with further wrong names."""
    checked, errors = {}, {}
    for name, value in values.items():
        try:
            checked[name] = check_value(name, value)
        except ConfigError as exc:  # noqa: PERF203 (a file of another program has many, and they are told at once)
            errors[name] = str(exc)
    if errors:
        first, *others = errors
        more = f" (also refused: {', '.join(map(str, others))})" if others else ""
        raise ConfigError(f"{where}: {errors[first]}{more}" if where else f"{errors[first]}{more}")
    return checked
