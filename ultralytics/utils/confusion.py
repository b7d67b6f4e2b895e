"""What the network takes for what."""

import numpy as np
import torch

from ultralytics.utils.matching import assign, box_iou


class ConfusionMatrix:
    """Counts of predicted (rows) against true classes (columns); the last of each is the background.

    `matrix` (nc + 1, nc + 1): a detection without object counts in the last column, an object that nothing detects in
    the last row. Without `background`, for pictures of one class each, (nc, nc).
    """

    def __init__(self, names: dict[int, str], background: bool = True) -> None:
        self.names = names
        self.nc = len(names)
        self.matrix = np.zeros((self.nc + background, self.nc + background), dtype=int)

    def process_cls_preds(self, preds: np.ndarray, targets: np.ndarray) -> None:
        """Add pictures: the predicted class (n,) of each and the true one (n,)."""
        np.add.at(self.matrix, (preds, targets), 1)

    def process_batch(
        self,
        detections: torch.Tensor,
        gt_bboxes: torch.Tensor,
        gt_cls: torch.Tensor,
        conf: float = 0.25,
        iou_thres: float = 0.45,
        iou: np.ndarray | None = None,
    ) -> None:
        """Add one image: detections (n, 6) xyxy, confidence, class in order of confidence; objects (m, 4) xyxy, (m,).

        Only detections above `conf` count. They take objects as for the AP, whatever the classes. `iou` (m, n) replaces
        that of the boxes, which may then be in any notation.
        """
        if iou is None:
            iou = box_iou(gt_bboxes, detections[:, :4]).cpu().numpy()
        sure = detections[:, 4] > conf
        detections, iou = detections[sure], iou[:, sure.cpu().numpy()]
        taken = assign(iou, np.array([iou_thres]))[:, 0]  # (n,) object or -1
        true = gt_cls.cpu().numpy().astype(int)
        predicted = detections[:, 5].cpu().numpy().astype(int)

        found = taken >= 0
        np.add.at(self.matrix, (predicted[found], true[taken[found]]), 1)
        np.add.at(self.matrix, (predicted[~found], self.nc), 1)
        np.add.at(self.matrix, (self.nc, np.delete(true, taken[found])), 1)
