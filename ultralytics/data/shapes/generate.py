"""What a dataset YAML may ask to have drawn with `generate:`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ultralytics.cfg.kinds import FRACTION, INVALID, choice, integer, list_of, number, pair
from ultralytics.utils.errors import DatasetError
from ultralytics.utils.files import nearest

ROWS = ("boxes", "polygons", "corners", "rotated", "folders")  # those of data/shapes.py, which takes a while to import
COUNTS = {"seed": integer(0), "train": integer(1), "val": integer(1), "test": integer(0)}
LABELS = {"rows": choice(*ROWS)}
RECIPE = {
    "pictures": list_of(pair(integer(32), "a list of [width, height], each at least 32")),
    "objects": pair(integer(0), "[fewest, most]"),
    "sides": pair(number(8), "[shortest, longest], each at least 8 pixels"),
    "hidden": FRACTION,
    "clutter": FRACTION,
}


def generate(wanted: Any, names: Mapping[int, str], folder: Path, file: Path) -> None:
    """Draw the dataset that `file` wants into `folder`, unless it is there as wanted.

    `wanted` is `shapes`, or a mapping whose `kind` is that, with settings of `draw_shapes` and of its `Recipe`, and
    `rows`, what label rows hold after the class, or `folders`: pictures of one object each, in folders by class. The
    classes are then the `names` of the YAML. Raises DatasetError.
    """
    settings = dict(wanted) if isinstance(wanted, Mapping) else {"kind": wanted}
    if (kind := settings.pop("kind", None)) != "shapes":
        raise DatasetError(f"{file}: `generate: {kind}` is unknown; `shapes` is the one dataset that can be drawn")
    from ultralytics.data.shapes.draw import draw_shapes

    if settings:
        draw_shapes(folder, **_checked(settings, names, file))
    else:
        draw_shapes(folder)


def _checked(settings: Mapping[str, Any], names: Mapping[int, str], file: Path) -> dict[str, Any]:
    """Arguments of `draw_shapes`."""
    from ultralytics.data.shapes.scenes import Recipe

    values = {name: _value(name, value, file) for name, value in settings.items()}
    for name in ("objects", "sides"):
        if name in values and values[name][0] > values[name][1]:
            raise DatasetError(f"{file}: generate: {name} is {values[name]}, expected the smaller number first")
    drawn = {name: values.pop(name) for name in COUNTS if name in values}
    if values.get("rows") == "folders" and "objects" in values:
        raise DatasetError(f"{file}: generate: objects does not go with rows: folders, whose pictures have one each")
    if "rows" in values:
        drawn["labels"] = values.pop("rows")
    recipe = {name: tuple(map(tuple, v)) if name == "pictures" else v for name, v in values.items()}
    return drawn | {"recipe": Recipe(classes=_classes(names, file), **recipe)}


def _value(name: str, value: Any, file: Path) -> Any:
    known = COUNTS | LABELS | RECIPE
    if name not in known:
        near = ", ".join(nearest(str(name), known) or known)
        raise DatasetError(f"{file}: generate: there is no setting {name!r}, the nearest are: {near}")
    if (found := known[name].read(value)) is INVALID:
        raise DatasetError(f"{file}: generate: {name} is {value!r}, expected {known[name].expected}")
    return tuple(found) if isinstance(found, list) else found


def _classes(names: Mapping[int, str], file: Path) -> tuple[str, ...]:
    """The names, each an outline or a fill and an outline."""
    from ultralytics.data.shapes.outlines import OUTLINES
    from ultralytics.data.shapes.paint import FILLS

    known = {*OUTLINES, *(f"{fill} {outline}" for fill in FILLS for outline in OUTLINES)}
    for name in names.values():
        if name not in known:
            raise DatasetError(
                f"{file}: {name!r} cannot be drawn; names are outlines ({', '.join(OUTLINES)}), alone or with a fill "
                f"({', '.join(FILLS)}) before them, such as `striped disc`"
            )
    return tuple(names.values())
