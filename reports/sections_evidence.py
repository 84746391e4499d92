"""Sections of the validation report that ask how far the figures can be trusted: robustness, deferral, maps, errors."""

from __future__ import annotations

from pathlib import Path

from reports.parts import Estimate, Level, Part, Probability


class DecisionCurve(Part):
    """Net benefit over threshold probability."""

    threshold: tuple[Probability, ...]
    """(points,) threshold probabilities."""

    model: tuple[float, ...]
    """(points,) net benefit of the model."""

    level: Level = "case"
    """Whether cases or fields were counted."""

    treat_all: tuple[float, ...]
    """(points,) net benefit of calling every case positive."""


class RobustnessRow(Part):
    """One perturbation at one strength."""

    perturbation: str
    """"JPEG quality", "Gaussian blur", "stain shift", "rotation"."""

    strength: str
    """With its unit: "sigma 2 px"."""

    auroc: Estimate
    """Area under the ROC curve under the perturbation."""

    sensitivity: Estimate
    """At the unchanged threshold."""

    specificity: Estimate
    """At the unchanged threshold."""

    flipped: Probability | None = None
    """Share of calls that changed."""

    refused: Probability | None = None
    """Share of the images that the quality gate would have turned away."""

    number: float = 0.0
    """The strength as a number, for the axis of the figure."""


class DeferralCurve(Part):
    """Error among the cases kept, over the share referred."""

    deferred: tuple[Probability, ...]
    """(points,) share of cases referred, least certain first."""

    error: tuple[Probability, ...]
    """(points,) error among the rest."""

    level: Level = "case"
    """Whether cases or fields are referred."""

    statement: str = ""
    """What the curve says at the chosen error, as a sentence."""


class ExplanationCheck(Part):
    """One check of the heat maps."""

    check: str
    """"Weight randomisation", "Deletion", "Pointing game"."""

    method: str
    """"Grad-CAM, decoder 4"."""

    result: str
    """The figure with its interval, and what it would be by chance."""

    passed: bool | None = None
    """Whether the check is passed; None where there is no bar."""


class MapCurves(Part):
    """Deletion and insertion curves of the maps, beside those of maps that know nothing."""

    shares: tuple[Probability, ...]
    """(points,) share of the pixels taken away or brought back, most evidence first."""

    deletion: tuple[float, ...]
    """(points,) mean score while pixels are taken away."""

    insertion: tuple[float, ...]
    """(points,) mean score while pixels are brought back."""

    deletion_chance: tuple[float, ...]
    """(points,) the same in the order of maps that know nothing."""

    insertion_chance: tuple[float, ...]
    """(points,)."""


class Probes(Part):
    """How the networks answer when patches are dropped or change places."""

    shares: tuple[Probability, ...]
    """(points,) share of the patches dropped."""

    random: tuple[float, ...]
    """(points,) mean score when they are dropped at random."""

    salient: tuple[float, ...]
    """(points,) when those with most evidence go first."""

    non_salient: tuple[float, ...]
    """(points,) when those with least evidence go first."""

    grids: tuple[int, ...]
    """(grids,) patches along an edge when patches change places; 1 is the image as it is."""

    shuffled: tuple[float, ...]
    """(grids,) mean score then."""


class Failure(Part):
    """One wrong call, for the gallery."""

    name: str
    """File name or case."""

    truth: str
    """Reference label."""

    probability: Probability
    """Calibrated score."""

    crop: Path
    """What the model saw."""

    overlay: Path | None = None
    """With its heat map."""

    note: str = ""
    """What a person sees in it."""


class LocalValues(Part):
    """Predictive values at a prevalence that the reader chose."""

    level: Level
    """By field or by case."""

    prevalence: Probability
    """Chosen for the place where the model is to be used."""

    ppv: Estimate
    """Share of positive calls that would be right there."""

    npv: Estimate
    """Share of negative calls that would be right there."""
