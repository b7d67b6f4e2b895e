"""Command line of the scripts: `name=value` words, help, the CPU where there is no GPU, errors of one line."""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from ultralytics.cfg import DEFAULT_YAML, get_options
from ultralytics.cfg.command import errors_as_sentences, parse_words
from ultralytics.engine.distributed import check_devices, is_first
from ultralytics.models.yolo import settings_for
from ultralytics.utils import LOGGER
from ultralytics.utils.checkpoint import load_checkpoint
from ultralytics.utils.errors import CheckpointError, NoGPUError

EMPTY: Mapping[str, object] = MappingProxyType({})


def run(
    main: Callable[[dict[str, object]], None], settings: dict[str, object], doc: str, own: Mapping[str, object] = EMPTY
) -> None:
    """Call `main` with the settings of a script and what the command line changes in them.

    Where `task` is asked for, on the command line or in default.yaml, model and data follow it unless they were edited.
    `own` are settings that are not options: their words are read as YAML and checked by the script.
    A mistake is reported in one sentence with exit code 1; YOLO_TRACEBACK=1 in the environment shows the traceback.
    """
    words = sys.argv[1:]
    if any(word in ("-h", "--help", "help") for word in words):
        print(f"{doc.strip()}\n\nOptions and their defaults are described in {DEFAULT_YAML}")
        return
    with errors_as_sentences():
        given, own_given = parse_words(words, own)
        if resume := given.get("resume", settings.get("resume")):  # that run has its own settings
            settings = {"device": settings.get("device"), "resume": resume}
        elif task := given.get("task") or settings.get("task") or get_options().task:
            settings = settings_for(task, settings)
        options = settings | given
        try:
            if not (own | own_given).get("ray"):  # a cluster has devices of its own
                check_devices(options.get("device"))
        except NoGPUError as exc:
            if is_first():
                print(f"{exc}. Continuing with device=cpu.")
            options["device"] = "cpu"
        main({**own, **own_given, **options})


def newest_weights(folder: str = "runs/train", *, resumable: bool = False) -> str:
    """Path of the best.pt that was written last below a folder, or of the newest last.pt of an unfinished run."""
    name = "last.pt" if resumable else "best.pt"
    found = sorted(Path(folder).rglob(name), key=lambda path: path.stat().st_mtime, reverse=True)
    if not found:
        raise CheckpointError(f"there is no {name} below {folder}: run train.py first, or give the path of weights")
    if not resumable:
        return str(found[0])
    for path in found:
        try:
            if load_checkpoint(path).training is not None:
                return str(path)
        except CheckpointError as exc:  # noqa: PERF203 (few, and each takes its time to read)
            LOGGER.warning(f"{path} skipped: {exc}")
    raise CheckpointError(f"none of the {len(found)} last.pt below {folder} can be resumed: their runs are finished")
