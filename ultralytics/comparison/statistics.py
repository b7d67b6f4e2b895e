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


def drop_rule(drop_after: int) -> str:
    """Rule of `hopeless` in words."""
    return (
        f"*dropped* (drop_after={drop_after}): with each of its first {drop_after} seeds the variant stayed below "
        f"{DROP_BELOW:.0%} of what the first variant reached with that seed. Its further seeds are not trained, and it "
        "gets no verdict: seeds that were chosen by their outcome cannot be tested."
    )


def hopeless(values: Mapping[int, float], base: Mapping[int, float], first: Sequence[int]) -> bool:
    """Whether a variant is dropped by `drop_rule`, given its scores and the first variant's by seed."""
    return all(seed in values and seed in base and values[seed] < DROP_BELOW * base[seed] for seed in first)


@dataclass(frozen=True)
class Summary:
    """Mean and sample standard deviation (NaN of a single value) of `count` values."""

    mean: float
    spread: float
    count: int

    def text(self, digits: int = 4, sign: str = "") -> str:
        """Text such as 0.5768 ± 0.0031."""
        spread = "" if math.isnan(self.spread) else f" ± {self.spread:.{digits}f}"
        return f"{self.mean:{sign}.{digits}f}{spread}"


def summarize(values: Sequence[float]) -> Summary:
    """Mean and spread of at least one value."""
    return Summary(mean(values), stdev(values) if len(values) > 1 else math.nan, len(values))


@dataclass(frozen=True)
class Difference:
    """A variant minus the first one, seed by seed, and the verdict on it."""

    summary: Summary
    verdict: str


def compare(values: Mapping[int, float], base: Mapping[int, float]) -> Difference | None:
    """Difference of two variants, each a value by seed; None where they have no seed in common."""
    seeds = sorted(values.keys() & base.keys())
    if not seeds:
        return None
    differences = [values[seed] - base[seed] for seed in seeds]
    return Difference(summarize(differences), verdict(differences))


def verdict(differences: Sequence[float]) -> str:
    """Verdict in words, by `RULE`: better, perhaps better, within noise, perhaps worse, worse or unknown."""
    summary = summarize(differences)
    if summary.count == 1:
        return "one seed: unknown"
    error = summary.spread / math.sqrt(summary.count)  # standard error of the mean
    agree = all(d > 0 for d in differences) or all(d < 0 for d in differences)
    if not agree or abs(summary.mean) < 2 * error:
        return "within noise"
    word = "better" if summary.mean > 0 else "worse"
    quantile = T975[min(summary.count - 1, len(T975)) - 1]  # two-sided 95 % by count - 1 degrees of freedom
    return word if abs(summary.mean) > quantile * error else f"perhaps {word}"
