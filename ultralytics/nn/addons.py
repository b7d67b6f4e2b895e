"""Files in Addmodules: whose classes a YAML may name, and the sentences for those that are not found or clash."""

import ast
import importlib
import importlib.util
import re
import sys
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from ultralytics.utils import LOGGER
from ultralytics.utils.errors import ModelError
from ultralytics.utils.files import nearest

ADDMODULES = Path(__file__).parent / "Addmodules"
FOUR_STEPS = (
    "to add a block: put its file into ultralytics/nn/Addmodules and name it in the row with its args as they are, "
    "[-1, 1, MyBlock, [c1, …]]; for rows without c1, put the class into `channel_modules` in ultralytics/nn/tasks.py, "
    "into `repeat_modules` too if it takes the repeat count, or give it a branch in parse_model; a class from outside "
    "the tree is made known by register_module() of ultralytics.nn.tasks, before its network is built or opened"
)

RESTORE = (
    "; if a file of yours was saved over one of this tree, such as Addmodules/{file}, give yours another name, restore "
    "that one (git checkout ultralytics/nn/Addmodules/{file}) and import yours in Addmodules/__init__.py"
)


def defined_names(file: Path) -> list[str]:
    """Names of the classes that a file defines at its top level, and of what it gives another name there."""
    text = file.read_text(encoding="utf-8", errors="replace")
    return re.findall(r"^(?:class )?(\w+)(?= = |\(|:)", text, re.MULTILINE)


def addmodule_class(package: ModuleType, name: str, other: type[nn.Module] | None) -> type[nn.Module] | None:
    """A module class that one of the files in Addmodules defines, whether or not its __init__.py imports that file.

    A class of the core, `other`, is replaced by that of a file called like it alone: pasted files bring many classes.
    """
    files = sorted(ADDMODULES.glob("*.py" if other is None else f"{name}.py"))
    files = [file for file in files if name in defined_names(file)]
    if len(files) > 1:
        raise ModelError(
            f"{name} is in {' and in '.join(f'Addmodules/{file.name}' for file in files)}: write `from "
            f".{files[0].stem} import {name}` in Addmodules/__init__.py for the one that is meant"
        )
    for file in files:
        sys.path.append(str(ADDMODULES))  # for `from se_block import SEBlock` of a file that was pasted beside this one
        try:
            module = importlib.import_module(f"{package.__name__}.{file.stem}")
        except Exception as exc:  # anything may go wrong in a user's file
            reason = f"{type(exc).__name__}: {' '.join(str(exc).split())}"
            if isinstance(exc, ModuleNotFoundError):
                reason += (
                    f"; a package is installed by pip, a file of the author's goes into {file.parent.name} as well"
                )
            raise ModelError(f"{name} is in Addmodules/{file.name}, which cannot be imported: {reason}") from exc
        finally:
            sys.path.remove(str(ADDMODULES))
        found = getattr(module, name, None)
        if isinstance(found, type) and issubclass(found, nn.Module):
            return found
        raise ModelError(f"{name} in Addmodules/{file.name} is no class of modules, a subclass of nn.Module")
    return other


def unknown_name(name: str, known: Collection[str] | None = None) -> ModelError:
    """The error for a name in a YAML that is none of the `known` modules, or without these a name in tasks.py."""
    files = {file: defined_names(file) for file in sorted(ADDMODULES.glob("*.py"))}
    if known is None:
        for file, names in files.items():
            if name in names:
                return ModelError(
                    f"{name} is in Addmodules/{file.name}, but ultralytics/nn/tasks.py does not know it: write "
                    f"`from .{file.stem} import {name}` in Addmodules/__init__.py"
                )
        near = nearest(name, {found for names in files.values() for found in names})
        hint = f"; the nearest names in Addmodules are {', '.join(near)}" if near else ""
        restore = RESTORE.format(file="DynamicConv.py")
        return ModelError(f"ultralytics/nn/tasks.py uses the name {name}, but no file brings it{hint}{restore}")
    near = nearest(name, {*known, *(found for names in files.values() for found in names)})
    hint = f"the nearest known names are {', '.join(near)}" if near else f"known names are {', '.join(sorted(known))}"
    return ModelError(f"there is no module {name!r}; {hint}; {FOUR_STEPS}")


def missing_names(name: str, names: Collection[str]) -> ModelError:
    """The error for all entries of the sets in tasks.py that are not among its `names`, of which `name` came first."""
    tree = ast.parse((ADDMODULES.parent / "tasks.py").read_text(encoding="utf-8"))
    entries = [one for node in ast.walk(tree) if isinstance(node, ast.Set) for one in node.elts]
    missing = dict.fromkeys([name, *(one.id for one in entries if isinstance(one, ast.Name) and one.id not in names)])
    if len(missing) == 1:
        return unknown_name(name)
    files = {file: defined_names(file) for file in sorted(ADDMODULES.glob("*.py"))}
    homes = {one: file for file, found in files.items() for one in found if one in missing}
    if len(homes) == len(missing):
        lines = ", ".join(f"`from .{file.stem} import {one}`" for one, file in homes.items())
        return ModelError(
            f"ultralytics/nn/tasks.py does not know {', '.join(missing)}: write {lines} in Addmodules/__init__.py"
        )
    # The file that was replaced has given its name to some of them, or has classes of those names that it hides.
    replaced = max(files, key=lambda file: sum(file.stem in one or homes.get(one) == file for one in missing))
    return ModelError(
        f"ultralytics/nn/tasks.py uses names that no import brings: {', '.join(missing)}"
        f"{RESTORE.format(file=replaced.name)}"
    )


def check_addmodules(package: ModuleType, names: Mapping[str, Any]) -> None:
    """Warn of two add-ons with one name, and of files whose classes are not used as another file brings the name.

    `names` are those of tasks.py: where the core has a name there, no add-on replaces anything.
    """
    seen: dict[str, type] = {}
    for name, later in imported_classes(package):
        earlier = seen.get(name, later)
        if earlier is not later and names.get(name) is later:
            LOGGER.warning(
                f"two add-ons export {name}: that of {later.__module__} replaces that of {earlier.__module__}"
            )
        seen[name] = later
    for file in sorted(Path(package.__file__).parent.glob("*.py")):
        if file.stem == "__init__" or f"{package.__name__}.{file.stem}" in sys.modules:
            continue
        taken = [name for name in defined_names(file) if name in seen]
        if taken:  # all other classes of the file are found when a YAML names them
            LOGGER.warning(
                f"Addmodules/{file.name} is not used for {taken[0]}, which is that of {seen[taken[0]].__module__}: to "
                f"use yours, write `from .{file.stem} import *` at the end of Addmodules/__init__.py"
            )


def imported_classes(package: ModuleType) -> Iterator[tuple[str, type[nn.Module]]]:
    """The module classes that the `__init__.py` of a package imports from its own files, by name, in order."""
    # Read from its text: in the package itself a name is the last class that was imported under it.
    for node in ast.walk(ast.parse(Path(package.__file__).read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom):
            continue
        origin = importlib.util.resolve_name("." * node.level + (node.module or ""), package.__name__)
        module = sys.modules.get(origin)  # None where the import stands in a branch that did not run
        if module is None or not origin.startswith(package.__name__ + "."):
            continue
        for alias in node.names:
            # The names that `import *` brings.
            public = getattr(module, "__all__", None) or [name for name in vars(module) if name[0] != "_"]
            for name in public if alias.name == "*" else [alias.name]:
                found = getattr(module, name, None)
                if isinstance(found, type) and issubclass(found, nn.Module):
                    yield alias.asname or name, found
