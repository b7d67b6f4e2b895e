"""Report of a transfer of weights: one line, the rows that need one, or everything."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

MAX_NAMED = 4  # rows in a line of the summary
ABSENT = "not in the weights"
OTHER_SHAPE = "in the network"  # end of the reason of an entry with another shape than in the weights


@dataclass
class Transfer:
    """Origin of every entry of a network, and the reason where an entry got no value."""

    copied: dict[str, str]  # entry of the network: entry of the weights
    expanded: dict[str, str]  # entry of a dynamic convolution: the kernel that its experts became
    changed: tuple[str, ...]  # dynamic convolutions that cannot do what their kernel did: "model.1", ...
    rerouted: tuple[str, ...]  # dynamic convolutions made of ones that are routed otherwise
    missing: dict[str, str]  # entry of the network that keeps its initialization: why
    unused: tuple[str, ...]  # entries of the weights
    kinds: dict[int, str]  # row of the network that has weights: name of its class
    fitted: dict[str, int] = field(default_factory=dict)  # kernel made for gray or color images: channels it had
    origins: dict[int, int] = field(init=False)  # row of the network: row of the weights that it got something from
    unused_rows: list[int] = field(init=False)  # rows of the weights that no row of the network got anything from

    def __post_init__(self) -> None:
        moved = [(row_of(own), row_of(source)) for own, source in (self.copied | self.expanded).items()]
        self.origins = {own: source for own, source in moved if own is not None}
        self.unused_rows = sorted({row_of(name) for name in self.unused} - {None, *self.origins.values()})

    def __str__(self) -> str:
        got = len(self.copied) + len(self.expanded)
        return f"Transferred {got}/{got + len(self.missing)} items from pretrained weights"

    def summary(self) -> Iterator[str]:
        """Lines that are logged in any case; none where row fits row."""
        for name, channels in self.fitted.items():
            to = "summed to 1 for gray images" if channels == 3 else "divided over 3 for color images"
            yield f"{name}: made for images of another kind, its input channels are {to}"
        reshaped = [name for name, why in self.missing.items() if why.endswith(OTHER_SHAPE)]
        first = {row_of(name): f"{name}: {self.missing[name]}" for name in reversed(reshaped)}  # of each row
        new = [i for i in self.kinds if i not in self.origins]
        if rows := [i for i in new if i in first]:
            which = listing(f"{i} {self.kinds[i]}" for i in rows)
            yield f"rows that keep their initialization, as their shapes differ: {which} ({first[rows[0]]})"
        if rows := [f"{i} {self.kinds[i]}" for i in new if i not in first]:
            yield f"rows that keep their initialization: {listing(rows)}"
        # The branch of the head for the classes nearly always has another shape: that is not told here.
        classes = re.compile(rf"model\.{max(self.kinds, default=0)}\.((one2one_)?cv3|linear)\.")
        part = {row_of(name) for name, why in self.missing.items() if why == ABSENT}
        part |= {row_of(name) for name in reshaped if not classes.match(name)}
        if rows := [f"{i} {self.kinds[i]}" for i in sorted(part & self.origins.keys())]:
            yield f"rows that got only a part of their weights, the rest keeps its initialization: {listing(rows)}"
        if self.unused_rows:
            yield f"rows of the weights with no place in the network: {listing(self.unused_rows)}"
        if self.changed:
            yield (
                f"{len(self.changed)} dynamic convolutions lack the norm and the activation of the convolutions they "
                f"were made of, so the network computes something else: {listing(self.changed)}"
            )
        if self.rerouted:
            yield (
                f"{len(self.rerouted)} dynamic convolutions have other experts or another router than those they were "
                "made of, and start from the kernel that these mix where their input is 0, so the network computes "
                f"something else: {listing(self.rerouted)}"
            )

    def details(self) -> Iterator[str]:
        """A line for every row, and for every entry that is left over on either side."""
        sets = {"copied": self.copied, "expanded": self.expanded, "re-initialized": self.missing}
        for i, kind in self.kinds.items():
            counts = {what: sum(row_of(name) == i for name in names) for what, names in sets.items()}
            counted = ", ".join(f"{count} {what}" for what, count in counts.items() if count)  # 3 copied, 2 expanded
            origin = self.origins.get(i, i)
            yield f"row {i} {kind}{'' if origin == i else f' from row {origin}'}: {counted}"
            if i in self.origins:
                yield from (f"  {name}: {why}" for name, why in self.missing.items() if row_of(name) == i)
        yield from (f"{name}: {why}" for name, why in self.missing.items() if row_of(name) is None)
        yield from (f"row {i} of the weights: not used" for i in self.unused_rows)
        yield from (f"{name}: not in the network" for name in self.unused if row_of(name) not in self.unused_rows)


def row_of(name: str) -> int | None:
    """The number of the YAML row that an entry belongs to."""
    found = re.match(r"model\.(\d{1,9})\.", name)
    return int(found[1]) if found else None


def listing(items: Iterable[object]) -> str:
    """The first MAX_NAMED of them, and the number of the others."""
    names = [str(item) for item in items]
    return ", ".join(names[:MAX_NAMED]) + (f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else "")
