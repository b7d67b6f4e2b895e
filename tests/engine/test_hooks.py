"""What a subclass replaces takes effect: each method here changes the result of a run, or of what follows it."""

from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from tests.engine.runs import rows_of
from ultralytics import YOLO
from ultralytics.cfg import get_cfg
from ultralytics.data.build import build_dataloader, build_yolo_dataset
from ultralytics.engine.exporter import Exporter, export_formats
from ultralytics.engine.results import Results
from ultralytics.engine.trainer import BaseTrainer
from ultralytics.models.yolo import TASK_CLASSES, task_class
from ultralytics.models.yolo.detect import DetectionPredictor, DetectionTrainer, DetectionValidator
from ultralytics.models.yolo.segment import SegmentationTrainer
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.errors import ConfigError
from ultralytics.utils.nms import non_max_suppression
from ultralytics.utils.ops import scale_boxes


class MyModel(DetectionModel):
    """A network with a loss of its own."""

    def init_criterion(self):
        return lambda preds, batch: (next(self.parameters()).sum() * 0 + 7.0, torch.tensor([1.0, 2.0, 4.0]))


class Everything(DetectionTrainer):
    """Replaces what people replace."""

    def get_dataset(self):
        data = super().get_dataset()
        # as a script writes it, without what load_data_yaml adds
        return {"train": str(data["train"][0]), "val": str(data["val"][0]), "names": ["one", "two"], "nc": 2}

    def get_model(self, cfg=None, weights=None, verbose=True):
        model = MyModel(cfg, nc=self.data["nc"], verbose=verbose)
        if weights:
            model.load(weights)
        return model

    def build_dataset(self, img_path, mode="train", batch=None):
        return build_yolo_dataset(self.args, img_path, batch, self.data, mode, rect=mode == "val", stride=32)

    def get_dataloader(self, dataset_path, batch_size=16, rank=0, mode="train"):
        dataset = self.build_dataset(dataset_path, mode, batch_size)
        return build_dataloader(dataset, batch_size, workers=0, shuffle=mode == "train", rank=rank)

    def preprocess_batch(self, batch):
        self.means = [*getattr(self, "means", []), batch["img"].float().mean().item()]
        return super().preprocess_batch(batch)

    def get_validator(self):
        self.loss_names = "a_loss", "b_loss", "c_loss"
        return DetectionValidator(self.test_loader, save_dir=self.save_dir, args=self.args, _callbacks=self.callbacks)

    def plot_training_samples(self, batch, ni):
        (self.save_dir / f"mine{ni}.txt").write_text(str(batch["img"].dtype), encoding="utf-8")

    def plot_training_labels(self):
        (self.save_dir / "labels.txt").write_text("mine", encoding="utf-8")

    def plot_metrics(self):
        (self.save_dir / "metrics.txt").write_text("mine", encoding="utf-8")


@pytest.fixture
def run(network, settings):
    """`run(Trainer, **options)`: the trainer of a run of YOLO."""

    def run(trainer, **options):
        model = YOLO(network)
        model.train(trainer=trainer, **{**settings, "epochs": 1, **options})
        return model.trainer

    return run


def test_a_trainer_is_what_its_methods_say(run):
    trainer = run(Everything, plots=True)
    row = rows_of(trainer.save_dir)[0]
    losses = {name: float(row[f"train/{name}"]) for name in ("a_loss", "b_loss", "c_loss")}
    assert losses == {"a_loss": 1, "b_loss": 2, "c_loss": 4} and float(row["val/c_loss"]) == 4
    assert type(trainer.model) is MyModel and trainer.model.names == {0: "one", 1: "two"}
    assert len(trainer.means) == trainer.batches and max(trainer.means) > 2  # 0..255, not yet divided
    files = {path.name for path in trainer.save_dir.iterdir()}
    assert {"mine0.txt", "labels.txt", "metrics.txt"} <= files
    assert not files & {"train_batch0.jpg", "labels.jpg", "results.png"}
    assert (trainer.save_dir / "mine0.txt").read_text(encoding="utf-8") == "torch.uint8"


def test_a_loss_of_the_trainer(run):
    class Twice(DetectionTrainer):
        def criterion(self, preds, batch):
            loss, parts = super().criterion(preds, batch)
            return 2 * loss, 2 * parts

    once, twice = (rows_of(run(cls, optimizer="SGD", lr0=1e-9, warmup_bias_lr=0).save_dir)[0] for cls in (None, Twice))
    assert float(twice["train/box_loss"]) == pytest.approx(2 * float(once["train/box_loss"]), rel=1e-3)
    assert float(twice["val/cls_loss"]) == pytest.approx(2 * float(once["val/cls_loss"]), rel=1e-3)


def test_a_trainer_by_itself_trains_what_yolo_trains(network, settings, run):
    options = {**settings, "epochs": 1, "model": str(network)}
    trainer, seen = DetectionTrainer(cfg=get_cfg(overrides={"mosaic": 0.0}), overrides=options), []
    trainer.add_callback("on_train_epoch_end", lambda trainer: seen.append(trainer.epoch))
    trainer.train()
    assert seen == [0] and trainer.args.mosaic == 0 and "lr0" not in trainer.args.given
    same = run(None, mosaic=0.0)
    assert rows_of(same.save_dir)[0]["train/box_loss"] == rows_of(trainer.save_dir)[0]["train/box_loss"]


def test_a_trainer_resumes(network, settings, run):
    class Stops(DetectionTrainer):
        def plot_training_labels(self):
            self.add_callback("on_model_save", self.leave)

        def leave(self, trainer):
            if trainer.epoch == 0:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(Stops, epochs=2, plots=True)
    last = max(Path(settings["project"]).rglob("last.pt"), key=lambda path: path.stat().st_mtime)
    trainer = DetectionTrainer(overrides={"model": str(last), "resume": True})
    trainer.train()
    assert [row["epoch"] for row in rows_of(trainer.save_dir)] == ["1", "2"] and trainer.save_dir == last.parents[1]


@pytest.mark.parametrize("cls", [SegmentationTrainer, BaseTrainer])
def test_a_trainer_for_another_task_says_so(cls, run, network):
    if cls is BaseTrainer:
        assert run(cls).task.name == "detect"  # it takes the task of the network
        return
    with pytest.raises(ConfigError, match="this loop is for segment"):
        run(cls)


class HalfOfThem(DetectionValidator):
    """Halves confidences."""

    def preprocess(self, batch):
        self.shapes = [*getattr(self, "shapes", []), batch["img"].shape]
        return super().preprocess(batch)

    def postprocess(self, preds):
        found = super().postprocess(preds)
        return [pred[: len(pred) // 2] for pred in found]

    def update_metrics(self, preds, batch):
        self.kept = getattr(self, "kept", 0) + sum(map(len, preds))
        super().update_metrics(preds, batch)


def test_a_validator_is_what_its_methods_say(network, settings):
    model = YOLO(network)
    options = {"data": settings["data"], "imgsz": settings["imgsz"], "workers": 0, "device": "cpu", "plots": False}
    model.val(**options, conf=0.0001)
    whole = model.metrics.confusion_matrix
    kept = []
    model.add_callback("on_val_end", lambda validator: kept.append((validator.kept, validator.seen)))
    model.val(HalfOfThem, **options, conf=0.0001)
    assert kept[0][0] > 0 and kept[0][1] == len(list(Path(settings["data"]).parent.rglob("images/val/*")))
    assert whole is not model.metrics.confusion_matrix


def test_a_validator_by_itself(network, settings, tmp_path):
    model = YOLO(network)
    options = {"data": str(settings["data"]), "imgsz": settings["imgsz"], "workers": 0, "device": "cpu", "plots": False}
    model.save(tmp_path / "w.pt")
    expected = model.val(**options, batch=2).results_dict
    validator = DetectionValidator(args=SimpleNamespace(model=str(tmp_path / "w.pt"), batch=2, **options))
    assert validator() == pytest.approx(expected, abs=0.02)
    assert validator.metrics.keys == [name for name in expected if name in validator.metrics.keys]


def test_a_predictor_by_itself_and_of_yolo(network, tmp_path):
    image = np.full((64, 64, 3), 90, np.uint8)
    model = YOLO(network)
    expected = model.predict(image, imgsz=64, conf=0.0001, device="cpu", verbose=False)[0].boxes.data
    predictor = DetectionPredictor(overrides={"model": str(network), "imgsz": 64, "conf": 0.0001, "device": "cpu"})
    predictor.setup_model(model.network(predictor.args))
    torch.testing.assert_close(predictor(image)[0].boxes.data, expected)
    assert len(list(predictor(image, stream=True))) == 1

    class Nothing(DetectionPredictor):
        def setup_model(self, model=None):
            super().setup_model(model)
            self.args.conf = 0.999

    assert len(model.predict(image, predictor=Nothing, imgsz=64, conf=0.0001, device="cpu", verbose=False)[0]) == 0


def test_options_of_a_predictor_are_set_from_call_to_call(network):
    image = np.full((96, 64, 3), 90, np.uint8)
    predictor = DetectionPredictor(overrides={"model": str(network), "imgsz": 64, "conf": 0.0001, "device": "cpu"})
    before = predictor(image)[0].boxes.data
    predictor.args.conf = float(before[:3, 4].mean())
    assert 0 < len(predictor(image)[0]) < 3 <= len(before)
    predictor.args.conf = None  # the default of predictions
    assert predictor.args.conf == 0.25
    predictor.args.imgsz, predictor.args.rect = 50, False
    predictor(image)
    assert predictor.args.imgsz == 64
    with pytest.raises(ConfigError, match="conf=7: expected a number"):
        predictor.args.conf = 7
    with pytest.raises(ConfigError, match="there is no option 'confidence'"):
        predictor.args.confidence = 0.3


@pytest.mark.public("python::preprocess_values")
def test_a_predictor_is_what_its_methods_say(network, tmp_path):
    """The three steps as they are replaced in public scripts, with the public arguments."""
    seen = []

    class Mine(DetectionPredictor):
        def preprocess(self, im):
            seen.append([image.shape for image in im])
            return super().preprocess([255 - image for image in im])

        def inference(self, im, *args, **kwargs):
            seen.append(tuple(im.shape))
            return super().inference(im, *args, **kwargs)

        def postprocess(self, preds, img, orig_imgs):
            results = []
            for i, pred in enumerate(non_max_suppression(preds, self.args.conf, self.args.iou)):
                pred[:, :4] = scale_boxes(img.shape[2:], pred[:, :4], orig_imgs[i].shape)
                results.append(Results(orig_imgs[i], path=self.batch[0][i], names=self.model.names, boxes=pred))
            return results

    image = np.random.default_rng(0).integers(0, 255, (64, 48, 3), dtype=np.uint8)
    path = str(tmp_path / "a.png")
    cv2.imwrite(path, image)
    model, options = YOLO(network), {"imgsz": 64, "conf": 0.0001, "device": "cpu", "verbose": False}
    expected = model.predict([255 - image] * 2, **options)
    results = model.predict([path, image], predictor=Mine, **options)
    assert seen == [[(64, 48, 3)] * 2, (2, 3, 64, 64)] and results[0].path == path
    for a, b in zip(expected, results, strict=True):
        assert len(a) and (b.orig_img == image).all()
        torch.testing.assert_close(a.boxes.data, b.boxes.data)


@pytest.mark.public("engine::export")
def test_an_exporter(network, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model, seen = YOLO(network), []
    exporter = Exporter(overrides={"format": "torchscript", "imgsz": 64})
    exporter.add_callback("on_export_start", lambda exporter: seen.append(exporter.args.format))
    file = exporter(model=model.model)
    assert seen == ["torchscript"] and Path(file).suffix == ".torchscript"
    image = np.full((64, 64, 3), 90, np.uint8)
    found, expected = (m.predict(image, imgsz=64, device="cpu", verbose=False)[0] for m in (YOLO(file), model))
    assert len(found) == len(expected)
    assert export_formats()["Argument"] == ["-", "onnx", "torchscript"]


@pytest.mark.parametrize("room", TASK_CLASSES)
def test_every_room_has_its_loops(room):
    module = __import__(f"ultralytics.models.yolo.{room}", fromlist=["x"])
    assert len(module.__all__) == 3
    for name in module.__all__:
        assert getattr(module, name).task_class is task_class(room)


class Further(DetectionTrainer):
    """Replaces what decides about optimizer, columns and files."""

    def build_optimizer(self, model, name="auto", lr=0.001, momentum=0.9, decay=1e-5, iterations=1e5):
        self.asked = name, lr, decay, iterations
        if name == "auto":
            return super().build_optimizer(model)
        slow = list(model.model[0].parameters())
        fast = list(model.model[1:].parameters())
        return torch.optim.AdamW([{"params": slow, "lr": lr / 10}, {"params": fast}], lr=lr)

    def label_loss_items(self, loss_items=None, prefix="train"):
        labeled = super().label_loss_items(loss_items, prefix)
        if loss_items is None:
            return [*labeled, f"{prefix}/sum"]
        return labeled | {f"{prefix}/sum": sum(labeled.values())}

    def save_metrics(self, metrics):
        super().save_metrics(metrics | {"mine": 7})

    def save_model(self):
        super().save_model()
        torch.save({}, self.last.with_name("mine.pt"))

    def validate(self):
        self.returned = metrics, fitness = super().validate()
        return metrics | {"metrics/mine": 3}, fitness

    def get_validator(self):
        return Extra(self.test_loader, self.save_dir, self.args, self.callbacks)

    def run_callbacks(self, event):
        self.events = [*getattr(self, "events", []), event]
        super().run_callbacks(event)

    def final_eval(self):
        self.final = super().final_eval()


class Extra(DetectionValidator):
    """Has a result more."""

    def finalize_metrics(self):
        self.images = self.seen

    def get_stats(self):
        return super().get_stats() | {"metrics/images": self.images}


def test_optimizer_columns_and_files_of_a_trainer(run):
    trainer = run(Further, optimizer="SGD", lr0=0.02, lrf=1.0, warmup_epochs=0)
    row = rows_of(trainer.save_dir)[0]
    assert trainer.asked == ("SGD", 0.02, 0.0005, 3) and type(trainer.optimizer) is torch.optim.AdamW
    assert (float(row["lr/pg0"]), float(row["lr/pg1"])) == (0.002, 0.02)
    for kind in ("train", "val"):
        parts = [float(value) for name, value in row.items() if name.startswith(f"{kind}/")]
        assert parts[-1] == pytest.approx(sum(parts[:-1]), rel=1e-4)
    assert float(row["mine"]) == 7 and float(row["metrics/images"]) == 4 and float(row["metrics/mine"]) == 3
    assert trainer.last.with_name("mine.pt").is_file() and trainer.best.is_file()
    assert trainer.returned[1] == pytest.approx(trainer.final.fitness, abs=0.01)
    assert {"on_train_start", "on_model_save", "optimizer_step", "teardown"} <= set(trainer.events)
    assert trainer.source.metrics is trainer.final  # though final_eval returned nothing


def test_rates_of_groups_begin_at_what_auto_says(run):
    class Auto(DetectionTrainer):
        def build_optimizer(self, model, *args):
            return super().build_optimizer(model, "auto", decay=args[-2])

    mine, usual = run(Auto, optimizer="auto"), run(None, optimizer="auto")
    assert rows_of(mine.save_dir)[0]["train/box_loss"] == rows_of(usual.save_dir)[0]["train/box_loss"]


def test_results_of_a_predictor(network):
    class Mine(DetectionPredictor):
        def construct_result(self, pred, img, orig_img, img_path):
            return super().construct_result(pred[:1], img, orig_img, img_path)

    image = np.full((64, 64, 3), 90, np.uint8)
    result = YOLO(network).predict(image, predictor=Mine, imgsz=64, conf=0.0001, device="cpu", verbose=False)[0]
    assert len(result) == 1 and result.path == "image0.jpg"
    predictor = Mine(overrides={"model": str(network), "imgsz": 64, "device": "cpu"})
    seen = []
    predictor.add_callback("on_predict_start", seen.append)
    predictor.set_callback("on_predict_start", lambda loop: seen.append("alone"))
    predictor(image)
    assert seen == ["alone"]


@pytest.mark.parametrize(
    ("base", "names", "sentences"),
    [
        (DetectionTrainer, ("read_results_csv", "_setup_train"), ("read `trainer.table.path`", "replace `setup`")),
        (DetectionValidator, ("pred_to_json", "print_results"), ("`json_rows`", "print in `get_stats`")),
        (DetectionPredictor, ("write_results",), ("on_predict_postprocess_end",)),
    ],
)
def test_methods_that_no_loop_calls_are_named(base, names, sentences, network, settings, caplog):
    given = {"model": str(network), "data": str(settings["data"]), "project": settings["project"]}
    how = {"args": given} if base is DetectionValidator else {"overrides": given}
    base(**how)
    assert "never called" not in caplog.text
    type("Mine", (base,), dict.fromkeys(names, lambda self: None))(**how)
    for name, sentence in zip(names, sentences, strict=True):
        (line,) = (line for line in caplog.messages if line.startswith(f"Mine.{name} is never called here: "))
        assert sentence in line
