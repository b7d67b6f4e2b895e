"""The four steps of the tutorials, in a tree of their own."""

import textwrap

import pytest

REPORT = """
from ultralytics.nn import tasks
from ultralytics.nn.tasks import DetectionModel
def report(name):
    classifies = tasks.find_task(tasks.yaml_model_load(name)) == "classify"
    model = (tasks.ClassificationModel if classifies else DetectionModel)(name, verbose=False)
    parameters = sum(p.numel() for p in model.parameters())
    print(name, parameters, type(model.model[2]).__module__, type(model.model[2]).__name__)
    return model
"""


def output(done):
    """What a process printed, once it has ended well."""
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_the_tutorial_word_for_word(tree, reference):
    pytest.importorskip("timm")
    tutorial = reference / "tutorial"
    tree.append("Addmodules/core.py", (tutorial / "core.py").read_text(encoding="utf-8"))
    tree.append("Addmodules/__init__.py", "from .core import *\n")
    line = "from .Addmodules import *\n"
    tree.replace("tasks.py", line, line + "from ultralytics.nn.Addmodules.core import C2f_GhostModule_DynamicConv\n")
    for name in ("channel_modules = {\n", "repeat_modules = {\n"):
        tree.replace("tasks.py", name, f"{name}        C2f_GhostModule_DynamicConv,\n")
    for name in ("yaml1", "yaml2"):
        (tree.folder / f"{name}.yaml").write_bytes((tutorial / f"{name}.yaml").read_bytes())
    renamed = (tutorial / "yaml2.yaml").read_text(encoding="utf-8")
    renamed = renamed.replace("C2f_DynamicConv", "C2f_GhostModule_DynamicConv")
    (tree.folder / "renamed.yaml").write_text(renamed, encoding="utf-8")

    code = """
        import torch
        for name in ("yaml1.yaml", "yaml2.yaml", "renamed.yaml"):
            report(name).train()(torch.rand(2, 3, 64, 64))["boxes"].sum().backward()
    """
    lines = output(tree.run(REPORT + textwrap.dedent(code)))
    built = [line for line in lines if line[:4] in ("yaml", "rena") and "scale" not in line]
    assert built == [
        "yaml1.yaml 4885608 ultralytics.nn.modules.block C2f",
        "yaml2.yaml 2331328 ultralytics.nn.Addmodules.DynamicConv C2f_GhostModule_DynamicConv",
        "renamed.yaml 2331328 ultralytics.nn.Addmodules.core C2f_GhostModule_DynamicConv",
    ]
    clashes = [line for line in lines if "two add-ons" in line]
    assert clashes == [
        "two add-ons export C2f_GhostModule_DynamicConv: that of ultralytics.nn.Addmodules.core "
        "replaces that of ultralytics.nn.Addmodules.DynamicConv"
    ]


OWN = '''
import torch
import torch.nn as nn
from ultralytics.utils.tal import make_anchors, dist2bbox
from timm_like import make_divisible

class Conv(nn.Module):
    """Not the core's."""

class C2f(nn.Module):
    """Not the core's."""

class MyEMA(nn.Module):
    def __init__(self, channels, factor=8):
        super().__init__()
        self.gate = nn.Conv2d(channels, channels, 1, groups=factor)

    def forward(self, x):
        return x * self.gate(x).sigmoid()

class MyCBAM(MyEMA):
    pass

class Stack(nn.Module):
    def __init__(self, c1, c2, n=1):
        super().__init__()
        self.m = nn.Sequential(*(nn.Conv2d(c1 if i == 0 else c2, c2, 1) for i in range(n)))

    def forward(self, x):
        return self.m(x)
'''

OWN_YAML = """
nc: 2
scales: {n: [0.5, 0.5, 64]}
backbone:
  - [-1, 1, Conv, [64, 3, 2]]
  - [-1, 1, MyEMA, []]
  - [-1, 1, MyCBAM, [4]]
  - [-1, 4, Stack, [100]]
  - [-1, 6, C2f, [64, True]]
head:
  - [[4], 1, Detect, [nc]]
"""


def test_a_block_of_ones_own_with_a_pasted_branch(tree):
    (tree.folder / "timm_like.py").write_text("def make_divisible(v, divisor=8):\n    return 0\n", encoding="utf-8")
    tree.append("Addmodules/OwnBlocks.py", OWN)  # no __all__, and names of the core in it
    tree.append("Addmodules/__init__.py", "from .OwnBlocks import *\n")
    branch = """\
            elif m in {MyEMA, MyCBAM}:
                c2 = ch[f]
                args = [c2, *args]
            elif m is Stack:
                c1, c2 = ch[f], args[0]
                if c2 != nc:
                    c2 = make_divisible(min(c2, max_channels) * width, 8)
                args = [c1, c2, n, *args[1:]]
                n = 1
"""
    tree.replace("tasks.py", "            else:\n", branch + "            else:\n")
    (tree.folder / "yolov8-own.yaml").write_text(OWN_YAML, encoding="utf-8")
    code = """
        model = report("yolov8n-own.yaml")
        print([type(m).__module__.split(".", 2)[2] + "." + type(m).__name__ for m in model.model])
        ema, cbam, stack, c2f = model.model[1:5]
        print(ema.gate.groups, cbam.gate.groups, stack.m[0].out_channels, len(stack.m), len(c2f.m))
        print(tasks.make_divisible(9, 8))
    """
    lines = output(tree.run(REPORT + textwrap.dedent(code)))
    assert lines[1:] == [
        "['modules.conv.Conv', 'Addmodules.OwnBlocks.MyEMA', 'Addmodules.OwnBlocks.MyCBAM', "
        "'Addmodules.OwnBlocks.Stack', 'modules.block.C2f', 'modules.head.Detect']",
        "8 4 32 2 3",
        "16",
    ]
    assert not any("two add-ons" in line for line in lines)


def test_a_set_names_a_class_that_nobody_imported(tree):
    tree.append("Addmodules/MyBlock.py", "from torch import nn\n\n\nclass MyBlock(nn.Module):\n    pass\n")
    tree.replace("tasks.py", "        DynamicConv,\n", "        DynamicConv,\n        MyBlock,\n")
    done = tree.run("import ultralytics.nn.tasks")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "ultralytics.utils.errors.ModelError: MyBlock is in Addmodules/MyBlock.py, but ultralytics/nn/tasks.py does "
        "not know it: write `from .MyBlock import MyBlock` in Addmodules/__init__.py"
    )


def test_a_file_that_nobody_imported_is_named_although_its_class_is_known(tree):
    tree.append("Addmodules/core.py", "from torch import nn\n\n\nclass DynamicConv(nn.Module):\n    pass\n")
    done = tree.run("import ultralytics.nn.tasks")
    assert (done.stdout + done.stderr).splitlines() == [
        "Addmodules/core.py is not used for DynamicConv, which is that of ultralytics.nn.Addmodules.DynamicConv: to "
        "use yours, write `from .core import *` at the end of Addmodules/__init__.py"
    ]


def test_a_typing_error_in_a_set(tree):
    tree.replace("tasks.py", "        DynamicConv,\n", "        DynamicConvv,\n")
    message = tree.run("import ultralytics.nn.tasks").stderr.splitlines()[-1]
    assert "uses the name DynamicConvv" in message and "the nearest names in Addmodules are DynamicConv" in message


def test_a_file_that_was_saved_over_one_of_the_tree(tree):
    """As the tutorial's core.py may be, which has other classes and exports one of them."""
    text = "from torch import nn\n__all__ = ['Mine']\nclass Mine(nn.Module): ...\nclass DynamicConv(nn.Module): ...\n"
    (tree.nn / "Addmodules" / "DynamicConv.py").write_text(text, encoding="utf-8")
    message = tree.run("import ultralytics.nn.tasks").stderr.splitlines()[-1]
    names, _, advice = message.partition("uses names that no import brings: ")[2].partition("; ")
    assert {"DynamicConvBnAct", "ConvBnAct", "C2f_DynamicConv", "GhostModule"} <= {*names.split(", ")}
    assert not {"Conv", "SPPF", "ODConv", "EMA"} & {*names.split(", ")}
    assert (
        "Addmodules/DynamicConv.py, give yours another name, restore that one (git checkout ultralytics/nn/" in advice
    )


def test_several_classes_of_sets_that_nobody_imported(tree):
    tree.append("Addmodules/One.py", "from torch import nn\nclass One(nn.Module): ...\nclass Two(nn.Module): ...\n")
    tree.replace("tasks.py", "        DynamicConv,\n", "        DynamicConv,\n        One,\n        Two,\n")
    message = tree.run("import ultralytics.nn.tasks").stderr.splitlines()[-1]
    assert message.endswith(
        "does not know One, Two: write `from .One import One`, `from .One import Two` in Addmodules/__init__.py"
    )


def test_shipped_yamls_that_name_neither_need_neither_timm_nor_torchvision(tree):
    code = """
        import sys
        from pathlib import Path
        for file in sorted(Path("ultralytics/cfg/models").rglob("*.yaml")):
            text = file.read_text(encoding="utf-8")
            if ", timm" not in text and "DCNv2}" not in text:
                report(file.name.replace("yolov8", "yolov8n"))
        print([name for name in ("timm", "torchvision", "cv2", "matplotlib", "pandas", "scipy") if name in sys.modules])
    """
    lines = output(tree.run(REPORT + textwrap.dedent(code)))
    assert len(lines) >= 8
    assert lines[-1] == "[]"


def test_a_file_and_a_row_that_names_it_are_enough(tree):
    tree.append("Addmodules/OwnBlocks.py", OWN.replace("from timm_like import make_divisible\n", ""))
    text = OWN_YAML.replace("EMA, []", "EMA, [c1, 8]").replace("CBAM, [4]", "CBAM, [c1, 4]")
    text = text.replace("Stack, [100]", "Stack, [c1, w(100), d(4)]").replace("[-1, 4, Stack", "[-1, 1, Stack")
    (tree.folder / "yolov8-own.yaml").write_text(text, encoding="utf-8")
    code = """
        model = report("yolov8n-own.yaml")
        ema, cbam, stack, c2f = model.model[1:5]
        print(ema.gate.groups, cbam.gate.groups, stack.m[0].out_channels, len(stack.m), len(c2f.m))
        print(type(c2f).__module__)
    """
    lines = output(tree.run(REPORT + textwrap.dedent(code)))
    assert lines[1:] == ["8 4 32 2 3", "ultralytics.nn.modules.block"]


def test_files_of_a_foreign_repository_find_each_other_and_replace_a_further_block_of_the_core(tree):
    tree.append("Addmodules/gates.py", "from torch import nn\n\n\nclass Gate(nn.Sigmoid):\n    pass\n")
    psa = "from gates import Gate\nfrom torch import nn\n\n\nclass {}(nn.Module):\n"
    psa += "    def __init__(self, channel=512, S=4):\n        super().__init__()\n"
    psa += "        self.S, self.gate = S, Gate()\n\n    def forward(self, x):\n"
    psa += "        return self.gate(x)\n"
    tree.append("Addmodules/PSA.py", psa.format("PSA"))
    tree.append("Addmodules/others.py", psa.format("SPP") + psa.format("Lone").partition("\n")[2])
    code = """
        import sys
        from ultralytics.nn.tasks import parse_model
        rows = [[-1, 1, "Conv", [8]], [-1, 1, "PSA", ["c1", 2]], [-1, 1, "Lone", ["c1"]], [-1, 1, "SPP", [8]]]
        for layer in parse_model({"nc": 1, "backbone": rows[:3], "head": rows[3:]}, 3, verbose=False)[0]:
            print(type(layer).__module__, getattr(layer, "S", None))
        print([path for path in sys.path if "Addmodules" in path])
    """
    assert output(tree.run(REPORT + textwrap.dedent(code))) == [
        "ultralytics.nn.modules.conv None",
        "ultralytics.nn.Addmodules.PSA 2",
        "ultralytics.nn.Addmodules.others 4",
        "ultralytics.nn.modules.block None",  # the file is not called SPP
        "[]",
    ]


def test_a_block_file_that_cannot_be_imported_or_that_is_there_twice(tree):
    tree.append("Addmodules/Mine.py", "import mmcv_is_not_here\nfrom torch import nn\nclass Mine(nn.Module): ...\n")
    for name in ("One", "Two"):
        tree.append(f"Addmodules/{name}.py", "from torch import nn\nclass Both(nn.Module): ...\n")
    code = """
        from ultralytics.utils.errors import ModelError
        for name in ("Mine", "Both"):
            try:
                tasks.find_module(name)
            except ModelError as exc:
                print(exc)
    """
    first, second = output(tree.run(REPORT + textwrap.dedent(code)))
    assert first.startswith("Mine is in Addmodules/Mine.py, which cannot be imported: ModuleNotFoundError: No module")
    assert second.startswith("Both is in Addmodules/One.py and in Addmodules/Two.py: write `from .One import Both`")
