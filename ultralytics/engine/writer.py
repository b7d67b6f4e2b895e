"""What a prediction leaves on disk: pictures, videos, label files, crops."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ultralytics.data.sources import Frame
from ultralytics.engine.results import Results
from ultralytics.utils.errors import SourceError
from ultralytics.utils.files import increment_path, unused_name
from ultralytics.utils.plotting import picture_name, writing


class Writer:
    """Files of one prediction run, in a folder that is made when the first of them is written."""

    def __init__(self, options: Any) -> None:
        self.args = options
        self.folder = increment_path(Path(options.project) / options.name, options.exist_ok)
        self._taken: set[str] = set()  # names of its sources so far
        self._item, self._stem = 0, ""  # number and name of the present one
        self._video: cv2.VideoWriter | None = None

    @staticmethod
    def wanted(options: Any) -> bool:
        """Whether any option asks for files."""
        return options.save or options.save_txt or options.save_crop

    def write(self, frame: Frame, result: Results) -> None:
        """Save what was asked for of one image or one frame of a video."""
        if frame.item != self._item:
            self.close()
            self._item, self._stem = frame.item, unused_name(Path(frame.path).stem, self._taken)
        stem = f"{self._stem}_{frame.frame}" if frame.is_video else self._stem
        if self.args.save_txt:
            path = self.folder / "labels" / f"{stem}.txt"
            with writing(path):
                path.unlink(missing_ok=True)  # an earlier run's, which rows would be appended to
            result.save_txt(path, save_conf=self.args.save_conf)
        if self.args.save_crop:
            result.save_crop(self.folder / "crops", f"{stem}.jpg")
        if self.args.save and frame.is_video:
            self._write_frame(frame, result.plot(**drawing(self.args)))
        elif self.args.save:
            suffix = Path(picture_name(frame.path)).suffix or ".jpg"
            result.save(self.folder / f"{stem}{suffix}", **drawing(self.args))

    def close(self) -> None:
        """Finish the video that is being written."""
        if self._video is not None:
            self._video.release()
            self._video = None

    def _write_frame(self, frame: Frame, picture: np.ndarray) -> None:
        if self._video is None:
            target = self.folder / f"{self._stem}.mp4"
            height, width = picture.shape[:2]
            fps = (frame.fps or 30) / self.args.vid_stride
            with writing(target):
                self._video = cv2.VideoWriter(str(target), cv2.VideoWriter_fourcc(*"mp4v"), fps, (width, height))
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
