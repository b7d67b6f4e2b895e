"""What belongs to other products ends in a sentence that names it; docs/compatibility.md quotes them."""

import pytest

from ultralytics import YOLO
from ultralytics.cfg import get_cfg
from ultralytics.utils.errors import YOLOError


def names(module, name):
    """The import of a name."""
    return lambda: exec(f"from ultralytics.{module} import {name}", {})


def option(**values):
    """Options of any method."""
    return lambda: get_cfg(overrides=values)


REFUSED = {
    "cli::distill": option(distill_model="a.pt"),
    "engine::distill_resume": option(distill_model="a.pt"),
    "engine::distill_grayscale": names("nn.distill_model", "DistillationModel"),
    "exports::export_onnx_nms_conf": option(nms=True),
    "exports::onnx_int8_quantize_excludes_non_weighted_ops": option(int8=True),
    "exports::int8_calibration_validates_split": option(int8=True),
    "exports::int8_calibration_fraction": option(int8=True),
    "exports::quantize_canonicalization": option(quantize=8),
    "exports::quantize_deprecation": option(quantize=8),
    "exports::export_openvino": option(format="openvino"),
    "exports::export_coreml": option(format="coreml"),
    "exports::export_mnn": option(format="mnn"),
    "exports::export_ncnn": option(format="ncnn"),
    "exports::export_executorch": option(format="executorch"),
    "python::data_utils": names("data.split", "autosplit"),
    "python::data_converter": names("data.converter", "yolo_bbox2segment"),
    "python::safe_download_unzips_local_path_archive": names("utils.downloads", "safe_download"),
    "python::safe_download_skips_unsafe_archive_members": names("utils.downloads", "safe_download"),
    "python::safe_download_skips_unsafe_tar_members": names("utils.downloads", "safe_download"),
    "python::load_yolo_dota_whitespace_lines": names("data.split_dota", "load_yolo_dota"),
    "python::utils_init": names("utils", "get_ubuntu_version"),
    "python::utils_checks": names("utils.checks", "check_yolov5u_filename"),
    "python::utils_benchmarks": names("utils.benchmarks", "benchmark"),
    "python::model_tune": lambda: YOLO("yolov8n.yaml", verbose=False).tune,
}


@pytest.mark.parametrize("call", [pytest.param(c, marks=pytest.mark.public(n), id=n) for n, c in REFUSED.items()])
def test_what_is_not_here_says_so(call, record_property):
    with pytest.raises((YOLOError, AttributeError)) as caught:
        call()
    sentence = str(caught.value)
    assert "\n" not in sentence and any(word in sentence for word in ("not supported", "not in this tree", "expected"))
    record_property("refusal", sentence)
