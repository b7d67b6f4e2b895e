"""Predictions for one image, to read, draw and save."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from ultralytics.engine.containers import OBB, Array, Boxes, Index, Keypoints, Masks, Predictions, Probs, RowsWithConf
from ultralytics.utils import LOGGER, DataExportMixin, refused
from ultralytics.utils.errors import ConfigError
from ultralytics.utils.ops import clip_boxes, xyxy2xywh
from ultralytics.utils.plotting import Annotator, class_name, colors, image_name, write_image, writing

__all__ = ["OBB", "Boxes", "Keypoints", "Masks", "Probs", "Results"]

TOP5_BACKGROUND = (64, 64, 64)  # BGR, behind the classes of a classified image
CROP_GAIN, CROP_PAD = 1.02, 10  # sides of a crop: those of its box times the gain, plus pixels


class Results(DataExportMixin):
    """Predictions for one image.

    `orig_img` (H, W, 3) BGR as it was read from `path`, `names` of the classes, `speed` in milliseconds by stage,
    `save_dir` the folder that the call which made it writes to, or None. `len`, indexing and iteration are over the
    objects.
    """

    # Attributes that hold one row per object, or None; `len` is that of the first that is not None.
    containers = ("boxes", "obb", "masks", "keypoints", "probs")

    def __init__(
        self,
        orig_img: np.ndarray,
        path: str | Path,
        names: Mapping[int, str],
        boxes: Array | None = None,
        masks: Array | None = None,
        probs: Array | None = None,
        keypoints: Array | None = None,
        obb: Array | None = None,
        speed: dict[str, float | None] | None = None,
    ) -> None:
        self.orig_img = orig_img
        self.orig_shape: tuple[int, int] = orig_img.shape[:2]
        self.path = str(path)
        self.names = names
        self.boxes = None if boxes is None else Boxes(boxes, self.orig_shape)
        self.masks = None if masks is None else Masks(masks, self.orig_shape)
        self.obb = None if obb is None else OBB(obb, self.orig_shape)
        self.keypoints = None if keypoints is None else Keypoints(keypoints, self.orig_shape)
        self.probs = None if probs is None else Probs(probs, self.orig_shape)
        self.speed = speed or dict.fromkeys(("preprocess", "inference", "postprocess"))
        self.save_dir: str | None = None

    def new(self) -> "Results":
        """Results of the same image without any objects."""
        result = Results(self.orig_img, self.path, self.names, speed=self.speed)
        result.save_dir = self.save_dir
        return result

    def update(
        self,
        boxes: Array | None = None,
        masks: Array | None = None,
        probs: Array | None = None,
        obb: Array | None = None,
        keypoints: Array | None = None,
    ) -> None:
        """Replace what is given: boxes (n, 6) or (n, 7) are clipped to the image, all else is taken as it is."""
        if boxes is not None:
            self.boxes = Boxes(clip_boxes(boxes, self.orig_shape), self.orig_shape)
        if masks is not None:
            self.masks = Masks(masks, self.orig_shape)
        if probs is not None:
            self.probs = Probs(probs, self.orig_shape)
        if obb is not None:
            self.obb = OBB(obb, self.orig_shape)
        if keypoints is not None:
            self.keypoints = Keypoints(keypoints, self.orig_shape)

    def cpu(self) -> "Results":
        """Return the results with all tensors on the CPU."""
        return self._apply(lambda rows: rows.cpu())

    def numpy(self) -> "Results":
        """Return the results with arrays in place of tensors."""
        return self._apply(lambda rows: rows.numpy())

    def cuda(self) -> "Results":
        """Return the results with all tensors on the current CUDA device."""
        return self.to("cuda")

    def to(self, *args: object, **kwargs: object) -> "Results":
        """Return the results on another device or in another float type, as `torch.Tensor.to`."""
        return self._apply(lambda rows: rows.to(*args, **kwargs))

    def _apply(self, change: Callable[[Predictions], Predictions]) -> "Results":
        result = self.new()  # the image and its names are shared
        for name in self.containers:
            if (rows := getattr(self, name)) is not None:
                setattr(result, name, change(rows))
        return result

    def __len__(self) -> int:
        return next((len(rows) for name in self.containers if (rows := getattr(self, name)) is not None), 0)

    def __getitem__(self, index: Index) -> "Results":
        return self._apply(lambda rows: rows[index])

    def __iter__(self) -> Iterator["Results"]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        height, width = self.orig_shape
        return f"Results({self.path!r}, {width}x{height}: {self.verbose().rstrip(', ')})"

    @property
    def _boxes(self) -> RowsWithConf | None:
        """The boxes, upright or rotated."""
        return self.boxes if self.boxes is not None else self.obb

    def _top5(self) -> list[tuple[int, str, float]]:
        """Number, name and probability of the five most probable classes of the whole image, without those left out.

        predict(classes=...) gives all others a probability of 0.
        """
        pairs = zip(self.probs.top5, self.probs.top5conf.tolist(), strict=True)
        return [(c, class_name(self.names, c), conf) for c, conf in pairs if conf > 0]

    def verbose(self) -> str:
        """Number of objects by class, such as "4 RBCs, 1 WBC, "; for classification "cat 0.93, dog 0.05, "."""
        if self.probs is not None and (found := self._top5()):
            return ", ".join(f"{name} {conf:.2f}" for _, name, conf in found) + ", "
        if self.probs is not None or not len(self):
            return "(no detections), "
        if self._boxes is None:  # masks or keypoints alone, of no class
            return ""
        counts = sorted(Counter(self._boxes.cls.tolist()).items())
        return "".join(f"{n} {class_name(self.names, c)}{'s' * (n > 1)}, " for c, n in counts)

    def summary(self, normalize: bool = False, decimals: int = 5) -> list[dict[str, object]]:
        """One dictionary of plain values per object: name, class, confidence, box and, where known, more.

        The box has the corners x1, y1, x2, y2, a rotated one also x3, y3, x4, y4. Further keys are track_id; for a mask
        `segments`, the x and y of its contour; and `keypoints`, their x, y and perhaps visible. For classification
        there is one dictionary for each of the five most probable classes, without a box.
        """
        if self.probs is not None:
            return [{"name": name, "class": c, "confidence": round(conf, decimals)} for c, name, conf in self._top5()]
        if self._boxes is None:
            return []
        boxes = self._boxes.numpy()
        corners = boxes.corners(normalize).tolist()  # (n, 2, 2), rotated (n, 4, 2)
        rows = []
        for i, box in enumerate(boxes):
            row = {"name": class_name(self.names, box.cls[0]), "class": int(box.cls[0])}
            row["confidence"] = round(float(box.conf[0]), decimals)
            row["box"] = {}
            for n, (x, y) in enumerate(corners[i], 1):
                row["box"] |= {f"x{n}": round(x, decimals), f"y{n}": round(y, decimals)}
            if box.is_track:
                row["track_id"] = int(box.id[0])
            if self.masks is not None:
                contour = (self.masks.xyn if normalize else self.masks.xy)[i]  # (k, 2)
                x, y = contour.T.astype(float).round(decimals)
                row["segments"] = {"x": x.tolist(), "y": y.tolist()}
            if self.keypoints is not None:
                points = self.keypoints[i].numpy()  # (1, K, 2 or 3)
                x, y = (points.xyn if normalize else points.xy)[0].T.astype(float).round(decimals)
                row["keypoints"] = {"x": x.tolist(), "y": y.tolist()}
                if points.has_visible:
                    row["keypoints"]["visible"] = points.conf[0].astype(float).round(decimals).tolist()
            rows.append(row)
        return rows

    def plot(
        self,
        conf: bool = True,
        line_width: float | None = None,
        font_size: float | None = None,
        font: str | None = None,
        pil: bool = False,
        img: np.ndarray | Tensor | Image.Image | None = None,
        kpt_radius: float | None = None,
        kpt_line: bool = True,
        labels: bool = True,  # names and confidences on the boxes
        boxes: bool = True,
        masks: bool = True,  # filled shapes of segment
        probs: bool = True,
        show: bool = False,
        save: bool = False,
        filename: str | Path | None = None,
        color_mode: str = "class",
        txt_color: tuple[int, int, int] = (255, 255, 255),
    ) -> np.ndarray | Image.Image:
        """The image (or `img`, of the same size) with the objects: (H, W, 3) BGR, or with `pil` a PIL image.

        Keypoints are discs of `kpt_radius` pixels, by `kpt_line` joined to limbs. `color_mode` "class" gives each class
        its color and each keypoint of an object its own, "instance" each object, which is known by its track id if it
        has one. `font` is the path of a font file, `txt_color` BGR. `save` also writes the plot, see `save()`, and
        `show` opens a window.
        """
        if color_mode not in ("class", "instance"):
            raise ConfigError(f"color_mode={color_mode!r}: expected 'class' or 'instance'")
        detections = self._boxes.numpy() if self._boxes is not None else ()
        palette = self._palette(color_mode)
        drawn, texts = detections if boxes else (), []
        for box in drawn:
            track = f"id:{int(box.id[0])} " if box.is_track else ""
            texts.append(track + class_name(self.names, box.cls[0]) + (f" {box.conf[0]:.2f}" if conf else ""))

        image = self.orig_img if img is None else img
        image = image.clone() if isinstance(image, Tensor) else image.copy()
        annotator = Annotator(image, line_width, font_size, font, example="".join(texts))
        if masks and self.masks is not None:
            annotator.masks(self.masks.on_image(), palette)
        # Objects are sorted by confidence; drawn from the last to the first, the most confident one ends up on top.
        if self.keypoints is not None:
            for points, color in reversed(list(zip(self.keypoints.numpy().data, palette, strict=True))):
                one = color if color_mode == "instance" else None
                annotator.kpts(points, radius=kpt_radius, kpt_line=kpt_line, kpt_color=one)
        layers = list(zip(drawn, texts, palette, strict=False))
        for box, _, color in reversed(layers):
            annotator.box_label(box.corners()[0], color=color)
        for box, text, color in layers if labels else ():  # after all boxes, so that no line crosses a text
            annotator.label(box.corners()[0], text, color, txt_color)
        if self.probs is not None and probs and labels and (found := self._top5()):
            lines = [name + (f" {score:.2f}" if conf else "") for _, name, score in found]
            margin = annotator.font_size // 2
            annotator.text((margin, margin), "\n".join(lines), txt_color, box_color=TOP5_BACKGROUND)
        if save:
            write_image(filename or f"results_{image_name(self.path)}", annotator.result())
        if show:
            from ultralytics.utils.display import show_image

            show_image(self.path, annotator.result())
        return annotator.result(pil)

    def _palette(self, color_mode: str) -> list[tuple[int, int, int]]:
        """Color of each object, BGR; by its number where it has no class."""
        if self._boxes is None:
            return [colors(i, bgr=True) for i in range(len(self))]
        boxes = self._boxes.numpy()
        by_instance = boxes.id if boxes.is_track else range(len(boxes))
        return [colors(i, bgr=True) for i in (boxes.cls if color_mode == "class" else by_instance)]

    def show(self, *args: object, wait: int = 0, **drawing: object) -> None:
        """Show the plot in a window for at least `wait` milliseconds (0: until a key is pressed or it is closed).

        All else goes to `plot`. Raises DeviceError where there is no display.
        """
        from ultralytics.utils.display import show_image

        show_image(self.path, self.plot(*args, **drawing), wait)

    def save(self, filename: str | Path | None = None, *args: object, **drawing: object) -> str:
        """Write the plot, without a `filename` to results_<name of the image> in the current folder; returns the path.

        All else goes to `plot`.
        """
        return str(write_image(filename or f"results_{image_name(self.path)}", self.plot(*args, **drawing)))

    def save_txt(self, txt_file: str | Path, save_conf: bool = False) -> str:
        """Append a row `class x y w h [confidence] [track id]` per object, 0..1; no objects, no file. Returns the path.

        x, y, w, h give way to the four corners of a rotated box, and to the contour of a mask, which is skipped if it
        has less than three points. Keypoints follow the box: x, y and, if known, visibility. For classification there
        are rows `0.93 name` of the five most probable classes.
        """
        path, lines = Path(txt_file), []
        found = self._top5() if self.probs is not None else []
        if not found and (self._boxes is None or not len(self)):  # masks alone have no class
            return str(path)
        if found:
            lines = [f"{conf:.2f} {name}\n" for _, name, conf in found]
        else:
            boxes = self._boxes.numpy()
            shapes = boxes.xyxyxyxyn.reshape(-1, 8) if isinstance(boxes, OBB) else boxes.xywhn  # (n, 4 or 8)
            if self.masks is not None:
                shapes = [contour.ravel() for contour in self.masks.xyn]  # n of (2k,), each its own k
            if self.keypoints is not None:
                known = self.keypoints.numpy()
                visible = [known.conf[..., None]] if known.has_visible else []
                points = np.concatenate((known.xyn, *visible), -1)  # (n, K, 2 or 3)
                shapes = np.concatenate((shapes, points.reshape(len(points), -1)), 1)
            for box, shape in zip(boxes, shapes, strict=True):
                if self.masks is not None and len(shape) < 6:
                    continue  # no polygon: a mask of a pixel or a line of them, or an empty one
                values = [*box.cls, *shape, *(box.conf if save_conf else ()), *(box.id if box.is_track else ())]
                lines.append(" ".join(f"{v:g}" for v in values) + "\n")
        with writing(path), path.open("a", encoding="utf-8") as file:
            file.writelines(lines)
        return str(path)

    def save_crop(self, save_dir: str | Path, file_name: str | Path = "im.jpg") -> None:
        """Write the crop of each box to save_dir/<class>/<file_name>.jpg, the next to <file_name>-2.jpg and so on."""
        if self.probs is not None:
            LOGGER.warning(f"{self.path}: nothing is cropped, as a classified image has no boxes")
        height, width = self.orig_shape
        for box in self._boxes or ():
            x, y, w, h = xyxy2xywh(box.xyxy)[0].tolist()
            half_w, half_h = (w * CROP_GAIN + CROP_PAD) / 2, (h * CROP_GAIN + CROP_PAD) / 2
            left, right = (min(max(int(end), 0), width) for end in (x - half_w, x + half_w))
            top, bottom = (min(max(int(end), 0), height) for end in (y - half_h, y + half_h))
            crop = self.orig_img[top:bottom, left:right]
            if not crop.size:  # the box lies outside the image
                continue
            # A class may be called "a/b" or "c?", which no folder can be, on Windows at least.
            folder = Path(save_dir) / re.sub(r'[<>:"/\\|?*\x00-\x1f]', "_", class_name(self.names, box.cls[0]))
            stem, number = Path(file_name).stem, 1
            file = folder / f"{stem}.jpg"
            while file.exists():
                number += 1
                file = folder / f"{stem}-{number}.jpg"
            write_image(file, crop)


__getattr__ = refused.getter(__name__)  # public names that are not here say what to use instead
