"""Detections of a validation: matched with the labels, measured, and where asked for drawn and written."""

from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from torch import Tensor

from ultralytics.data.dataset import Batch, YOLODataset
from ultralytics.data.images import read_image
from ultralytics.engine.results import Results
from ultralytics.utils import HEADING, LOGGER
from ultralytics.utils.errors import DatasetError, DependencyError
from ultralytics.utils.files import unused_name
from ultralytics.utils.metrics import DetMetrics, box_iou, match_predictions
from ultralytics.utils.ops import scale_boxes, xywh2xyxy
from ultralytics.utils.paper.errors import ImageErrors, error_kinds, write_errors
from ultralytics.utils.paper.pictures import draw_errors
from ultralytics.utils.paper.sizes import SIZES, APBySize
from ultralytics.utils.paper.tables import NOTHING, BySize, Row, detection_notes, detection_rows, further_results
from ultralytics.utils.plotting import writing
from ultralytics.utils.processes import gather_images, gather_items

if TYPE_CHECKING:
    from ultralytics.models.yolo.detect.task import DetectTask
    from ultralytics.models.yolo.task import Outputs

PLOT_CONF = 0.25  # detections below it are not drawn


class DetectEvaluator:
    """Evaluator by the IoU of boxes; tasks that match a second time, by masks or keypoints, extend it."""

    coco_kinds: ClassVar[tuple[str, ...]] = ("bbox",)  # COCO's evaluations of predictions.json
    geometry: ClassVar[Sequence[int]] = (0, 1, 2, 3)  # columns of a detection that are its box
    overlap: ClassVar[Callable[[Tensor, Tensor], Tensor]] = staticmethod(box_iou)  # of boxes (m, …) and (n, …): (m, n)
    scale: ClassVar[Callable[..., Tensor]] = staticmethod(scale_boxes)  # boxes from the network's input to the image
    sigmas: tuple[float, ...] = ()  # of keypoints: standard deviations of people who place them
    sized: ClassVar[Mapping[str, Sequence[str]]] = {"B": tuple(SIZES)}  # sizes for AP, by metric letter
    areas_of = "the area of their boxes"  # what decides the size of an object, in words

    def __init__(self, task: "DetectTask", dataset: YOLODataset, save_dir: Path, nc: int, final: bool) -> None:
        """`nc`: classes of the network; `final`: not one of the validations between epochs, which leave no files."""
        options, objects = task.options, int(dataset.labels.counts.max(initial=0))
        if "max_det" not in options.given and objects > options.max_det:
            if final:
                LOGGER.info(f"an image has {objects} objects: max_det is raised from {options.max_det} to {objects}")
            options = options.replace(max_det=objects)
        if options.single_cls:  # boxes of any two classes are of one
            options = options.replace(agnostic_nms=True)
        if options.single_cls and nc == 1:  # trained like that: what the files call the one class, it does not know
            options = options.replace(classes=None)
        self.task, self.options = type(task)(options, task.data), options
        self.dataset, self.save_dir, self.nc, self.final = dataset, save_dir, nc, final
        self.names = task.data["names"]
        self.metrics = task.metrics_class(self.names)
        self.metrics.save_dir = save_dir
        # Where several processes measure, the first one draws and writes what all of them have kept.
        plots, save_json = gather_items((options.plots, options.save_json))[0]
        self.keeps_errors, self.keeps_json = final and plots, final and save_json
        self.exports = self.keeps_json or (final and options.save_txt)
        self.rows_by_image: list[list[dict]] = []  # of predictions.json
        self._stems: dict[str, str] = {}  # of label files, by image
        if final and options.save_txt:
            files, taken = map(dataset.labels.file, range(len(dataset))), set()
            self._stems = {file: unused_name(Path(file).stem, taken) for file in files}
        # Matching three times over is not for every epoch.
        self.sizes = {letter: APBySize(sizes) for letter, sizes in self.sized.items()} if final else {}
        self.by_size: BySize = {}
        self.errors: list[ImageErrors] = []  # of each image, if they are to be drawn

    def postprocess(self, outputs: "Outputs") -> list:
        """Detections per image; every class of an anchor point above the threshold counts."""
        detections = self.task.postprocess(outputs, self.nc, multi_label=True)
        if self.options.single_cls:
            for pred in detections:
                self.task.rows(pred)[:, 5] = 0
        return detections

    def update(self, preds: list, batch: Batch) -> None:
        """Match the detections of a batch with its objects, in pixels of the network's input."""
        boxes, cls, index = self.boxes(batch), batch["cls"].flatten(), batch["batch_idx"]
        for i, pred in enumerate(preds):
            own = index == i  # the objects of this image
            rows = self.task.rows(pred).cpu()
            ious = {"tp": self.overlap(boxes[own], rows[:, self.geometry]).numpy()} | self.extra_ious(pred, batch, i)
            conf, predicted, true = rows[:, 4].numpy(), rows[:, 5].numpy(), cls[own].numpy()
            self.metrics.update_stats(
                {
                    **{key: match_predictions(predicted, true, iou) for key, iou in ious.items()},
                    "conf": conf,
                    "pred_cls": predicted,
                    "target_cls": true,
                    "target_img": np.unique(true),
                }
            )
            self.metrics.confusion_matrix.process_batch(rows, boxes[own], cls[own], iou=ious["tp"])
            if self.final:
                true_boxes, pred_boxes = (self.scale_to_original(b.double(), batch, i) for b in (boxes[own], rows))
                overlap = self.overlap(true_boxes, pred_boxes[:, self.geometry]).numpy()
                areas = {"pred_area": self.areas(pred_boxes), "true_area": self.areas(true_boxes)}
                sized = {"B": {"iou": overlap, "true_cls": true, **areas}} | self.extra_sizes(pred, batch, i, ious)
                for letter, measured in sized.items():
                    self.sizes[letter].add(conf=conf, pred_cls=predicted, **measured)
                if self.keeps_errors:
                    drawn = pred_boxes[:, self.geometry].float().numpy(), conf, predicted.astype(int)
                    objects = true_boxes.float().numpy(), true.astype(int)
                    kinds = error_kinds(overlap, drawn[2], objects[1])
                    self.errors.append(ImageErrors(str(batch["im_file"][i]), *drawn, *kinds, *objects))
            if self.exports:
                self._export(pred, batch, i)

    def boxes(self, batch: Batch) -> Tensor:
        """Boxes of the objects (N, 4) xyxy in pixels of the network's input."""
        height, width = batch["img"].shape[-2:]
        return xywh2xyxy(batch["bboxes"]) * torch.tensor((width, height, width, height))

    def scale_to_original(self, boxes: Tensor, batch: Batch, i: int) -> Tensor:
        """Boxes (n, 4 or more) of the i-th image of a batch in pixels of its original; upright ones clipped to it."""
        return self.scale(batch["img"].shape[-2:], boxes, batch["ori_shape"][i], batch["ratio_pad"][i])

    @staticmethod
    def areas(boxes: Tensor) -> np.ndarray:
        """Areas (n,) of boxes."""
        return (boxes[:, 2:4] - boxes[:, :2]).prod(1).numpy()

    def extra_ious(self, pred: Tensor, batch: Batch, i: int) -> dict[str, np.ndarray]:
        """Overlaps (m, n) of the i-th image's objects and predictions beside boxes, by their key in the statistics."""
        return {}

    def extra_sizes(
        self, pred: Tensor, batch: Batch, i: int, ious: Mapping[str, np.ndarray]
    ) -> dict[str, dict[str, np.ndarray]]:
        """Further arguments of `APBySize.add` for the sets beside boxes, by letter.

        `ious` are those that the detections are matched by, in pixels of the network's input.
        """
        return {}

    def _export(self, pred: Tensor, batch: Batch, i: int) -> None:
        """Keep the detections of the i-th image, on its original, as rows of JSON or as a label file."""
        result = self.result_on_original(pred, batch, i)
        if self.options.save_txt:
            file = self.save_dir / "labels" / f"{self._stems[batch['im_file'][i]]}.txt"
            with writing(file):
                file.unlink(missing_ok=True)  # an earlier run's, which rows would be appended to
            result.save_txt(file, save_conf=self.options.save_conf)
        if self.keeps_json:
            self.rows_by_image.append(self.json_rows(result))

    def result_on_original(self, pred: Tensor, batch: Batch, i: int) -> Results:
        """Detections of the i-th image of a batch on its original, whose pixels are not needed and stay black."""
        black = np.broadcast_to(np.uint8(0), (*batch["ori_shape"][i], 3))
        return Results(black, batch["im_file"][i], self.names, boxes=self.scale_to_original(pred.cpu(), batch, i))

    def json_rows(self, result: Results) -> list[dict]:
        """Rows of predictions.json for an image."""
        from ultralytics.utils.coco import to_coco_predictions

        return to_coco_predictions(result.path, result.boxes.data)

    def gather(self) -> None:
        """Add the images of all processes, in the order of the dataset, where several have a share of each batch."""
        metrics, batch = self.metrics, self.dataset.batch
        for key, parts in metrics.stats.items():
            metrics.stats[key] = gather_images(parts, batch)
        metrics.confusion_matrix.matrix = sum(gather_items(metrics.confusion_matrix.matrix))
        self.rows_by_image = gather_images(self.rows_by_image, batch)
        if self.final:
            for sizes in self.sizes.values():
                sizes.gather(batch)
            self.errors = gather_images(self.errors, batch)

    def finish(self, speed: dict[str, float]) -> DetMetrics:
        """Metrics of everything gathered, logged and, if final, drawn and written as asked for."""
        self.gather()
        self.metrics.speed = speed
        plots = self.final and self.options.plots
        self.metrics.process(self.save_dir, plot=plots)
        if self.final:
            self.by_size = {letter: sizes.results() for letter, sizes in self.sizes.items()}
            self.metrics.further = further_results(self.metrics, self.by_size)
        self._log()
        if plots:
            for normalize in (False, True):
                self.metrics.confusion_matrix.plot(normalize, self.save_dir)
            box = self.metrics.box  # where nothing is hit, every confidence is as good as another
            errors = [image.above(box.conf if box.f1.any() else PLOT_CONF) for image in self.errors]
            write_errors(self.save_dir / "errors.csv", errors, self.names)
            draw_errors(self.save_dir / "errors.png", errors, self.names, read_image)
        if self.final and self.options.save_json:
            self.save_json(list(chain.from_iterable(self.rows_by_image)))
        return self.metrics

    def paper(self) -> tuple[list[Row], list[str]]:
        """Rows and notes of paper.md."""
        notes = detection_notes(self.metrics, self.areas_of)
        return detection_rows(self.metrics, self.by_size, len(self.dataset)), notes

    def _log(self) -> None:
        """Log the table: all classes, then each class that the dataset has objects of."""
        metrics = self.metrics
        row = "%22s" + "%11s" * 2 + "%11.3g" * len(metrics.keys)
        totals = metrics.nt_per_class.sum()
        LOGGER.info("%22s" + "%11s" * (len(self.task.header) - 1), *self.task.header, extra=HEADING)
        LOGGER.info(row, "all", len(self.dataset), totals, *metrics.mean_results())
        if self.final and self.options.verbose and len(self.names) > 1:
            for i, c in enumerate(metrics.ap_class_index.tolist()):
                counts = metrics.nt_per_image[c], metrics.nt_per_class[c]
                LOGGER.info(row, self.names[c][:22], *counts, *metrics.class_result(i))
        if self.final and self.options.verbose and totals:
            known = [(key.partition("/")[2], value) for key, value in metrics.further.items() if value != NOTHING]
            LOGGER.info(", ".join(f"{name} {value:.3g}" for name, value in known))
        if not totals:
            LOGGER.warning("the images have no labels: nothing can be measured on them")

    def save_json(self, rows: list[dict]) -> None:
        """Write rows as predictions.json and, where the extra is installed, log COCO's own numbers on the originals."""
        from ultralytics.utils import coco

        path = self.save_dir / "predictions.json"
        coco.save_predictions(path, rows)
        try:
            truth = coco.coco_ground_truth(map(self.truth, range(len(self.dataset))), self.names)
            numbers = {kind: coco.evaluate_coco(truth, rows, kind, self.sigmas) for kind in self.coco_kinds}
        except (DatasetError, DependencyError) as exc:
            LOGGER.warning(f"{path} is written, but not evaluated: {exc}")
            return
        for kind, values in numbers.items():
            ap = ", ".join(f"{name} {values[name]:.4f}" for name in ("AP", "AP50", "AP75"))
            LOGGER.info(f"COCO, {kind}, maxDets {coco.MAX_DETS}: {ap}")

    def truth(self, i: int) -> tuple:
        """Image as `coco_ground_truth` takes it.

        That is file, (height, width), and of the objects that count classes (k,) and boxes (k, 4) xywh normalized.
        """
        labels, kept = self.dataset.labels, self.dataset.kept_classes
        cls, boxes, *_ = labels.labels_of(i)
        if kept is not None:
            cls, boxes = cls[kept[cls.astype(int)]], boxes[kept[cls.astype(int)]]
        height, width = labels.shapes[i].tolist()
        return labels.file(i), (height, width), cls * (not self.options.single_cls), boxes
