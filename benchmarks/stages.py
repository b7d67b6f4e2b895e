"""Stages that run.py times, written for the names that this tree and the public package share.

usage: python benchmarks/stages.py DATA < requests       run.py starts it, once with the Python of each side

A request is a line of JSON, {"stage": ..., "model": ..., "threads": N or null}; the answer is the seconds that one
image, step or call took. DATA is a folder with bccd/ and coco_mini/. Nothing is imported before it is needed.
"""

import contextlib
import json
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from itertools import count
from pathlib import Path
from time import perf_counter

Work = Callable[[], int]  # does one round; how many images, steps or calls that were


@cache
def described(data: Path, dataset: str) -> str:
    """A dataset YAML with an absolute path: the two sides look for a relative one in different places."""
    import yaml

    text = (data / dataset / "data.yaml").read_text(encoding="utf-8")
    file = Path(tempfile.mkdtemp(), f"{dataset}.yaml")
    file.write_text(yaml.safe_dump(yaml.safe_load(text) | {"path": str(data / dataset)}), encoding="utf-8")
    return str(file)


def prepare_process() -> None:
    """Set up the process as a training of ours does; the public package's does nothing of the kind."""
    with contextlib.suppress(ImportError):
        from ultralytics.utils.memory import ALL, FREED

        FREED.keep(ALL)


def loading(data: Path, dataset: str, imgsz: int, cached: bool, large: bool = False, reduced: bool = False) -> Work:
    """Training samples in one process, all augmentation, batches of 16; `reduced_decode` where it is known.

    `large`: every image is decoded in every epoch, as those of a dataset that is too large to be kept.
    """
    from ultralytics.cfg import get_cfg
    from ultralytics.data.build import build_dataloader, build_yolo_dataset
    from ultralytics.data.utils import check_det_dataset
    from ultralytics.utils import DEFAULT_CFG_DICT

    info = check_det_dataset(described(data, dataset))
    overrides = {"task": "detect", "imgsz": imgsz, "cache": cached and "ram", "epochs": 100}
    if "reduced_decode" in DEFAULT_CFG_DICT:
        overrides["reduced_decode"] = reduced
    args = get_cfg(overrides=overrides)
    samples = build_yolo_dataset(args, info["train"], 16, info, mode="train")
    loader = build_dataloader(samples, batch=16, workers=0, shuffle=True, pin_memory=False)
    epochs = count()
    if large and hasattr(samples, "images"):
        samples.images.cache, samples.images.keeps = None, False
    prepare_process()

    def run() -> int:
        if hasattr(loader, "set_epoch"):  # ours; the public package's loader shuffles anew by itself
            loader.set_epoch(next(epochs))
        return sum(len(batch["img"]) for batch in loader)

    return run


def step(data: Path, model: str) -> Work:
    """Training steps of a batch of 8 at 320: forward, loss, backward, clipping, SGD, average."""
    import ultralytics  # noqa: F401 (before torch, as scripts do: the public package sets the number of its threads)

    import torch  # isort: skip

    from ultralytics.cfg import get_cfg
    from ultralytics.nn.tasks import DetectionModel
    from ultralytics.utils.torch_utils import ModelEMA

    network = DetectionModel(model, nc=3, verbose=False)
    network.args = get_cfg(overrides={"task": "detect"})
    with contextlib.suppress(ImportError):  # what a run of ours does on a CPU
        from ultralytics.engine.runtime import use_channels_last

        use_channels_last(network)
    prepare_process()
    network.train()
    optimizer = torch.optim.SGD(network.parameters(), 1e-4, momentum=0.9, nesterov=True)
    average = ModelEMA(network)
    generator = torch.Generator().manual_seed(0)
    boxes = torch.rand(8 * 12, 4, generator=generator) * 0.3 + 0.2
    batch = {
        "img": torch.rand(8, 3, 320, 320, generator=generator),
        "cls": torch.randint(3, (8 * 12, 1), generator=generator).float(),
        "bboxes": boxes,
        "batch_idx": torch.arange(8.0).repeat_interleave(12),
    }

    def run() -> int:
        loss, _ = network.loss(dict(batch))
        loss.sum().backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 10.0)
        optimizer.step()
        optimizer.zero_grad()
        average.update(network)
        return 1

    return run


def epoch(data: Path, model: str) -> Work:
    """One epoch of bccd at 320 with its validation, batch 16, workers 0."""
    from ultralytics import YOLO

    def run() -> int:
        with tempfile.TemporaryDirectory() as folder:
            YOLO(model).train(
                data=described(data, "bccd"), imgsz=320, epochs=1, batch=16, workers=0, device="cpu",
                project=folder, plots=False, verbose=False,
            )  # fmt: skip
        return 1

    return run


def validation(data: Path, model: str) -> Work:
    """Validation on bccd at 320, batch 16."""
    from ultralytics import YOLO

    network, results = YOLO(model), tempfile.mkdtemp()

    def run() -> int:
        network.val(
            data=described(data, "bccd"), imgsz=320, batch=16, workers=0, device="cpu", plots=False,
            verbose=False, project=results,
        )  # fmt: skip
        return 1

    return run


def prediction(data: Path, model: str) -> Work:
    """Prediction on one image in memory at 640."""
    import cv2

    from ultralytics import YOLO

    network = YOLO(model)
    image = cv2.imread(str(sorted((data / "bccd" / "images" / "val").glob("*.jpg"))[0]))

    def run() -> int:
        network.predict(image, imgsz=640, device="cpu", verbose=False)
        return 1

    return run


def folder(data: Path, model: str, batch: int) -> Work:
    """Prediction on a folder at 320."""
    from ultralytics import YOLO

    network = YOLO(model)
    source = str(data / "bccd" / "images" / "val")

    def run() -> int:
        return sum(1 for _ in network.predict(source, imgsz=320, batch=batch, device="cpu", verbose=False, stream=True))

    return run


@cache
def prepared(data: Path, stage: str, model: str) -> Work:
    """The work of a stage, ready to be repeated."""
    return {
        "load-640": lambda: loading(data, "coco_mini", 640, cached=False),
        "load-320": lambda: loading(data, "bccd", 320, cached=False),
        "load-320-large": lambda: loading(data, "bccd", 320, cached=False, large=True),
        "load-320-reduced": lambda: loading(data, "bccd", 320, cached=False, large=True, reduced=True),
        "load-640-ram": lambda: loading(data, "coco_mini", 640, cached=True),
        "step": lambda: step(data, model),
        "epoch": lambda: epoch(data, model),
        "val": lambda: validation(data, model),
        "predict": lambda: prediction(data, model),
        "folder-1": lambda: folder(data, model, 1),
        "folder-8": lambda: folder(data, model, 8),
    }[stage]()


def main(data: Path) -> None:
    """Answer requests until there are no more."""
    answers = sys.stdout
    for line in sys.stdin:
        request = json.loads(line)
        if threads := request["threads"]:
            import cv2
            import torch

            torch.set_num_threads(threads)
            cv2.setNumThreads(threads)
        with contextlib.redirect_stdout(sys.stderr):  # where both packages may log
            work = prepared(data, request["stage"], request["model"])
            start = perf_counter()
            done = work()
            spent = perf_counter() - start
        print(json.dumps(spent / done), file=answers, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
