"""Settings of `generate:` in a dataset YAML, by which a dataset is drawn on first use."""

from collections.abc import Mapping
from pathlib import Path

from ultralytics.cfg.types import FRACTION, INVALID, choice, integer, list_of, number
from ultralytics.utils.errors import DatasetError
from ultralytics.utils.files import nearest

# shapes/draw.py tells what each of these means; it is imported only where something is drawn.
ROWS = ("boxes", "polygons", "corners", "rotated", "folders")
COUNTS = {"seed": integer(0), "train": integer(1), "val": integer(1), "test": integer(0)}
LABELS = {"rows": choice(*ROWS)}
RECIPE = {
    "pictures": list_of(list_of(integer(32), 2, "a list of [width, height], each at least 32")),
    "objects": list_of(integer(0), 2, "[minimum, maximum]"),
    "sides": list_of(number(8), 2, "[shortest, longest], each at least 8 pixels"),
    "hidden": FRACTION,
    "clutter": FRACTION,
}


def generate(wanted: object, names: Mapping[int, str], folder: Path, file: Path) -> None:
    """Draw the dataset that the YAML `file` asks for into `folder`, unless that holds the very same one already.

    `wanted` is `shapes`, or a mapping whose `kind` is that, with settings of `draw_shapes` and of its `Recipe`, and
    `rows`, which tells what label rows hold after the class, or `folders`: images of one object each, in folders by
    class. The classes are then the `names` of the YAML. Raises DatasetError.
    """
    settings = dict(wanted) if isinstance(wanted, Mapping) else {"kind": wanted}
    if (kind := settings.pop("kind", None)) != "shapes":
        raise DatasetError(f"{file}: `generate: {kind}` is unknown; `shapes` is the one dataset that can be drawn")
    from ultralytics.data.shapes.draw import draw_shapes

    draw_shapes(folder, **(_arguments(settings, names, file) if settings else {}))


def _arguments(settings: Mapping[str, object], names: Mapping[int, str], file: Path) -> dict[str, object]:
    """Arguments of `draw_shapes` from the settings of a YAML and its classes, checked. Raises DatasetError."""
    from ultralytics.data.shapes.outlines import OUTLINES
    from ultralytics.data.shapes.paint import FILLS
    from ultralytics.data.shapes.scenes import Recipe

    types, values = COUNTS | LABELS | RECIPE, {}
    for name, value in settings.items():
        if name not in types:
            near = ", ".join(nearest(str(name), types) or types)
            raise DatasetError(f"{file}: generate: there is no setting {name!r}, the nearest are: {near}")
        if (checked := types[name].read(value)) is INVALID:
            raise DatasetError(f"{file}: generate: {name} is {value!r}, expected {types[name].expected}")
        values[name] = tuple(checked) if isinstance(checked, list) else checked
    for name in ("objects", "sides"):
        if name in values and values[name][0] > values[name][1]:
            raise DatasetError(f"{file}: generate: {name} is {values[name]}, expected the smaller number first")
    if values.get("rows") == "folders" and "objects" in values:
        raise DatasetError(f"{file}: generate: objects does not go with rows: folders, whose images have one each")

    # A class is an outline, such as `disc`, or a fill and an outline.
    known = {*OUTLINES, *(f"{fill} {outline}" for fill in FILLS for outline in OUTLINES)}
    for name in names.values():
        if name not in known:
            raise DatasetError(
                f"{file}: {name!r} cannot be drawn; names are shapes ({', '.join(OUTLINES)}), alone or with a fill "
                f"({', '.join(FILLS)}) before them, such as `striped disc`"
            )
    arguments = {name: values.pop(name) for name in COUNTS if name in values}
    if "rows" in values:
        arguments["labels"] = values.pop("rows")
    if "pictures" in values:
        values["pictures"] = tuple(map(tuple, values["pictures"]))
    return arguments | {"recipe": Recipe(classes=tuple(names.values()), **values)}
