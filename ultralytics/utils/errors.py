"""Everything that can go wrong, by what the user has to mend. Each message is one sentence that says how."""

MAX_TEXT = 2000  # characters of a message, which may quote what somebody wrote into a file


class YOLOError(Exception):
    """Base of every error this package raises on purpose; scripts print it without a traceback.

    Its text is one line that can be printed, whatever characters are in the names of files, and no book.
    """

    def __str__(self) -> str:
        text = super().__str__()
        if not text.isprintable():
            # Line breaks, control characters and halves of characters as Python writes them, such as \n.
            text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
        return text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 500]} [...] {text[-400:]}"


class ConfigError(YOLOError, ValueError):
    """An option or a value in it."""


class OptionNameError(ConfigError, SyntaxError):
    """A name that no option has; the public package raises a SyntaxError."""

    def __init__(self, message: str) -> None:
        SyntaxError.__init__(self, message)  # ValueError's would leave the text out of tracebacks


class ModelError(YOLOError):
    """A model YAML: an unknown module, wrong channels, a scale that is not there."""


class DatasetError(YOLOError):
    """A dataset YAML or what it points to."""


class CheckpointError(YOLOError):
    """A weights file that cannot be read, written, or does not fit."""


class SourceError(YOLOError):
    """A source to predict on: a path, a video, a tensor."""


class DeviceError(YOLOError):
    """A device that is not there, or has too little memory."""


class NoGPUError(DeviceError):
    """There is no GPU of the kind asked for at all."""


class DependencyError(YOLOError):
    """An optional package that is not installed."""


class TrainingError(YOLOError):
    """A training run that cannot go on."""
