"""Names as public custom blocks, heads, losses and scripts import them: they work, or a sentence says what to use."""

import importlib
import re
from pathlib import Path

import pytest

from ultralytics import cfg, utils
from ultralytics.utils import DEFAULT_CFG, ROOT, YAML, IterableSimpleNamespace, SimpleClass, refused
from ultralytics.utils.errors import ConfigError, YOLOError
from ultralytics.utils.refused import RefusedImportError

# Seen at the head of public files, with the common variants; a line a case.
LINES = r"""
from ultralytics import YOLO
import ultralytics
from ultralytics import __version__
from ultralytics import RTDETR
from ultralytics import YOLO, RTDETR
from ultralytics import SAM, FastSAM, NAS
from ultralytics import YOLOWorld, YOLOE
from ultralytics import settings
from ultralytics import checks, download
from ultralytics import solutions
from ultralytics import ASSETS
from ultralytics.nn.modules.conv import Conv
from ultralytics.nn.modules.conv import Conv, autopad
from ultralytics.nn.modules.conv import Conv, DWConv, autopad
from ultralytics.nn.modules.conv import Conv, DWConv, GhostConv, LightConv, RepConv, autopad
from ultralytics.nn.modules.conv import Conv, DWConv, GhostConv, LightConv, RepConv
from ultralytics.nn.modules.conv import RepConv
from ultralytics.nn.modules.conv import GhostConv
from ultralytics.nn.modules.conv import LightConv
from ultralytics.nn.modules.conv import ConvTranspose
from ultralytics.nn.modules.conv import DWConvTranspose2d, Focus, Index
from ultralytics.nn.modules.conv import CBAM, ChannelAttention, SpatialAttention
from ultralytics.nn.modules.conv import Concat
from ultralytics.nn.modules.conv import Conv2
from ultralytics.nn.modules import Conv
from ultralytics.nn.modules import Conv, C2f
from ultralytics.nn.modules import C2f, Conv, DFL
from ultralytics.nn.modules import DFL, Proto
from ultralytics.nn.modules import Detect, Pose, Segment, OBB
from ultralytics.nn.modules import (AIFI, C1, C2, C3, C3TR, OBB, SPP, SPPF, Bottleneck, BottleneckCSP, C2f, \
    C3Ghost, C3x, Classify, Concat, Conv, ConvTranspose, Detect, DWConv, DWConvTranspose2d, Focus, GhostBottleneck, \
    GhostConv, HGBlock, HGStem, Pose, RepC3, Segment)
from ultralytics.nn.modules import RTDETRDecoder
from ultralytics.nn.modules import RepConv
from ultralytics.nn.modules import v10Detect
from ultralytics.nn.modules import AIFI
from ultralytics.nn.modules import C3k2
from ultralytics.nn.modules import C3, C3TR, C3Ghost, C3x, BottleneckCSP
from ultralytics.nn.modules import SPP, SPPF, Focus
from ultralytics.nn.modules import HGBlock, HGStem, RepC3
from ultralytics.nn.modules import ConvTranspose, DWConvTranspose2d
from ultralytics.nn.modules import GhostBottleneck, GhostConv, C3Ghost
from ultralytics.nn.modules import Classify, Concat, Bottleneck, C1, C2
from ultralytics.nn.modules import C2PSA, PSA, SCDown, C2fCIB
from ultralytics.nn.modules import Conv as BaseConv, autopad
from ultralytics.nn.modules import block, conv, head, transformer
from ultralytics.nn.modules.block import *
from ultralytics.nn.modules.conv import *
from ultralytics.nn.modules.head import *
from ultralytics.nn.modules.transformer import *
from ultralytics.nn.modules import *
from ultralytics.nn.modules.block import C2f
from ultralytics.nn.modules.block import C2f, Bottleneck
from ultralytics.nn.modules.block import C2f, C3
from ultralytics.nn.modules.block import C3, C3Ghost, C2f, Bottleneck
from ultralytics.nn.modules.block import C3k, C3k2
from ultralytics.nn.modules.block import C3k, C3k2, C2PSA, PSABlock
from ultralytics.nn.modules.block import PSABlock, C2PSA
from ultralytics.nn.modules.block import A2C2f
from ultralytics.nn.modules.block import ABlock, AAttn
from ultralytics.nn.modules.block import DFL
from ultralytics.nn.modules.block import DFL, Proto
from ultralytics.nn.modules.block import DFL, BNContrastiveHead, ContrastiveHead, Proto
from ultralytics.nn.modules.block import Proto26
from ultralytics.nn.modules.block import RepC3
from ultralytics.nn.modules.block import Attention
from ultralytics.nn.modules.block import SPP, SPPF, C1, C3x
from ultralytics.nn.modules.block import PSA, C2fPSA, SCDown, CIB, C2fCIB, RepVGGDW
from ultralytics.nn.modules.block import HGBlock, HGStem
from ultralytics.nn.modules.block import BottleneckCSP, C3TR
from ultralytics.nn.modules.block import RepNCSPELAN4, ELAN1, AConv, ADown, SPPELAN
from ultralytics.nn.modules.block import CBLinear, CBFuse
from ultralytics.nn.modules.block import MaxSigmoidAttnBlock, C2fAttn, ImagePoolingAttn
from ultralytics.nn.modules.block import ResNetLayer
from ultralytics.nn.modules.head import Detect
from ultralytics.nn.modules.head import Detect, Segment, Pose, OBB, Classify
from ultralytics.nn.modules.head import Detect, v10Detect
from ultralytics.nn.modules.head import Pose26
from ultralytics.nn.modules.head import RTDETRDecoder, WorldDetect
from ultralytics.nn.modules.transformer import TransformerEncoderLayer, AIFI
from ultralytics.nn.modules.transformer import TransformerBlock, TransformerLayer
from ultralytics.nn.modules.transformer import MLP, MLPBlock, LayerNorm2d
from ultralytics.nn.modules.transformer import MLP, DeformableTransformerDecoder, DeformableTransformerDecoderLayer
from ultralytics.nn.modules.transformer import MSDeformAttn
from ultralytics.nn.modules.utils import bias_init_with_prob, linear_init
from ultralytics.nn.modules.utils import _get_clones, inverse_sigmoid, multi_scale_deformable_attn_pytorch
from ultralytics.utils.tal import dist2bbox, make_anchors
from ultralytics.utils.tal import dist2bbox, dist2rbox, make_anchors
from ultralytics.utils.tal import TORCH_1_10, dist2bbox, dist2rbox, make_anchors
from ultralytics.utils.tal import TORCH_1_10, dist2bbox, make_anchors
from ultralytics.utils.tal import TaskAlignedAssigner, bbox2dist, dist2bbox, make_anchors
from ultralytics.utils.tal import RotatedTaskAlignedAssigner, TaskAlignedAssigner, dist2bbox, dist2rbox, make_anchors
from ultralytics.utils.ops import xywh2xyxy
from ultralytics.utils.ops import xywh2xyxy, xyxy2xywh
from ultralytics.utils.ops import crop_mask, xywh2xyxy, xyxy2xywh
from ultralytics.utils.ops import non_max_suppression
from ultralytics.utils.ops import non_max_suppression, scale_boxes, xyxy2xywh
from ultralytics.utils.ops import make_divisible
from ultralytics.utils.ops import scale_boxes, clip_boxes, xywhn2xyxy, xyxy2xywhn
from ultralytics.utils.ops import xyxyxyxy2xywhr, xywhr2xyxyxyxy
from ultralytics.utils.ops import process_mask, process_mask_native, scale_masks, masks2segments
from ultralytics.utils.ops import scale_coords, clip_coords
from ultralytics.utils.ops import segment2box, segments2boxes, resample_segments
from ultralytics.utils.ops import xywh2ltwh, xyxy2ltwh, ltwh2xywh, ltwh2xyxy
from ultralytics.utils.ops import Profile
from ultralytics.utils.nms import non_max_suppression
from ultralytics.utils.torch_utils import intersect_dicts
from ultralytics.utils.torch_utils import select_device
from ultralytics.utils.torch_utils import fuse_conv_and_bn
from ultralytics.utils.torch_utils import fuse_conv_and_bn, make_divisible
from ultralytics.utils.torch_utils import fuse_conv_and_bn, fuse_deconv_and_bn, initialize_weights, \
    intersect_dicts, make_divisible, model_info, scale_img, time_sync
from ultralytics.utils.torch_utils import model_info
from ultralytics.utils.torch_utils import unwrap_model
from ultralytics.utils.torch_utils import get_flops, get_num_params, get_num_gradients
from ultralytics.utils.torch_utils import get_flops_with_torch_profiler
from ultralytics.utils.torch_utils import model_info_for_loggers
from ultralytics.utils.torch_utils import EarlyStopping, ModelEMA
from ultralytics.utils.torch_utils import EarlyStopping, ModelEMA, autocast, convert_optimizer_state_dict_to_fp16, \
    init_seeds, one_cycle, select_device, strip_optimizer, torch_distributed_zero_first
from ultralytics.utils.torch_utils import TORCH_1_13, TORCH_2_0, TORCH_2_4, unset_deterministic
from ultralytics.utils.torch_utils import de_parallel, is_parallel, copy_attr, smart_inference_mode
from ultralytics.utils.torch_utils import profile
from ultralytics.utils.torch_utils import profile_ops, attempt_compile
from ultralytics.nn.tasks import attempt_load_weights
from ultralytics.nn.tasks import attempt_load_one_weight
from ultralytics.nn.tasks import load_checkpoint
from ultralytics.nn.tasks import DetectionModel
from ultralytics.nn.tasks import DetectionModel, parse_model, yaml_model_load
from ultralytics.nn.tasks import BaseModel, ClassificationModel, DetectionModel, OBBModel, PoseModel, \
    SegmentationModel
from ultralytics.nn.tasks import ClassificationModel
from ultralytics.nn.tasks import OBBModel
from ultralytics.nn.tasks import SegmentationModel
from ultralytics.nn.tasks import SemanticSegmentationModel
from ultralytics.nn.tasks import YOLOEModel, YOLOESegModel
from ultralytics.nn.tasks import RTDETRDetectionModel, WorldModel
from ultralytics.nn.tasks import guess_model_task, torch_safe_load
from ultralytics.nn.tasks import Ensemble
from ultralytics.utils.checks import check_version
from ultralytics.utils.checks import check_requirements
from ultralytics.utils.checks import check_file, check_imgsz, check_suffix, check_yaml, is_ascii, check_python
from ultralytics.utils.checks import check_executorch_requirements
from ultralytics.utils.checks import check_tensorrt
from ultralytics.utils.checks import check_amp, print_args
from ultralytics.nn.autobackend import AutoBackend
from ultralytics.nn.autobackend import AutoBackend, check_class_names
from ultralytics.solutions import heatmap
from ultralytics.solutions import object_counter
from ultralytics.solutions.object_counter import ObjectCounter
from ultralytics.utils import LOGGER
from ultralytics.utils import YAML
from ultralytics.utils import ARM64, LINUX, LOGGER, PYTHON_VERSION, ROOT, yaml_load
from ultralytics.utils import ASSETS
from ultralytics.utils import SETTINGS
from ultralytics.utils import yaml_load, yaml_save
from ultralytics.utils import ASSETS_URL
from ultralytics.utils import DEFAULT_CFG
from ultralytics.utils import DEFAULT_CFG, LOGGER, RANK, TQDM, colorstr, emojis
from ultralytics.utils import DEFAULT_CFG_DICT, DEFAULT_CFG_KEYS, LOGGER, IterableSimpleNamespace, SimpleClass
from ultralytics.utils import WEIGHTS_DIR
from ultralytics.utils import ops
from ultralytics.utils import LOGGER, checks, ops
from ultralytics.utils import MACOS, WINDOWS, TORCH_VERSION, NUM_THREADS, LOCAL_RANK
from ultralytics.utils.files import increment_path
from ultralytics.utils.plotting import Annotator, colors
from ultralytics.utils.plotting import Annotator, Colors, colors, save_one_box
from ultralytics.utils.plotting import plot_images, plot_labels, plot_results
from ultralytics.utils.plotting import feature_visualization
from ultralytics.utils.triton import TritonRemoteModel
from ultralytics.utils.downloads import safe_download
from ultralytics.utils.downloads import attempt_download_asset
from ultralytics.utils.benchmarks import benchmark
from ultralytics.utils.callbacks import add_integration_callbacks
from ultralytics.utils.autobatch import check_train_batch_size
from ultralytics.utils.dist import ddp_cleanup, generate_ddp_command
from ultralytics.utils.patches import torch_load
from ultralytics.utils.patches import imread, imwrite
from ultralytics.utils.instance import Bboxes, Instances
from ultralytics.utils.tuner import run_ray_tune
from ultralytics.cfg import get_cfg
from ultralytics.cfg import DEFAULT_CFG_DICT
from ultralytics.cfg import TASK2DATA, get_cfg, get_save_dir
from ultralytics.cfg import entrypoint
from ultralytics.data.build import build_dataloader
from ultralytics.data.build import build_yolo_dataset
from ultralytics.data.build import ContiguousDistributedSampler
from ultralytics.data import build_dataloader, build_yolo_dataset
from ultralytics.data import YOLODataset
from ultralytics.data.dataset import YOLODataset
from ultralytics.data.augment import LetterBox
from ultralytics.data.augment import Compose, Format, Mosaic, v8_transforms
from ultralytics.data.utils import check_det_dataset
from ultralytics.data.utils import IMG_FORMATS, VID_FORMATS
from ultralytics.data.converter import coco91_to_coco80_class
from ultralytics.data.converter import convert_coco
from ultralytics.data.loaders import LoadImagesAndVideos
from ultralytics.data.annotator import auto_annotate
from ultralytics.models import YOLO
from ultralytics.models.yolo import YOLO
from ultralytics.models.yolo.model import YOLO
from ultralytics.models import RTDETR, SAM
from ultralytics.models import yolo
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.models.yolo.detect import DetectionValidator
from ultralytics.models.yolo.detect.train import DetectionTrainer
from ultralytics.models.yolo.detect import DetectionPredictor, DetectionTrainer, DetectionValidator
from ultralytics.models.yolo.segment import SegmentationTrainer
from ultralytics.models.yolo.pose import PoseTrainer
from ultralytics.models.yolo.obb import OBBTrainer
from ultralytics.models.yolo.classify import ClassificationTrainer
from ultralytics.models.utils.loss import DETRLoss
from ultralytics.engine.model import YOLO
from ultralytics.engine.model import Model
from ultralytics.engine.trainer import BaseTrainer
from ultralytics.engine.validator import BaseValidator
from ultralytics.engine.predictor import BasePredictor
from ultralytics.engine.results import Results
from ultralytics.engine.results import Boxes, Keypoints, Masks, OBB, Probs, Results
from ultralytics.engine.exporter import EXPORT_ENVS
from ultralytics.engine.exporter import Exporter, export_formats
from ultralytics.engine.tuner import Tuner
from ultralytics.hub import login
from ultralytics.trackers import BYTETracker
from ultralytics.utils.metrics import bbox_ioa
from ultralytics.utils.metrics import bbox_iou
from ultralytics.utils.metrics import bbox_iou, probiou
from ultralytics.utils.metrics import OKS_SIGMA
from ultralytics.utils.metrics import ConfusionMatrix, DetMetrics, box_iou
from ultralytics.utils.metrics import ap_per_class, compute_ap, smooth
from ultralytics.utils.metrics import batch_probiou, kpt_iou, mask_iou
from ultralytics.utils.metrics import ClassifyMetrics, OBBMetrics, PoseMetrics, SegmentMetrics
from ultralytics.utils.loss import v8DetectionLoss
from ultralytics.utils.loss import BboxLoss
from ultralytics.utils.loss import v8ClassificationLoss, v8DetectionLoss, v8OBBLoss, v8PoseLoss, \
    v8SegmentationLoss
from ultralytics.utils.loss import BboxLoss, DFLoss, KeypointLoss, RotatedBboxLoss
from ultralytics.utils.loss import FocalLoss, VarifocalLoss
"""
IMPORTS = [line.replace("\\\n", "") for line in re.findall(r"^(?:from|import) (?:.*\\\n)*.*$", LINES, re.MULTILINE)]


def refusal(line):
    """None if the import works, else the error of the table; any other error is raised."""
    try:
        exec(line, {})
    except RefusedImportError as exc:
        return exc
    return None


@pytest.mark.parametrize("line", IMPORTS)
def test_an_import_works_or_says_what_to_use(line):
    exc = refusal(line)
    assert exc is None or exc.name in refused.SENTENCES
    assert exc is None or exc.name.rpartition(".")[2] in line


def test_most_imports_work():
    assert len(IMPORTS) >= 140
    assert sum(refusal(line) is None for line in IMPORTS) >= 115


@pytest.mark.parametrize("home", sorted({path.rpartition(".")[0] for path in refused.SENTENCES}))
def test_what_is_refused_is_not_there_and_says_so(home):
    module = importlib.import_module(home)
    for path in refused.SENTENCES:
        parent, _, name = path.rpartition(".")
        if parent != home:
            continue
        assert name not in vars(module), f"{path} exists: take it out of utils/refused.py"
        exc = refusal(f"from {home} import {name}")
        assert isinstance(exc, YOLOError) and str(exc).startswith(f"{path} is not in this tree: ")


def test_what_sentences_point_to_exists():
    texts = sorted(set(refused.SENTENCES.values()))
    for module in {name for text in texts for name in re.findall(r"ultralytics(?:\.\w+)+", text)}:
        home, _, name = module.rpartition(".")
        assert importlib.util.find_spec(module) if name.islower() else hasattr(importlib.import_module(home), name)
    for file in {name for text in texts for name in re.findall(r"[\w/]+\.(?:py|yaml)\b", text)}:
        if file not in ("args.yaml", "shapes.yaml"):
            assert any((folder / file).is_file() for folder in (ROOT, ROOT.parent)), file


def test_other_names_fail_as_ever():
    with pytest.raises(ImportError, match="cannot import name 'nothing'") as info:
        exec("from ultralytics.utils.torch_utils import nothing", {})
    assert not isinstance(info.value, RefusedImportError)
    with pytest.raises(ModuleNotFoundError, match=r"No module named 'ultralytics\.nothing'"):
        exec("import ultralytics.nothing", {})
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        utils.nothing  # noqa: B018
    assert not hasattr(cfg, "nothing")


@pytest.mark.public("python::utils_init")
def test_colors_of_a_terminal():
    assert utils.colorstr("red", "x") == "\x1b[31mx\x1b[0m"
    assert utils.colorstr("bold", "underline", "bright_red", "x") == "\x1b[1m\x1b[4m\x1b[91mx\x1b[0m"
    assert utils.colorstr("x") == "\x1b[34m\x1b[1mx\x1b[0m"


@pytest.mark.public("python::utils_init")
def test_emojis_stay_where_they_can_be_shown(monkeypatch):
    monkeypatch.setattr(utils, "WINDOWS", False)
    assert utils.emojis("a✅b") == "a✅b"
    monkeypatch.setattr(utils, "WINDOWS", True)
    assert utils.emojis("a✅b") == "ab"


def test_namespaces_of_options():
    options = IterableSimpleNamespace(a=1, b=2)
    assert (list(options), str(options), repr(options)) == (
        [("a", 1), ("b", 2)],
        "a=1\nb=2",
        "IterableSimpleNamespace(a=1, b=2)",
    )
    assert (options.get("a"), options.get("c", 3)) == (1, 3)


def test_result_classes_print_their_attributes():
    class Inner(SimpleClass):
        def __init__(self):
            self.b, self._hidden, self.a, self.call = 1, 2, "x", len

    class Outer(SimpleClass):
        def __init__(self):
            self.inner, self.rows = Inner(), [1]

    name = f"{__name__}.test_result_classes_print_their_attributes.<locals>"
    assert str(Inner()) == f"{name}.Inner object with attributes:\n\na: 'x'\nb: 1"
    assert repr(Outer()) == f"{name}.Outer object with attributes:\n\ninner: {name}.Inner object\nrows: [1]"


@pytest.mark.public("python::utils_init")
def test_yaml_files(tmp_path):
    file = tmp_path / "a.yaml"
    YAML.save(file, {"a": 1, "path": ROOT}, header="# mine\n")
    assert file.read_text(encoding="utf-8").startswith("# mine\na: 1\n")
    assert utils.yaml_load(file) == {"a": 1, "path": str(ROOT)}
    assert YAML.load(file, append_filename=True)["yaml_file"] == str(file)
    YAML.save(file)
    assert YAML.load(file) == {}


def test_options_of_pasted_trainers(tmp_path):
    assert isinstance(DEFAULT_CFG, IterableSimpleNamespace) and DEFAULT_CFG.imgsz == 640
    assert cfg.DEFAULT_CFG_DICT is utils.DEFAULT_CFG_DICT and list(utils.DEFAULT_CFG_KEYS) == list(vars(DEFAULT_CFG))
    args = cfg.get_cfg(DEFAULT_CFG, {"lr0": 0.1})
    args.batch = 3  # they change it
    assert (args.lr0, args.batch, DEFAULT_CFG.batch) == (0.1, 3, None)
    file = tmp_path / "cfg.yaml"
    file.write_text("imgsz: 320\nlr0: 0.2\n", encoding="utf-8")
    args = cfg.get_cfg(file, IterableSimpleNamespace(lr0=0.3))
    assert (args.imgsz, args.lr0, args.epochs) == (320, 0.3, 100)
    with pytest.raises(ConfigError, match="imgszz"):
        cfg.get_cfg(overrides={"imgszz": 320})


def test_constants():
    assert Path(utils.DEFAULT_CFG_PATH).is_file() and utils.ROOT.name == "ultralytics"
    assert sum((utils.LINUX, utils.MACOS, utils.WINDOWS)) <= 1
    assert utils.TORCH_VERSION.startswith("2.") and 1 <= utils.NUM_THREADS <= 8
    assert [*utils.TQDM(range(2), disable=True)] == [0, 1]
