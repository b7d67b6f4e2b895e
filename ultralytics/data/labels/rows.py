"""Rows of label files. Their meaning is the task's, which brings a parser such as `parse_box_rows`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ultralytics.data.images import refuse_pipe
from ultralytics.utils.errors import DatasetError

TOLERANCE = 0.01  # by which normalized coordinates may pass 0 and 1


class RowError(ValueError):
    """A row that cannot be used, by its index among the rows, and why."""

    def __init__(self, row: int, reason: str) -> None:
        super().__init__(reason)
        self.row = row


@dataclass(frozen=True)
class ParsedRows:
    """Instances of one image; everything normalized to its width and height, float32.

    cls (k,), boxes (k, 4) xywh; polygons, one (p, 2) an instance, (0, 2) where a row had none, or None if no row had;
    extra (k, m) further numbers of each instance, whose meaning is the parser's (m is the same in all files).
    """

    cls: np.ndarray
    boxes: np.ndarray
    polygons: list[np.ndarray] | None = None
    extra: np.ndarray | None = None
    duplicates: int = 0


Rows = Sequence[Sequence[float]]
RowParser = Callable[[Rows, int | None], ParsedRows]  # (rows, nc), nc None: any class


def read_rows(path: Path) -> tuple[list[list[float]], list[int]]:
    """Numbers of a label file and the line, from 1, of each row; none if there is no file. Blank lines are no rows.

    Raises DatasetError naming file and line.
    """
    rows, numbers = [], []
    for number, line in enumerate(_read_text(path).splitlines(), 1):
        if words := line.split():
            try:
                rows.append([float(word := text) for text in words])
            except ValueError as exc:
                # The comprehension has left the word that it failed at in `word`.
                raise DatasetError(f"{path}:{number}: {word!r} is not a number") from exc
            numbers.append(number)
    return rows, numbers


def _read_text(path: Path) -> str:
    """Text of a label file, empty if there is no file."""
    try:
        refuse_pipe(path)
        data = path.read_bytes()
    except FileNotFoundError:
        if path.is_symlink():
            raise DatasetError(f"{path}: a link to a file that does not exist") from None
        return ""
    except OSError as exc:
        raise DatasetError(f"{path}: cannot be read: {exc.strerror or exc}") from exc
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise DatasetError(f"{path}: UTF-16 text; save it as UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = data.count(b"\n", 0, exc.start) + 1
        raise DatasetError(f"{path}:{line}: not UTF-8 text") from exc


def parse_box_rows(rows: Rows, nc: int | None, keypoint_numbers: int = 0) -> ParsedRows:
    """Rows `class x y w h` or polygons `class x1 y1 x2 y2 x3 y3 …`, mixed as they come; a polygon's box is its bounds.

    With `keypoint_numbers`, rows with that many numbers after the box are boxes too. `nc` None: any class. Raises
    RowError for a row of another length, and as `check_rows` does.
    """
    box_lengths = (5, 5 + keypoint_numbers)
    for index, row in enumerate(rows):
        if len(row) not in box_lengths and (len(row) < 7 or len(row) % 2 == 0):
            expected = "a row is `class x y w h` or `class x1 y1 x2 y2 x3 y3 ...`"
            raise RowError(index, f"{len(row)} numbers, but {expected}")
    polygons = [np.array(() if len(row) in box_lengths else row[1:]).reshape(-1, 2) for row in rows]
    values = np.array([row[:5] for row in rows]).reshape(-1, 5)  # (k, 5) class and box; of a polygon not yet its own
    for box, polygon in zip(values[:, 1:], polygons, strict=True):
        if len(polygon):
            low, high = polygon.min(0), polygon.max(0)
            box[:2], box[2:] = (low + high) / 2, high - low
    check_rows(values[:, 0], values[:, 1:], nc, [len(polygon) > 0 for polygon in polygons])
    kept = distinct(rows)
    values = values[kept].astype(np.float32)
    return ParsedRows(
        values[:, 0],
        values[:, 1:],
        [polygons[i].astype(np.float32) for i in kept] if any(map(len, polygons)) else None,
        duplicates=len(rows) - len(kept),
    )


def parse_polygon_rows(rows: Rows, nc: int | None) -> ParsedRows:
    """Rows `class x1 y1 x2 y2 x3 y3 …` alone, as `parse_box_rows` reads them. Raises RowError for any other row."""
    for index, row in enumerate(rows):
        if len(row) < 7 or len(row) % 2 == 0:
            found = f"{len(row)} numbers{', as of a box' if len(row) == 5 else ''}"
            raise RowError(index, f"{found}, but a row is `class x1 y1 x2 y2 x3 y3 ...`, pairs of three points or more")
    return parse_box_rows(rows, nc)


def check_rows(cls: np.ndarray, boxes: np.ndarray, nc: int | None, has_polygon: Sequence[bool] = ()) -> None:
    """Raise RowError for the first row whose class (k,) or box (k, 4) xywh, normalized, cannot be used.

    A class is an integer from 0 to nc - 1 (`nc` None: without end); box values may pass 0 and 1 by 0.01, sides only 1.
    `has_polygon` tells of each row whether its box stands for a polygon.
    """
    low = np.array([-TOLERANCE, -TOLERANCE, 0, 0])
    with np.errstate(invalid="ignore"):  # NaN fails each comparison, as it should
        good_class = (cls >= 0) & (cls < (np.inf if nc is None else nc)) & (cls % 1 == 0)
        good_box = ((boxes >= low) & (boxes <= 1 + TOLERANCE)).all(1)
    for row in np.flatnonzero(~(good_class & good_box)):
        if not good_class[row]:
            classes = "whole numbers from 0 on" if nc is None else f"0 to {nc - 1}, those of `names:` in the data YAML"
            raise RowError(int(row), f"class {cls[row]:g}, but the classes are {classes}")
        x, y, w, h = boxes[row]
        found = f"box {x:g} {y:g} {w:g} {h:g} (x y w h)"
        if any(has_polygon[row : row + 1]):
            found = f"polygon from x {x - w / 2:g}, y {y - h / 2:g} to x {x + w / 2:g}, y {y + h / 2:g}"
        raise RowError(int(row), f"{found} does not lie in 0..1: divide pixels by the image's width and height")


def distinct(rows: Rows) -> list[int]:
    """Indices of the rows without later repetitions: as they are if all differ, else sorted by value."""
    first: dict[tuple[float, ...], int] = {}
    for index, row in enumerate(rows):
        first.setdefault(tuple(row), index)
    kept = list(first.values())
    return kept if len(kept) == len(rows) else sorted(kept, key=lambda i: rows[i])
