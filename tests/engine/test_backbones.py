"""Networks with rows of timm and torchvision, from weights of theirs to an exported file."""

import socket
from pathlib import Path

import pytest
import torch

from tests.engine.runs import assert_same_weights, untimed
from ultralytics import YOLO

TIMM = """
nc: 2
backbone:
  - [-1, 1, timm, [mobilenetv4_conv_small_035, {pretrained: FILE}], body]
  - [body.2, 1, timm.layers.EcaModule, [c1], seen]
head:
  - [[body.0, body.1, seen], 1, Detect, [nc]]
"""
TORCHVISION = """
nc: 2
backbone:
  - [-1, 1, TorchVision, [96, mobilenet_v3_small, FILE, True, 2, True], body]
  - [body, 1, Index, [24, 4]]
  - [body.9, 1, torchvision.ops.SqueezeExcitation, [c1, 16], seen]
head:
  - [[1, seen, body.12], 1, Detect, [nc]]
"""


class PowerCutError(Exception):
    """Raised by a callback."""


def cut(trainer):
    """A callback that ends a run in its second epoch."""
    if trainer.epoch == 1:
        raise PowerCutError


def save_weights(kind: str, file: Path) -> None:
    """Weights of the backbone as timm and torchvision have them, here random ones."""
    if kind == "timm":
        import timm

        network = timm.create_model("mobilenetv4_conv_small_035")
    else:
        from torchvision.models import mobilenet_v3_small

        network = mobilenet_v3_small()
    torch.save(network.state_dict(), file)


@pytest.mark.parametrize(
    ("kind", "text"), [("timm", TIMM), pytest.param("torchvision", TORCHVISION, marks=pytest.mark.long)]
)
def test_from_weights_of_a_backbone_over_a_resumed_run_to_torchscript(kind, text, train, tmp_path, monkeypatch):
    def refuse(*_):
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)  # nothing is downloaded
    weights, network = tmp_path / "weights.pth", tmp_path / "mine.yaml"
    save_weights(kind, weights)
    network.write_text(text.replace("FILE", str(weights)), encoding="utf-8")
    whole = train(YOLO(network)).trainer
    broken = YOLO(network)
    with pytest.raises(PowerCutError):
        train(broken, callbacks={"on_train_batch_end": cut})
    weights.unlink()
    network.unlink()  # the checkpoint has all that it takes

    YOLO(broken.trainer.last).train(resume=True)
    for name in ("last.pt", "best.pt"):
        assert_same_weights(whole.last.with_name(name), broken.trainer.last.with_name(name))
    assert untimed(whole.save_dir) == untimed(broken.trainer.save_dir)

    best, image = YOLO(broken.trainer.best), torch.rand(1, 3, 64, 64)
    file = best.export(format="torchscript", imgsz=64)
    with torch.no_grad():
        expected, _ = best.model.eval()(image)
        torch.testing.assert_close(torch.jit.load(file)(image), expected, rtol=1e-3, atol=1e-3)
    assert next(name for name, _ in best.model.model[0].named_parameters()).startswith("m.")
