"""What a network found in one image, to read, draw and save."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from itertools import chain, count
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ultralytics.engine.containers import OBB, Array, Boxes, Keypoints, Masks, Predictions, Probs, RowsWithConf
from ultralytics.utils.errors import ConfigError
from ultralytics.utils.files import import_extra
from ultralytics.utils.ops import clip_boxes, xyxy2xywh
from ultralytics.utils.plotting import Annotator, class_name, colors, image_name, label_place, write_image, writing

__all__ = ["OBB", "Boxes", "Keypoints", "Masks", "Probs", "Results"]

SCORES_BACKGROUND = (64, 64, 64)
CROP_GAIN, CROP_PAD = 1.02, 10  # a crop shows a little more than its box


class Results:
    """Everything found in one image.

    `orig_img` (H, W, 3) BGR as it was read from `path`, `names` of the classes, `speed` in milliseconds by stage.
    `len`, indexing and iteration are over the objects.
    """

    # Attributes that hold one row per object, or None; the first that is there counts.
    containers = ("boxes", "obb", "masks", "keypoints", "probs")

    def __init__(
        self,
        orig_img: np.ndarray,
        path: str | Path,
        names: Mapping[int, str],
        boxes: Array | None = None,
        masks: Array | None = None,
        *,
        obb: Array | None = None,
        keypoints: Array | None = None,
        probs: Array | None = None,
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

    def new(self) -> "Results":
        """The same image without any objects."""
        return Results(self.orig_img, self.path, self.names, speed=self.speed)

    def update(
        self,
        boxes: Array | None = None,
        masks: Array | None = None,
        obb: Array | None = None,
        keypoints: Array | None = None,
    ) -> None:
        """Replace the boxes by others (n, 6) or (n, 7), moved into the image, and everything else as it is."""
        if boxes is not None:
            self.boxes = Boxes(clip_boxes(boxes, self.orig_shape), self.orig_shape)
        if masks is not None:
            self.masks = Masks(masks, self.orig_shape)
        if obb is not None:
            self.obb = OBB(obb, self.orig_shape)
        if keypoints is not None:
            self.keypoints = Keypoints(keypoints, self.orig_shape)

    def cpu(self) -> "Results":
        """The same with all tensors on the CPU."""
        return self._each(lambda rows: rows.cpu())

    def numpy(self) -> "Results":
        """The same with arrays in place of tensors."""
        return self._each(lambda rows: rows.numpy())

    def cuda(self) -> "Results":
        """The same with all tensors on the current CUDA device."""
        return self.to("cuda")

    def to(self, *args: Any, **kwargs: Any) -> "Results":
        """The same on another device or in another float type, as `torch.Tensor.to`."""
        return self._each(lambda rows: rows.to(*args, **kwargs))

    def _each(self, change: Callable[[Predictions], Predictions]) -> "Results":
        result = self.new()
        for name in self.containers:
            if (rows := getattr(self, name)) is not None:
                setattr(result, name, change(rows))
        return result

    @property
    def _objects(self) -> Predictions | None:
        return next((rows for name in self.containers if (rows := getattr(self, name)) is not None), None)

    @property
    def _boxes(self) -> RowsWithConf | None:
        """The boxes, upright or rotated."""
        return self.boxes if self.boxes is not None else self.obb

    def __len__(self) -> int:
        return len(self._objects or ())

    def __getitem__(self, index: Any) -> "Results":
        return self._each(lambda rows: rows[index])

    def __iter__(self) -> Iterator["Results"]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        height, width = self.orig_shape
        return f"Results({self.path!r}, {width}x{height}: {self.verbose().rstrip(', ')})"

    def verbose(self) -> str:
        """The objects counted by class, such as "4 RBCs, 1 WBC, "; of a whole image "cat 0.93, dog 0.05, "."""
        if self.probs is not None:
            return ", ".join(f"{class_name(self.names, c)} {conf:.2f}" for c, conf in self._likeliest()) + ", "
        if not len(self):
            return "(no detections), "
        counts = sorted(Counter(self._objects.cls.tolist()).items())
        return "".join(f"{n} {class_name(self.names, c)}{'s' * (n > 1)}, " for c, n in counts)

    def summary(self, normalize: bool = False, decimals: int = 5) -> list[dict[str, Any]]:
        """One dictionary per object, of plain values: name, class, confidence, box and, where known, more.

        The box has the corners x1, y1, x2, y2, a rotated one also x3, y3, x4, y4. There may be a track_id, and of a
        mask `segments`, the x and y of its contour, and `keypoints`, their x, y and perhaps visible. Of a whole image
        there is one for each of the five likeliest classes, without a box.
        """
        if self.probs is not None:
            return [
                {"name": class_name(self.names, c), "class": c, "confidence": round(conf, decimals)}
                for c, conf in self._likeliest()
            ]
        if self._boxes is None:
            return []
        boxes = self._boxes.numpy()
        rows = []
        for i, (box, corners) in enumerate(zip(boxes, boxes.corners(normalize).tolist(), strict=True)):
            row = {"name": class_name(self.names, box.cls[0]), "class": int(box.cls[0])}
            row["confidence"] = round(float(box.conf[0]), decimals)
            places = {
                f"{axis}{i}": v for i, corner in enumerate(corners, 1) for axis, v in zip("xy", corner, strict=True)
            }
            row["box"] = {name: round(value, decimals) for name, value in places.items()}
            rows.append(row | ({"track_id": int(box.id[0])} if box.is_track else {}))
            if self.masks is not None:
                points = (self.masks.xyn if normalize else self.masks.xy)[i].astype(float).round(decimals)
                rows[-1]["segments"] = {"x": points[:, 0].tolist(), "y": points[:, 1].tolist()}
            if self.keypoints is not None:
                rows[-1]["keypoints"] = self._named_points(i, normalize, decimals)
        return rows

    def _named_points(self, i: int, normalize: bool, decimals: int) -> dict[str, list[float]]:
        """The keypoints of the i-th object as lists of x, y and, if that is known, visible."""
        known = self.keypoints.numpy()
        columns = [*(known.xyn if normalize else known.xy)[i].T, *([known.conf[i]] if known.has_visible else [])]
        lists = [column.astype(float).round(decimals).tolist() for column in columns]
        return dict(zip(("x", "y", "visible"), lists, strict=False))

    def to_json(self, normalize: bool = False, decimals: int = 5) -> str:
        """`summary` as JSON text."""
        return json.dumps(self.summary(normalize, decimals), indent=2, ensure_ascii=False)

    def to_df(self, normalize: bool = False, decimals: int = 5) -> Any:
        """`summary` as a pandas DataFrame; DependencyError without pandas."""
        return import_extra("pandas", "dev").DataFrame(self.summary(normalize, decimals))

    def plot(
        self,
        conf: bool = True,
        line_width: float | None = None,
        font_size: float | None = None,
        pil: bool = False,
        img: np.ndarray | Image.Image | None = None,
        *,
        labels: bool = True,
        boxes: bool = True,
        masks: bool = True,
        kpt_line: bool = True,
        kpt_radius: float | None = None,
        color_mode: str = "class",
        save: bool = False,
        filename: str | Path | None = None,
    ) -> np.ndarray | Image.Image:
        """The image (or `img`, of the same size) with the objects: (H, W, 3) BGR, or with `pil` a PIL image.

        Keypoints are discs of `kpt_radius` pixels, by `kpt_line` joined to limbs. `color_mode` "class" gives each class
        its color, "instance" each object. `save` also writes it, see `save()`.
        """
        if color_mode not in ("class", "instance"):
            raise ConfigError(f"color_mode={color_mode!r}: expected 'class' or 'instance'")
        known = self._boxes.numpy() if self._boxes is not None else ()
        found = known if boxes else ()
        texts = [self._label(box, conf) for box in found]
        image = (self.orig_img if img is None else img).copy()
        annotator = Annotator(image, line_width, font_size, example="".join(texts))
        keys = [box.cls[0] if color_mode == "class" else i for i, box in enumerate(known)]
        if masks and self.masks is not None:
            shown = zip(self.masks.on_image(), keys, strict=True)
            annotator.masks([(mask, colors(key, bgr=True)) for mask, key in shown])
        if self.keypoints is not None:
            for points, key in reversed(list(zip(self.keypoints.numpy().data, keys, strict=True))):
                annotator.keypoints(points, colors(key, bgr=True), kpt_radius, kpt_line)
        drawn = [(box, text, colors(k, bgr=True)) for box, text, k in zip(found, texts, keys, strict=False)]
        for box, _, color in reversed(drawn):  # the most confident on top
            annotator.outline(box.corners()[0], color)
        for box, text, color in reversed(drawn if labels else []):
            annotator.label(label_place(box.corners()[0]), text, color)
        if self.probs is not None and labels:
            self._draw_scores(annotator, conf)
        if save:
            write_image(filename or self._file_name(), annotator.result())
        return annotator.result(pil)

    def _likeliest(self) -> list[tuple[int, float]]:
        """Class and probability of the five likeliest classes of the whole image."""
        return list(zip(self.probs.top5, self.probs.top5conf.tolist(), strict=True))

    def _draw_scores(self, annotator: Annotator, conf: bool) -> None:
        """The likeliest classes of the whole image, in its left top corner."""
        rows = [class_name(self.names, c) + (f" {score:.2f}" if conf else "") for c, score in self._likeliest()]
        margin = annotator.font_size // 2
        annotator.text((margin, margin), "\n".join(rows), box_color=SCORES_BACKGROUND)

    def _label(self, box: RowsWithConf, conf: bool) -> str:
        """Text at a single box: its track, class and confidence."""
        track = f"id:{int(box.id[0])} " if box.is_track else ""
        return track + class_name(self.names, box.cls[0]) + (f" {box.conf[0]:.2f}" if conf else "")

    def _file_name(self) -> str:
        return f"results_{image_name(self.path)}"

    def show(self, wait: int = 0, **drawing: Any) -> None:
        """Show the plot in a window for `wait` milliseconds at least (0: until a key or the window's closing).

        `drawing` goes to `plot`. Raises DeviceError where there is no display.
        """
        from ultralytics.utils.display import show_image

        show_image(self.path, self.plot(**drawing), wait)

    def save(self, filename: str | Path | None = None, **drawing: Any) -> str:
        """Write the plot, in the current folder as results_<name of the image> unless named; returns the path.

        `drawing` goes to `plot`.
        """
        return str(write_image(filename or self._file_name(), self.plot(**drawing)))

    def save_txt(self, txt_file: str | Path, save_conf: bool = False) -> str:
        """Append a row `class x y w h [confidence] [track]` per object, 0..1, to a file that only objects create.

        Of a rotated box the four corners stand in place of x, y, w, h, of a mask the points of its contour; contours of
        less than three are left out. Keypoints follow the box: x, y and, if known, visibility. Of a whole image there
        are rows `0.93 name` of the five likeliest classes.
        """
        path = Path(txt_file)
        if len(self):
            with writing(path), path.open("a", encoding="utf-8") as file:
                file.writelines(self._text_rows(save_conf))
        return str(path)

    def _text_rows(self, save_conf: bool) -> Iterator[str]:
        if self.probs is not None:
            yield from (f"{conf:.2f} {class_name(self.names, c)}\n" for c, conf in self._likeliest())
            return
        boxes = self._boxes.numpy()
        places = boxes.text if self.masks is None else [points.ravel() for points in self.masks.xyn]
        if self.keypoints is not None:
            places = np.concatenate((places, self._flat_points()), 1)
        for box, place in zip(boxes, places, strict=True):
            if self.masks is not None and len(place) < 6:
                continue
            values = [*box.cls, *place, *(box.conf if save_conf else ()), *(box.id if box.is_track else ())]
            yield " ".join(f"{v:g}" for v in values) + "\n"

    def _flat_points(self) -> np.ndarray:
        """(n, K * D) keypoints, 0..1."""
        known = self.keypoints.numpy()
        more = [known.conf[..., None]] if known.has_visible else []
        return np.concatenate((known.xyn, *more), -1).reshape(len(known), -1)

    def save_crop(self, save_dir: str | Path, file_name: str | Path = "im.jpg") -> None:
        """Write what is in each box to save_dir/<class>/<file_name>.jpg, then <file_name>-2.jpg and so on."""
        for box in self._boxes or ():
            x, y, w, h = xyxy2xywh(box.xyxy)[0].tolist()
            height, width = self.orig_shape
            folder = Path(save_dir) / re.sub(r'[<>:"/\\|?*\x00-\x1f]', "_", class_name(self.names, box.cls[0]))
            if (crop := self.orig_img[_span(y, h, height), _span(x, w, width)]).size:
                write_image(_unused(folder, Path(file_name).stem), crop)


def _span(center: float, side: float, limit: int) -> slice:
    """Pixels of a crop along one axis of the image."""
    half = (side * CROP_GAIN + CROP_PAD) / 2
    return slice(*(min(max(int(end), 0), limit) for end in (center - half, center + half)))


def _unused(folder: Path, stem: str) -> Path:
    """First of stem.jpg, stem-2.jpg, stem-3.jpg, … that is not there yet."""
    names = chain([f"{stem}.jpg"], (f"{stem}-{n}.jpg" for n in count(2)))
    return next(path for name in names if not (path := folder / name).exists())
