"""A window on the screen, where there is one."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import cv2
import numpy as np

from ultralytics.utils.errors import DeviceError

WINDOW = 1280  # pixels: longest side of a window; larger images are shown smaller
_PROBE = "import cv2, sys; cv2.namedWindow('probe'); cv2.destroyAllWindows(); print('ok', flush=True); sys.stdin.read()"
_ADVICE = "save images instead of showing them"
_working: set[str] = set()  # displays on which a window was opened


def show_image(title: str, image: np.ndarray, wait: int = 0) -> None:
    """Show a BGR image (H, W, 3) for at least `wait` milliseconds (0: until a key is hit or the window closed).

    Raises DeviceError where no window can be opened.
    """
    title = title.encode("ascii", "backslashreplace").decode()  # OpenCV garbles other titles on Windows
    height, width = image.shape[:2]
    shrink = min(WINDOW / max(height, width), 1)
    with _display() if sys.platform == "linux" else nullcontext():
        try:
            cv2.namedWindow(title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO)
            cv2.resizeWindow(title, max(round(width * shrink), 1), max(round(height * shrink), 1))
            cv2.imshow(title, image)
            if wait:
                cv2.waitKey(wait)
                return
            # waitKey(0) would never return where the window is closed with the mouse.
            while cv2.waitKey(50) < 0 and cv2.getWindowProperty(title, cv2.WND_PROP_VISIBLE) >= 1:
                continue
            cv2.destroyAllWindows()
        except cv2.error as exc:
            raise DeviceError(f"OpenCV cannot open a window ({exc.err or exc}): {_ADVICE}") from exc


@contextmanager
def _display() -> Iterator[None]:
    """Let a child process open a window first: GUI toolkits abort the process that finds its display dead.

    The child stays until the block ends, as a bare X server resets when its last client leaves.
    """
    x11, wayland = os.environ.get("DISPLAY", ""), os.environ.get("WAYLAND_DISPLAY", "")
    if not x11 and not wayland:  # a server, WSL without a desktop, ssh without -X
        raise DeviceError(f"there is no display (neither DISPLAY nor WAYLAND_DISPLAY is set): {_ADVICE}")
    display = f"DISPLAY={x11}" if x11 else f"WAYLAND_DISPLAY={wayland}"
    if display in _working:
        yield
        return
    command = [sys.executable, "-c", _PROBE]
    pipe = subprocess.PIPE  # the end of its stdin, when this process closes it, ends the child
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL) as probe:
        if probe.stdout.readline() != b"ok\n":
            raise DeviceError(f"no window can be opened on {display}: {_ADVICE}, or install opencv-python with a GUI")
        _working.add(display)
        yield
