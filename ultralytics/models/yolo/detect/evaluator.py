"""Detections of a validation: matched, measured, and where asked for drawn and written."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ultralytics.data.dataset import YOLODataset
from ultralytics.engine.results import Results
from ultralytics.utils import LOGGER
from ultralytics.utils.errors import DatasetError, DependencyError
from ultralytics.utils.files import unused_name
from ultralytics.utils.metrics import DetMetrics, box_iou, match_predictions
from ultralytics.utils.ops import scale_boxes, xywh2xyxy
from ultralytics.utils.plotting import writing


class DetectEvaluator:
    """Gathers detections batch by batch, then measures and, where asked for, draws and writes them."""

    coco_kinds = ("bbox",)  # what COCO's evaluation is made of
    sigmas: tuple[float, ...] = ()  # how exactly people place each keypoint

    def __init__(
        self, task: type, data: dict, options: Any, dataset: YOLODataset, save_dir: Path, nc: int, final: bool
    ) -> None:
        """`nc`: classes of the network; `final`: not one of the validations between epochs, which leave no files."""
        self.task = task
        self.nc = nc
        self.final = final
        self.data = data
        self.dataset = dataset
        self.save_dir = save_dir
        self.names = data["names"]
        self.options = self._raise_max_det(options)
        if options.single_cls and nc == 1:  # trained like that: what the files call the one class, it does not know
            self.options = self.options.replace(classes=None)
        self.metrics = task.metrics_of(self.names)
        self.metrics.save_dir = save_dir
        self.rows: list[dict] = []  # COCO's, with save_json
        self._stems: set[str] = set()  # of label files, with save_txt

    def _raise_max_det(self, options: Any) -> Any:
        """More detections per image than the default where the data have more objects in one."""
        most = self.dataset.labels.max_objects
        if "max_det" in options.given or most <= options.max_det:
            return options
        if self.final:
            LOGGER.info(f"an image has {most} objects: max_det is raised from {options.max_det} to {most}")
        return options.replace(max_det=most)

    def decode(self, outputs: Any) -> list[Tensor]:
        """Detections per image; every class of a box that is sure enough counts."""
        found = self.task.decode(outputs, self.options, self.nc, multi_label=True)
        if self.options.single_cls:
            for one in found:
                self.task.rows(one)[:, 5] = 0
        return found

    def update(self, found: list[Tensor], batch: dict) -> None:
        """Match the detections of a batch with its objects, in pixels of the network's input."""
        boxes, cls, index = self.boxes(batch), batch["cls"].flatten(), batch["batch_idx"]
        for i, one in enumerate(found):
            mine = index == i
            rows = self.task.rows(one).cpu()
            overlaps = {"tp": self.overlap(boxes[mine], rows)} | self.extra_ious(one, batch, i)
            self._match(rows, boxes[mine], cls[mine], overlaps)
            self._export(one, batch, i)

    def boxes(self, batch: dict) -> Tensor:
        """The objects' boxes (N, 4) xyxy in pixels of the network's input."""
        height, width = batch["img"].shape[-2:]
        return xywh2xyxy(batch["bboxes"]) * torch.tensor((width, height, width, height))

    def overlap(self, boxes: Tensor, found: Tensor) -> np.ndarray:
        """How well detections fit objects, (m, n)."""
        return box_iou(boxes, found[:, :4]).numpy()

    def extra_ious(self, found: Any, batch: dict, i: int) -> dict[str, np.ndarray]:
        """How well what a task finds beside boxes fits the objects of the i-th image, (m, n) by key in the statistics.

        `found` is what `decode` gives for that image.
        """
        return {}

    def _match(self, found: Tensor, boxes: Tensor, cls: Tensor, overlaps: dict[str, np.ndarray]) -> None:
        conf, predicted, true = found[:, 4].numpy(), found[:, 5].numpy(), cls.numpy()
        self.metrics.update_stats(
            {
                **{key: match_predictions(predicted, true, iou) for key, iou in overlaps.items()},
                "conf": conf,
                "pred_cls": predicted,
                "target_cls": true,
                "target_img": np.unique(true),
            }
        )
        self.metrics.confusion_matrix.process_batch(found, boxes, cls, iou=overlaps["tp"])

    @property
    def exports(self) -> bool:
        """Whether detections are to be written down."""
        return self.final and (self.options.save_json or self.options.save_txt)

    def _export(self, found: Any, batch: dict, i: int) -> None:
        """Detections of the i-th image on its original, as rows of json or label files where asked for."""
        if not self.exports:
            return
        result = self.to_original(found, batch, i)
        if self.options.save_txt:
            file = self.save_dir / "labels" / f"{unused_name(Path(result.path).stem, self._stems)}.txt"
            with writing(file):
                file.unlink(missing_ok=True)  # an earlier run's, which rows would be appended to
            result.save_txt(file, save_conf=self.options.save_conf)
        if self.options.save_json:
            self.rows += self.json_rows(result)

    def to_original(self, found: Any, batch: dict, i: int) -> Results:
        """What was found in the i-th image of a batch on its original, which is left black."""
        shape = batch["ori_shape"][i]
        boxes = scale_boxes(batch["img"].shape[-2:], found.cpu(), shape, batch["ratio_pad"][i])
        return Results(np.broadcast_to(np.uint8(0), (*shape, 3)), batch["im_file"][i], self.names, boxes=boxes)

    def json_rows(self, result: Results) -> list[dict]:
        """What predictions.json says of an image."""
        from ultralytics.utils.coco import to_coco_predictions

        return to_coco_predictions(result.path, result.boxes.data)

    def finish(self, speed: dict[str, float]) -> DetMetrics:
        """The metrics of everything gathered, said and, if final, drawn and written as asked for."""
        self.metrics.speed = speed
        self.metrics.process()
        self._report()
        if self.final and self.options.plots:
            self._draw()
        if self.final and self.options.save_json:
            self.save_json()
        return self.metrics

    def _report(self) -> None:
        """The table: all classes, then each class that the data have objects of."""
        metrics = self.metrics
        row = "%22s" + "%11s" * 2 + "%11.3g" * len(metrics.keys)
        totals = metrics.nt_per_class.sum()
        LOGGER.info("%22s" + "%11s" * (len(self.task.header) - 1), *self.task.header)
        LOGGER.info(row, "all", len(self.dataset), totals, *metrics.mean_results())
        if self.final and self.options.verbose and len(self.names) > 1:
            for i, c in enumerate(metrics.ap_class_index.tolist()):
                counts = metrics.nt_per_image[c], metrics.nt_per_class[c]
                LOGGER.info(row, self.names[c][:22], *counts, *metrics.class_result(i))
        if not totals:
            LOGGER.warning("the images have no labels: nothing can be measured on them")

    def _draw(self) -> None:
        """Curves over the confidence, and the confusion matrix in counts and in shares."""
        from ultralytics.utils.charts.metrics import plot_confusion_matrix, plot_curves

        for kind in self.metrics.sets:
            prefix = kind.title if len(self.metrics.sets) > 1 else ""
            plot_curves(self.metrics.results[kind.letter], self.names, self.save_dir, prefix)
        for normalize in (False, True):
            plot_confusion_matrix(self.metrics.confusion_matrix.matrix, self.names, self.save_dir, normalize)

    def save_json(self) -> None:
        """predictions.json and, where the extra is installed, COCO's own numbers on the original images."""
        from ultralytics.utils import coco

        path = self.save_dir / "predictions.json"
        coco.save_predictions(path, self.rows)
        try:
            truth = coco.coco_ground_truth(map(self.truth, range(len(self.dataset))), self.names)
            found = {kind: coco.evaluate_coco(truth, self.rows, kind, self.sigmas) for kind in self.coco_kinds}
        except (DatasetError, DependencyError) as exc:
            LOGGER.warning(f"{path} is written, but not evaluated: {exc}")
            return
        for kind, numbers in found.items():
            ap = ", ".join(f"{name} {numbers[name]:.4f}" for name in ("AP", "AP50", "AP75"))
            LOGGER.info(f"COCO, {kind}, maxDets {coco.MAX_DETS}: {ap}")

    def truth(self, i: int) -> tuple:
        """An image as `coco_ground_truth` takes it.

        That is file, (height, width), and of the objects that count classes (k,) and boxes (k, 4) xywh normalized.
        """
        labels, kept = self.dataset.labels, self.dataset.kept_classes
        cls, boxes, _ = labels.objects(i)
        if kept is not None:
            cls, boxes = cls[kept[cls.astype(int)]], boxes[kept[cls.astype(int)]]
        height, width = labels.shapes[i].tolist()
        return labels.file(i), (height, width), cls * (not self.options.single_cls), boxes
