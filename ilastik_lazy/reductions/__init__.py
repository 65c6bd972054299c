"""Reductions out of core: `reduce`, `histogram`, `percentile`, `normalise`, `standardise`, and classes."""

from __future__ import annotations

from ilastik_lazy.core.reducing.arithmetic import REDUCTIONS, Reduction
from ilastik_lazy.core.reducing.plan import ReductionPlan, plan_reduction
from ilastik_lazy.reductions.classes import measure_classes
from ilastik_lazy.reductions.classify import classify
from ilastik_lazy.reductions.histogram import HistogramResult, histogram
from ilastik_lazy.reductions.normalise import normalise, standardise
from ilastik_lazy.reductions.percentile import percentile
from ilastik_lazy.reductions.reducing import reduce

__all__ = [
    "REDUCTIONS",
    "HistogramResult",
    "Reduction",
    "ReductionPlan",
    "classify",
    "histogram",
    "measure_classes",
    "normalise",
    "percentile",
    "plan_reduction",
    "reduce",
    "standardise",
]
