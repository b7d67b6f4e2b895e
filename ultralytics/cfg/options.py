"""Every option: the typed object that holds them, and the table of what each takes. Defaults are in default.yaml."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NoReturn, get_args

from ultralytics.cfg.published import NOT_IMPLEMENTED, UNSUPPORTED, translate
from ultralytics.cfg.types import (
    DEVICE,
    FLAG,
    FLAG_OR_PATH,
    FRACTION,
    INVALID,
    LOSS_NAME,
    NAME,
    PATH,
    SOURCE,
    TEXT,
    OptionType,
    any_of,
    choice,
    integer,
    list_of,
    number,
    optional,
)
from ultralytics.utils.errors import ConfigError, OptionNameError
from ultralytics.utils.files import nearest

TASKS = ("detect", "segment", "pose", "obb", "classify")

OptimizerName = Literal["auto", "SGD", "Adam", "Adamax", "AdamW", "NAdam", "RAdam", "RMSProp"]
Method = Literal["train", "val", "predict", "export"]

# Defaults that depend on the method; the rows of default.yaml are empty. `save` is that of a call in Python: detect.py
# sets it.
METHOD_DEFAULTS: dict[Method, dict[str, Any]] = {
    "train": {"project": "runs/train", "name": "exp", "batch": 16, "rect": False, "conf": 0.001, "save": True},
    "val": {"project": "runs/val", "name": "exp", "batch": 16, "rect": True, "conf": 0.001, "save": True},
    "predict": {"project": "runs/detect", "name": "exp", "batch": 1, "rect": True, "conf": 0.25, "save": False},
    "export": {"name": "exp", "batch": 1},
}


class Options:
    """Every option as an attribute. Read-only: `replace` makes a changed copy.

    The types are those after `resolve`; before, those of METHOD_DEFAULTS may be None. `given` holds the names of the
    options that were set in a call or a cfg file, so that what is chosen automatically can respect them.
    """

    # What to run
    task: str | None  # detect, segment, pose, obb or classify; empty: the task of the model
    model: str | None  # network to build (.yaml) or weights to start from (.pt, .safetensors)
    data: str | list[str] | None  # dataset YAML, or for classify a folder of images by class
    cfg: str | None  # YAML with options of your own; those given in the call override it
    device: int | str | list[int | str] | None  # 0 (first GPU), cpu or mps; train: or several, 0,1
    project: str  # parent folder of the runs; empty: runs/train, runs/val or runs/detect
    name: str  # name of the run folder; empty: exp
    exist_ok: bool  # write into an existing run folder instead of exp2, exp3, ...
    verbose: bool  # log progress and results
    seed: int  # seed of all random generators
    deterministic: bool  # deterministic algorithms, where torch has them

    # Training
    epochs: int  # number of epochs, passes over the training images
    time: float | None  # maximum hours of training; overrides epochs
    patience: int  # early stopping after this many epochs without improvement; 0: off
    batch: int | float  # images per batch; -1: as many as fit on the GPU; 0.8: as fit on 80 % of it
    imgsz: int | list[int]  # input size of the network in pixels, longer side; or [height, width]
    save: bool  # save checkpoints and images; empty: True, but False for model.predict() in Python
    save_period: int  # save an extra checkpoint every n epochs; -1: none
    cache: bool | Literal["ram", "disk"]  # cache decoded images in memory (True or ram) or on disk (disk)
    reduced_decode: bool  # decode training JPEGs of twice imgsz or more at a half to an eighth
    workers: int  # processes that load images; 0: load in the main process
    pretrained: bool | str | None  # start from the weights that model names; or a weights file to start from
    optimizer: OptimizerName  # SGD, Adam, Adamax, AdamW, NAdam, RAdam or RMSProp
    single_cls: bool  # treat all classes as one
    rect: bool  # rectangular batches of similar aspect ratio instead of squares; empty: True, but False in training
    cos_lr: bool  # cosine learning-rate schedule instead of a linear one
    close_mosaic: int  # last epochs without mosaic, mixup, cutmix and copy_paste
    resume: bool | str | None  # resume an interrupted run: True, or the path of its last.pt
    amp: bool | Literal["bf16"]  # mixed precision: True (float16, CUDA only), bf16 or False
    fraction: float | int  # fraction of the training images to use, the first ones by path; classify: of each class
    freeze: int | list[int | str] | None  # layers to freeze: 10 (the first ten), [0, 1] or names ([model.22.dfl])
    multi_scale: float  # vary imgsz per batch by up to this fraction; True: 0.5
    compile: bool  # compile the network with torch.compile
    sync_bn: bool  # several processes: norms learn from the images of all of them, not each from its own
    channels_last: bool | None  # NHWC memory format; empty: on CPUs, where it is faster and all blocks take it
    overlap_mask: bool  # segment: overlapping pixels belong to the smallest object
    mask_ratio: int  # segment: downsampling ratio of the training masks
    nbs: int  # nominal batch size, reached by gradient accumulation
    dropout: float  # classify: dropout probability in front of the last layer
    val: bool  # validate after every epoch
    plots: bool  # plot curves, labels and sample batches

    # Validation and prediction
    split: Literal["train", "val", "test"]  # split of the dataset to validate on: train, val or test
    save_json: bool  # save detections in COCO's JSON format
    conf: float  # minimum confidence; empty: 0.25 for prediction, 0.001 for validation
    iou: float  # NMS: IoU above which the less confident box of a class is dropped
    retina_masks: bool  # segment: masks at the resolution of the original image instead of the network's input
    max_det: int  # maximum detections per image
    half: bool  # float16 inference (CUDA only); export: float16 weights and images
    augment: bool  # detect: test-time augmentation, which joins predictions at several sizes and mirrored
    agnostic_nms: bool  # NMS: boxes suppress each other across classes
    embed: list[int] | None  # return means of these layers' feature maps instead of results: 21 or [15, 21]
    visualize: bool  # save a heat map of each image: where its predictions come from
    source: Any  # what to predict on: file, folder, glob, list, video, camera index, array
    vid_stride: int  # process every n-th frame of a video
    classes: list[int] | None  # keep only these class indices: 0 or [0, 2]; classify: all others get the probability 0
    show: bool  # show results in a window
    save_txt: bool  # save detections as label files
    save_conf: bool  # append the confidence to each row of save_txt
    save_crop: bool  # save a crop of every detection
    show_labels: bool  # draw class names
    show_conf: bool  # draw confidences
    show_boxes: bool  # draw boxes
    line_width: int | None  # line width of boxes in pixels; empty: by image size

    # Export
    format: Literal["onnx", "torchscript"]  # file format: onnx or torchscript
    dynamic: bool  # dynamic batch and image size, instead of fixed batch and imgsz
    simplify: bool  # simplify the graph with onnxslim (onnx)
    opset: int | None  # ONNX opset version, 11 to 20; empty: 18

    # Hyper-parameters: optimizer and loss
    lr0: float  # initial learning rate, reached after warm-up
    lrf: float  # final learning rate, as a fraction of lr0
    momentum: float  # SGD momentum, or Adam's beta1
    weight_decay: float  # weight decay of weights; biases and norm layers have none
    warmup_epochs: float  # epochs of warm-up; may be a fraction
    warmup_momentum: float  # momentum at the start of warm-up
    warmup_bias_lr: float  # learning rate of biases at the start of warm-up
    box: float  # gain of the box loss (iou_loss; obb: probabilistic IoU)
    cls: float  # gain of the classification loss
    dfl: float  # gain of the distribution focal loss
    pose: float  # pose: gain of the keypoint location loss
    kobj: float  # pose: gain of the keypoint visibility loss
    angle: float  # obb: gain of the angle loss
    iou_loss: str  # loss of boxes: iou, giou, diou, ciou, eiou, siou, shapeiou, mpdiou, piou, piou2, wiou1 or wiou3
    inner_ratio: float  # Inner-IoU: sides of the boxes that overlap, 0.5 to 1.5 times their own; 0: off
    focaler: list[float] | None  # Focaler-IoU: [d, u], the IoU below which a box counts as 0 and above which as 1
    nwd: float  # fraction of the normalized Wasserstein distance in the box loss, for small objects
    nwd_c: float  # its constant in pixels, about the mean size of the objects
    cls_loss: str  # loss of class scores: bce, focal, qfl, vfl or slide
    assign_iou: str  # overlap by which objects are assigned: nwd, or 1 - a loss of the list of iou_loss

    # Hyper-parameters: augmentation of training images
    hsv_h: float  # maximum hue shift, as a fraction of the color circle
    hsv_s: float  # maximum saturation change, as a fraction
    hsv_v: float  # maximum brightness change, as a fraction
    degrees: float  # maximum rotation in degrees, either way
    translate: float  # maximum translation, as a fraction of the image size
    scale: float | list[float]  # zoom by a factor between 1 - scale and 1 + scale
    shear: float  # maximum shear in degrees, either way
    perspective: float  # maximum perspective distortion; 0.001 is a lot
    flipud: float  # probability of a vertical flip
    fliplr: float  # probability of a horizontal flip
    bgr: float  # probability of swapping the red and blue channels
    mosaic: float  # probability of mosaic, which combines four images
    mixup: float  # probability of mixup, which blends two images
    cutmix: float  # probability of cutmix, which pastes a region of another image
    copy_paste: float  # segment, obb: fraction of objects to paste in again, where there is room for them
    copy_paste_mode: Literal["flip", "mixup"]  # paste from the mirrored image (flip) or another (mixup)
    auto_augment: Literal["randaugment", "augmix", "autoaugment"] | None  # classify: randaugment, augmix or autoaugment
    erasing: float  # classify: probability of random erasing

    given: frozenset[str]

    def __init__(self, values: Mapping[str, Any], given: Iterable[str] = ()) -> None:
        self.__dict__.update(values, given=frozenset(given))

    if not TYPE_CHECKING:  # a type checker refuses whatever is no field

        def __getattr__(self, name: str) -> NoReturn:
            """Called for attributes that do not exist."""
            near = nearest(name, OPTIONS)
            hint = f", the nearest are: {', '.join(near)}" if near else ""
            raise AttributeError(f"there is no option {name!r}{hint}")

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise AttributeError(f"options are read-only: use options.replace({name}={value!r})")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Options) and self.__dict__ == other.__dict__

    __hash__ = None

    def __repr__(self) -> str:
        return f"Options({', '.join(f'{name}={getattr(self, name)!r}' for name in sorted(self.given))})"

    def as_dict(self) -> dict[str, Any]:
        """A copy of all options by name, in the order of default.yaml."""
        return {name: value for name, value in self.__dict__.items() if name != "given"}

    def replace(self, **values: Any) -> "Options":
        """A copy with other values, which count as given."""
        return Options(self.as_dict() | check_values(values), self.given | set(values))

    def resolve(
        self, method: Method, task_defaults: Mapping[str, Mapping[str, Any]] = MappingProxyType({})
    ) -> "Options":
        """A copy where options that are not given take the task's default and, if still None, the method's.

        `task_defaults` are by method, such as {"val": {"conf": 0.01}}.
        """
        values = self.as_dict()
        values |= {k: v for k, v in task_defaults.get(method, {}).items() if k not in self.given}
        values |= {k: v for k, v in METHOD_DEFAULTS[method].items() if values[k] is None}
        return Options(values, self.given)


class SettableOptions(Options):
    """Options of a predictor, which can be set from call to call: `predictor.args.conf = 0.5`."""

    def __init__(self, options: Options) -> None:
        super().__init__(options.as_dict(), options.given)

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an option, checked as in a call; None is the default of predictions."""
        values = check_values({name: value})
        if name in values and values[name] is None:
            values[name] = METHOD_DEFAULTS["predict"].get(name)
        self.__dict__.update(values, given=self.given | values.keys())


SIDE = integer(32)  # pixels
OPTIONS: dict[str, OptionType] = {
    # What to run
    "task": optional(choice(*TASKS)),
    **dict.fromkeys(("model", "cfg"), optional(PATH)),
    "data": optional(any_of(PATH, list_of(PATH), parse=SOURCE.parse)),
    "device": optional(DEVICE),
    **dict.fromkeys(("project", "name"), optional(NAME)),
    **dict.fromkeys(("exist_ok", "verbose", "deterministic"), FLAG),
    "seed": integer(0, 2**63 - 1),
    # Training
    "epochs": integer(1),
    "time": optional(number(0, above=True)),
    "patience": integer(0),
    "batch": optional(any_of(choice(-1), integer(1), number(0, 0.99, above=True))),  # the last: of the GPU's memory
    "imgsz": any_of(
        SIDE,
        list_of(SIDE, 2, "[height, width]"),
        OptionType(  # [640] is 640
            SIDE.alternatives,
            read=lambda value: SIDE.read(value[0]) if isinstance(value, list | tuple) and len(value) == 1 else INVALID,
        ),
    ),
    **dict.fromkeys(("save", "rect"), optional(FLAG)),
    "save_period": integer(-1),
    "cache": any_of(FLAG, choice("ram", "disk")),
    **dict.fromkeys(("workers", "close_mosaic"), integer(0)),
    **dict.fromkeys(("pretrained", "resume"), optional(FLAG_OR_PATH)),
    "optimizer": choice(*get_args(OptimizerName)),
    "amp": any_of(FLAG, choice("bf16", fp16=True, fp32=False)),
    "fraction": any_of(number(0, 1, above=True), integer(2)),  # the latter is a number of images
    "freeze": optional(any_of(integer(0), list_of(any_of(integer(0), OptionType(("a layer's name",), TEXT.read))))),
    "multi_scale": OptionType(
        (*FLAG.alternatives, *FRACTION.alternatives),
        read=lambda value: FRACTION.read(value) if (flag := FLAG.read(value)) is INVALID else 0.5 * flag,  # True: 0.5
    ),
    **dict.fromkeys(
        ("single_cls", "reduced_decode", "cos_lr", "compile", "sync_bn", "overlap_mask", "val", "plots"), FLAG
    ),
    "channels_last": optional(FLAG),
    "mask_ratio": integer(1, 32),
    "nbs": integer(1),
    "dropout": number(0, 0.9999),
    # Validation and prediction
    "split": choice("train", "val", "test"),
    "conf": optional(FRACTION),
    "iou": FRACTION,
    "max_det": integer(1),
    "source": SOURCE,
    "vid_stride": integer(1),
    **dict.fromkeys(("classes", "embed"), optional(list_of(integer(0)))),
    **dict.fromkeys(("save_json", "retina_masks", "half", "augment", "agnostic_nms", "visualize", "show"), FLAG),
    **dict.fromkeys(("save_txt", "save_conf", "save_crop", "show_labels", "show_conf", "show_boxes"), FLAG),
    "line_width": optional(integer(1)),
    # Export
    "format": choice("onnx", "torchscript"),
    **dict.fromkeys(("dynamic", "simplify"), FLAG),
    "opset": optional(choice(*range(11, 21))),
    # Hyper-parameters: optimizer and loss
    **dict.fromkeys(("lr0", "lrf", "weight_decay", "warmup_epochs", "warmup_bias_lr"), number(0)),
    **dict.fromkeys(("box", "cls", "dfl", "pose", "kobj", "angle"), number(0)),
    **dict.fromkeys(("momentum", "warmup_momentum"), number(0, 0.9999)),
    **dict.fromkeys(("iou_loss", "cls_loss", "assign_iou"), LOSS_NAME),
    "inner_ratio": OptionType(
        ("0", "a number from 0.5 to 1.5"),
        read=lambda value: (
            value if (value := number(0, 1.5).read(value)) is INVALID or not 0 < value < 0.5 else INVALID
        ),
    ),
    "focaler": optional(list_of(FRACTION, 2, "[d, u], two numbers from 0 to 1")),
    "nwd": FRACTION,
    "nwd_c": number(0, above=True),
    # Hyper-parameters: augmentation of training images
    **dict.fromkeys(("hsv_h", "hsv_s", "hsv_v", "translate"), FRACTION),
    "scale": any_of(FRACTION, list_of(number(0, above=True), 2, "[minimum, maximum]")),
    **dict.fromkeys(("flipud", "fliplr", "bgr", "mosaic", "mixup", "cutmix"), FRACTION),
    **dict.fromkeys(("copy_paste", "erasing"), FRACTION),
    "copy_paste_mode": choice("flip", "mixup"),
    "auto_augment": optional(choice("randaugment", "augmix", "autoaugment")),
    "degrees": number(0, 180),
    "shear": number(0, 89),
    "perspective": number(0, 0.01),
}


def check_value(name: str, value: Any) -> Any:
    """The value an option takes, in its type.

    ConfigError for a name that is no option, with the reason or the nearest names, and for a value that is not of its
    type, with what was expected.
    """
    if name in NOT_IMPLEMENTED:
        raise ConfigError(f"{name} belongs to {NOT_IMPLEMENTED[name]}, which is not supported yet: remove it")
    if name in UNSUPPORTED:
        raise ConfigError(f"{name} {UNSUPPORTED[name]}")
    if name not in OPTIONS:
        near = nearest(str(name), OPTIONS)
        hint = f"did you mean {' or '.join(near)}?" if near else "ultralytics/cfg/default.yaml lists all"
        raise OptionNameError(f"there is no option {name!r}: {hint}")
    result = OPTIONS[name].read(value)
    if result is INVALID:
        letter = name == "scale" and value in ("n", "s", "m", "l", "x")
        hint = f"; the {value} of a network is part of its name: write model=yolov8{value}.yaml" if letter else ""
        raise ConfigError(f"{name}={value!r}: expected {OPTIONS[name].expected}{hint}")
    return result


def check_values(values: Mapping[str, Any], where: str = "", in_file: bool = False) -> dict[str, Any]:
    """Every value checked, under the names of this tree (cfg/published.py).

    The error starts with `where`, the file they are from, and ends with other wrong names. `in_file`: see `translate`.
    """
    checked: dict[str, Any] = {}
    errors: dict[str, ConfigError] = {}
    for name, value in translate(values, in_file).items():
        try:
            checked[name] = check_value(name, value)
        except ConfigError as exc:  # noqa: PERF203 (a file of another program has many; all are reported at once)
            errors[name] = exc
    if errors:
        first, *others = errors
        more = f" (also refused: {', '.join(map(str, others))})" if others else ""
        raise type(errors[first])(f"{where}: {errors[first]}{more}" if where else f"{errors[first]}{more}")
    return checked
