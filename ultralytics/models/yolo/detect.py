"""Object detection: everything about it that the loops do not know. Another task is another file like this one."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ultralytics.data.config import load_data_yaml
from ultralytics.data.dataset import YOLODataset, build_dataset
from ultralytics.data.inputs import letterboxed
from ultralytics.data.labels import box_row_parser
from ultralytics.data.sources import Frame
from ultralytics.engine.results import Results
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils import LOGGER
from ultralytics.utils.errors import DatasetError, DependencyError
from ultralytics.utils.files import unused_name
from ultralytics.utils.loss import v8DetectionLoss
from ultralytics.utils.metrics import DetMetrics, box_iou, match_predictions
from ultralytics.utils.nms import non_max_suppression
from ultralytics.utils.ops import scale_boxes, xywh2xyxy, xyxy2xywhn
from ultralytics.utils.plotting import plot_images, writing

PICTURE_CONF = 0.25  # detections below it are not drawn


class DetectTask:
    """The answers of detection to the questions of the loops; a task that finds boxes and more is a subclass."""

    name = "detect"
    starters: Mapping[str, Any] = {  # as in train.py; a task that leaves one out has the same
        "model": "yolov8n-DynamicConv.yaml",
        "data": "shapes.yaml",
        "imgsz": 640,
    }
    defaults: Mapping[str, Mapping[str, Any]] = {}  # options by method, where they are not everybody's
    model_class = DetectionModel
    loss_names = v8DetectionLoss.names
    metric_keys = tuple(DetMetrics({0: "any"}).keys)
    metrics_of = DetMetrics
    suppress = staticmethod(non_max_suppression)
    val_batches = 2  # training batches in one of the validations in between
    header = ("Class", "Images", "Instances", "Box(P", "R", "mAP50", "mAP50-95)")

    @staticmethod
    def check(options: Any, method: str) -> None:
        """Refuse, by a ConfigError, options that the task cannot follow in train, val or predict."""

    @staticmethod
    def load_data(path: str, need: Sequence[str]) -> dict[str, Any]:
        """What `data=` names, as a mapping with `names`, `nc`, `channels` and the splits; those of `need` are there."""
        return load_data_yaml(path, need)

    @classmethod
    def build_model(cls, architecture: dict[str, Any], data: dict[str, Any], options: Any) -> nn.Module:
        """The network of a model YAML for the classes of a data set, as the options of a run want it."""
        return cls.model_class(architecture, nc=data["nc"], verbose=options.verbose)

    @staticmethod
    def check_data(model: nn.Module, data: dict[str, Any], path: str) -> None:
        """Refuse, by a ConfigError, to measure a network on data that `path` describes and it was not made for."""

    @staticmethod
    def network_input(frames: list[Frame], options: Any, stride: int) -> Tensor:
        """Images (B, 3, H, W) RGB 0..1 float for prediction."""
        return letterboxed(frames, options.imgsz, stride, options.rect)

    @staticmethod
    def criterion(model: nn.Module) -> Callable:
        """The loss: `criterion(outputs, batch) -> (scalar to minimise, parts (3,) to report)`."""
        return v8DetectionLoss(model)

    @staticmethod
    def dataset(data: dict, split: str, options: Any, **how: Any) -> YOLODataset:
        """Images and boxes of a split; `how` says whether to augment, the batch size, the stride and `rect`."""
        return build_dataset(data, split, options, parse=box_row_parser(data.get("kpt_shape")), **how)

    @classmethod
    def decode(cls, outputs: Any, options: Any, nc: int, multi_label: bool = False) -> list[Tensor]:
        """Network outputs to detections per image: (n, 6) xyxy in pixels of the input, confidence, class."""
        return cls.suppress(
            outputs[0] if isinstance(outputs, tuple) else outputs,
            options.conf,
            options.iou,
            classes=options.classes,
            agnostic=options.agnostic_nms or options.single_cls,
            multi_label=multi_label,
            max_det=options.max_det,
            nc=nc,
        )

    @staticmethod
    def rows(found: Any) -> Tensor:
        """Of what `decode` gives for an image, (n, 6 or more): box in pixels of the input, confidence, class."""
        return found

    @staticmethod
    def result(
        found: Tensor, input_shape: tuple[int, int], image: np.ndarray, path: str, model: nn.Module, options: Any
    ) -> Results:
        """Detections (n, 6) of a letterboxed picture, on the picture itself; `model` is what made them."""
        boxes = scale_boxes(input_shape, found, image.shape[:2])
        return Results(image, path, model.names, boxes=boxes)

    @staticmethod
    def plot_labels(dataset: YOLODataset, names: dict[int, str], save_dir: Path) -> None:
        """labels.jpg: what the training data holds."""
        from ultralytics.utils.charts import plot_labels

        plot_labels(dataset.labels.boxes, dataset.labels.cls, names, save_dir)

    @staticmethod
    def plot_batch(batch: dict, fname: Path, names: dict[int, str]) -> None:
        """The pictures of a batch with their labels."""
        plot_objects(batch, batch["batch_idx"], batch["cls"].flatten(), batch["bboxes"], None, fname, names)

    @staticmethod
    def plot_found(batch: dict, found: list[Tensor], fname: Path, names: dict[int, str]) -> None:
        """The pictures of a batch with what the network is reasonably sure of."""
        height, width = batch["img"].shape[-2:]
        index, rows = sure_enough(found)
        boxes = xyxy2xywhn(rows[:, :4], width, height)
        plot_objects(batch, index, rows[:, 5], boxes, rows[:, 4], fname, names)

    @classmethod
    def evaluator(cls, *args: Any) -> "DetectEvaluator":
        """What measures the detections on a split."""
        return DetectEvaluator(cls, *args)


def sure_enough(found: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Of detections per image those that are worth drawing: the images they are in (n,), and their rows (n, m)."""
    sure = [one[one[:, 4] > PICTURE_CONF].cpu() for one in found]
    counts = torch.tensor([len(one) for one in sure])
    return torch.arange(len(sure)).repeat_interleave(counts), torch.cat(sure)


def plot_objects(
    batch: dict,
    index: Tensor,
    cls: Tensor,
    boxes: Tensor,
    confs: Tensor | None,
    fname: Path,
    names: dict[int, str],
    below: Callable | None = None,
) -> None:
    """Pictures of a batch with objects: the images they are in (N,), classes (N,), boxes (N, 4 or 5), confidences.

    `below` draws what a task finds beside boxes, see `plot_images`.
    """
    plot_images(batch["img"], index, cls, boxes, confs, paths=batch["im_file"], names=names, fname=fname, below=below)


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
        self.options = self._with_room(options)
        if options.single_cls and nc == 1:  # trained like that: what the files call the one class, it does not know
            self.options = self.options.replace(classes=None)
        self.metrics = task.metrics_of(self.names)
        self.metrics.save_dir = save_dir
        self.rows: list[dict] = []  # COCO's, with save_json
        self._stems: set[str] = set()  # of label files, with save_txt

    def _with_room(self, options: Any) -> Any:
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
            overlaps = {"tp": self.overlap(boxes[mine], rows)} | self.further_overlaps(one, batch, i)
            self._match(rows, boxes[mine], cls[mine], overlaps)
            self._export(one, batch, i)

    def boxes(self, batch: dict) -> Tensor:
        """The objects' boxes (N, 4) xyxy in pixels of the network's input."""
        height, width = batch["img"].shape[-2:]
        return xywh2xyxy(batch["bboxes"]) * torch.tensor((width, height, width, height))

    def overlap(self, boxes: Tensor, found: Tensor) -> np.ndarray:
        """How well detections fit objects, (m, n)."""
        return box_iou(boxes, found[:, :4]).numpy()

    def further_overlaps(self, found: Any, batch: dict, i: int) -> dict[str, np.ndarray]:
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
        result = self.on_original(found, batch, i)
        if self.options.save_txt:
            file = self.save_dir / "labels" / f"{unused_name(Path(result.path).stem, self._stems)}.txt"
            with writing(file):
                file.unlink(missing_ok=True)  # an earlier run's, which rows would be appended to
            result.save_txt(file, save_conf=self.options.save_conf)
        if self.options.save_json:
            self.rows += self.json_rows(result)

    def on_original(self, found: Any, batch: dict, i: int) -> Results:
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
        from ultralytics.utils.charts import plot_confusion_matrix, plot_curves

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

        That is file, (height, width), and of the objects that count classes (k,) and boxes (k, 4) xywh normalised.
        """
        labels, kept = self.dataset.labels, self.dataset.kept_classes
        cls, boxes, _ = labels.objects(i)
        if kept is not None:
            cls, boxes = cls[kept[cls.astype(int)]], boxes[kept[cls.astype(int)]]
        height, width = labels.shapes[i].tolist()
        return labels.file(i), (height, width), cls * (not self.options.single_cls), boxes
