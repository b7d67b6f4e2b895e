"""Charts show the numbers they are given, and no text is cut off or lies on another."""

import io
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.text import Text

from ultralytics.utils.annotator import colors
from ultralytics.utils.ap import Metric, ap_per_class
from ultralytics.utils.charts import metrics as metric_charts
from ultralytics.utils.charts import style as figures
from ultralytics.utils.charts import training as charts
from ultralytics.utils.errors import TrainingError, YOLOError
from ultralytics.utils.files import write_csv

THREE = {0: "RBC", 1: "WBC", 2: "Platelets"}
EIGHTY = {i: f"name of class {i}" for i in range(80)}
LONG = {i: f"_a $name$ that is much longer than anybody would ever want to read, {i}" for i in range(20)}
DETECT = ("precision(B)", "recall(B)", "mAP50(B)", "mAP50-95(B)")


@dataclass
class Saved:
    """A figure that was saved, and the extent (x0, y0, x1, y1) in pixels of each text that is to be seen in it."""

    fig: Figure
    texts: dict[Text, np.ndarray]

    @property
    def axes(self) -> list[Axes]:
        return self.fig.axes

    def legend(self) -> list[str]:
        return [text.get_text() for text in self.fig.legends[0].get_texts()]

    def assert_readable(self) -> None:
        """All texts lie in the figure, none on another."""
        assert self.texts
        width, height = self.fig.bbox.size
        for text, (x0, y0, x1, y1) in self.texts.items():
            assert min(x0, y0) > -1 and x1 < width + 1 and y1 < height + 1, text
        first, last = np.split(np.array(list(self.texts.values())), 2, axis=1)
        shared = np.minimum(last[:, None], last) - np.maximum(first[:, None], first)
        pairs = np.argwhere(np.triu(shared.min(2) > 2, 1))
        assert not len(pairs), [list(self.texts)[i] for i in pairs[0]]


@pytest.fixture
def saved(monkeypatch: pytest.MonkeyPatch) -> list[Saved]:
    """The figures that the test saves, in order; their files stay in memory."""
    kept: list[Saved] = []
    save_figure, draw = figures.save_figure, Text.draw

    def note(text: Text, renderer: RendererAgg) -> None:
        if text.get_visible() and text.get_text().strip():
            kept[-1].texts[text] = text.get_window_extent(renderer).extents
        draw(text, renderer)

    def keep(fig: Figure, path: Path) -> Path:
        kept.append(Saved(fig, {}))
        return save_figure(fig, path)

    monkeypatch.setattr(figures, "DPI", 100)  # half the work
    monkeypatch.setattr(Text, "draw", note)
    monkeypatch.setattr(figures, "atomic_write", lambda path, write: write(io.BytesIO()))
    for module in (charts, metric_charts):
        monkeypatch.setattr(module, "save_figure", keep)
    return kept


def metric(names: dict[int, str], seed: int = 0):
    """What a network that is right as often as it is sure would get."""
    rng = np.random.default_rng(seed)
    n = 60 * len(names)
    true, conf = rng.integers(0, len(names), n), rng.random(n)
    tp = np.repeat((rng.random(n) < conf)[:, None], 10, 1)
    return Metric(*ap_per_class(tp, conf, true, true)[2:], nc=len(names))


def test_labels_chart_shows_the_objects(tmp_path, saved):
    rng = np.random.default_rng(0)
    boxes, cls = rng.uniform(0.2, 0.5, (60, 4)), np.repeat([0, 2], (40, 20))
    charts.plot_labels(boxes, cls, THREE, tmp_path)
    histogram, overlay, centers, sizes = saved[0].axes
    assert [bar.get_height() for bar in histogram.patches] == [40, 0, 20]
    assert [to_hex(bar.get_facecolor()) for bar in histogram.patches] == [
        to_hex(np.array(colors(i)) / 255) for i in range(3)
    ]
    assert histogram.get_title("left") == "60 objects, 2 of 3 classes"
    assert [t.get_text() for t in histogram.get_xticklabels()] == list(THREE.values())
    (outlines,) = (c for c in overlay.collections if isinstance(c, PolyCollection))
    corners = outlines.get_paths()[7].vertices
    np.testing.assert_allclose(np.ptp(corners, axis=0), boxes[7, 2:])
    np.testing.assert_allclose((corners.min(0) + corners.max(0)) / 2, 0.5)
    x, y = (int(v * 50) for v in boxes[7, :2])
    assert centers.images[0].get_array()[y, x] > 0 and centers.images[0].get_array().sum() == 60
    assert sizes.images[0].get_array().sum() == 60
    assert centers.yaxis_inverted() and not sizes.yaxis_inverted()


@pytest.mark.parametrize(
    ("names", "count"),
    [({0: "nucleus"}, 5000), (THREE, 0), (EIGHTY, 5000), (LONG, 300)],
    ids=["1", "none", "80", "long"],
)
def test_labels_chart_is_readable(names, count, tmp_path, saved):
    rng = np.random.default_rng(1)
    boxes = rng.random((count, 4))
    boxes[::7] = np.nan
    path = charts.plot_labels(boxes, rng.integers(0, len(names), count), names, tmp_path)
    assert path == tmp_path / "labels.jpg"
    saved[0].assert_readable()


def table(losses: tuple[str, ...], metrics: tuple[str, ...], epochs: int = 30, val: bool = True) -> list[dict]:
    """Rows of results.csv; without `val` only the last epoch is measured, and has no losses."""
    return [
        {
            "epoch": e,
            "time": 1.5 * e,
            **{f"train/{name}": 3 / e + i for i, name in enumerate(losses)},
            **{f"metrics/{name}": 1 - 1 / (e + i) if val or e == epochs else "" for i, name in enumerate(metrics)},
            **{f"val/{name}": 4 / e + i if val else "" for i, name in enumerate(losses)},
            **{f"lr/pg{i}": 0.01 / e + (0.1 if i == 0 and e < 3 else 0) for i in range(3)},
        }
        for e in range(1, epochs + 1)
    ]


TASKS = {
    "detect": (("box_loss", "cls_loss", "dfl_loss"), DETECT),
    "pose": (
        ("box_loss", "pose_loss", "kobj_loss", "cls_loss", "dfl_loss"),
        DETECT + tuple(name.replace("(B)", "(P)") for name in DETECT),
    ),
    "classify": (("loss",), ("accuracy_top1", "accuracy_top5")),
}


@pytest.mark.parametrize(("task", "epochs"), [("detect", 30), ("pose", 30), ("classify", 1)])
def test_results_chart_has_a_panel_for_everything(task, epochs, tmp_path, saved):
    losses, metrics = TASKS[task]
    write_csv(tmp_path / "results.csv", table(losses, metrics, epochs))
    assert charts.plot_results(tmp_path / "results.csv") == tmp_path / "results.png"
    panels = {ax.get_title("left"): ax for ax in saved[0].axes}
    assert set(panels) == {*losses, *metrics, "learning rate"}
    train, val = panels[losses[0]].lines
    assert (train.get_label(), val.get_label()) == ("train", "val")
    np.testing.assert_allclose(train.get_ydata(), 3 / np.arange(1, epochs + 1))
    np.testing.assert_allclose(val.get_ydata(), 4 / np.arange(1, epochs + 1))
    np.testing.assert_allclose(panels[metrics[1]].lines[0].get_ydata(), 1 - 1 / np.arange(2, epochs + 2))
    assert panels[metrics[0]].get_title("right") == f"best {1 - 1 / epochs:.3f}, epoch {epochs}"
    assert [line.get_label() for line in panels["learning rate"].lines] == ["pg0", "pg1", "pg2"]
    saved[0].assert_readable()


def test_results_chart_without_validation(tmp_path, saved):
    write_csv(tmp_path / "results.csv", table(*TASKS["detect"], val=False))
    charts.plot_results(tmp_path / "results.csv")
    panels = {ax.get_title("left"): ax for ax in saved[0].axes}
    assert [line.get_label() for line in panels["box_loss"].lines] == ["train"]
    assert panels["recall(B)"].lines[0].get_xdata().tolist() == [30]
    assert panels["recall(B)"].get_xlim() == panels["box_loss"].get_xlim()


def test_results_chart_has_no_panel_for_a_loss_that_is_always_0(tmp_path, saved):
    rows = [row | {"train/sem_loss": 0.0, "val/sem_loss": ""} for row in table(*TASKS["detect"], epochs=3)]
    for row in rows:
        row |= {"train/box_loss": 0.0, "metrics/recall(B)": 0.0}  # validation has a loss there; a metric of 0 is told
    write_csv(tmp_path / "results.csv", rows)
    charts.plot_results(tmp_path / "results.csv")
    panels = {ax.get_title("left") for ax in saved[0].axes}
    assert "sem_loss" not in panels and {"box_loss", "recall(B)", "cls_loss"} <= panels
    write_csv(tmp_path / "results.csv", [{"epoch": 1, "train/loss": 0.0}])  # nothing else to show
    charts.plot_results(tmp_path / "results.csv")
    assert [ax.get_title("left") for ax in saved[1].axes] == ["loss"]


def test_results_chart_survives_what_is_no_number(tmp_path, saved):
    rows = table(*TASKS["detect"], epochs=5)
    rows[1]["train/box_loss"], rows[2]["train/box_loss"], rows[3]["train/box_loss"] = "nan", "inf", "text"
    file = tmp_path / "results.csv"
    write_csv(file, rows)
    file.write_text(" " + file.read_text().replace(",", " , ") + "6,9.0,0.5\n")  # a killed process's half row
    charts.plot_results(file)
    line = saved[0].axes[0].lines[0]
    assert line.get_xdata().tolist() == [1, 5, 6]
    np.testing.assert_allclose(line.get_ydata(), [3, 0.6, 0.5])


def test_results_chart_of_a_table_of_ones_own(tmp_path, saved):
    write_csv(tmp_path / "mine.csv", [{"mine/a": 1.0, "b": 3.0}, {"mine/a": 2, "b": 1.0}])
    charts.plot_results(tmp_path / "mine.csv")
    assert [ax.get_title("left") for ax in saved[0].axes] == ["mine/a", "b"]
    assert saved[0].axes[0].lines[0].get_xdata().tolist() == [1, 2]


@pytest.mark.parametrize("text", ["", "epoch,time,train/box_loss\n"])
def test_results_without_rows_say_so(tmp_path, text):
    (tmp_path / "results.csv").write_text(text)
    with pytest.raises(TrainingError, match="no row to draw"):
        charts.plot_results(tmp_path / "results.csv")
    with pytest.raises(TrainingError, match=r"nowhere\.csv cannot be read"):
        charts.plot_results(tmp_path / "nowhere.csv")
    write_csv(tmp_path / "results.csv", [{"epoch": 1, "train/loss": "nan"}])
    with pytest.raises(TrainingError, match="nothing to draw"):
        charts.plot_results(tmp_path / "results.csv")


@pytest.mark.parametrize("names", [{0: "nucleus"}, THREE, EIGHTY, LONG], ids=["1", "3", "80", "long"])
def test_curves_show_their_classes(names, tmp_path, saved):
    found = metric(names)
    paths = metric_charts.plot_curves(found, names, tmp_path, prefix="Box")
    assert [p.name for p in paths] == [f"Box{k}_curve.png" for k in ("PR", "F1", "P", "R")]
    values = (found.prec_values, found.f1_curve, found.p_curve, found.r_curve)
    for one, y in zip(saved, values, strict=True):
        lines = one.axes[0].lines
        np.testing.assert_array_equal([line.get_ydata() for line in lines[: len(names)]], y)
        np.testing.assert_array_equal(lines[0].get_xdata(), found.px)
        if len(names) > 1:
            np.testing.assert_allclose(lines[len(names)].get_ydata(), y.mean(0))
        assert len(one.legend()) == {1: 1, 3: 4, 80: 1, 20: 21}[len(names)]
        one.assert_readable()
    if len(names) == 1:
        assert saved[0].legend() == [f"nucleus  {found.map50:.3f} mAP50"]


def test_legends_give_the_numbers_of_the_table(tmp_path, saved):
    found = metric(THREE)
    metric_charts.plot_curves(found, THREE, tmp_path)
    last = [one.legend()[-1] for one in saved]
    assert last[0] == f"all classes  {found.map50:.3f} mAP50"
    assert last[2] == f"all classes  {found.mp:.3f} at {found.conf:.3f}"
    assert last[3] == f"all classes  {found.mr:.3f} at {found.conf:.3f}"
    assert saved[0].legend()[1] == f"WBC  {found.ap50[1]:.3f}"
    assert saved[1].axes[0].lines[-1].get_xdata()[0] == found.conf  # the confidence is marked


def test_curves_of_some_classes_keep_their_colors(tmp_path, saved):
    true = np.array([0, 2, 2])
    found = Metric(*ap_per_class(np.ones((3, 10), bool), np.array([0.9, 0.8, 0.7]), true, true)[2:], nc=3)
    metric_charts.plot_curves(found, THREE, tmp_path)
    lines = saved[0].axes[0].lines
    assert [line.get_color() for line in lines[:2]] == [figures.hex_color(0), figures.hex_color(2)]
    assert [text.split()[0] for text in saved[1].legend()] == ["RBC", "Platelets", "all"]


def test_curves_of_nothing_and_of_nan(tmp_path, saved):
    nothing = np.zeros(0)
    empty = Metric(*ap_per_class(np.zeros((0, 10), bool), nothing, nothing, nothing)[2:], nc=3)
    metric_charts.plot_curves(empty, THREE, tmp_path)
    assert "no labeled objects" in [text.get_text() for text in saved[0].texts]
    x = np.linspace(0, 1, 5)
    metric_charts.plot_mc_curve(
        x, np.array([x, np.full(5, np.nan)]), tmp_path / "F1.png", {0: "a", 1: "b"}, ylabel="F1"
    )
    np.testing.assert_allclose(saved[-1].axes[0].lines[2].get_ydata(), x)


def test_curve_files_of_ones_own(tmp_path):
    x = np.linspace(0, 1, 50)
    assert metric_charts.plot_mc_curve(x, x[None] ** 2, tmp_path / "mine.png", ylabel="F1").stat().st_size > 1000
    assert (
        metric_charts.plot_pr_curve(x, 1 - x[None], np.full((1, 10), 0.5), tmp_path / "pr.png", {0: "a"}).stat().st_size
        > 1000
    )


MATRIX = np.array([[700, 3, 5, 210], [2, 76, 0, 4], [4, 0, 60, 15], [60, 1, 5, 0]])


def test_confusion_matrix_shows_its_numbers(tmp_path, saved):
    metric_charts.plot_confusion_matrix(MATRIX, THREE, tmp_path)
    ax = saved[0].axes[0]
    assert {(t.get_position(), t.get_text()) for t in ax.texts} == {
        ((column, row), str(MATRIX[row, column])) for row in range(4) for column in range(4) if MATRIX[row, column]
    }
    assert [t.get_text() for t in ax.get_yticklabels()] == [*THREE.values(), "background"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("True", "Predicted")
    saved[0].assert_readable()


def test_normalized_confusion_matrix_has_fractions_of_the_true_class(tmp_path, saved):
    assert metric_charts.plot_confusion_matrix(MATRIX, THREE, tmp_path, normalize=True).name.endswith(
        "matrix_normalized.png"
    )
    shown = {t.get_position(): float(t.get_text()) for t in saved[0].axes[0].texts}
    fractions = MATRIX / MATRIX.sum(0)
    assert shown == {(c, r): pytest.approx(fractions[r, c], abs=0.005) for c, r in shown}
    assert len(shown) == (fractions > 0.005).sum()  # the rest would read 0.00
    rgba = saved[0].axes[0].images[0].get_array().astype(int)
    assert rgba[0, 0, :3].sum() < rgba[2, 2, :3].sum() < rgba[2, 3, :3].sum()  # the more, the darker
    saved[0].assert_readable()


@pytest.mark.parametrize(
    ("names", "normalize"), [({0: "nucleus"}, False), (EIGHTY, False), (LONG, True)], ids=["1", "80", "long"]
)
def test_confusion_matrix_is_readable(names, normalize, tmp_path, saved):
    n = len(names) + 1
    matrix = np.random.default_rng(0).integers(0, 12345, (n, n))
    matrix[:, 0] = 0
    metric_charts.plot_confusion_matrix(matrix, names, tmp_path, normalize)
    assert len(saved[0].axes[0].get_xticklabels()) == n  # every class is named
    saved[0].assert_readable()


def test_confusion_matrix_of_nothing_and_of_many(tmp_path, saved):
    metric_charts.plot_confusion_matrix(np.full((2, 2), np.nan), {0: "a"}, tmp_path, normalize=True)
    many = {i: f"class {i}" for i in range(400)}
    metric_charts.plot_confusion_matrix(np.eye(401), many, tmp_path)
    assert 100 < len(saved[1].axes[0].get_xticklabels()) < 210
    saved[1].assert_readable()


def test_confusion_matrix_of_more_classes_than_pixels(tmp_path, saved, monkeypatch):
    """Neighbors share a cell: ten thousand classes took nine gigabytes."""
    monkeypatch.setattr(metric_charts, "MAX_CELLS", 50)
    matrix = np.diag([7] * 100 + [0])
    matrix[3, 100] = 5
    metric_charts.plot_confusion_matrix(matrix, {i: f"class {i}" for i in range(100)}, tmp_path)
    axes = saved[0].axes[0]
    assert axes.get_title(loc="left").endswith(", 3 classes a cell")
    drawn = axes.images[0].get_array()
    assert drawn.shape[:2] == (34, 34) and (drawn[1, 33] != drawn[2, 33]).any() and (drawn[5, 5] == drawn[9, 9]).all()
    saved[0].assert_readable()


def test_long_names_lose_their_middle():
    assert figures.short("a\nb  c") == "a b c"
    assert figures.short("x" * 20 + " " + "y" * 40 + " 17").endswith("y 17")
    assert len(figures.short("z" * 500)) <= figures.MAX_NAME


def test_files_can_be_read_back(tmp_path):
    folder = tmp_path / "训练"
    metric_charts.plot_confusion_matrix(MATRIX, {0: "红细胞", 1: "a_b^c$d", 2: "é"}, folder)
    charts.plot_labels(np.full((4, 4), 0.5), np.zeros(4), THREE, folder)
    for name in ("confusion_matrix.png", "labels.jpg"):
        image = cv2.imdecode(np.fromfile(folder / name, np.uint8), cv2.IMREAD_COLOR)
        assert min(image.shape[:2]) > 900 and image.std() > 5
    assert [p.name for p in folder.iterdir() if p.suffix == ".tmp"] == []


def test_files_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(YOLOError, match="cannot be written"):
        metric_charts.plot_confusion_matrix(MATRIX, THREE, tmp_path / "file")


def test_a_character_in_no_font_is_a_box_and_not_a_warning_of_matplotlibs(tmp_path, recwarn):
    metric_charts.plot_confusion_matrix(MATRIX, {0: "a \ue123", 1: "b", 2: "c"}, tmp_path)
    assert not [str(warning.message) for warning in recwarn]
