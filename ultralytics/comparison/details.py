"""Numbers of a run that the results file has no column for, in a file of their own beside its curve."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ultralytics.engine.model import YOLO
from ultralytics.utils.ap import CURVE_POINTS, RECALL_POINTS
from ultralytics.utils.files import atomic_write
from ultralytics.utils.paper.sizes import SIZES

DIGITS = 6


@dataclass(frozen=True)
class Details:
    """Measurements of last.pt as it is saved; all are fractions, means over the classes."""

    f1: float  # at the confidence where it is highest
    map75: float
    by_size: Mapping[str, float]  # AP50-95 of small, medium and large objects; -1: there are none
    precision: tuple[float, ...]  # over the recall 0, 0.01, … 1, at IoU 0.50


def measure_details(weights: Path, **options: Any) -> Details:
    """Details of the weights of a finished run, which are validated once more, in full."""
    metrics = YOLO(weights).val(**options, plots=False, verbose=False)
    curve = metrics.box.prec_values.mean(0) if len(metrics.box.prec_values) else np.zeros(len(CURVE_POINTS))
    found = metrics.further
    return Details(
        f1=round(found["metrics/F1(B)"], DIGITS),
        map75=round(found["metrics/mAP75(B)"], DIGITS),
        by_size={size: round(found[f"metrics/mAP50-95-{size}(B)"], DIGITS) for size in SIZES},
        precision=tuple(np.interp(RECALL_POINTS, CURVE_POINTS, curve).round(DIGITS).tolist()),
    )


def write_details(path: Path, details: Details) -> None:
    """Write details into a JSON file."""
    text = json.dumps(asdict(details), indent=1) + "\n"
    atomic_write(path, lambda file: file.write(text.encode()))


def read_details(path: Path) -> Details | None:
    """Details of a run; None for a run of an earlier version, which has no such file."""
    if not path.exists():
        return None
    values = json.loads(path.read_text(encoding="utf-8"))
    return Details(**values | {"precision": tuple(values["precision"])})
