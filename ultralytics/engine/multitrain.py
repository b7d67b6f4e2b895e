"""Trains one network on several datasets, each time from the same start, in a folder for all runs."""

import json
from collections.abc import Callable
from pathlib import Path

from ultralytics.cfg import Options
from ultralytics.engine import distributed
from ultralytics.engine.trainer import BaseTrainer
from ultralytics.utils import LOGGER
from ultralytics.utils.errors import ConfigError, YOLOError
from ultralytics.utils.files import atomic_write, increment_path, unused_name
from ultralytics.utils.torch_utils import select_device

Scores = dict[str, dict[str, float] | None]


def train_each(options: Options, make_trainer: Callable[[Options], BaseTrainer]) -> Scores:
    """Final metrics by dataset; None for one on which training failed, which does not keep the others from it;
    in several processes the first failure ends all.

    The folder `multitrain`, or `name`, gets a run folder a dataset and all metrics as multitrain_results.json.
    """
    if options.resume:
        raise ConfigError("resume: give the last.pt of one run, as resume=runs/train/multitrain/NAME/weights/last.pt")
    name = options.name if "name" in options.given else "multitrain"
    distributed.join(options, select_device(options.device))
    folder = distributed.first(lambda: increment_path(Path(options.project) / name, options.exist_ok))
    scores: Scores = {}
    taken: set[str] = set()
    for number, data in enumerate(options.data, 1):
        path = Path(data)
        key = unused_name(path.parent.name if path.stem in ("data", "dataset") else path.stem, taken)
        LOGGER.info(f"dataset {number} of {len(options.data)}: {data}")
        own = options.replace(data=data, project=str(folder), name=key, exist_ok=True)
        try:
            scores[key] = dict(make_trainer(own).train().results_dict)
        except YOLOError as exc:
            if distributed.started():  # the others may not have failed, and would wait for this one
                raise
            LOGGER.error(f"{data} skipped: {exc}")
            scores[key] = None
    text = json.dumps(scores, indent=2)
    if distributed.is_first():
        atomic_write(folder / "multitrain_results.json", lambda file: file.write(text.encode()))
    LOGGER.info(f"Results of all datasets saved to {folder}")
    return scores
