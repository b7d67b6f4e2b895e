"""The networks to compare, each with a label, and the conditions under which two runs count as the same."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ultralytics.cfg import Options, get_options, resolve_yaml
from ultralytics.cfg.options import check_values
from ultralytics.comparison.ledger import run_name
from ultralytics.comparison.sources import sources
from ultralytics.data.labels.files import list_images
from ultralytics.data.utils import dataset_name, load_data_yaml
from ultralytics.models.yolo import task_class
from ultralytics.nn.tasks import find_task, yaml_model_load
from ultralytics.utils.errors import CheckpointError, ConfigError
from ultralytics.utils.files import load_yaml, nearest

# Options that a result depends on. Those that are off (0, False, None) are not part of a run's key, so that a new one,
# off by default, leaves the keys of old runs as they are.
CONDITIONS = (
    *("epochs", "time", "patience", "batch", "imgsz", "optimizer", "single_cls", "rect", "cos_lr"),
    *("close_mosaic", "amp", "fraction", "freeze", "multi_scale", "channels_last", "nbs", "deterministic", "classes"),
    *("iou", "conf", "max_det", "agnostic_nms"),
    *("lr0", "lrf", "momentum", "weight_decay", "warmup_epochs", "warmup_momentum", "warmup_bias_lr"),
    *("box", "cls", "dfl", "hsv_h", "hsv_s", "hsv_v", "degrees", "translate", "scale", "shear", "perspective"),
    *("flipud", "fliplr", "bgr", "mosaic", "mixup", "cutmix"),
)
# The same for options that only some tasks use, and for losses: part of the key where they differ from default.yaml.
TASK_CONDITIONS = (
    *("mask_ratio", "overlap_mask", "pose", "kobj", "angle", "copy_paste", "copy_paste_mode", "reduced_decode"),
    *("iou_loss", "inner_ratio", "focaler", "nwd", "nwd_c", "cls_loss", "assign_iou"),
)
RANKED_BY = "metrics/mAP50-95(B)"
SHARED_OPTIONS = ("data", "seed", "device", "project", "name", "exist_ok", "resume", "task", "val", "save", "cfg")
UNSUPPORTED = {  # options of train.py that are given in another way here
    "model": "the networks to compare are given as models=, such as models=[yolov8n.yaml,mine.yaml]",
    "pretrained": "weights to start from are given with their network, as in models=[yolov8n.yaml+best.pt]",
    "resume": "runs that were killed are resumed when the same command is given again",
}
Cell = tuple[str, str]  # dataset and label of a variant: a row of the report
ENTRY = 'write "net.yaml", "net.yaml+weights.pt" or {label: …, model: net.yaml, pretrained: weights.pt, lr0: …}'


@dataclass(frozen=True)
class Variant:
    """A network to train: model YAML, weights to start from, and options that only this variant has."""

    label: str
    model: str
    pretrained: str | None = None
    own: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """One training of a variant."""

    variant: Variant
    seed: int
    data: str  # name of the dataset
    classes: int  # their number
    options: Options
    key: str  # equal for runs that differ only in their seed
    sources: str  # digest of the code of its layers and its loss

    def __str__(self) -> str:
        return f"{self.variant.label} on {self.data}, seed {self.seed}"

    @property
    def cell(self) -> Cell:
        """Row of the report that it belongs to: dataset, and label of the variant."""
        return self.data, self.variant.label

    @property
    def name(self) -> str:
        """Name of its folder and of its curve."""
        return run_name(self.variant.label, self.seed, self.key, self.sources)


def read_variants(models: Any) -> list[Variant]:
    """Variants of the setting `models`, a list of entries or a mapping from labels to them; else ConfigError."""
    if isinstance(models, str):
        models = [models]
    if isinstance(models, Mapping):
        variants = [_variant(entry, label) for label, entry in models.items()]
    elif isinstance(models, Sequence) and models:
        variants = [_variant(entry) for entry in models]
    else:
        raise ConfigError(f"models={models!r}: expected a list of networks; {ENTRY}")
    labels = [variant.label for variant in variants]
    for label in labels:
        if labels.count(label) > 1:
            raise ConfigError(f"models: two have the label {label}; give one of them another: {ENTRY}")
    return variants


def _variant(entry: Any, label: Any = None) -> Variant:
    if isinstance(entry, str):
        model, _, weights = entry.partition("+")
        entry = {"model": model.strip(), "pretrained": weights.strip() or None}
    if not isinstance(entry, Mapping) or not isinstance(entry.get("model"), str):
        raise ConfigError(f"models: {entry!r} names no network; {ENTRY}")
    own = {str(name): value for name, value in entry.items() if name != "label"}
    model, weights = own.pop("model"), own.pop("pretrained", None)
    if Path(model).suffix not in (".yaml", ".yml"):
        raise ConfigError(f"models: {model} is no model YAML; {ENTRY}")
    if shared := [name for name in own if name in SHARED_OPTIONS]:
        raise ConfigError(
            f"models: {model} has a {shared[0]} of its own, but all variants share it: give it once, outside of models"
        )
    if weights and not Path(weights).is_file():
        raise CheckpointError(f"models: {model} is to start from {weights}, which does not exist")
    own = check_values(own, f"models: {model}")
    unnamed = [Path(model).stem + (f"+{Path(weights).stem}" if weights else ""), *(f"{k}={v}" for k, v in own.items())]
    return Variant(str(label or entry.get("label") or " ".join(unnamed)), model, weights, own)


def choose(variants: Sequence[Variant], only: Any) -> list[Variant]:
    """Variants with the labels in `only`, one or a list; without it all. ConfigError for an unknown label."""
    wanted = [only] if isinstance(only, str) else list(only or [])
    labels = {variant.label: variant for variant in variants}
    for label in wanted:
        if label not in labels:
            near = ", ".join(nearest(str(label), labels) or labels)
            raise ConfigError(f"only={label}: none of the models has that label, the nearest: {near}")
    return [labels[label] for label in wanted] or list(variants)


def plan_runs(variants: Sequence[Variant], seeds: Any, settings: Mapping[str, Any]) -> list[Run]:
    """Runs of every variant on every dataset with every seed, by seed, then by dataset.

    `settings` are training options, whose `data` is a dataset or a list of them.
    """
    for name, instead in UNSUPPORTED.items():
        if settings.get(name):
            raise ConfigError(f"{name}={settings[name]}: {instead}")
    seeds = [seeds] if isinstance(seeds, int) else seeds
    if not isinstance(seeds, Sequence) or not seeds or not all(isinstance(seed, int) and seed >= 0 for seed in seeds):
        raise ConfigError(f"seeds={seeds!r}: expected integers of at least 0, such as [0,1,2]")
    given = settings.get("data")
    files = list(given) if isinstance(given, Sequence) and not isinstance(given, str) else [given]
    if not files or not all(isinstance(file, str | Path) and file for file in files):
        raise ConfigError(f"data={given!r}: expected the path of a dataset YAML, a name such as shapes.yaml, or a list")
    runs, names, contents = [], [], []
    for file in files:
        data = load_data_yaml(file)
        name = dataset_name(data["yaml_file"])
        if name in names:
            raise ConfigError(f"data: two are called {name}, which the report could not tell apart: rename one of them")
        # Part of the key: another machine's path does not matter, class names, numbers of images and gray ones do.
        content = [list(data["names"].values()), *(len(list_images(data[split])) for split in ("train", "val"))]
        if (channels := data.get("channels", 3)) != 3:
            content.append(f"channels: {channels}")
        if content in contents:  # two splits of the same images, such as folds
            content.append(name)
        names.append(name)
        contents.append(content)
        for variant in variants:
            options = _run_options(variant, {**settings, "data": str(file)})
            key, code = _key(variant, options, content), sources(variant.model, options)
            runs += [Run(variant, seed, name, data["nc"], options, key, code) for seed in dict.fromkeys(seeds)]
    return sorted(runs, key=lambda run: list(seeds).index(run.seed))


def _run_options(variant: Variant, settings: Mapping[str, Any]) -> Options:
    """Checked options of a variant's runs: mistakes are told now, not when the other variants are trained."""
    task = task_class(find_task(yaml_model_load(variant.model)))
    if RANKED_BY not in task.metric_keys:
        raise ConfigError(f"models: {variant.model} is for {task.name}; compare.py ranks by the mAP of boxes")
    network = {"model": variant.model, "pretrained": variant.pretrained or False}
    options = get_options(settings, network, variant.own).resolve("train")
    task.check_options(options, "train")
    return options


def _key(variant: Variant, options: Options, content: list) -> str:
    """Eight hexadecimal digits that differ where the conditions do: architecture, weights, data, options."""
    weights = hashlib.sha256(Path(variant.pretrained).read_bytes()).hexdigest() if variant.pretrained else None
    architecture = load_yaml(resolve_yaml(variant.model))
    network = [Path(variant.model).name, architecture, weights]  # the name holds the scale letter
    chosen = {name: value for name in CONDITIONS if (value := getattr(options, name))}
    defaults = get_options()
    chosen |= {name: value for name in TASK_CONDITIONS if (value := getattr(options, name)) != getattr(defaults, name)}
    chosen["task"] = find_task(architecture)
    text = json.dumps([network, content, chosen], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:8]
