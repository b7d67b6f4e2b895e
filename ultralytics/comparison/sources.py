"""Digest of the code that a network learns with, so that results of a block or loss edited since are not its own."""

import ast
import hashlib
import inspect
import textwrap
from collections.abc import Callable, Iterable
from pathlib import Path

from torch import nn

from ultralytics.cfg import Options
from ultralytics.models.yolo import task_class
from ultralytics.nn import Addmodules
from ultralytics.nn.tasks import find_task, yaml_model_load
from ultralytics.utils import loss, tal
from ultralytics.utils.errors import ModelError
from ultralytics.utils.losses import end_to_end
from ultralytics.utils.losses.functions import similarity
from ultralytics.utils.losses.table import LOSSES

ADDONS = Path(Addmodules.__file__).parent
FOREIGN = ("torch", "timm", "torchvision")  # packages whose classes have a version of their own


def sources(model: str, options: Options) -> str:
    """Eight hexadecimal digits that differ where the code of a layer of a model YAML, of its loss or assigner does.

    Comments, docstrings and layout do not count, nor does what a file holds beside the classes and functions that are
    used; of an add-on, of utils/loss.py and of utils/tal.py, and where YOLOv10's head is of its loss, the whole file
    counts. Empty for a network that cannot be built, as its training will say.
    """
    yaml = yaml_model_load(model)
    try:
        network = task_class(find_task(yaml)).model_class(yaml, verbose=False)
    except ModelError:
        return ""
    texts = {Path(file).read_text(encoding="utf-8") for file in (loss.__file__, tal.__file__)}
    chosen = [table.get(getattr(options, option)) for option, table in LOSSES.items()]
    texts |= {code_of(function) for function in (similarity, *chosen) if function}
    if hasattr(network.model[-1], "one2one_cv2"):  # as `make_criterion` asks
        texts.add(Path(end_to_end.__file__).read_text(encoding="utf-8"))
    for cls in {base for layer in network.model.modules() for base in type(layer).__mro__}:
        if cls is not nn.Module and cls.__module__.partition(".")[0] not in (*FOREIGN, "builtins"):
            texts.add(code_of(cls))
    return digest(texts)


def code_of(code: type | Callable) -> str:
    """Code of an add-on's file, or of a class or function elsewhere; empty where there is none, as at a prompt."""
    try:
        file = Path(inspect.getsourcefile(code) or "")
        if file.parent == ADDONS:
            return file.read_text(encoding="utf-8")
        return textwrap.dedent(inspect.getsource(code))
    except (OSError, TypeError):
        return ""


def digest(texts: Iterable[str]) -> str:
    """Digest of pieces of code in any order, without their comments, docstrings and layout."""
    codes = []
    for tree in map(ast.parse, texts):
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
                node.body = node.body[1:] or [ast.Pass()]
        codes.append(ast.unparse(tree))
    return hashlib.sha256("\0".join(sorted(codes)).encode()).hexdigest()[:8]
