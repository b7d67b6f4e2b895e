"""Networks of a few rows, described in a test."""

from ultralytics.nn.tasks import DetectionModel, parse_model

HEAD = [[[-1], 1, "Detect", ["nc"]]]


def describe(*backbone, head=HEAD, **keys):
    """A model YAML as a mapping."""
    return {"nc": 2, "yaml_file": "mine.yaml", "backbone": list(backbone), "head": list(head)} | keys


def build(*backbone, **keys):
    """The network of such a mapping."""
    return DetectionModel(describe(*backbone, **keys), verbose=False)


def layers(*backbone, ch=3, **keys):
    """Its layers alone."""
    return parse_model(describe(*backbone, **keys), ch, verbose=False)[0]
