"""Comparison from its settings to its report: what `compare.py` and `yolo compare` call."""

import json
import shlex
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from ultralytics.comparison.cluster import attempts_on_ray
from ultralytics.comparison.ledger import Ledger
from ultralytics.comparison.report import write_report
from ultralytics.comparison.training import attempts_here, train_missing
from ultralytics.comparison.variants import choose, plan_runs, read_variants
from ultralytics.engine.distributed import started
from ultralytics.utils.errors import ConfigError, TrainingError
from ultralytics.utils.files import parse_value
from ultralytics.utils.torch_utils import device_names

DEFAULTS: Mapping[str, Any] = {  # settings that are no options of a run
    "models": None,  # entries: "net.yaml", "net.yaml+weights.pt", or {label: …, model: net.yaml, lr0: 0.002}
    "seeds": (0,),
    "only": None,  # labels of the models to train; None: all
    "train": True,  # False: only report on the finished runs
    "drop_after": None,  # seeds after which a variant that stays far below the first gets no more; None: none
    "results": "runs/compare/results.csv",  # one line per finished run; their epochs are in a folder beside it
    "ray": None,  # True, or the address of a Ray cluster: spread the runs over its GPUs and machines
}


def compare_variants(settings: Mapping[str, Any]) -> None:
    """Train the missing runs, and report on all finished ones; `settings` are those of DEFAULTS and options of runs.

    Raises TrainingError at the end where a run could not be trained.
    """
    options = {"project": "runs/compare"} | {name: value for name, value in settings.items() if name not in DEFAULTS}
    models, seeds, only, train, drop_after, results, ray = (
        settings.get(name, value) for name, value in DEFAULTS.items()
    )
    if models is None:
        raise ConfigError("models= is missing: name the networks, such as models=[yolov8n.yaml,mine.yaml]")
    if ray and not started() and len(device_names(options.get("device"))) > 1:
        raise ConfigError("ray= shares out the GPUs itself: leave device= out")
    if started() or len(device_names(options.get("device"))) > 1:
        raise ConfigError(
            "a comparison trains on one device, without torchrun: ray=True trains a run on each, or start it once for "
            "each, with device=0 and with device=1"
        )
    if not isinstance(ray, bool | str | None):
        raise ConfigError(f"ray={ray!r}: expected True, or the address of a Ray cluster, such as ray=10.0.0.1:6379")
    if drop_after is not None and (isinstance(drop_after, bool) or not isinstance(drop_after, int) or drop_after < 1):
        raise ConfigError(f"drop_after={drop_after}: expected a number of seeds of at least 1, or null for never")
    variants = read_variants(models)
    chosen = choose(variants, only) if train else []
    runs, ledger = plan_runs(variants, seeds, options), Ledger(results)
    ledger.check_data(runs)
    attempts = partial(attempts_on_ray, ray) if ray else attempts_here
    failures = train_missing(runs, ledger, options, chosen, drop_after, attempts)
    report = write_report(runs, ledger, Path(options["project"]), failures, drop_after, command_line(settings))
    print(
        f"{report.read_text(encoding='utf-8')}\nin {report.parent}: compare.md, .csv, .png and, to send, compare.html"
    )
    if failures:
        raise TrainingError(f"{len(failures)} of {len(runs)} runs could not be trained; the first: {failures[0]}")


def command_line(settings: Mapping[str, Any]) -> str:
    """Command, for a POSIX shell, that repeats a comparison with all its settings."""
    words = []
    for name, value in settings.items():
        if value is not None and name not in ("only", "train", "ray"):
            plain = isinstance(value, str | Path) and parse_value(str(value)) == str(value)
            text = str(value) if plain else json.dumps(value, ensure_ascii=False, default=str)
            words.append(shlex.quote(f"{name}={text}"))
    return " ".join(["yolo compare", *words])
