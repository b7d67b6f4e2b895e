"""Draws boxes, masks, keypoints and labels onto an image, in colors of the classes that can be told apart."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image

from ultralytics.utils.fonts import font_file, shorten, text_mask
from ultralytics.utils.metrics import COCO_SHAPE

# Chosen greedily for the largest smallest distance in OKLab, seen normally and with red-green blindness, among colors
# that show on white as on photographs; then ordered so that few classes get the most distant ones.
PALETTE: tuple[tuple[int, int, int], ...] = tuple(
    (code >> 16, code >> 8 & 255, code & 255)
    for code in (
        *(0x0078E1, 0xFF870F, 0x00B43C, 0xD20078, 0x00E1F0, 0x870096, 0x962D00, 0xFFA5E1, 0x78E10F, 0x4B2DD2),
        *(0xF02D0F, 0x0FA5A5, 0xA57800, 0x78A5FF, 0x007800, 0xC34BE1, 0xB4C387, 0x875A87, 0xD27896, 0x006969),
    )
)
BLACK, WHITE = (0, 0, 0), (255, 255, 255)
Color = tuple[int, int, int]
DEFAULT_FONT = "Arial.ttf"  # the public package's, which stands for: choose one


def colors(i: int, bgr: bool = False) -> Color:
    """Color of class `i`, RGB or with `bgr` in the channel order of OpenCV; after the last one they repeat."""
    red, green, blue = PALETTE[int(i) % len(PALETTE)]
    return (blue, green, red) if bgr else (red, green, blue)


def contrast(a: Color, b: Color) -> float:
    """Contrast ratio of two BGR colors, 1 to 21 (WCAG 2.2, section 1.4.3)."""
    luminances = []
    for color in (a, b):
        fractions = (c / 255 for c in color)
        blue, green, red = (f / 12.92 if f <= 0.04045 else ((f + 0.055) / 1.055) ** 2.4 for f in fractions)  # sRGB
        luminances.append(0.2126 * red + 0.7152 * green + 0.0722 * blue)
    return (max(luminances) + 0.05) / (min(luminances) + 0.05)


def readable(wanted: Color, background: Color) -> Color:
    """Text color in BGR: the wanted one, or black or white where it would be hard to read on the background."""
    if contrast(wanted, background) >= 3:
        return wanted
    return max(BLACK, WHITE, key=lambda c: contrast(c, background))


# Limbs of a person by part: pairs of COCO's points, which are nose, eyes, ears, shoulders, elbows, wrists, hips, knees,
# ankles, of each pair the left one first.
COCO_LIMBS: dict[str, tuple[tuple[int, int], ...]] = {
    "head": ((0, 1), (0, 2), (1, 2), (1, 3), (2, 4), (3, 5), (4, 6)),
    "trunk": ((5, 6), (5, 11), (6, 12), (11, 12)),
    "left arm": ((5, 7), (7, 9)),
    "right arm": ((6, 8), (8, 10)),
    "left leg": ((11, 13), (13, 15)),
    "right leg": ((12, 14), (14, 16)),
}
MASK_OPACITY = 0.45
MAX_COVERED = 0.3  # of a label by earlier ones: beyond it neither could be read, and the later is left out
MIN_FONT = 7  # pixels: smaller letters are no letters
SHIFT = 4  # bits after the binary point of coordinates for OpenCV
LIMIT = 2**15  # pixels: OpenCV's coordinates overflow far beyond it


class Annotator:
    """Draws onto `im`: a uint8 image (H, W, 3) BGR or (H, W) gray, changed in place where it can be, or a PIL image.

    Colors are BGR. `line_width` and `font_size` are pixels and follow the size of the image if not given; `font` is
    the path of a font file. Without it each text gets one that can spell it, the same for all if one font can spell
    `example`, which holds all characters to come. Boxes are xyxy in pixels, or four corners (4, 2) of a rotated one.
    `pil` changes nothing: one way of drawing serves both kinds of image, and `result(pil=True)` gives a PIL image.
    """

    def __init__(
        self,
        im: np.ndarray | torch.Tensor | Image.Image,
        line_width: float | None = None,
        font_size: float | None = None,
        font: str | None = None,
        pil: bool = False,
        example: str = "",
    ) -> None:
        self.fromarray(im)
        mean = (self.height + self.width) / 2
        self.lw = max(round(line_width or max(mean * 0.003, min(mean / 150, 2))), 1)
        self.font_size = max(round(font_size or min(max(mean * 0.024, 11), self.height / 2)), MIN_FONT)
        self.font = None if font == DEFAULT_FONT else font
        self.example = example
        self._labels: list[tuple[int, int, int, int]] = []  # areas xyxy that labels cover

    def fromarray(self, im: np.ndarray | torch.Tensor | Image.Image) -> None:
        """Draw on another image from now on. ValueError for a tensor that is no (H, W, 3) uint8."""
        if isinstance(im, torch.Tensor):
            if im.ndim != 3 or im.shape[2] != 3 or im.dtype != torch.uint8:
                raise ValueError(f"a tensor of shape {tuple(im.shape)} {im.dtype}: expected (H, W, 3) torch.uint8, BGR")
            im = im.numpy(force=True)
        if isinstance(im, Image.Image):
            self.im = np.array(im.convert("RGB"))[..., ::-1].copy()
        elif im.ndim == 2 or im.shape[2] == 1:
            self.im = cv2.cvtColor(im, cv2.COLOR_GRAY2BGR)
        else:
            im = np.ascontiguousarray(im)  # as OpenCV wants it; the same array where it is
            self.im = im if im.flags.writeable else im.copy()
        self.height, self.width = self.im.shape[:2]

    def box_label(
        self,
        box: Sequence[float] | np.ndarray,
        label: str = "",
        color: Color = (128, 128, 128),
        txt_color: Color = (255, 255, 255),
    ) -> None:
        """Draw a box and beside it the label, if any; the part outside the image is cut off.

        The text is `txt_color` where that can be read on `color`, else black or white.
        """
        # Tensors on any device, too, one or one a number.
        corners = np.array([v.cpu() if hasattr(v, "cpu") else v for v in box]).reshape(-1, 2)  # (2 or 4, 2)
        low, high = corners.min(0), corners.max(0)
        if len(corners) == 2:
            if (pixels := self._clip(corners)) is not None:
                x1, y1, x2, y2 = pixels
                cv2.rectangle(self.im, (x1, y1), (x2, y2), color, self.lw)
        elif np.isfinite(corners).all() and (high >= 0).all() and (low <= (self.width, self.height)).all():
            # A pixel's center has integer coordinates for OpenCV, half ones for us.
            points = np.round((corners - 0.5).clip(-LIMIT, LIMIT) * 2**SHIFT).astype(np.int32)
            cv2.polylines(self.im, [points], True, color, self.lw, cv2.LINE_AA, SHIFT)
        if label:
            self.label(corners, label, color, txt_color)

    def masks(
        self, masks: Sequence[np.ndarray] | torch.Tensor, colors: Sequence[Color], alpha: float = MASK_OPACITY
    ) -> None:
        """Draw translucent areas with a smooth edge and a thin line on it, the first on top.

        A mask is (h, w) of 0 and 1 and covers the whole image, at any resolution; `alpha` is the opacity, 0..1.
        """
        arrays = masks.numpy(force=True) if isinstance(masks, torch.Tensor) else masks
        for mask, color in reversed(list(zip(arrays, colors, strict=True))):
            # Fraction of each pixel that the mask covers, (H, W); blurred so that the steps of a coarse mask go.
            soft = cv2.resize(mask.astype(np.float32), (self.width, self.height), interpolation=cv2.INTER_LINEAR)
            enlarged = max(self.height / mask.shape[0], self.width / mask.shape[1])
            if enlarged > 1:
                soft = cv2.GaussianBlur(soft, (0, 0), enlarged / 2)
            coverage = np.clip((soft - 0.5) * max(enlarged, 1) + 0.5, 0, 1)

            rows, columns = (np.flatnonzero(coverage.any(axis)) for axis in (1, 0))
            if not len(rows):
                continue
            window = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)  # blending is most of the work
            area, opacity = self.im[window], coverage[window][..., None] * alpha
            area[:] = np.rint(area + (np.array(color, np.float32) - area) * opacity)
            contours, _ = cv2.findContours((coverage > 0.5).view(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
            cv2.drawContours(self.im, contours, -1, color, max(self.lw // 2, 1), cv2.LINE_AA)

    def kpts(
        self,
        kpts: np.ndarray | torch.Tensor,
        shape: tuple[int, int] | None = None,
        radius: float | None = None,
        kpt_line: bool = True,
        conf_thres: float = 0.25,
        kpt_color: Color | None = None,
    ) -> None:
        """Draw points (K, 2 or 3), x, y in pixels and perhaps visibility, as discs; seventeen of them are a person.

        A person has limbs (`kpt_line`), each part of the body in a color of its own; other points have a color each,
        so that left and right can be told, or all are `kpt_color`. Points of a visibility of at most `conf_thres` are
        not drawn, nor, where the `shape` (height, width) of the image is given, those on its edges, which are unknown.
        """
        points = kpts.numpy(force=True) if isinstance(kpts, torch.Tensor) else kpts
        shown = (points[:, 2] > conf_thres) if points.shape[1] == 3 else (points[:, :2] >= 0).all(1)
        shown &= np.isfinite(points).all(1)
        if shape is not None:
            shown &= (points[:, :2] % (shape[1], shape[0]) != 0).all(1)
        pixels = np.round((np.nan_to_num(points[:, :2]) - 0.5).clip(-LIMIT, LIMIT) * 2**SHIFT)  # as in `box`
        places = [tuple(map(int, place)) for place in pixels]
        point_colors = [kpt_color or colors(i, bgr=True) for i in range(len(points))]
        if len(points) == COCO_SHAPE[0]:  # a person: lines first, so that the discs lie on them
            for part, pairs in enumerate(COCO_LIMBS.values()):
                for a, b in pairs:
                    point_colors[b] = kpt_color or colors(part, bgr=True)
                    if kpt_line and shown[a] and shown[b]:
                        cv2.line(self.im, places[a], places[b], point_colors[b], self.lw, cv2.LINE_AA, SHIFT)
        size = radius or self.lw + 1
        for place, visible, inside in zip(places, shown, point_colors, strict=True):
            if visible:
                cv2.circle(self.im, place, round((size + 1) * 2**SHIFT), WHITE, cv2.FILLED, cv2.LINE_AA, SHIFT)
                cv2.circle(self.im, place, round(size * 2**SHIFT), inside, cv2.FILLED, cv2.LINE_AA, SHIFT)

    def label(
        self,
        box: Sequence[float] | np.ndarray,
        label: str,
        color: Color = (128, 128, 128),
        txt_color: Color = (255, 255, 255),
    ) -> None:
        """Draw the label of a box: above it, else inside or below, in the image and clear of other labels.

        Where others leave no room for it, it is left out: call this for the most important box first.
        """
        corners = np.asarray(box).reshape(-1, 2)  # (2 or 4, 2)
        # Begin at the highest corner: beside those of the bounds a rotated box's label would not touch it.
        top = corners[np.lexsort((corners[:, 0], corners[:, 1].round()))[0]]
        pixels = self._clip(np.stack((top, corners.max(0))))
        if pixels is None:
            return
        label = " ".join(label.split())
        font, size, pad = self.font or font_file(label, self.example), self.font_size, max(self.lw, 2)
        room = self.width - 2 * pad
        while size > MIN_FONT and text_mask(label, font, size).shape[1] > room:
            size -= 1
        mask = text_mask(shorten(label, font, size, room), font, size)  # (h, w)

        height, width = mask.shape[0], mask.shape[1] + 2 * pad
        x, y, covered = self._place(pixels, width, height)
        if covered > MAX_COVERED * width * height:
            return
        self._labels.append((x, y, x + width, y + height))
        cv2.rectangle(self.im, (x, y), (x + width - 1, y + height - 1), color, cv2.FILLED)
        self._blend(mask, x + pad, y, readable(txt_color, color))

    def text(
        self,
        xy: Sequence[float],
        text: str,
        txt_color: Color = (255, 255, 255),
        anchor: str = "top",
        box_color: Color | None = None,
    ) -> None:
        """Draw lines of text with their left top corner at `xy` (`anchor="bottom"`: left bottom), on a colored box."""
        lines = text.splitlines()
        masks = [text_mask(line, self.font or font_file(line, self.example), self.font_size) for line in lines]
        x, y = (round(float(v)) for v in xy)
        if anchor == "bottom":
            y -= sum(len(mask) for mask in masks)
        for mask in masks:
            if box_color is not None:
                corner = (x + mask.shape[1] + 2 * self.lw - 1, y + len(mask) - 1)
                cv2.rectangle(self.im, (x, y), corner, box_color, cv2.FILLED)
            self._blend(mask, x + self.lw * (box_color is not None), y, txt_color)
            y += len(mask)

    def rectangle(
        self, xy: Sequence[float], fill: Color | None = None, outline: Color | None = None, width: int = 1
    ) -> None:
        """Draw a box xyxy, filled, with an outline of `width` pixels, or both."""
        x1, y1, x2, y2 = (round(float(v)) for v in xy)
        if fill is not None:
            cv2.rectangle(self.im, (x1, y1), (x2, y2), fill, cv2.FILLED)
        if outline is not None:
            cv2.rectangle(self.im, (x1, y1), (x2, y2), outline, width)

    def result(self, pil: bool = False) -> np.ndarray | Image.Image:
        """The image, (H, W, 3) BGR uint8, or as a PIL image in RGB."""
        return Image.fromarray(self.im[..., ::-1]) if pil else self.im

    def save(self, filename: str | Path = "image.jpg") -> None:
        """Write the image in the format of the suffix."""
        from ultralytics.utils.plotting import write_image

        write_image(filename, self.im)

    def show(self, title: str | None = None) -> None:
        """Show the image in a window; DeviceError where there is no display."""
        from ultralytics.utils.display import show_image

        show_image(title or "image", self.im)

    @staticmethod
    def get_txt_color(color: Color = (128, 128, 128), txt_color: Color = (255, 255, 255)) -> Color:
        """Text color that can be read on `color`: `txt_color`, else black or white."""
        return readable(txt_color, color)

    @staticmethod
    def get_bbox_dimension(bbox: Sequence[float]) -> tuple[float, float, float]:
        """Width, height and area of a box xyxy."""
        x1, y1, x2, y2 = bbox
        return x2 - x1, y2 - y1, (x2 - x1) * (y2 - y1)

    def _clip(self, corners: np.ndarray) -> tuple[int, int, int, int] | None:
        """Pixels xyxy of a box (2, 2), drawn with its whole line inside the image; None if nothing of it is there."""
        (x1, y1), (x2, y2) = corners.tolist()
        if not (x2 >= 0 and y2 >= 0 and x1 <= self.width and y1 <= self.height):  # false for NaN too
            return None
        inset = self.lw // 2
        x1, x2 = (round(min(max(x, inset), self.width - 1 - inset)) for x in (x1, x2))
        y1, y2 = (round(min(max(y, inset), self.height - 1 - inset)) for y in (y1, y2))
        return x1, y1, x2, y2

    def _place(self, box: tuple[int, int, int, int], width: int, height: int) -> tuple[int, int, int]:
        """Left top corner for a label of a box xyxy: in the image, covering the fewest pixels of earlier labels.

        Those are the third number.
        """
        x1, y1, x2, y2 = box
        edge = self.lw // 2
        left, right = x1 - edge, x2 + edge + 1 - width
        # In order of preference: above the box, inside at its top, below it, inside at its bottom; left before right.
        rows = (y1 - edge - height, y1 - edge, y2 + edge + 1, y2 + edge + 1 - height)
        places = [(min(max(x, 0), self.width - width), y) for y in rows for x in (left, right)]
        inside = [(x, y) for x, y in places if 0 <= y <= self.height - height] or [(places[0][0], 0)]

        start, labels = np.array(inside)[:, None], np.array(self._labels).reshape(-1, 4)  # (k, 1, 2), (n, 4)
        end = start + np.array((width, height))
        overlap = np.minimum(end, labels[:, 2:]) - np.maximum(start, labels[:, :2])  # (k, n, 2)
        covered = overlap.clip(0).prod(2).sum(1)
        best = covered.argmin()  # the first of equals
        return *inside[best], int(covered[best])

    def _blend(self, mask: np.ndarray, x: int, y: int, color: Color) -> None:
        """Paint `color` through an opacity mask whose left top corner is (x, y); what lies outside is cut off."""
        left, top = max(-x, 0), max(-y, 0)
        area = self.im[max(y, 0) : max(y + mask.shape[0], 0), max(x, 0) : max(x + mask.shape[1], 0)]
        opacity = mask[top : top + area.shape[0], left : left + area.shape[1], None] / np.float32(255)
        area[:] = np.rint(area + (np.array(color, np.float32) - area) * opacity)
