"""Pose estimation: boxes as in detection, and keypoints for each."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from ultralytics.data.dataset import Batch, LabelFormat, YOLODataset
from ultralytics.data.labels.files import label_path
from ultralytics.data.loaders import Frame
from ultralytics.data.utils import DatasetInfo
from ultralytics.engine.results import Results
from ultralytics.models.yolo.detect.evaluator import DetectEvaluator
from ultralytics.models.yolo.detect.task import DetectTask, filter_confident
from ultralytics.models.yolo.pose.data import attach_keypoints, check_keypoints, keypoint_targets, parse_keypoint_rows
from ultralytics.nn.tasks import BaseModel, PoseModel
from ultralytics.utils import LOGGER
from ultralytics.utils.annotator import Annotator
from ultralytics.utils.coco import keypoints_annotation
from ultralytics.utils.errors import ConfigError, ModelError
from ultralytics.utils.loss import v8PoseLoss
from ultralytics.utils.metrics import BOX_AREA_FRACTION, POSE, PoseMetrics, kpt_iou, oks_sigmas
from ultralytics.utils.ops import scale_boxes, scale_coords, xyxy2xywhn
from ultralytics.utils.plotting import plot_images


class PoseEvaluator(DetectEvaluator):
    """Evaluator that matches the same detections by the similarity of their keypoints as well."""

    coco_kinds = ("bbox", "keypoints")
    sized: ClassVar = DetectEvaluator.sized | {POSE.letter: ("medium", "large")}  # COCO has no small people
    areas_of = f"the area of their boxes, for keypoints {BOX_AREA_FRACTION} of it; OKS in place of IoU"

    def __init__(self, task: "PoseTask", dataset: YOLODataset, save_dir: Path, nc: int, final: bool) -> None:
        super().__init__(task, dataset, save_dir, nc, final)
        self.kpt_shape = tuple(task.data["kpt_shape"])
        self.sigmas = oks_sigmas(self.kpt_shape, task.data.get("kpt_oks_sigmas"))

    def extra_ious(self, pred: Tensor, batch: Batch, i: int) -> dict[str, np.ndarray]:
        """Object keypoint similarity (m, n), in pixels of the network's input."""
        height, width = batch["img"].shape[-2:]
        own = batch["batch_idx"] == i
        truth = batch["keypoints"][own] * torch.tensor((width, height, 1))
        area = batch["bboxes"][own, 2:].prod(1) * (width * height * BOX_AREA_FRACTION)
        points = pred[:, 6:].reshape(-1, *self.kpt_shape).cpu()
        return {POSE.tp: kpt_iou(truth, points, area, self.sigmas).numpy()}

    def extra_sizes(
        self, pred: Tensor, batch: Batch, i: int, ious: Mapping[str, np.ndarray]
    ) -> dict[str, dict[str, np.ndarray]]:
        """OKS; a detection has the area that its keypoints span, an object without a visible one counts nowhere."""
        own = batch["batch_idx"] == i
        found = self.result_on_original(pred, batch, i).keypoints.data[..., :2].double()  # (n, K, 2)
        boxes = self.scale_to_original(self.boxes(batch)[own].double(), batch, i)
        known = (batch["keypoints"][own][..., 2] != 0).any(1).numpy()
        measured = {
            "iou": ious[POSE.tp],
            "true_cls": batch["cls"].flatten()[own].numpy(),
            "pred_area": (found.amax(1) - found.amin(1)).prod(1).numpy(),
            "true_area": np.where(known, self.areas(boxes) * BOX_AREA_FRACTION, -1),
        }
        return {POSE.letter: measured}

    def result_on_original(self, pred: Tensor, batch: Batch, i: int) -> Results:
        """Boxes and keypoints on the original image."""
        result = super().result_on_original(pred[:, :6], batch, i)
        points = pred[:, 6:].reshape(-1, *self.kpt_shape).cpu()
        points = scale_coords(batch["img"].shape[-2:], points, batch["ori_shape"][i], batch["ratio_pad"][i])
        result.update(keypoints=points)
        return result

    def json_rows(self, result: Results) -> list[dict]:
        """Rows of predictions.json for an image, with x, y and visibility of the points, 1 where that is not known."""
        points = result.keypoints.data
        if not result.keypoints.has_visible:
            points = torch.cat((points, torch.ones_like(points[..., :1])), -1)
        keypoints = [{"keypoints": [round(v, 3) for v in one.flatten().tolist()]} for one in points]
        return [row | one for row, one in zip(super().json_rows(result), keypoints, strict=True)]

    def truth(self, i: int) -> tuple:
        """Image as `coco_ground_truth` takes it, its objects with their keypoints."""
        labels, kept, label_format = self.dataset.labels, self.dataset.kept_classes, self.dataset.label_format
        cls, boxes, _, extra = labels.labels_of(i)
        height, width = labels.shapes[i].tolist()
        instances = label_format.attach(label_format.instances(cls, boxes), extra, (height, width))
        wanted = np.ones(len(cls), bool) if kept is None else kept[cls.astype(int)]
        pixels = boxes * np.array((width, height, width, height), np.float32)
        pairs = zip(instances.keypoints[wanted], pixels[wanted], strict=True)
        return (*super().truth(i), [keypoints_annotation(points, box) for points, box in pairs])


class PoseTask(DetectTask):
    """Boxes and keypoints.

    A prediction is (n, 6 + K * D): box, confidence, class, and x, y and, where D is 3, visibility of each of K points,
    in pixels of the network's input.
    """

    name = "pose"
    default_settings: ClassVar = {"model": "yolov8n-DynamicConv-pose.yaml", "data": "shapes-pose.yaml"}
    can_augment = False
    model_class = PoseModel
    loss_class = v8PoseLoss
    loss_names = v8PoseLoss.names
    metrics_class = PoseMetrics
    metric_keys = tuple(PoseMetrics({0: "any"}).keys)
    evaluator_class = PoseEvaluator
    header = (*DetectTask.header, "Pose(P", "R", "mAP50", "mAP50-95)")

    @classmethod
    def describe_data(cls, path: str, splits: Sequence[str]) -> DatasetInfo:
        """Read the dataset YAML at `path`, with `kpt_shape` and perhaps `flip_idx` and `kpt_oks_sigmas`, checked."""
        data = super().describe_data(path, splits)
        check_keypoints(data)
        return data

    def build_model(self, yaml: dict[str, object]) -> BaseModel:
        """Build the network of a model YAML for the classes and keypoints of the dataset."""
        shape, sigmas = self.data["kpt_shape"], self.data.get("kpt_oks_sigmas")
        if self.options.verbose and yaml.get("kpt_shape") != shape:
            LOGGER.info(f"kpt_shape={shape} in place of kpt_shape={yaml.get('kpt_shape')}")
        yaml = {name: value for name, value in yaml.items() if name != "kpt_oks_sigmas"} | {"kpt_shape": shape}
        model = super().build_model(yaml | ({"kpt_oks_sigmas": sigmas} if sigmas else {}))
        if model.kpt_shape != tuple(shape):
            raise ModelError(
                f"{yaml.get('yaml_file')}: the head is built for kpt_shape {list(model.kpt_shape)} and the dataset has "
                f"{shape}: give it [nc, kpt_shape]"
            )
        return model

    def check_model(self, model: nn.Module) -> None:
        """Refuse data with other keypoints than the network's."""
        if tuple(model.kpt_shape) != tuple(self.data["kpt_shape"]):
            raise ConfigError(
                f"{self.options.data} has kpt_shape {self.data['kpt_shape']} and the network {list(model.kpt_shape)}: "
                "validate on the data it was trained for, or train it on these"
            )

    def label_format(self) -> LabelFormat:
        """Rows of boxes followed by keypoints."""
        shape, flip_idx = tuple(self.data["kpt_shape"]), tuple(self.data.get("flip_idx") or ())
        return LabelFormat(
            parse=partial(parse_keypoint_rows, kpt_shape=shape),
            attach=partial(attach_keypoints, kpt_shape=shape, flip_idx=flip_idx),
            targets=partial(keypoint_targets, points=shape[0]),
        )

    def dataset(self, split: str, *, augment: bool, **shapes: Any) -> YOLODataset:
        """Dataset of a split, with a warning where its images cannot be mirrored or visibilities mean nothing."""
        if augment and not self.data.get("flip_idx") and (self.options.fliplr or self.options.flipud):
            LOGGER.warning(
                f"{self.data['yaml_file']} has no flip_idx, which says what becomes of each keypoint in a mirror "
                "image: fliplr and flipud are 0"
            )
        dataset = super().dataset(split, augment=augment, **shapes)
        if self.data["kpt_shape"][1] == 3:
            warn_invalid_visibility(dataset, split)
        return dataset

    def to_result(self, pred: Tensor, input_shape: tuple[int, int], frame: Frame, model: nn.Module) -> Results:
        """Boxes and keypoints on the original image."""
        shape = frame.image.shape[:2]
        boxes = scale_boxes(input_shape, pred[:, :6], shape)
        points = scale_coords(input_shape, pred[:, 6:].reshape(-1, *model.kpt_shape), shape)
        return Results(frame.image, frame.path, model.names, boxes=boxes, keypoints=points)

    def plot_batch(self, batch: Batch, fname: Path) -> None:
        """Draw the images of a batch with their boxes and keypoints."""
        index, cls, boxes = batch["batch_idx"], batch["cls"].flatten(), batch["bboxes"]
        names, below = self.data["names"], partial(draw_keypoints, batch["keypoints"])
        plot_images(batch["img"], index, cls, boxes, None, batch["im_file"], names, fname, below=below)

    def plot_predictions(self, batch: Batch, preds: list[Tensor], fname: Path) -> None:
        """Draw the images of a batch with the boxes and keypoints that are reasonably certain."""
        height, width = batch["img"].shape[-2:]
        index, rows = filter_confident(preds)
        points = rows[:, 6:].unflatten(1, (batch["keypoints"].shape[1], -1)).clone()  # (n, K, D)
        points[..., :2] /= torch.tensor((width, height))
        boxes, cls = xyxy2xywhn(rows[:, :4], width, height), rows[:, 5]
        names, below = self.data["names"], partial(draw_keypoints, points)
        plot_images(batch["img"], index, cls, boxes, rows[:, 4], batch["im_file"], names, fname, below=below)


def warn_invalid_visibility(dataset: YOLODataset, split: str) -> None:
    """Warn of visibilities of keypoints other than 0, 1 and 2, which count as visible."""
    labels = dataset.labels
    visibility = labels.arrays["extra"][:, 2::3]  # (N, K)
    invalid = ~np.isin(visibility, (0, 1, 2))
    if invalid.any():
        number, point = np.argwhere(invalid)[0]
        file = label_path(labels.file(np.searchsorted(labels.counts.cumsum(), number, "right")))
        first = f"{visibility[number, point]:g} of point {point} in {file}"
        LOGGER.warning(
            f"{split}: visibility is 0, 1 or 2, but {invalid.sum()} keypoints have another, such as {first}: these "
            "are taken as visible"
        )


def draw_keypoints(points: Tensor, annotator: Annotator, objects: np.ndarray) -> None:
    """Draw the keypoints (N, K, D), x and y in 0..1, of some objects, as `plot_images` asks for each image."""
    for j in objects:
        pixels = points[j].float().numpy().copy()
        pixels[:, :2] *= (annotator.width, annotator.height)
        annotator.kpts(pixels)
