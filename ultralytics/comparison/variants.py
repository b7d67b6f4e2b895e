"""What is compared: networks with a label each, and the conditions that make two runs the same run."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ultralytics.cfg import Options, get_options, resolve_yaml
from ultralytics.cfg.options import check_values
from ultralytics.data.config import load_data_yaml
from ultralytics.data.labels.files import list_images
from ultralytics.models.yolo import task_class
from ultralytics.nn.tasks import find_task, yaml_model_load
from ultralytics.utils.errors import CheckpointError, ConfigError
from ultralytics.utils.files import load_yaml, nearest

# All that a result depends on, machine apart. Of these, what is off (0, False, None) is no part of a run's key, so an
# option that is new here, and off unless somebody asks for it, does not make old runs other runs.
CONDITIONS = (
    *("epochs", "time", "patience", "batch", "imgsz", "optimizer", "single_cls", "rect", "cos_lr"),
    *("close_mosaic", "amp", "fraction", "freeze", "multi_scale", "channels_last", "nbs", "deterministic", "classes"),
    *("iou", "conf", "max_det", "agnostic_nms"),
    *("lr0", "lrf", "momentum", "weight_decay", "warmup_epochs", "warmup_momentum", "warmup_bias_lr"),
    *("box", "cls", "dfl", "hsv_h", "hsv_s", "hsv_v", "degrees", "translate", "scale", "shear", "perspective"),
    *("flipud", "fliplr", "bgr", "mosaic", "mixup", "cutmix"),
)
# The same of options that only some tasks follow: part of the key where they differ from default.yaml.
OF_TASKS = ("mask_ratio", "overlap_mask", "pose", "kobj", "angle", "copy_paste", "copy_paste_mode")
RANKED_BY = "metrics/mAP50-95(B)"
SHARED_OPTIONS = ("data", "seed", "device", "project", "name", "exist_ok", "resume", "task", "val", "save", "cfg")
UNSUPPORTED = {  # options of train.py that compare.py has another way for
    "model": "the networks of a comparison are in models=, as in models=[yolov8n.yaml,mine.yaml]",
    "pretrained": "weights to start from stand behind their network, as in models=[yolov8n.yaml+best.pt]",
    "resume": "runs that were killed go on by themselves when the same command is given again",
}
ENTRY = 'write "net.yaml", "net.yaml+weights.pt" or {label: …, model: net.yaml, pretrained: weights.pt, lr0: …}'


@dataclass(frozen=True)
class Variant:
    """A network to train: model YAML, weights to start from, and options that only this one has."""

    label: str
    model: str
    pretrained: str | None = None
    own: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """One training of a variant. `key` is equal for runs that differ in their seed alone.

    `data` is the name of the dataset, `classes` the number of its classes.
    """

    variant: Variant
    seed: int
    data: str
    classes: int
    options: Options
    key: str

    def __str__(self) -> str:
        return f"{self.variant.label}, seed {self.seed}"

    @property
    def name(self) -> str:
        """Of its folder and of its curve."""
        return run_name(self.variant.label, self.seed, self.key)


def run_name(label: str, seed: int, key: str) -> str:
    """A file name in which a run's label can be read, and which no other run has."""
    readable = re.sub(r"[^\w.+-]", "_", label)
    return f"{readable}-seed{seed}-{key}"


def read_variants(models: Any) -> list[Variant]:
    """The variants of the setting `models`: a list of entries, or a mapping from labels to them. ConfigError if not."""
    if isinstance(models, str):
        models = [models]
    if isinstance(models, Mapping):
        found = [_variant(entry, label) for label, entry in models.items()]
    elif isinstance(models, Sequence) and models:
        found = [_variant(entry) for entry in models]
    else:
        raise ConfigError(f"models={models!r}: expected a list of networks; {ENTRY}")
    labels = [variant.label for variant in found]
    for label in labels:
        if labels.count(label) > 1:
            raise ConfigError(f"models: two are called {label}; give one of them a label of its own: {ENTRY}")
    return found


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
            f"models: {model} has a {shared[0]} of its own, which all of a comparison share; leave it out"
        )
    if weights and not Path(weights).is_file():
        raise CheckpointError(f"models: {model} is to start from {weights}, which is not there")
    label = label or entry.get("label") or Path(model).stem + (f"+{Path(weights).stem}" if weights else "")
    return Variant(str(label), model, weights, check_values(own, f"models: {model}"))


def choose(variants: Sequence[Variant], only: Any) -> list[Variant]:
    """Those with the labels of `only`, one or a list; all without it. ConfigError for a label that is not there."""
    wanted = [only] if isinstance(only, str) else list(only or [])
    labels = {variant.label: variant for variant in variants}
    for label in wanted:
        if label not in labels:
            near = ", ".join(nearest(str(label), labels) or labels)
            raise ConfigError(f"only={label}: none of the models has that label, the nearest: {near}")
    return [labels[label] for label in wanted] or list(variants)


def plan_runs(variants: Sequence[Variant], seeds: Any, settings: Mapping[str, Any]) -> list[Run]:
    """Every variant with every seed, all of the first seed first; `settings` are options of training."""
    for name, instead in UNSUPPORTED.items():
        if settings.get(name):
            raise ConfigError(f"{name}={settings[name]}: {instead}")
    seeds = [seeds] if isinstance(seeds, int) else seeds
    if not isinstance(seeds, Sequence) or not seeds or not all(isinstance(seed, int) and seed >= 0 for seed in seeds):
        raise ConfigError(f"seeds={seeds!r}: expected whole numbers from 0, such as [0,1,2]")
    if not settings.get("data"):
        raise ConfigError("no dataset: give data=, the path of a dataset YAML or a name such as shapes.yaml")
    data = load_data_yaml(settings["data"])
    content = [list(data["names"].values()), *(len(list_images(data[split])) for split in ("train", "val"))]
    runs = []
    for variant in variants:
        task = task_class(find_task(yaml_model_load(variant.model)))
        if RANKED_BY not in task.metric_keys:
            raise ConfigError(f"models: {variant.model} is for {task.name}; compare.py ranks by the mAP of boxes")
        options = get_options(
            settings, {"model": variant.model, "pretrained": variant.pretrained or False}, variant.own
        )
        options = options.resolve("train")
        key = _key(variant, options, content)
        name = data_name(data["yaml_file"])
        runs += [Run(variant, seed, name, data["nc"], options, key) for seed in dict.fromkeys(seeds)]
    return sorted(runs, key=lambda run: list(seeds).index(run.seed))


def data_name(file: Path) -> str:
    """What a dataset is called: as its YAML or, where that is `data.yaml`, as the folder."""
    return file.parent.name if file.stem in ("data", "dataset") else file.stem


def _key(variant: Variant, options: Options, content: list) -> str:
    """Eight letters that tell runs under different conditions apart: architecture, weights, data, options."""
    weights = hashlib.sha256(Path(variant.pretrained).read_bytes()).hexdigest() if variant.pretrained else None
    architecture = load_yaml(resolve_yaml(variant.model))
    network = [Path(variant.model).name, architecture, weights]
    chosen = {name: value for name in CONDITIONS if (value := getattr(options, name))}
    usual = get_options()
    chosen |= {name: value for name in OF_TASKS if (value := getattr(options, name)) != getattr(usual, name)}
    chosen["task"] = find_task(architecture)
    text = json.dumps([network, content, chosen], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:8]
