"""An ultralytics-compatible YOLOv8 tree, written independently, that people edit.

>>> from ultralytics import YOLO
>>> model = YOLO("yolov8n-DynamicConv.yaml")
"""

import sys
from importlib import import_module
from typing import Any

from ultralytics import utils
from ultralytics.utils import refused

__version__ = "0.1.0"
__all__ = ["YOLO", "__version__"]

# Last, and for names below `ultralytics.` alone: modules of the public package that are missing here say what to use.
if refused.Finder not in sys.meta_path:
    sys.meta_path.append(refused.Finder)


def __getattr__(name: str) -> Any:
    """Import YOLO, and with it torch, only when somebody asks for it."""
    if name == "YOLO":
        try:
            from ultralytics.engine.model import YOLO
        except (ImportError, AttributeError):  # what an old torch lacks may be asked for by an import already
            import_module("ultralytics.utils.checks").require_torch()
            raise
        return YOLO
    if name == "ASSETS":
        return utils.ASSETS
    return refused.getter(__name__)(name)
