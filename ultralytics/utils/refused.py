"""Names of the public package that this tree does not have, each with the sentence that says what to use instead.

A plain ImportError would leave the author of a pasted file guessing. Two things consult the table: the `__getattr__`
that `getter` makes, in modules that lack such names, and `Finder`, for modules and for `from package import name`.
"""

from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from ultralytics.utils.errors import YOLOError


class RefusedImportError(YOLOError, ImportError):
    """A published name that is refused. No AttributeError: `from m import name` would replace the text of one."""


_NETWORKS = "only YOLOv8 is here, for detect, segment, pose, obb and classify; other networks are in the public package"
_NO_DOWNLOAD = "nothing is ever downloaded: put the file there yourself and give its path"
_OWN_BLOCK = "to use it, put its code into nn/Addmodules, as the README says"
_OWN_HEAD = "heads are Detect, Segment, Pose, OBB and Classify; a new one subclasses Detect (nn/modules/head.py)"
_OPTIONS = "options are arguments of train(), val(), predict() and export(), their defaults rows of cfg/default.yaml"
_SYSTEM = "nothing here depends on it: ask the system itself, with platform or shutil of Python"
_FORMATS = 'files are written by YOLO.export(format="onnx" or "torchscript") and opened by YOLO("file.onnx")'
_CONVERT = "labels are text files, rows of `class x y w h`: convert others by a script"
_SPEED = "speed is measured by compare.py and benchmarks/speed.py"
_BLOCKS = (
    "Conv2 Proto26 RepNCSPELAN4 RepCSP RepBottleneck ELAN1 AConv ADown SPPELAN CBLinear CBFuse ResNetBlock ResNetLayer "
    "C2fAttn MaxSigmoidAttnBlock ImagePoolingAttn ContrastiveHead BNContrastiveHead C3f"
)
_HEADS = (
    "RTDETRDecoder WorldDetect YOLOEDetect YOLOESegment YOLOESegment26 Segment26 Pose26 OBB26 LRPCHead "
    "SemanticSegment Depth"
)

_TABLE = (  # homes below `ultralytics`, names in each of them, what to do instead
    (".", "RTDETR SAM FastSAM NAS YOLOWorld YOLOE", _NETWORKS),
    (".", "settings", _OPTIONS),
    (".", "checks", "use ultralytics.utils.checks"),
    (".", "download", _NO_DOWNLOAD),
    (".", "hub", "weights and datasets are files of your own; nothing is uploaded or downloaded"),
    (".", "solutions trackers", "count, draw and track with the Results of YOLO(...).predict(source, stream=True)"),
    ("cfg", "TASK2DATA TASK2MODEL TASK2METRIC", "every task's class has its own, as in models/yolo/detect/task.py"),
    ("cfg", "get_save_dir", "use increment_path of ultralytics.utils.files"),
    ("data.build", "ContiguousDistributedSampler", "processes have shares of each batch, see build_loader"),
    ("data.build", "InfiniteDataLoader", "use build_dataloader, whose workers live as long as the loader"),
    ("data.build", "build_grounding", _NETWORKS),
    ("data.loaders", "LoadStreams LoadScreenshots", "screens and network streams are not read: save them to a file"),
    ("data", "base", "use ultralytics.data.dataset.YOLODataset"),
    ("data", "split", "write the lists of images, one path a line, and name them in the data YAML"),
    ("data", "split_dota", "cut large images into tiles by a script, and write rows for each"),
    ("data.converter", "convert_dota_to_yolo_obb convert_segment_masks_to_yolo_seg", _CONVERT),
    ("data.converter", "convert_to_multispectral convert_ndjson_to_yolo yolo_bbox2segment", _CONVERT),
    ("data.utils", "HUBDatasetStats", _OPTIONS),
    ("data", "annotator", "label with the Results of YOLO(...).predict(source, save_txt=True)"),
    ("data.augment", "Albumentations", "give an albumentations.Compose itself to train(augmentations=[...])"),
    ("data.augment", "DepthFormat SemanticFormat LoadVisualPrompt RandomLoadText", _NETWORKS),
    ("engine utils", "tuner", "try values in a loop over YOLO(...).train(lr0=...), and compare with compare.py"),
    ("engine.exporter", "EXPORT_ENVS", _FORMATS),
    ("engine.model", "Model", "use YOLO"),
    ("models", "RTDETR SAM FastSAM NAS YOLOWorld YOLOE", _NETWORKS),
    ("models", "rtdetr sam fastsam nas utils llm", _NETWORKS),
    ("models.yolo", "world yoloe semantic depth YOLOWorld YOLOE", _NETWORKS),
    ("models.yolo", "model", "use `from ultralytics import YOLO`"),
    ("nn", "backends", _FORMATS),
    (
        "nn.autobackend",
        "check_class_names default_class_names",
        "names of classes are in every file: AutoBackend.names",
    ),
    ("nn", "text_model distill_model", _NETWORKS),
    ("nn.tasks", "RTDETRDetectionModel WorldModel YOLOEModel YOLOESegModel SemanticSegmentationModel", _NETWORKS),
    ("nn.tasks", "DepthModel", _NETWORKS),
    ("nn.tasks", "Ensemble", "average the predictions of several YOLO(...) yourself"),
    ("nn.modules nn.modules.block nn.modules.conv", _BLOCKS, _OWN_BLOCK),
    ("nn.modules nn.modules.head", _HEADS, _OWN_HEAD),
    ("nn.modules nn.modules.transformer", "MSDeformAttn DeformableTransformerDecoder", _NETWORKS),
    ("nn.modules nn.modules.transformer", "DeformableTransformerDecoderLayer", _NETWORKS),
    ("nn.modules", "activation", _OWN_BLOCK),
    ("nn.modules.utils", "multi_scale_deformable_attn_pytorch", _NETWORKS),
    ("utils", "downloads uploads ASSETS_URL WEIGHTS_DIR", _NO_DOWNLOAD),
    ("utils", "SETTINGS SETTINGS_FILE SettingsManager DATASETS_DIR RUNS_DIR", _OPTIONS),
    ("utils", "triton export", _FORMATS),
    ("utils", "benchmarks", _SPEED),
    ("utils", "callbacks events", "use YOLO.add_callback(event, function); losses are in results.csv and TensorBoard"),
    ("utils", "autobatch", "give train(batch=-1)"),
    ("utils", "autodevice dist", "train(device=[0, 1]) and torchrun start processes, see docs/machines.md"),
    ("utils", "instance", "use Instances of ultralytics.data.instances"),
    ("utils.checks", "check_executorch_requirements check_tensorrt", _FORMATS),
    ("utils.checks", "check_amp", "train(amp=True) uses it wherever the device has it"),
    ("utils.checks", "print_args check_yolo collect_system_info", "the options of a run are in its args.yaml"),
    (
        "utils.checks",
        "check_model_file_from_stem check_yolov5u_filename check_font check_latest_pypi_version",
        _NO_DOWNLOAD,
    ),
    ("utils.checks", "check_torchvision check_multiple_install check_apt_requirements", "use check_requirements"),
    ("utils.checks", "git_describe is_rockchip is_intel is_sudo_available check_imshow", _SYSTEM),
    (
        "utils",
        "get_ubuntu_version is_ubuntu is_docker is_jupyter is_kaggle is_colab is_online",
        _SYSTEM,
    ),
    ("utils", "get_git_branch get_git_origin_url get_user_config_dir is_git_dir", _SYSTEM),
    ("utils.patches", "imshow", "use Results.show"),
    ("utils.plotting", "Colors save_one_box feature_visualization", "use Annotator, colors and plot_images"),
    ("utils.torch_utils", "attempt_compile", "give train(compile=True)"),
)
# By full name, such as ultralytics.nn.autobackend.
SENTENCES = {
    ".".join(("ultralytics", *(part for part in (home.strip("."), name) if part))): sentence
    for homes, names, sentence in _TABLE
    for home in homes.split()
    for name in names.split()
}


def refuse(path: str) -> None:
    """Raise RefusedImportError if a dotted name, such as ultralytics.nn.autobackend, is in the table."""
    if path in SENTENCES:
        raise RefusedImportError(f"{path} is not in this tree: {SENTENCES[path]}", name=path)


def getter(module: str) -> Callable[[str], NoReturn]:
    """A module's `__getattr__`, which Python calls for names that are not there: it says why.

    `hasattr` raises as well for the names in the table: their error is no AttributeError.
    """

    def missing(name: str) -> NoReturn:
        # Other names must end as AttributeError: Python goes on from there, to submodules for instance.
        refuse(f"{module}.{name}")
        raise AttributeError(f"module {module!r} has no attribute {name!r}")

    return missing


class Finder:
    """Refuses modules. As the last of `sys.meta_path` it is only asked for those that nobody found.

    `from package import name` ends here as well: Python looks for a submodule where a package has no such attribute.
    """

    @staticmethod
    def find_spec(fullname: str, path: Sequence[str] | None = None, target: Any = None) -> None:
        """Find nothing, and say why if the name is in the table."""
        if fullname.startswith("ultralytics."):
            refuse(fullname)
