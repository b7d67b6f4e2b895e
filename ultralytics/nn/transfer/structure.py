"""Matching of the weights of two networks by how the networks are built, not by the numbers of their rows.

Weights are a tree: `model.4.m.0.cv1.conv.weight`. Parts with names are paired by name. Numbered parts (rows of a
model YAML, blocks of a C2f, levels of a head) are two sequences, and one that was inserted must not shift the rest:
they are aligned as Needleman and Wunsch align proteins (1970, doi 10.1016/0022-2836(70)90057-4), so that the sum of
similarities is largest. Rows without weights, such as Concat, are in neither sequence.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, pairwise
from typing import Any

Shape = tuple[int, ...]
Pair = tuple["Node", "Node"]

MIN_SIMILARITY = 1 / 3  # two numbered parts that have less in common are not the same part at two places
SAME_NUMBER = 1e-6  # decides between parts of equal similarity
OTHER_NAMES = {"bn1.": "bn."}  # ConvBnAct calls its norm as timm does


@dataclass(frozen=True)
class Node:
    """A module, or a single entry of a state dict: `path + name` is the full name of each entry."""

    path: str  # "model.4." of a module, "model.4.bn.bias" of an entry
    shapes: dict[str, Shape]  # by the rest of the name, "" where this is an entry

    @cached_property
    def parts(self) -> dict[str, "Node"]:
        """The modules and entries directly in it, by their name: "cv1." or "weight"."""
        found: dict[str, dict[str, Shape]] = {}
        for name, shape in self.shapes.items():
            head, dot, rest = name.partition(".")
            if name:
                found.setdefault(head + dot, {})[rest] = shape
        return {name: Node(self.path + name, shapes) for name, shapes in found.items()}

    @property
    def number(self) -> str:
        """The last part of its path, "4"."""
        return self.path.rstrip(".").rpartition(".")[2]

    @cached_property
    def size(self) -> int:
        """Number of values in it, without counters of batches."""
        return sum(math.prod(shape) for shape in self.shapes.values() if shape)


class Matching:
    """Finds what two trees have in common.

    `convertible` tells of two parts that differ whether the first can be made of the second all the same, as a dynamic
    convolution can of a static one. `labels`, a mapping for each tree, are the rows of their YAMLs by path.
    """

    def __init__(
        self,
        convertible: Callable[[Node, Node], bool],
        labels: tuple[Mapping[str, Any], Mapping[str, Any]] = ({}, {}),
    ) -> None:
        self.convertible = convertible
        self.labels = labels
        self.known: dict[tuple[str, str], list[Pair]] = {}

    def common(self, own: Node, given: Node) -> list[Pair]:
        """Pairs of parts, as large as possible, that are equal or convertible."""
        key = own.path, given.path
        if key not in self.known:
            if own.shapes == given.shapes or self.convertible(own, given):
                self.known[key] = [(own, given)]
            else:  # what the parts directly in them have in common
                pairs = []
                for name, part in own.parts.items():
                    other = given.parts.get(name) or given.parts.get(OTHER_NAMES.get(name, ""))
                    if other and not name[:-1].isdecimal():
                        pairs.append((part, other))
                sequences = []  # the numbered parts ("4.") of both in order: a .safetensors file has 10 before 2
                for node in (own, given):
                    numbered = [part for name, part in node.parts.items() if name[:-1].isdecimal()]
                    # By length first and not by int(), which refuses 5,000 digits.
                    sequences.append(sorted(numbered, key=lambda p: (len(p.number), p.number)))
                pairs += self.aligned(*sequences)
                self.known[key] = list(chain.from_iterable(self.common(a, b) for a, b in pairs))
        return self.known[key]

    def aligned(self, own: Sequence[Node], given: Sequence[Node]) -> list[Pair]:
        """Pairs of two sequences, in order: the most similar, and those that take each other's place in between."""
        pairs = best_alignment([[self.similarity(a, b) for b in given] for a in own])
        end = len(own), len(given)
        for (i, j), (next_i, next_j) in pairwise([(-1, -1), *pairs, end]):
            rows, columns = range(i + 1, next_i), range(j + 1, next_j)
            if len(rows) == len(columns):
                pairs += zip(rows, columns, strict=True)
            elif rows and columns and (next_i, next_j) == end:  # the heads, last in either network
                pairs.append((rows[-1], columns[-1]))
        return [(own[i], given[j]) for i, j in pairs]

    def similarity(self, own: Node, given: Node) -> float:
        """Fraction of all values in both that agree, 0..1, and 1 more for rows that are the same in both YAMLs."""
        agreeing = sum(a.size + b.size for a, b in self.common(own, given))
        fraction = agreeing / max(own.size + given.size, 1)
        labels = [known.get(part.path) for known, part in zip(self.labels, (own, given), strict=True)]
        same = None not in labels and (labels[0][:2] == labels[1][:2] or labels[0][2:] == labels[1][2:] != ())
        if fraction < MIN_SIMILARITY and not same:
            return 0.0
        return fraction + same + SAME_NUMBER * (own.number == given.number)


def best_alignment(similarity: Sequence[Sequence[float]]) -> list[tuple[int, int]]:
    """Pairs (row, column), both rising, with the largest sum; a skipped row or column costs nothing."""
    rows, columns = len(similarity), len(similarity[0]) if similarity else 0
    best = [[0.0] * (columns + 1) for _ in range(rows + 1)]  # [i][j]: largest sum of the first i rows and j columns
    for i in range(rows):
        for j in range(columns):
            best[i + 1][j + 1] = max(best[i][j + 1], best[i + 1][j], best[i][j] + similarity[i][j])
    pairs, i, j = [], rows, columns
    while i and j:  # back along the best sums
        if best[i][j] == best[i - 1][j]:
            i -= 1
        elif best[i][j] == best[i][j - 1]:
            j -= 1
        else:
            i, j = i - 1, j - 1
            pairs.append((i, j))
    return pairs[::-1]
