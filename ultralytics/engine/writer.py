"""What a prediction leaves on disk: pictures, videos, label files, crops."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ultralytics.data.images import IMG_FORMATS
from ultralytics.data.sources import Frame
from ultralytics.engine.results import Results
from ultralytics.utils.errors import SourceError
from ultralytics.utils.files import increment_path


class Writer:
    """Files of one prediction run, in a folder that is made when the first of them is written."""

    def __init__(self, options: Any) -> None:
        self.args = options
        self.folder = increment_path(Path(options.project or "runs/detect") / (options.name or "exp"), options.exist_ok)
        self._names: dict[str, str] = {}  # source path: file name here
        self._video: cv2.VideoWriter | None = None
        self._video_of = ""

    @staticmethod
    def wanted(options: Any) -> bool:
        """Whether any option asks for files."""
        return options.save or options.save_txt or options.save_crop

    def write(self, frame: Frame, result: Results) -> None:
        """Save what was asked for of one image or one frame of a video."""
        self.folder.mkdir(parents=True, exist_ok=True)
        stem = Path(self._name(frame)).stem + (f"_{frame.frame}" if frame.is_video else "")
        if self.args.save_txt:
            result.save_txt(self.folder / "labels" / f"{stem}.txt", save_conf=self.args.save_conf)
        if self.args.save_crop:
            result.save_crop(self.folder / "crops", stem)
        if self.args.save and frame.is_video:
            self._write_frame(frame, drawn(result, self.args))
        elif self.args.save:
            result.save(self.folder / self._name(frame), **drawing(self.args))

    def close(self) -> None:
        """Finish the video that is being written."""
        if self._video is not None:
            self._video.release()
            self._video = None

    def _name(self, frame: Frame) -> str:
        """A file name of its own for every source, though two folders may hold the same one."""
        if frame.path not in self._names:
            path = Path(frame.path)
            kept = path.suffix if path.suffix.lower().lstrip(".") in IMG_FORMATS else ".jpg"
            suffix = ".mp4" if frame.is_video else kept
            taken, name, number = set(self._names.values()), f"{path.stem}{suffix}", 2
            while name in taken:
                name, number = f"{path.stem}_{number}{suffix}", number + 1
            self._names[frame.path] = name
        return self._names[frame.path]

    def _write_frame(self, frame: Frame, picture: np.ndarray) -> None:
        if self._video_of != frame.path:
            self.close()
            target = self.folder / self._name(frame)
            height, width = picture.shape[:2]
            fps = (frame.fps or 30) / self.args.vid_stride
            self._video = cv2.VideoWriter(str(target), cv2.VideoWriter_fourcc(*"mp4v"), fps, (width, height))
            self._video_of = frame.path
            if not self._video.isOpened():
                raise SourceError(f"{target} cannot be written as a video: check that the folder is writable")
        self._video.write(picture)


def drawing(options: Any) -> dict[str, Any]:
    """How `Results.plot` should draw."""
    return {
        "conf": options.show_conf,
        "labels": options.show_labels,
        "boxes": options.show_boxes,
        "line_width": options.line_width,
    }


def drawn(result: Results, options: Any) -> np.ndarray:
    """The picture (H, W, 3) BGR with its predictions."""
    return result.plot(**drawing(options))
