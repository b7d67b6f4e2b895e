"""How often a classifier is right."""

from pathlib import Path

import numpy as np

from ultralytics.utils.confusion import ConfusionMatrix

TOP = 5


class ClassifyMetrics:
    """What a validation of a classifier finds out, gathered batch by batch; `speed` is in milliseconds per image."""

    keys = ("metrics/accuracy_top1", "metrics/accuracy_top5")

    def __init__(self, names: dict[int, str]) -> None:
        self.names = names
        self.save_dir: Path | None = None
        self.speed = {"preprocess": 0.0, "inference": 0.0, "loss": 0.0, "postprocess": 0.0}
        self.confusion_matrix = ConfusionMatrix(names, background=False)
        self._ranks: list[np.ndarray] = []
        self._targets: list[np.ndarray] = []
        self.process()

    def update_stats(self, first: np.ndarray, targets: np.ndarray) -> None:
        """Add images: of each the likeliest classes (n, k), best first, and the true class (n,)."""
        hits = first == targets[:, None]
        self._ranks.append(np.where(hits.any(1), hits.argmax(1), TOP))
        self._targets.append(targets)
        self.confusion_matrix.process_cls_preds(first[:, 0], targets)

    def process(self) -> None:
        """Measure everything that was gathered so far."""
        ranks = np.concatenate([np.empty(0, int), *self._ranks])
        targets = np.concatenate([np.empty(0, int), *self._targets])
        self.nt_per_class = np.bincount(targets, minlength=len(self.names))  # images
        self.top1, self.top5 = (float((ranks < k).mean()) if len(ranks) else 0.0 for k in (1, TOP))
        of_class = [ranks[targets == c] for c in range(len(self.names))]
        self.per_class = np.array([[(r < k).mean() if len(r) else 0.0 for k in (1, TOP)] for r in of_class])  # (nc, 2)

    @property
    def fitness(self) -> float:
        """What training maximises: the mean of both accuracies."""
        return (self.top1 + self.top5) / 2

    def mean_results(self) -> list[float]:
        """The share of images whose class is the likeliest, and among the five likeliest."""
        return [self.top1, self.top5]

    @property
    def results_dict(self) -> dict[str, float]:
        """Accuracies by name, and the fitness."""
        return {**dict(zip(self.keys, self.mean_results(), strict=True)), "fitness": self.fitness}

    def summary(self, decimals: int = 5) -> list[dict[str, float]]:
        """Both accuracies, as the one row of a table."""
        return [{"top1_acc": round(self.top1, decimals), "top5_acc": round(self.top5, decimals)}]
