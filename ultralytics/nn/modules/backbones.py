"""Backbones of timm and torchvision as a row. Both packages are imported when a row names one."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ultralytics.utils.checkpoint import load_checkpoint
from ultralytics.utils.errors import ModelError
from ultralytics.utils.files import nearest

STRIDES = (8, 16, 32)  # of the maps that heads of the YOLO family take


class Timm(nn.Module):
    """Any backbone of timm that gives feature maps: `[-1, 1, timm, [starnet_s1, {pretrained: starnet.safetensors}]]`.

    `out_indices` are the stages whose maps come out; by default those of strides 8, 16 and 32. `pretrained` is a local
    file of timm's own weights; True asks timm, which may download them. All else goes to `timm.create_model`.
    """

    def __init__(
        self,
        c1: int,
        name: str,
        out_indices: Sequence[int] | None = None,
        pretrained: bool | str = False,
        **settings: Any,
    ) -> None:
        super().__init__()
        import timm  # takes a second, and only who names it needs it

        if not timm.is_model(name):
            near = nearest(name, timm.list_models())
            raise ModelError(f"timm {timm.__version__} has no model {name!r}; the nearest are {', '.join(near)}")
        settings |= {"features_only": True, "in_chans": c1}
        if out_indices is None:
            with torch.random.fork_rng(devices=[]):  # this network only says which stages there are
                strides = timm.create_model(name, **settings).feature_info.reduction()
            last = {stride: i for i, stride in enumerate(strides)}  # the last stage of every stride
            out_indices = [last[stride] for stride in STRIDES if stride in last]
            if not out_indices:
                raise ModelError(f"{name} gives maps of strides {strides}, none of 8, 16 or 32: give out_indices")
        if isinstance(pretrained, str):
            if not Path(pretrained).is_file():
                raise ModelError(f"there is no weights file {pretrained}; True lets timm look for them, and download")
            settings["pretrained_cfg_overlay"] = {"file": pretrained}
        self.m = timm.create_model(name, pretrained=bool(pretrained), out_indices=tuple(out_indices), **settings)
        self.channels_last = str(getattr(self.m, "output_fmt", "NCHW")).endswith("NHWC")

    def forward(self, x: Tensor) -> list[Tensor]:
        """Images (B, C, H, W) to feature maps (B, C', H / s, W / s), finest first."""
        maps = self.m(x)
        return [m.permute(0, 3, 1, 2).contiguous() for m in maps] if self.channels_last else list(maps)


class TorchVision(nn.Module):
    """A network of torchvision: `[-1, 1, TorchVision, [768, convnext_tiny, None, True, 2, True]]`.

    `weights` is a file of its weights, None, or the name of an entry such as DEFAULT, whose file must lie where torch
    keeps such files: nothing is downloaded. `unwrap` takes its layers one by one, without the last `truncate`; with
    `split` the image and the output of every layer come out, which Index or `name.k` picks from. Without `unwrap` it
    stays as it is, but for its head.
    """

    def __init__(
        self, model: str, weights: str | None = "DEFAULT", unwrap: bool = True, truncate: int = 2, split: bool = False
    ) -> None:
        super().__init__()
        from torchvision import models

        if model not in models.list_models():
            near = nearest(model, models.list_models())
            raise ModelError(f"torchvision has no model {model!r}; the nearest are {', '.join(near)}")
        network = models.get_model(model, weights=None)
        if weights is not None:
            network.load_state_dict(load_checkpoint(weights_file(model, weights)).state_dict)
        self.split = bool(unwrap and split)
        if unwrap:
            layers = list(network.children())
            if isinstance(layers[0], nn.Sequential):  # `features`, and a head behind it
                layers[:1] = layers[0].children()
            self.m = nn.Sequential(*layers[: len(layers) - truncate])
        else:
            self.m = network
            self.m.head = self.m.heads = nn.Identity()

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """Images (B, 3, H, W) to the last map, or with `split` to [image, map of the first layer, …]."""
        if not self.split:
            return self.m(x)
        maps = [x]
        for layer in self.m:
            maps.append(layer(maps[-1]))
        return maps


def weights_file(model: str, weights: str) -> Path:
    """The file that a row's `weights` names: a path, or an entry of torchvision's such as DEFAULT."""
    from torchvision import models

    if Path(weights).suffix:
        return Path(weights)
    entries = models.get_model_weights(model)
    if not hasattr(entries, weights):
        known = ", ".join(["DEFAULT", *(entry.name for entry in entries)])
        raise ModelError(f"{model} has no weights {weights!r}; it has {known}; or give a file, or None")
    url = getattr(entries, weights).url
    file = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if not file.is_file():
        raise ModelError(
            f"weights {weights} of {model} would be {file}, which is not there, and nothing is downloaded: put {url} "
            "there, or write None in its place"
        )
    return file
