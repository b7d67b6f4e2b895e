"""Options that only the public package has: taken where they change nothing, renamed where this tree calls them
otherwise, and refused with the reason where they would change something.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ultralytics.utils import LOGGER

MODES = ("train", "val", "predict", "export", "track", "benchmark")

# Options that are planned here, and what they belong to.
NOT_IMPLEMENTED: dict[str, str] = {
    "stream_buffer": "live streams",
    "save_frames": "saving single frames of a video",
}

_NEWER = "belongs to networks newer than YOLOv8; the losses of YOLOv8 are weighted by box, cls and dfl"
_DISTILLATION = "belongs to distillation, which is not supported; start from a trained network with pretrained=best.pt"
_DROPPED = "was dropped by the public package as well; remove it"
# Options that are not coming, each with the reason and what to do instead.
UNSUPPORTED: dict[str, str] = {
    "mode": f"must be one of {', '.join(MODES)}; the method or command decides what is done",
    "tracker": "belongs to tracking, which is not supported: give the results of predict() to a tracker",
    "profile": "is not supported: speed is in the results' `speed`, and the scripts in benchmarks/ measure it",
    "dnn": "is not supported: ONNX files run with onnxruntime, not with OpenCV's DNN module",
    **dict.fromkeys(("distill_model", "dis"), _DISTILLATION),
    "cls_pw": "is not supported: classes are not weighted by frequency; list images of rare classes several times",
    **dict.fromkeys(("rle", "dlog", "dgrad", "dlam"), _NEWER),
    "cls_remap": "is always on: weights are taken over by the names of the classes that both networks have",
    "int8": "is not supported: quantization needs calibration images; give the .onnx to onnxruntime's quantize_static",
    "nms": "is not supported: exported files return all boxes, and predict and val apply NMS to them",
    "optimize": "is not supported: torch has dropped its mobile optimizer; give the .onnx to the phone's runtime",
    "workspace": "belongs to TensorRT; build an engine with trtexec --onnx=best.onnx --memPoolSize=workspace:4G",
    "quantize": "is not supported but for 16, which is half=True; for int8 use onnxruntime's quantize_static",
    "keras": "is not supported: it belongs to TensorFlow's formats",
    **dict.fromkeys(("v5loader", "image_weights", "min_memory", "fl_gamma"), _DROPPED),
}

# Values of these at which the public package does what this tree does: its defaults, and off.
_OFF = (None, False)
CHANGE_NOTHING: dict[str, tuple] = {
    **dict.fromkeys(NOT_IMPLEMENTED, _OFF),
    **dict.fromkeys(("profile", "dnn", "distill_model", "int8", "nms", "optimize", "keras"), _OFF),
    **dict.fromkeys(("v5loader", "image_weights", "min_memory"), _OFF),
    "mode": MODES,
    "cls_remap": (True, None),
    "tracker": (None, "tracktrack.yaml", "botsort.yaml", "bytetrack.yaml"),
    "dis": (6.0, 0.0, None),
    "cls_pw": (0.0, None),
    "fl_gamma": (0.0, None),
    "rle": (1.0, 0.0, None),
    "dlog": (1.0, 0.0, None),
    "dgrad": (0.5, 0.0, None),
    "dlam": (1.0, 0.0, None),
    "workspace": (None, 4),
    "quantize": (None, 32, "fp32"),
}


OLDER_NAMES = {  # today's name, and the values that have become others
    "boxes": ("show_boxes", {}),
    "line_thickness": ("line_width", {}),
    "hide_labels": ("show_labels", {"true": False, "false": True}),
    "hide_conf": ("show_conf", {"true": False, "false": True}),
}
NO_LONGER: dict[str, tuple] = {  # names that the public package ignores, too, and their values that meant off
    "label_smoothing": (0.0, None),
    "save_hybrid": (False, None),
    "crop_fraction": (1.0, None),
}
NAMES = {*UNSUPPORTED, *NOT_IMPLEMENTED, *OLDER_NAMES, *NO_LONGER, "save_dir"}  # all that are no options here


def translate(values: Mapping[str, Any], in_file: bool = False) -> dict[str, Any]:
    """Options under the names of this tree, without those that change nothing; what became of a name is logged.

    `in_file`: they are the options of a run, as the public package leaves them in args.yaml. Names that are unknown or
    would change something are kept: whoever checks the options refuses them.
    """
    found: dict[str, Any] = {}
    for name, value in values.items():
        usual = CHANGE_NOTHING.get(name, ())  # values by which the public package does what is done here anyhow
        if any(isinstance(value, bool) == isinstance(one, bool) and value == one for one in usual):
            continue
        if name in NO_LONGER:
            if not any(value == off for off in NO_LONGER[name]):
                LOGGER.warning(f"{name}={value}: the public package has dropped this option; it is ignored here, too")
        elif name in OLDER_NAMES:
            today, others = OLDER_NAMES[name]
            found.setdefault(today, others.get(str(value).lower(), value))
            LOGGER.warning(f"{name}={value} is the older name of {today}={found[today]}")
        elif name == "quantize" and value in (16, "16", "fp16"):
            found.setdefault("half", True)
        elif name == "save_dir" and in_file:
            LOGGER.info(f"save_dir={value} is where that run is, and stays as it is: this one gets its own folder")
        elif name == "save_dir" and value:
            folder = Path(value)
            found |= {"project": str(folder.parent), "name": folder.name, "exist_ok": True}
        elif name != "save_dir":
            found[name] = value
    return found
