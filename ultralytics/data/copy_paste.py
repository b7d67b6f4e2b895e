"""Objects with an outline are cut out and pasted in where there is room (copy-paste, arXiv 2012.07177)."""

from dataclasses import replace

import numpy as np

from ultralytics.data.instances import Objects, Sample
from ultralytics.data.polygons import fill

MAX_COVERED = 0.3  # share of an object already there that a pasted one's box may cover


def paste_mirrored(sample: Sample, share: float) -> Sample:
    """The sample with a share of its mirror image's objects, where these lie in the mirror image."""
    width = sample.size[1]
    mirrored = replace(sample, img=sample.img[:, ::-1], objects=sample.objects.flip_lr(width))
    return paste(sample, mirrored, share)


def paste(sample: Sample, source: Sample, share: float) -> Sample:
    """The sample with a share of those objects of `source`, a picture of the same size, that there is room for.

    The share is of the objects with an outline whose box covers less than 0.3 of each object already there, those that
    cover least first. They hide what is below them, and the objects there keep their outlines.
    """
    covered = most_covered(source.objects, sample.objects)
    fitting = np.flatnonzero((covered < MAX_COVERED) & source.objects.outlined)
    chosen = fitting[np.argsort(covered[fitting], kind="stable")][: round(share * len(fitting))]
    if not len(chosen):
        return sample
    img = sample.img.copy()
    shapes = source.objects.polygons.split()
    for i in chosen:
        inside = fill(shapes[i], sample.size) > 0
        img[inside] = source.img[inside]
    parts = [sample.objects, *(source.objects.select(np.arange(len(covered)) == i) for i in chosen)]
    return replace(sample, img=img, objects=type(sample.objects).concat(parts))


def most_covered(new: Objects, old: Objects) -> np.ndarray:
    """(n,) the largest share of an old object's box that each new one's box covers, 0 where there is none."""
    low = np.maximum(new.boxes[:, None, :2], old.boxes[None, :, :2])
    high = np.minimum(new.boxes[:, None, 2:], old.boxes[None, :, 2:])
    shared = (high - low).clip(min=0).prod(2)
    return (shared / (old.areas + 1e-7)).max(1, initial=0.0)
