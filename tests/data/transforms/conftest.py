"""A labels dictionary of two instances, and a dataset of such."""

import numpy as np
import pytest

from ultralytics.data.instances import Instances
from ultralytics.data.polygons import Polygons
from ultralytics.models.yolo.pose.data import KeypointInstances

BOXES = np.array([[10, 5, 30, 25], [40, 20, 58, 38]], np.float32)
POINTS = np.array([[[12, 6, 2], [29, 24, 1]], [[41, 21, 2], [57, 37, 0]]], np.float32)


@pytest.fixture
def labels():
    """labels(keypoints=False): noise of 40 x 60 pixels with two squares of the classes 1 and 2."""

    def make(keypoints=False):
        img = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
        corners = BOXES[:, [0, 1, 2, 1, 2, 3, 0, 3, 0, 1]].reshape(-1, 2)
        cls, polygons = np.array([1, 2], np.float32), Polygons(corners, np.array([5, 5]))
        instances = Instances(cls, BOXES, polygons)
        if keypoints:
            instances = KeypointInstances(cls, BOXES, polygons, POINTS)
        return {"img": img, "instances": instances, "cls": cls[:, None], "im_file": "a.jpg"}

    return make


@pytest.fixture
def images(labels):
    """A dataset of three such, as transforms ask for it."""

    class Images:
        asked = 0

        def __len__(self):
            return 3

        def get_image_and_label(self, index):
            self.asked += 1
            assert 0 <= index < 3
            return labels()

    return Images()
