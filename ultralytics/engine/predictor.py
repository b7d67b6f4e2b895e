"""Runs a network over images and videos, and writes what is asked for: images, videos, label files, crops."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from ultralytics.cfg import Options, SettableOptions
from ultralytics.data.build import prefetched
from ultralytics.data.loaders import Frame, Source, load_source, stack_if_tensors
from ultralytics.engine.callbacks import Callbacks, HasCallbacks
from ultralytics.engine.results import Results
from ultralytics.engine.runtime import Stopwatch, computing_on, in_batches, speed_line
from ultralytics.engine.setup import Given, explicit_options, resolve_options
from ultralytics.models.yolo import task_class
from ultralytics.models.yolo.task import Outputs, Task
from ultralytics.nn.heatmaps import Heatmap, draw, explain
from ultralytics.utils import ASSETS, LOGGER, refused
from ultralytics.utils.checks import check_imgsz
from ultralytics.utils.errors import ConfigError, SourceError
from ultralytics.utils.files import increment_path, is_utf8, unused_name
from ultralytics.utils.ops import normalized
from ultralytics.utils.plotting import image_name, writing

STAGES = ("preprocess", "inference", "postprocess")
TOGETHER = 16  # images of a list, and images in memory, form batches of up to this size unless `batch` says otherwise


class BasePredictor(HasCallbacks):
    """Loop over one source at a time.

    Every batch goes through `preprocess`, `inference` and `postprocess`, which a subclass may replace:
    YOLO(...).predict(source, predictor=MyPredictor) runs it. `args` can be set from call to call: `args.conf = 0.5`.
    Callbacks receive the predictor with `args`, `source`, `batch` (paths, images as they came, and what the log says of
    each), `frames` (the same as objects), `results`, `seen`, `speed` and `save_dir`.
    """

    task_class: type[Task] | None = None  # None: that of the network

    def __init__(
        self,
        cfg: Given = None,
        overrides: Given = None,
        _callbacks: Callbacks | Mapping[str, Sequence[Callable]] | None = None,
    ) -> None:
        """Options are those of `cfg`, a file or a namespace, and of `overrides`, which win; `model` is among them."""
        refused.warn_never_called(type(self), "predict")
        if isinstance(overrides, Options) and cfg is None:  # a YOLO has checked them for its network
            self.args = SettableOptions(overrides)
        else:
            given = explicit_options(cfg, overrides)
            task = self.task_class or task_class(given.get("task") or "detect")
            self.args = SettableOptions(resolve_options(task, "predict", given))
        self.callbacks = Callbacks.of(_callbacks)
        self.model: nn.Module | None = None
        self.task: Task | None = None
        self.source: Source | None = None
        self.batch: tuple[list[str], list[np.ndarray], list[str]] = ([], [], [])
        self.frames: list[Frame] = []
        self.results: list[Results] = []
        self.heatmaps: list[Heatmap] = []  # of the batch, with the option `visualize`
        self.writer: Writer | None = None
        self.seen = 0
        self._spent: Counter[str] = Counter()  # milliseconds

    def __call__(
        self, source: object = None, model: nn.Module | str | Path | None = None, stream: bool = False
    ) -> list[Results] | Iterator[Results] | list[Tensor] | Iterator[Tensor]:
        """Results on a source, by default that of the options: a list, or with `stream` one after the other.

        With the option `embed`, a vector (C,) of each image instead.
        """
        if model is not None or self.model is None:
            self.setup_model(model)
        source = self.args.source if source is None else source
        if source is None:
            LOGGER.warning(f"no source= was given: predicting on the images of {ASSETS}")
            source = ASSETS
        results = self.stream(source)
        return results if stream else list(results)

    def setup_model(self, model: nn.Module | str | Path | None = None) -> None:
        """Take a network that is ready to predict, or open weights or a YAML, by default the option `model`."""
        if not isinstance(model, nn.Module):
            from ultralytics.engine.model import YOLO

            yolo = YOLO(model or self.args.model)
            given = explicit_options(self.args) | {"model": str(model or self.args.model), "task": None}
            self.args = SettableOptions(yolo.resolve("predict", given))
            model = yolo.network(self.args)
        task = self.task_class or task_class(model.task)
        if task.name != model.task:
            raise ConfigError(f"{type(self).__name__} is for {task.name}, and the network has a head for {model.task}")
        self.model, self.task = model, task(self.args)

    @property
    def save_dir(self) -> Path | None:
        """Folder of what is saved; None if nothing is."""
        return self.writer.folder if self.writer else None

    @property
    def speed(self) -> dict[str, float]:
        """Milliseconds per image by stage, so far."""
        return {stage: self._spent[stage] / max(self.seen, 1) for stage in STAGES}

    @torch.no_grad()
    def stream(self, source: object) -> Iterator[Results] | Iterator[Tensor]:
        """Results in order, each as soon as its batch is done; nothing older is kept."""
        saved = self.args.save or self.args.save_txt or self.args.save_crop or self.args.visualize
        if self.writer is None and saved:
            self.writer = Writer(self.args)
        stride = self.model.max_stride
        self.args.imgsz = check_imgsz(self.args.imgsz, stride)  # it may have been set since the options were checked
        self.source = load_source(source, vid_stride=self.args.vid_stride)
        together = self.source.together and "batch" not in self.args.given
        self.run_callbacks("on_predict_start")
        try:
            batches = in_batches(self.source, TOGETHER if together else self.args.batch)
            for frames in batches if self.source.in_memory else prefetched(batches):
                self.frames, self.heatmaps = frames, []
                self.batch = (
                    [frame.path for frame in frames],
                    [frame.image for frame in frames],
                    [self._place(frame) for frame in frames],
                )
                self.run_callbacks("on_predict_batch_start")
                watch, device = Stopwatch(self.model.device, STAGES), self.model.device
                with computing_on(device, f"prediction at batch={len(frames)}, imgsz={self.args.imgsz}"):
                    with watch("preprocess"):
                        tensors = stack_if_tensors(frames, stride, self.model.channels)
                        images = self.preprocess(self.batch[1] if tensors is None else tensors)
                    with watch("inference"):
                        preds = self.inference(images)
                    if self.args.embed is None:
                        with watch("postprocess"):
                            self.results = self.postprocess(preds, images, self.batch[1])
                if self.args.embed is not None:
                    yield from preds
                    continue
                for result in self.results:
                    result.save_dir = self.save_dir and str(self.save_dir)
                    result.speed = watch.per_image(len(images))
                    self._spent.update(result.speed)
                self.run_callbacks("on_predict_postprocess_end")
                for i, (frame, place, result) in enumerate(zip(frames, self.batch[2], self.results, strict=True)):
                    self.seen += 1
                    if self.args.verbose:
                        size = "x".join(map(str, images.shape[2:]))
                        LOGGER.info(f"{place}{size} {result.verbose()}{result.speed['inference']:.1f}ms")
                    if self.writer:
                        self.writer.write(frame, result, self.heatmaps[i] if self.heatmaps else None)
                    if self.args.show:
                        result.show(wait=1 if frame.is_video else 0, **plot_settings(self.args))
                self.run_callbacks("on_predict_batch_end")
                yield from self.results
        finally:
            if self.writer:
                self.writer.close()
        self._log_summary(images.shape)
        self.run_callbacks("on_predict_end")

    def preprocess(self, im: list[np.ndarray] | Tensor) -> Tensor:
        """Images (h, w, 3) BGR, or a tensor that is a batch already, to the network's input (B, C, H, W) 0..1."""
        if not isinstance(im, Tensor):
            frames = [Frame(image, "") for image in im]
            im = self.task.preprocess(frames, self.model.max_stride, self.model.channels)
        return normalized(im, self.model.device, self.model.dtype)

    def inference(self, im: Tensor, *args: object, **kwargs: object) -> Outputs | tuple[Tensor, ...]:
        """Outputs of the network for its input; with the option `embed`, vectors (C,). The rest goes to its forward."""
        if self.args.embed is not None:
            return self.model.predict(im, embed=self.args.embed)
        if self.args.visualize:
            heat = explain(self.model, im, self.task.logits, classes=self.args.classes, conf=self.args.conf)
            self.heatmaps = draw(im, heat, self.batch[0])
        return self.model(im, *args, **kwargs) if args or kwargs else self.task.infer(self.model, im)

    def postprocess(self, preds: Outputs, img: Tensor, orig_imgs: list[np.ndarray]) -> list[Results]:
        """Results, on the images as they came, of the network's outputs for its input `img`."""
        return self.construct_results(self.task.postprocess(preds, self.model.nc), img, orig_imgs)

    def construct_results(self, preds: list, img: Tensor, orig_imgs: list[np.ndarray]) -> list[Results]:
        """Results of the task's predictions, one an image."""
        images = zip(preds, orig_imgs, self.batch[0], strict=True)
        return [self.construct_result(pred, img, image, path) for pred, image, path in images]

    def construct_result(self, pred: object, img: Tensor, orig_img: np.ndarray, img_path: str) -> Results:
        """Result of one prediction of the task, for detection boxes (n, 6) in pixels of the network's input `img`."""
        return self.task.to_result(pred, img.shape[2:], Frame(orig_img, img_path), self.model)

    def _log_summary(self, shape: Sequence[int]) -> None:
        """Sum up what was done in the log; `shape` (B, C, H, W) is that of the last batch."""
        if self.args.verbose and self.seen:
            LOGGER.info(f"{speed_line(self.speed)} at shape {(1, *shape[1:])}")
        if self.source.skipped:
            LOGGER.warning(f"{len(self.source.skipped)} of {len(self.source)} images and videos were skipped")
        if self.writer and self.args.verbose:
            LOGGER.info(f"Results saved to {self.save_dir}")

    def _place(self, frame: Frame) -> str:
        """Words of the log for a frame: its number and its path."""
        kind, of = ("video", f"/{frame.frames}" if frame.frames else "") if frame.is_video else ("image", "")
        number = f" (frame {frame.frame}{of})" if frame.is_video else ""
        return f"{kind} {frame.item}/{len(self.source)}{number} {frame.path}: "


class Writer:
    """Files of one prediction run, in a folder that is made when the first of them is written."""

    def __init__(self, options: Options) -> None:
        self.args = options
        self.folder = increment_path(Path(options.project) / options.name, options.exist_ok)
        self._taken: set[str] = set()  # file names of its sources so far
        self._item, self._stem = 0, ""  # number and file name of the present source
        self._video: cv2.VideoWriter | None = None

    def write(self, frame: Frame, result: Results, heatmap: Heatmap | None) -> None:
        """Save what was asked for of one image or one frame of a video."""
        if frame.item != self._item:
            self.close()
            self._item, self._stem = frame.item, unused_name(Path(frame.path).stem, self._taken)
        stem = f"{self._stem}_{frame.frame}" if frame.is_video else self._stem
        if heatmap is not None:
            heatmap.save(self.folder / f"{stem}_cam.jpg")
        if self.args.save_txt:
            path = self.folder / "labels" / f"{stem}.txt"
            with writing(path):
                path.unlink(missing_ok=True)  # an earlier run's, which rows would be appended to
            result.save_txt(path, save_conf=self.args.save_conf)
        if self.args.save_crop:
            result.save_crop(self.folder / "crops", f"{stem}.jpg")
        if self.args.save and frame.is_video:
            self._write_frame(frame, result)
        elif self.args.save:
            suffix = Path(image_name(frame.path)).suffix or ".jpg"
            result.save(self.folder / f"{stem}{suffix}", **plot_settings(self.args))

    def close(self) -> None:
        """Finish the video that is being written; the next frame is of another source."""
        self._item = 0
        if self._video is not None:
            self._video.release()
            self._video = None

    def _write_frame(self, frame: Frame, result: Results) -> None:
        image = result.plot(**plot_settings(self.args))
        if self._video is None:
            target = self.folder / f"{self._stem}.mp4"
            height, width = image.shape[:2]
            fps = (frame.fps or 30) / self.args.vid_stride
            if not is_utf8(str(target)):  # OpenCV would end the process
                raise SourceError(f"{target} cannot be written as a video: the name of a folder is not UTF-8 text")
            with writing(target):
                self._video = cv2.VideoWriter(str(target), cv2.VideoWriter_fourcc(*"mp4v"), fps, (width, height))
            if not self._video.isOpened():
                raise SourceError(f"{target} cannot be written as a video: check that the folder is writable")
        self._video.write(image)


def plot_settings(options: Options) -> dict[str, bool | int | None]:
    """Arguments of `Results.plot` that the options decide."""
    return {
        "conf": options.show_conf,
        "labels": options.show_labels,
        "boxes": options.show_boxes,
        "line_width": options.line_width,
    }


__getattr__ = refused.getter(__name__)  # public names that are not here say what to use instead
