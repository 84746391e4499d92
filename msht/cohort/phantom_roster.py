"""Who is in a phantom cohort: patients, cases, slides and fields, before anything is drawn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import SeedSequence

from msht.cohort.phantom_field import patient_appearance


@dataclass(frozen=True)
class PhantomSettings:
    """Everything that decides what a phantom cohort looks like."""

    patients: int
    fields_per_patient: int
    cases_per_patient: int
    sites: int
    width: int
    height: int
    seed: int


@dataclass(frozen=True)
class PlannedField:
    """One field that is to be drawn, and its row in the manifest."""

    patient: int
    number: int
    site: int
    malignant_patient: bool
    positive: bool
    case_id: str
    slide_id: str
    patient_id: str
    site_name: str

    @property
    def paths(self) -> tuple[str, str]:
        """Of the image and of the mask, below the cohort's folder, with forward slashes."""
        stem = f"{self.site_name}/{self.patient_id}/{self.patient_id}-F{self.number + 1:02d}"
        return f"images/{stem}.jpg", f"masks/{stem}.png"


def plan_cohort(settings: PhantomSettings) -> list[PlannedField]:
    """Every field of the cohort, by patient and number."""
    rng = np.random.default_rng(SeedSequence(settings.seed, spawn_key=(2,)))
    # Rounds over the sites are benign and malignant by turns, so that both are at every site; then shuffled.
    kinds = [(place % settings.sites, bool(place // settings.sites % 2)) for place in range(settings.patients)]
    if not any(malignant for _, malignant in kinds):
        kinds[-1] = (kinds[-1][0], True)
    order = rng.permutation(settings.patients)
    digits = max(3, len(str(settings.patients)))
    fields = []
    for patient in range(settings.patients):
        site, malignant = kinds[order[patient]]
        share = rng.uniform(0.6, 1.0)
        count = settings.fields_per_patient
        positives = max(1, round(share * count)) if malignant else 0
        labels = rng.permutation([True] * positives + [False] * (count - positives))
        patient_id = f"P{patient + 1:0{digits}d}"
        site_name = patient_appearance(settings.seed, patient, site).site
        for number in range(count):
            case = number * settings.cases_per_patient // count
            case_id = f"{patient_id}-C{case + 1}"
            # A case is smeared on two slides: one for each pass of the needle.
            passed = number * settings.cases_per_patient * 2 // count % 2
            fields.append(
                PlannedField(
                    patient=patient,
                    number=number,
                    site=site,
                    malignant_patient=malignant,
                    positive=bool(labels[number]),
                    case_id=case_id,
                    slide_id=f"{case_id}-S{passed + 1}",
                    patient_id=patient_id,
                    site_name=site_name,
                )
            )
    return fields
