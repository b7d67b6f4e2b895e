"""What rows cost, and the check of a folder of YAMLs."""

import logging

import pytest
import torch

from ultralytics import YOLO
from ultralytics.__main__ import main
from ultralytics.nn.info import check_folder, cost, table
from ultralytics.nn.tasks import DetectionModel

GOOD = """
nc: 2
scales: {n: [0.33, 0.25, 64], s: [0.33, 0.5, 64]}
backbone:
  - [-1, 1, Conv, [64, 3, 8], stem]
  - [-1, 1, timm.layers.EcaModule, [c1]]
head:
  - [[stem, -1], 1, Detect, [nc]]
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "good.yaml").write_text(GOOD, encoding="utf-8")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "bad.yaml").write_text(GOOD.replace("stem, -1", "stam, -1"), encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize("name", ["yolov8n.yaml", "yolov8n-DynamicConv.yaml"])
def test_the_rows_add_up_to_the_network(name):
    model = DetectionModel(name, verbose=False)
    rows = [line.replace("[15, 18, 21]", "all").replace(", ", ",").split() for line in list(table(model, 320))[1:]]
    _, params, _, gflops = model.info(verbose=False, imgsz=320)
    assert sum(int(row[2].replace(",", "")) for row in rows) == params
    assert sum(float(row[3]) for row in rows) == pytest.approx(gflops, abs=0.02)
    assert rows[0][4] == "16x160x160"


def test_a_row_that_reads_values_is_counted_too():
    class Reads(torch.nn.Conv2d):
        def forward(self, x):
            return super().forward(x) * float(x.mean() > 0)

    gflops, y = cost(Reads(4, 8, 3, padding=1), torch.empty(1, 4, 16, 16, device="meta"))
    assert gflops == pytest.approx(2 * 8 * 16 * 16 * 4 * 9 / 1e9) and y.is_meta


def test_a_folder_line_by_line(folder):
    bad, good = check_folder(folder, imgsz=64)
    assert good.startswith("good.yaml") and "parameters" in good and good.endswith("scale n")
    assert "bad.yaml" in bad and "MISTAKE" in bad and "from 'stam', but no row is called so" in bad


def test_the_command(folder, capsys, caplog):
    caplog.set_level(logging.INFO, "ultralytics")
    main(f"info model={folder} scale=s imgsz=64")
    assert capsys.readouterr().out.count("scale s") == 1
    tables = []
    for letter, channels in (("n", 16), ("s", 32)):
        caplog.clear()
        main(f"info model={folder / 'good.yaml'} scale={letter} imgsz=64")
        tables.append([record.getMessage() for record in caplog.records])
        assert any(line.split()[:2] == ["0", "stem"] and f"{channels}x8x8" in line for line in tables[-1])
    caplog.clear()
    (folder / "yolov8-good.yaml").write_text(GOOD, encoding="utf-8")
    YOLO(folder / "yolov8s-good.yaml").info(detailed=True, imgsz=64)  # from Python the letter is in the name
    assert [record.getMessage() for record in caplog.records][:-1] == tables[1][:-1] != tables[0][:-1]
    for words in (f"info model={folder / 'good.yaml'} scale=q", "info model=best.pt scale=s"):
        with pytest.raises(SystemExit):
            main(words)
