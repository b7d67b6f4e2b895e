"""The chart of a comparison: each name stands beside the end of its curve, and none on a curve or on another."""

from itertools import pairwise

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.text import Annotation, Text

from ultralytics.comparison import chart
from ultralytics.comparison.chart import Trial, plot_variants


def trial(label: str, end: float, epochs: int) -> Trial:
    curve = np.stack((np.arange(1, epochs + 1), np.linspace(0, end, epochs)))
    return Trial(label, [curve, curve], [end, end])


@pytest.mark.parametrize("ends", [[0.5], [0.5, 0.501, 0.1, 0.502], [0.0, 0.0, 0.0], np.linspace(0.4, 0.41, 24)])
def test_names_stand_beside_the_ends_of_the_curves(tmp_path, monkeypatch, ends):
    figures, save = [], chart.save_figure
    monkeypatch.setattr(chart, "save_figure", lambda figure, path: figures.append(figure) or save(figure, path))
    labels = [f"variant {i} of a study with long names" for i in range(len(ends))]
    trials = [trial(label, end, 20 + i) for i, (label, end) in enumerate(zip(labels, ends, strict=True))]
    assert plot_variants([trials], tmp_path / "compare.png").read_bytes().startswith(b"\x89PNG")
    left, right = figures[0].axes
    names = [child for child in left.texts if isinstance(child, Annotation)]
    assert left.get_legend() is None and len(names) == len(ends)
    for name in names:
        (line,) = (line for line in left.lines if line.get_label() == name.get_text())
        assert name.xy == (line.get_xdata()[-1], line.get_ydata()[-1])
        assert to_hex(name.arrow_patch.get_edgecolor()) == to_hex(line.get_color())
    boxes = sorted((Text.get_window_extent(name) for name in names), key=lambda box: box.y0)
    assert all(box.x0 > left.bbox.x1 and box.x1 < right.bbox.x0 for box in boxes)
    assert all(below.y1 <= above.y0 for below, above in pairwise(boxes))
    assert boxes[0].y0 > 0 and boxes[-1].y1 < figures[0].bbox.y1
