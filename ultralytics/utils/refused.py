"""Names of the public package that this tree does not have, each with the sentence that says what to use instead.

A plain ImportError would leave the author of a pasted file guessing. Two things consult the table: the `__getattr__`
that `getter` makes, in modules that lack such names, and `Finder`, for modules and for `from package import name`.
Methods that a subclass of a loop may have, and no loop calls, are named by `warn_never_called`.
"""

import logging
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
_SCRIPT = "a few lines of a script of your own do it"
_STREAMS = "screens and network streams are not read: save them to a file"
_TYPES = "types and limits of options are in OPTIONS of cfg/options.py"
_VERSIONS = "compare torch.__version__ by check_version of ultralytics.utils.checks"
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
    (".", "Platform AsyncPlatform APIError APIConnectionError PLATFORM_EXPORTS LLM", "nothing is sent anywhere"),
    (".", "MODELS", "YOLO takes any model YAML, and .pt files"),
    (".", "optim", "give train(optimizer=...) the name of an optimizer"),
    (".", "settings", _OPTIONS),
    (".", "checks", "use ultralytics.utils.checks"),
    (".", "download", _NO_DOWNLOAD),
    (".", "hub", "weights and datasets are files of your own; nothing is uploaded or downloaded"),
    (".", "solutions trackers", "count, draw and track with the Results of YOLO(...).predict(source, stream=True)"),
    ("cfg", "TASK2DATA TASK2MODEL TASK2METRIC", "every task's class has its own, as in models/yolo/detect/task.py"),
    ("cfg", "get_save_dir", "use increment_path of ultralytics.utils.files"),
    ("cfg", "CFG_BOOL_KEYS CFG_FLOAT_KEYS CFG_FRACTION_KEYS CFG_INT_KEYS CFG_INT_MIN CFG_STR_KEYS", _TYPES),
    ("cfg", "check_cfg smart_value parse_key_value_pair merge_equals_args", "get_cfg and get_options check options"),
    ("cfg", "handle_yolo_login handle_yolo_settings handle_yolo_solutions SOLUTION_MAP SOLUTIONS_HELP_MSG", _OPTIONS),
    ("cfg", "CLI_HELP_MSG", "use `yolo help`"),
    ("cfg", "QUANTIZE_ALIASES QUANTIZE_DOCS_URL QUANTIZE_VALID_VALUES TASK2CALIBRATIONDATA", _FORMATS),
    ("data.build", "ContiguousDistributedSampler", "processes have shares of each batch, see build_loader"),
    ("data.build", "InfiniteDataLoader", "use build_dataloader, whose workers live as long as the loader"),
    ("data data.build", "build_grounding", _NETWORKS),
    ("data.build", "check_source LOADERS", "load_inference_source takes whatever predict takes"),
    ("data.loaders", "LoadStreams LoadScreenshots get_best_youtube_url", _STREAMS),
    ("data.loaders", "SourceTypes autocast_list BOM_UTF8", "load_inference_source takes whatever predict takes"),
    ("data data.dataset", "GroundingDataset YOLOMultiModalDataset SemanticDataset PolygonSemanticDataset", _NETWORKS),
    ("data data.dataset", "YOLOConcatDataset", "name several folders as `train:` of one data YAML"),
    ("data.dataset", "DepthDataset", _NETWORKS),
    ("data.dataset", "DATASET_CACHE_VERSION", "a scan is made anew where files or code have changed"),
    ("data", "BaseDataset", "use ultralytics.data.dataset.YOLODataset"),
    ("data", "base", "use ultralytics.data.dataset.YOLODataset"),
    ("data", "split", "write the lists of images, one path a line, and name them in the data YAML"),
    ("data", "split_dota", "cut large images into tiles by a script, and write rows for each"),
    ("data.converter", "convert_dota_to_yolo_obb convert_segment_masks_to_yolo_seg", _CONVERT),
    ("data.converter", "convert_to_multispectral convert_ndjson_to_yolo yolo_bbox2segment", _CONVERT),
    ("data.converter", "create_synthetic_coco_dataset", "data=shapes.yaml draws images with labels"),
    ("data.converter", "min_index", "merge_multi_segment joins polygons"),
    ("data.utils", "HUBDatasetStats DATASET_KEY_TYPES HELP_URL FORMATS_HELP_MSG", _OPTIONS),
    ("data.utils", "autosplit get_split_fraction", "write the lists of images and name them in the data YAML"),
    (
        "data.utils",
        "get_hash load_dataset_cache_file save_dataset_cache_file",
        "build_yolo_dataset keeps its scan itself",
    ),
    ("data.utils", "check_file_speeds compress_one_image convert_ndjson_to_yolo_if_needed", _SCRIPT),
    ("data.utils", "visualize_image_annotations", "train() draws labels into train_batch0.jpg"),
    ("data.utils", "load_depth save_depth_png verify_image_depth DEPTH_PNG_SCALE", _NETWORKS),
    ("data.utils", "read_mask verify_image_mask add_polygon_background", _NETWORKS),
    ("data", "annotator", "label with the Results of YOLO(...).predict(source, save_txt=True)"),
    ("data.augment", "Albumentations", "give an albumentations.Compose itself to train(augmentations=[...])"),
    ("data.augment", "DEFAULT_MEAN DEFAULT_STD", "images of classification are 0..1: a mean of 0 and a deviation of 1"),
    ("data.augment", "DepthFormat SemanticFormat LoadVisualPrompt RandomLoadText", _NETWORKS),
    ("engine utils", "tuner", "try values in a loop over YOLO(...).train(lr0=...), and compare with compare.py"),
    ("engine.exporter", "EXPORT_ENVS try_export validate_args ClassMapModel ExportWrapper NMSModel", _FORMATS),
    ("engine.exporter", "QNNModel FP16_FORMATS FP32_UNSUPPORTED_FORMATS INT8_FORMATS", _FORMATS),
    ("engine.exporter", "QUANTIZE_PRECISIONS W8A16_FORMATS W8A32_FORMATS", _FORMATS),
    ("engine.model", "Model", "use YOLO"),
    ("engine.model", "PREDICTOR_SETUP_KEYS", _OPTIONS),
    ("engine.predictor", "STREAM_WARNING", "predict(source, stream=True) keeps no results"),
    ("engine.results", "BaseTensor", "containers are Boxes, OBB, Masks, Keypoints and Probs"),
    ("engine.results", "DepthMap SemanticMask", _NETWORKS),
    ("engine.trainer", "MultiTrainer", "YOLO.train(data=[...]) trains on several datasets, one after the other"),
    ("models", "RTDETR SAM FastSAM NAS YOLOWorld YOLOE LLM", _NETWORKS),
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
    ("nn.modules.block", "RealNVP Residual SAVPE SwiGLUFFN", _OWN_BLOCK),
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
    ("utils", "IS_COLAB IS_DEBIAN IS_DEBIAN_BOOKWORM IS_DEBIAN_TRIXIE IS_DOCKER IS_JETSON IS_JUPYTER", _SYSTEM),
    ("utils", "IS_KAGGLE IS_PIP_PACKAGE IS_RASPBERRYPI IS_UBUNTU IS_VSCODE DEVICE_MODEL ENVIRONMENT", _SYSTEM),
    ("utils", "MACOS_VERSION NOT_MACOS14 ONLINE TESTS_RUNNING is_debian is_dgx is_dir_writeable", _SYSTEM),
    ("utils", "is_github_action_running is_jetson is_pip_package is_pytest_running is_raspberrypi is_runpod", _SYSTEM),
    ("utils", "read_device_model env_bool cpu git", _SYSTEM),
    ("utils", "ARGV HELP_MSG PREFIX SAFE_LOAD AUTOINSTALL FLOAT_OR_INT STR_OR_PATH vscode_msg", _OPTIONS),
    (
        "utils",
        "logger tqdm set_logging LOGGING_NAME VERBOSE",
        "use LOGGER, a logger of logging, or TQDM",
    ),
    ("utils", "set_sentry deprecation_warn PLATFORM_URL", "nothing is sent anywhere"),
    ("utils", "QNN_HTP_TARGETS RKNN_CHIPS XILINX_TARGETS", _FORMATS),
    ("utils", "WORLD_SIZE", "torch.distributed.get_world_size() tells it"),
    ("utils", "JSONDict Retry get_default_args plt_settings remove_colorstr", _SCRIPT),
    ("utils.checks", "IS_PYTHON_3_8 IS_PYTHON_3_12 IS_PYTHON_MINIMUM_3_10 IS_PYTHON_MINIMUM_3_11", "use check_python"),
    ("utils.checks", "IS_PYTHON_MINIMUM_3_13 parse_version", "use check_python or check_version"),
    ("utils.checks", "REMOTE_FILE_PREFIXES normalize_platform_uri resolve_platform_uri", _NO_DOWNLOAD),
    ("utils.checks", "check_data_portable check_pip_update_available check_uv get_distribution_name", _SCRIPT),
    ("utils.checks", "rocm_is_available", _SYSTEM),
    ("utils.files", "import_execstack update_models", _SCRIPT),
    (
        "utils.loss",
        "E2ELoss DepthLoss26 PoseLoss26 SegmentLoss26 SemanticSegmentationLoss RLELoss RLE_WEIGHT",
        _NETWORKS,
    ),
    (
        "utils.loss",
        "TVPDetectLoss TVPSegmentLoss BCEDiceLoss MultiChannelDiceLoss CITYSCAPES_WEIGHT RLE_WEIGHT",
        _NETWORKS,
    ),
    ("utils.metrics", "DepthMetrics SemanticMetrics", _NETWORKS),
    ("utils.nms", "TorchNMS", "use non_max_suppression, or torchvision.ops.nms"),
    ("utils.ops", "linear_sum_assignment", "use scipy.optimize.linear_sum_assignment"),
    ("utils.patches", "image_open imread_unicode PIL_FALLBACK_SUFFIXES", "use imread of ultralytics.utils.patches"),
    ("utils.patches", "arange_patch onnx_export_patch override_configs", _FORMATS),
    ("utils.plotting", "class_activation_map plt_color_scatter pil_version", "use YOLO.heatmap, or matplotlib"),
    ("utils.plotting", "colorize_depth plot_depth_panels", _NETWORKS),
    ("utils.tal", "PoseTaskAlignedAssigner SegTaskAlignedAssigner rbox2dist", _NETWORKS),
    ("utils.torch_utils", "cuda_memory_usage get_cpu_info get_gpu_info get_torch_device_backend", _SYSTEM),
    ("utils.torch_utils", "parse_device", "use select_device"),
    ("utils.torch_utils", "is_qat prepare_qat qat_state restore_qat strip_qat MODELOPT_REQUIREMENTS", _FORMATS),
    ("utils.torch_utils", "TORCHVISION_0_10 TORCHVISION_0_11 TORCHVISION_0_13 TORCHVISION_0_18", _VERSIONS),
    ("utils.torch_utils", "TORCH_2_2 TORCH_2_3 TORCH_2_5 TORCH_2_7 TORCH_2_13", _VERSIONS),
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


# By loop: public methods that a subclass may define, that no loop here calls, and what to use instead.
_EVALUATOR = "measuring is a class of its own, `evaluator_class` of the task (models/yolo/detect/evaluator.py): "
_UNUSED = "nothing here depends on it"
_NEVER_CALLED = {
    "train": {
        "read_results_csv": "read `trainer.table.path` in a callback of on_train_end",
        "check_resume resume_training _load_checkpoint_state": "last.pt is what `state_dict` and `load_state_dict` say",
        "get_class_counts compute_class_weights set_class_weights": "weight classes in `criterion`",
        "set_model_names_for_load": "replace `set_model_attributes`",
        "on_plot": "replace `plot_metrics`, `plot_training_samples` or `plot_training_labels`, which write the files",
        "_setup_train": "replace `setup`",
        "_do_train": "replace `train`, or `train_one_epoch`",
        "_model_train": "use a callback of on_train_epoch_start, when the network is in train mode already",
        "_setup_scheduler": "set `trainer.schedule` in a callback of on_train_start (Schedule in engine/optim.py)",
        "_close_dataloader_mosaic": "close_mosaic= decides when mosaics end",
        "_build_train_pipeline": "replace `get_dataloader`",
        "_handle_nan_recovery": "replace `roll_back`",
        "_get_memory _clear_memory _setup_ddp _get_warmup_iterations": _UNUSED,
    },
    "val": {
        "get_desc print_results": f"{_EVALUATOR}replace its `finish`, or print in `get_stats`",
        "pred_to_json eval_json coco_evaluate": f"{_EVALUATOR}replace its `json_rows` or `save_json`",
        "save_one_txt scale_preds": f"{_EVALUATOR}replace its `result_on_original`",
        "match_predictions _process_batch _prepare_batch _prepare_pred": f"{_EVALUATOR}replace its `iou` or `update`, "
        "or `update_metrics` of the validator",
        "gather_stats _gather_image_metrics": f"{_EVALUATOR}replace its `gather`",
        "on_plot": "replace `plot_val_samples` or `plot_predictions`, which write the files",
        "get_model": "give the validator the network, as model=",
        "_check_max_det": "max_det= decides",
    },
    "predict": {
        "pre_transform": "replace `preprocess`",
        "setup_source": "give predict() any source of load_source (data/loaders.py)",
        "stream_inference predict_cli": "replace `stream`",
        "write_results save_predicted_images show": "use the `results` in a callback of on_predict_postprocess_end",
        "get_obj_feats": "predict(embed=[layer]) gives vectors",
    },
}


def warn_never_called(cls: type, loop: str) -> None:
    """Say which methods a subclass of a loop (train, val or predict) has that are never called, a line for each."""
    for names, instead in _NEVER_CALLED[loop].items():
        for name in names.split():
            if hasattr(cls, name):
                logging.getLogger("ultralytics").warning(f"{cls.__name__}.{name} is never called here: {instead}")


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
