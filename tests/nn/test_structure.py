"""Finding the parts of one network in another."""

from itertools import combinations, pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ultralytics.nn.transfer import transfer
from ultralytics.nn.transfer.structure import Matching, Node, best_alignment


def matched(own, given, labels=({}, {})):
    """{entry of `own`: entry of `given`}, for two mappings of names to shapes."""
    pairs = Matching(lambda a, b: False, labels).common(Node("", own), Node("", given))
    return {a.path + name: b.path + name for a, b in pairs for name in a.shapes}


def conv(path, c1, c2):
    """Entries of a convolution and a norm."""
    return {f"{path}conv.weight": (c2, c1, 3, 3), f"{path}bn.bias": (c2,), f"{path}bn.num_batches_tracked": ()}


def chain(*widths, start=0):
    """A sequence of convolutions."""
    rows = [conv(f"model.{i + start}.", *pair) for i, pair in enumerate(pairwise(widths))]
    return {name: shape for row in rows for name, shape in row.items()}


def rows(pairs):
    """{number in the one: number in the other}."""
    return {int(a.split(".")[1]): int(b.split(".")[1]) for a, b in pairs.items()}


likenesses = st.integers(0, 5).flatmap(
    lambda columns: st.lists(st.lists(st.integers(0, 4), min_size=columns, max_size=columns), max_size=5)
)


@given(likenesses)
def test_the_alignment_is_the_best_of_all(similarity):
    def worth(pairs):
        return sum(similarity[i][j] for i, j in pairs)

    found = best_alignment(similarity)
    assert all(i < k and j < m for (i, j), (k, m) in pairwise(found))
    every_row, every_column = range(len(similarity)), range(len(similarity[0]) if similarity else 0)
    assert worth(found) == max(
        worth(zip(some, others, strict=True))
        for size in range(min(len(every_row), len(every_column)) + 1)
        for some in combinations(every_row, size)
        for others in combinations(every_column, size)
    )


def test_equal_trees_match_entry_by_entry():
    entries = chain(3, 8, 8, 8) | {"scale": (), "anchors": (3,)}
    assert matched(entries, dict(reversed(entries.items()))) == {name: name for name in entries}


def test_a_row_more_or_less_shifts_nothing():
    assert rows(matched(chain(3, 8, 16, 16, 32), chain(3, 8, 16, 32))) == {0: 0, 1: 1, 3: 2}
    assert rows(matched(chain(3, 8, 16, 32), chain(3, 8, 16, 16, 32))) == {0: 0, 1: 1, 2: 3}
    assert rows(matched(chain(3, 8, 16, start=2), chain(3, 8, 16))) == {2: 0, 3: 1}


def test_rows_count_as_numbers():
    entries = chain(*range(3, 24))
    shuffled = dict(sorted(entries.items()))
    assert list(shuffled)[3].startswith("model.1.") and list(shuffled)[6].startswith("model.10.")
    assert rows(matched(chain(2, *range(3, 24)), shuffled)) == {i + 1: i for i in range(20)}


def test_rows_of_equal_shape_are_told_apart_by_their_yaml():
    own, given = chain(8, 8, 8, 8), chain(8, 8, 8)
    assert rows(matched(own, given)) == {0: 0, 1: 1}
    labels = {"model.0.": "new", "model.1.": "a", "model.2.": "b"}, {"model.0.": "a", "model.1.": "b"}
    assert rows(matched(own, given, labels)) == {1: 0, 2: 1}


def test_a_row_of_the_same_yaml_is_the_same_row_at_any_width():
    labels = {f"model.{i}.": ("Conv", [i]) for i in range(3)}
    wide, narrow = chain(3, 16, 32, 64), chain(3, 8, 16, 32)
    assert rows(matched(wide, narrow)) != {0: 0, 1: 1, 2: 2}
    found = matched(wide, narrow, (labels, labels))
    assert rows(found) == {0: 0, 1: 1, 2: 2} and all("num_batches" in name for name in found)


def test_rows_in_each_others_place_share_what_agrees():
    own = chain(3, 8) | conv("model.1.", 8, 99) | {"model.1.bn.bias": (7,)} | conv("model.2.", 8, 16)
    given = chain(3, 8) | conv("model.1.", 8, 77) | {"model.1.bn.bias": (7,)} | conv("model.2.", 8, 16)
    assert matched(own, given)["model.1.bn.bias"] == "model.1.bn.bias"
    assert "model.1.conv.weight" not in matched(own, given)


@pytest.mark.parametrize("more", [{}, conv("model.9.", 1, 2)])
def test_the_last_row_is_the_head_at_any_number(more):
    own = chain(3, 8, 16) | more | {"model.11.cv2.weight": (4, 4), "model.11.cv3.weight": (80, 999)}
    given = chain(3, 8, 16) | {"model.5.cv2.weight": (4, 4), "model.5.cv3.weight": (3, 999)}
    assert matched(own, given)["model.11.cv2.weight"] == "model.5.cv2.weight"


def test_levels_of_a_head_are_a_sequence_too():
    own = {f"model.0.cv2.{i}.weight": (64, c) for i, c in enumerate((32, 64, 128, 256))}
    given = {f"model.0.cv2.{i}.weight": (64, c) for i, c in enumerate((64, 128, 256))}
    expected = {f"model.0.cv2.{i + 1}.weight": f"model.0.cv2.{i}.weight" for i in range(3)}
    assert matched(own, given) == expected


def test_norms_alone_make_no_partners():
    own = conv("model.0.", 3, 64) | conv("model.1.", 64, 64) | conv("model.2.", 64, 16)
    given = conv("model.0.", 128, 64) | conv("model.1.", 64, 16)
    assert rows(matched(own, given)) == {2: 1}


def test_names_may_be_anything():
    odd = {"a": (1,), "a.b": (2,), "..": (3,), "model.": (4,), f"model.{'9' * 5000}.x": (5,), "model.²": (6,)}
    assert matched(odd, odd) == {name: name for name in odd}
    assert matched(odd, {}) == matched({}, odd) == {}
    assert matched(odd, odd | {"a": (9,)}).keys() == odd.keys() - {"a"}


# Whatever has entries


class Tiny(torch.nn.Module):
    """A network with everything a module's state can hold."""

    def __init__(self):
        super().__init__()
        self.model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Linear(4, 2))
        self.scale = torch.nn.Parameter(torch.ones(()))
        self.register_buffer("anchors", torch.arange(3.0))
        self.register_buffer("lost", torch.zeros(9), persistent=False)


def test_what_does_not_fit_is_left_alone_and_named():
    network, other = Tiny(), Tiny()
    weights = {k: v for k, v in other.state_dict().items() if k != "anchors"} | {"extra": torch.ones(1)}
    weights["model.2.weight"] = torch.ones(3, 4)
    before = network.model[2].weight.clone()
    result = transfer(network, weights)
    assert str(result) == "Transferred 9/11 items from pretrained weights"
    assert result.missing == {
        "anchors": "not in the weights",
        "model.2.weight": "(3, 4) in the weights, (2, 4) in the network",
    }
    assert result.unused == ("extra",)
    assert all(torch.equal(network.state_dict()[name], weights[name]) for name in result.copied)
    assert torch.equal(network.model[2].weight, before)


def test_half_precision_is_taken_and_gradients_stay_on():
    network = Tiny()
    result = transfer(network, {k: v.half() for k, v in Tiny().state_dict().items()})
    assert len(result.copied) == 11 and not result.missing
    assert {p.dtype for p in network.parameters()} == {torch.float32}
    assert all(p.requires_grad for p in network.parameters())
