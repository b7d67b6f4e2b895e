"""Pose estimation: boxes as in detection, and keypoints for each."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ultralytics.data.dataset import YOLODataset, build_dataset
from ultralytics.data.labels.files import label_path
from ultralytics.data.labels.store import LabelStore
from ultralytics.engine.results import Results
from ultralytics.models.yolo.detect.evaluator import DetectEvaluator
from ultralytics.models.yolo.detect.task import DetectTask, filter_confident, plot_objects
from ultralytics.models.yolo.pose.data import attach_keypoints, check_keypoints, keypoint_targets, parse_keypoint_rows
from ultralytics.nn.tasks import PoseModel
from ultralytics.utils import LOGGER
from ultralytics.utils.coco import keypoints_annotation
from ultralytics.utils.errors import ConfigError, ModelError
from ultralytics.utils.loss import v8PoseLoss
from ultralytics.utils.metrics import BOX_AREA_FRACTION, POSE, PoseMetrics, kpt_iou, oks_sigmas
from ultralytics.utils.ops import scale_boxes, scale_points, xyxy2xywhn
from ultralytics.utils.plotting import Annotator, colors


class PoseTask(DetectTask):
    """Where pose estimation answers the loops differently than detection.

    What is found in an image is (n, 6 + K * D): box, confidence, class, and x, y and, where D is 3, visibility of each
    of K points, in pixels of the network's input.
    """

    name = "pose"
    default_settings: Mapping[str, str] = {"model": "yolov8n-DynamicConv-pose.yaml", "data": "shapes-pose.yaml"}
    model_class = PoseModel
    loss_names = v8PoseLoss.names
    metric_keys = tuple(PoseMetrics({0: "any"}).keys)
    metrics_of = PoseMetrics
    header = (*DetectTask.header, "Pose(P", "R", "mAP50", "mAP50-95)")

    @staticmethod
    def load_data(path: str, need: Sequence[str]) -> dict[str, Any]:
        """As in detection, with `kpt_shape` and perhaps `flip_idx` and `kpt_oks_sigmas`, checked."""
        data = DetectTask.load_data(path, need)
        check_keypoints(data)
        return data

    @classmethod
    def build_model(cls, architecture: dict[str, Any], data: dict[str, Any], options: Any) -> nn.Module:
        """The network of a model YAML for the classes and keypoints of a dataset."""
        shape = data["kpt_shape"]
        if options.verbose and architecture.get("kpt_shape") != shape:
            LOGGER.info(f"kpt_shape={shape} in place of kpt_shape={architecture.get('kpt_shape')}")
        before = {name: value for name, value in architecture.items() if name != "kpt_oks_sigmas"}
        sigmas = {"kpt_oks_sigmas": data["kpt_oks_sigmas"]} if data.get("kpt_oks_sigmas") else {}
        architecture = before | {"kpt_shape": shape} | sigmas
        model = super().build_model(architecture, data, options)
        if model.kpt_shape != tuple(shape):
            raise ModelError(
                f"{architecture.get('yaml_file')}: the head is built for kpt_shape {list(model.kpt_shape)} and the "
                f"data have {shape}: give it [nc, kpt_shape]"
            )
        return model

    @staticmethod
    def check_data(model: nn.Module, data: dict[str, Any], path: str) -> None:
        """Refuse data with other keypoints than the network's."""
        if tuple(model.kpt_shape) != tuple(data["kpt_shape"]):
            raise ConfigError(
                f"{path} has kpt_shape {data['kpt_shape']} and the network {list(model.kpt_shape)}: "
                "validate on the data it was trained for, or train it on these"
            )

    @staticmethod
    def criterion(model: nn.Module) -> Callable:
        """The loss: `criterion(outputs, batch) -> (scalar to minimize, parts (5,) to report)`."""
        return v8PoseLoss(model)

    @staticmethod
    def dataset(data: dict, split: str, options: Any, **how: Any) -> YOLODataset:
        """Images, boxes and keypoints of a split; `how` as in detection."""
        shape, flip_idx = tuple(data["kpt_shape"]), tuple(data.get("flip_idx") or ())
        if how["augment"] and not flip_idx and (options.fliplr or options.flipud):
            LOGGER.warning(
                f"{data['yaml_file']} has no flip_idx, which says what becomes of each keypoint in a mirror image: "
                "fliplr and flipud are 0"
            )
        how |= {
            "parse": partial(parse_keypoint_rows, kpt_shape=shape),
            "targets": partial(keypoint_targets, points=shape[0]),
            "extend": partial(attach_keypoints, kpt_shape=shape, flip_idx=flip_idx),
        }
        dataset = build_dataset(data, split, options, **how)
        if shape[1] == 3:
            warn_invalid_visibility(dataset.labels, split)
        return dataset

    @staticmethod
    def result(
        found: Tensor, input_shape: tuple[int, int], image: np.ndarray, path: str, model: nn.Module, options: Any
    ) -> Results:
        """Boxes and keypoints on the image itself."""
        boxes = scale_boxes(input_shape, found[:, :6], image.shape[:2])
        points = scale_points(input_shape, points_of(found, model.kpt_shape), image.shape[:2])
        return Results(image, path, model.names, boxes=boxes, keypoints=points)

    @staticmethod
    def plot_batch(batch: dict, fname: Path, names: dict[int, str]) -> None:
        """The images of a batch with their labels."""
        index, cls = batch["batch_idx"], batch["cls"].flatten()
        below = below_boxes(batch["keypoints"], cls)
        plot_objects(batch, index, cls, batch["bboxes"], None, fname, names, below)

    @staticmethod
    def plot_predictions(batch: dict, found: list[Tensor], fname: Path, names: dict[int, str]) -> None:
        """The images of a batch with what the network is reasonably sure of."""
        height, width = batch["img"].shape[-2:]
        index, rows = filter_confident(found)
        points = rows[:, 6:].unflatten(1, (batch["keypoints"].shape[1], -1)).clone()
        points[..., :2] /= torch.tensor((width, height))
        boxes = xyxy2xywhn(rows[:, :4], width, height)
        plot_objects(batch, index, rows[:, 5], boxes, rows[:, 4], fname, names, below_boxes(points, rows[:, 5]))

    @classmethod
    def evaluator(cls, *args: Any) -> "PoseEvaluator":
        """What measures boxes and keypoints on a split."""
        return PoseEvaluator(cls, *args)


def warn_invalid_visibility(labels: LabelStore, split: str) -> None:
    """Warn of visibilities of keypoints that mean nothing but "not 0"."""
    visibilities = labels.arrays["extra"][:, 2::3]
    odd = ~np.isin(visibilities, (0, 1, 2))
    if odd.any():
        number, point = np.argwhere(odd)[0]
        file = label_path(labels.file(labels.images_of(number)))
        first = f"{visibilities[number, point]:g} of point {point} in {file}"
        LOGGER.warning(
            f"{split}: visibility is 0, 1 or 2, but {odd.sum()} keypoints have another, such as {first}: these "
            "are taken as visible"
        )


def points_of(found: Tensor, kpt_shape: Sequence[int]) -> Tensor:
    """The keypoints (n, K, D) of what was found in an image."""
    return found[:, 6:].reshape(-1, *kpt_shape)


def below_boxes(points: Tensor, cls: Tensor) -> Callable[[Annotator, np.ndarray], None]:
    """Draws the keypoints (N, K, D), x and y in 0..1, of objects of the classes (N,)."""

    def draw(annotator: Annotator, mine: np.ndarray) -> None:
        for j in mine:
            one = points[j].float().numpy().copy()
            one[:, :2] *= (annotator.width, annotator.height)
            annotator.keypoints(one, colors(cls[j], bgr=True))

    return draw


class PoseEvaluator(DetectEvaluator):
    """Matches the same detections by the similarity of their keypoints as well."""

    coco_kinds = ("bbox", "keypoints")

    def __init__(self, task: type, data: dict, *args: Any) -> None:
        """As of detection."""
        super().__init__(task, data, *args)
        self.kpt_shape = tuple(data["kpt_shape"])
        self.sigmas = oks_sigmas(self.kpt_shape, data.get("kpt_oks_sigmas"))

    def extra_ious(self, found: Tensor, batch: dict, i: int) -> dict[str, np.ndarray]:
        """Object keypoint similarity (m, n), in pixels of the network's input."""
        height, width = batch["img"].shape[-2:]
        mine = batch["batch_idx"] == i
        truth = batch["keypoints"][mine] * torch.tensor((width, height, 1))
        area = batch["bboxes"][mine, 2:].prod(1) * (width * height * BOX_AREA_FRACTION)
        points = points_of(found, self.kpt_shape).cpu()
        return {POSE.tp: kpt_iou(truth, points, area, truth.new_tensor(self.sigmas)).numpy()}

    def to_original(self, found: Tensor, batch: dict, i: int) -> Results:
        """Boxes and keypoints on the original image."""
        result = super().to_original(found[:, :6], batch, i)
        points = points_of(found, self.kpt_shape).cpu()
        points = scale_points(batch["img"].shape[-2:], points, batch["ori_shape"][i], batch["ratio_pad"][i])
        result.update(keypoints=points)
        return result

    def json_rows(self, result: Results) -> list[dict]:
        """What predictions.json says of an image, keypoints included: x, y, visibility, 1 where that is not known."""
        points = result.keypoints.data
        if not result.keypoints.has_visible:
            points = torch.cat((points, torch.ones_like(points[..., :1])), -1)
        rows = [{"keypoints": [round(v, 3) for v in one.flatten().tolist()]} for one in points]
        return [row | one for row, one in zip(super().json_rows(result), rows, strict=True)]

    def truth(self, i: int) -> tuple:
        """An image as `coco_ground_truth` takes it, its objects with their keypoints."""
        labels, kept = self.dataset.labels, self.dataset.kept_classes
        cls, boxes, _ = labels.objects(i)
        height, width = labels.shapes[i].tolist()
        blank = self.dataset.instances(cls, boxes)
        points = self.dataset.extend(blank, labels.extra(i), (height, width)).keypoints
        wanted = np.ones(len(cls), bool) if kept is None else kept[cls.astype(int)]
        sizes = boxes * np.array((width, height, width, height), np.float32)
        known = [keypoints_annotation(one, box) for one, box in zip(points[wanted], sizes[wanted], strict=True)]
        return (*super().truth(i), known)
