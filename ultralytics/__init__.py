"""An ultralytics-compatible YOLOv8 tree, written independently, that people edit.

>>> from ultralytics import YOLO
>>> model = YOLO("yolov8n-DynamicConv.yaml")
"""

from typing import Any

__version__ = "0.1.0"
__all__ = ["YOLO", "__version__"]


def __getattr__(name: str) -> Any:
    """Import YOLO, and with it torch, only when somebody asks for it."""
    if name == "YOLO":
        from ultralytics.engine.model import YOLO

        return YOLO
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
