"""Tables of a validation as a paper has them: paper.md, paper.csv and paper.tex, all classes and then each."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from ultralytics.utils.files import atomic_write, write_csv

if TYPE_CHECKING:
    from ultralytics.utils.metrics import DetMetrics

Row = dict[str, str | int | float]
BySize = Mapping[str, Mapping[str, Mapping[int, float]]]  # AP by class, by size, by the letter of a set
NO_VALUE = "–"
NOTHING = -1.0  # COCO's AP where there are no objects of a size
# As LaTeX prints it: class names may have any character.
TEX = str.maketrans(
    {c: f"\\{c}" for c in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\^{}", NO_VALUE: "--"}
)


def further_results(metrics: "DetMetrics", by_size: BySize) -> dict[str, float]:
    """Numbers beside the public ones, by name: of each set F1 at its best confidence, mAP75, and AP by size.

    F1 is the mean over the classes. The AP of a size that no object has is -1, as COCO's is.
    """
    found = {}
    for letter, metric in metrics.results.items():
        found[f"metrics/F1({letter})"] = float(metric.f1.mean()) if metric.f1.size else 0.0
        found[f"metrics/F1-confidence({letter})"] = metric.conf
        found[f"metrics/mAP75({letter})"] = metric.map75
    for letter, sizes in by_size.items():
        for size, ap in sizes.items():
            found[f"metrics/mAP50-95-{size}({letter})"] = float(np.mean(list(ap.values()))) if ap else NOTHING
    return found


def detection_rows(metrics: "DetMetrics", by_size: BySize, images: int) -> list[Row]:
    """A row for all classes and one for each that has objects."""
    rows: list[Row] = metrics.summary(decimals=6)
    means = {
        name: np.mean([row[name] for row in rows]).item()
        for name in (rows[0] if rows else {})
        if "-" in name or "mAP" in name
    }
    rows = [{"Class": "all", "Images": images, "Instances": int(metrics.nt_per_class.sum()), **means}, *rows]
    classes = metrics.ap_class_index.tolist()
    titles = {s.letter: "" if s is metrics.sets[0] else f"{s.title}-" for s in metrics.sets}
    for letter, sizes in by_size.items():
        for size, ap in sizes.items():
            values = [float(np.mean(list(ap.values()))) if ap else NO_VALUE, *(ap.get(c, NO_VALUE) for c in classes)]
            for row, value in zip(rows, values, strict=True):
                row[f"{titles[letter]}AP-{size}"] = value
    return rows


def detection_notes(metrics: "DetMetrics", sized: str) -> list[str]:
    """Sentences on how those numbers are made; `sized` says whose areas decide the AP by size."""
    at = ", ".join(f"{s.title} {metrics.results[s.letter].conf:.3f}" for s in metrics.sets)
    return [
        f"P, R and F1 at the confidence of the highest mean F1 over the classes, IoU 0.50: {at}. Metrics of all are "
        "means over the classes.",
        "AP-small, -medium, -large: COCO's AP50-95 of objects up to 32², up to 96² and above, pixels of the original "
        f"image ({NO_VALUE}: no object of that size), by {sized}.",
    ]


def write_tables(folder: Path, rows: Sequence[Row], notes: Sequence[str]) -> None:
    """Write paper.md, paper.csv and paper.tex; the notes say how the numbers were made."""
    columns = list(rows[0])
    cells = [[f"{value:.3f}" if isinstance(value, float) else str(value) for value in row.values()] for row in rows]
    plain = [[cell.replace("|", r"\|") for cell in line] for line in cells]
    lines = ["| " + " | ".join(line) + " |" for line in (columns, ["---"] * len(columns), *plain)]
    text = "\n".join(lines) + "\n\n" + "".join(f"{note}\n\n" for note in notes)
    atomic_write(folder / "paper.md", lambda file: file.write(text.encode()))
    write_csv(folder / "paper.csv", [{k: "" if v == NO_VALUE else v for k, v in row.items()} for row in rows])
    body = [" & ".join(cell.translate(TEX) for cell in line) + r" \\" for line in (columns, *cells)]
    table = [rf"\begin{{tabular}}{{l{'r' * (len(columns) - 1)}}}", r"\toprule", body[0], r"\midrule", *body[1:]]
    comments = [f"% {note}" for note in notes]
    tex = "\n".join(["% needs \\usepackage{booktabs}", *comments, *table, r"\bottomrule", r"\end{tabular}", ""])
    atomic_write(folder / "paper.tex", lambda file: file.write(tex.encode()))


def speed_note(speed: dict[str, float], network: nn.Module, batch: int, images: int) -> str:
    """Milliseconds by stage with the conditions they hold for, and images per second."""
    stages = ", ".join(f"{stage} {ms:.2f}" for stage, ms in speed.items() if ms)
    threads = f", {torch.get_num_threads()} threads" if network.device.type == "cpu" else ""
    precision = str(network.dtype).removeprefix("torch.")
    fps = 1e3 / max(sum(speed.values()), 1e-9)
    return (
        f"Speed of this validation, ms an image: {stages}; {fps:.1f} images per second "
        f"({network.device}{threads}, {precision}, batches of {batch}; means over {images} images, without "
        "warm-up). `yolo speed model=best.pt` measures with warm-up, median and 90th percentile."
    )


def cost_note(network: nn.Module, path: Path | None, imgsz: int | list[int]) -> str:
    """File size, parameters and GFLOPs of a network, as far as it has them: an exported one has only a file."""
    parts = [f"{path.name} {path.stat().st_size / 1e6:.2f} MB"] if path and path.is_file() else []
    if hasattr(network, "info"):
        _, parameters, _, gflops = network.info(verbose=False, imgsz=imgsz)
        parts.append(f"{parameters:,} parameters, {gflops:.2f} GFLOPs of an image at {imgsz}, all layers counted")
    return f"Network: {'; '.join(parts)}." if parts else ""
