"""Means over seeds, differences paired by seed, and whether they are more than noise."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev

# 97.5 % quantiles of Student's t for 1, 2, 3, … degrees of freedom; the last, 2.04, is used for all beyond.
T975 = (
    *(12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281),
    *(2.2010, 2.1788, 2.1604, 2.1448, 2.1314, 2.1199, 2.1098, 2.1009, 2.0930, 2.0860),
    *(2.0796, 2.0739, 2.0687, 2.0639, 2.0595, 2.0555, 2.0518, 2.0484, 2.0452, 2.0423),
)
RULE = (
    "Differences are paired by seed: mean ± standard deviation over the seeds. *within noise*: the seeds differ in "
    "sign, or the mean is less than 2 standard errors from zero. *better*, *worse*: they agree, and the 95 % interval "
    "of a paired t-test leaves zero out. *perhaps*: between the two; more seeds would tell. Every row is a test of its "
    "own: of twenty variants that change nothing, one is expected to come out better or worse."
)
DROP_BELOW = 0.9  # of the first variant's mAP50-95
DROP_RULE = (  # for a number of seeds
    "*dropped* (drop_after={0}): with each of its first {0} seeds the variant stayed below "
    f"{DROP_BELOW:.0%} of what the first variant reached with that seed. Its further seeds are not trained, and it "
    "gets no verdict: seeds that were chosen by their outcome cannot be tested."
)


class Summary:
    """Mean and sample standard deviation (NaN of a single value) of `count` values, at least one."""

    def __init__(self, values: Sequence[float]) -> None:
        self.mean, self.count = mean(values), len(values)
        self.spread = stdev(values) if len(values) > 1 else math.nan

    def text(self, digits: int = 4, sign: str = "") -> str:
        """Text such as 0.5768 ± 0.0031."""
        spread = "" if math.isnan(self.spread) else f" ± {self.spread:.{digits}f}"
        return f"{self.mean:{sign}.{digits}f}{spread}"


@dataclass(frozen=True)
class Difference:
    """A variant minus the first one, seed by seed, and the verdict on it."""

    summary: Summary
    verdict: str  # by RULE: better, perhaps better, within noise, perhaps worse, worse or one seed: unknown


def compare(values: Mapping[int, float], base: Mapping[int, float]) -> Difference | None:
    """Difference of two variants, each a value by seed; None where they have no seed in common."""
    seeds = sorted(values.keys() & base.keys())
    if not seeds:
        return None
    differences = [values[seed] - base[seed] for seed in seeds]
    summary = Summary(differences)
    if summary.count == 1:
        return Difference(summary, "one seed: unknown")
    error = summary.spread / math.sqrt(summary.count)  # standard error of the mean
    agree = all(d > 0 for d in differences) or all(d < 0 for d in differences)
    if not agree or abs(summary.mean) < 2 * error:
        return Difference(summary, "within noise")
    word = "better" if summary.mean > 0 else "worse"
    quantile = T975[min(summary.count - 1, len(T975)) - 1]  # two-sided 95 % by count - 1 degrees of freedom
    return Difference(summary, word if abs(summary.mean) > quantile * error else f"perhaps {word}")
