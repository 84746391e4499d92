"""The validation report: from a run whose test set was opened to a PDF."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from msht import __version__
from msht.cohort.splits import describe_split, disjointness_in_words, groups_of
from msht.decision import Decision, reference_in_words
from msht.errors import InvalidInput
from msht.files import quoted, read_json, sha256_of
from msht.training.recipe import Recipe
from pipelines.bundle import LIMITS, architecture_in_words, card_limits, cohort_facts, training_facts
from pipelines.cards import card_of
from pipelines.compare_tables import comparisons_for_report
from pipelines.report_case_parts import estimate_part
from pipelines.report_validation_data import card_in_words, data_source, flow
from pipelines.report_validation_parts import (
    deferral_section,
    explanation_section,
    failures_section,
    local_values,
    robustness_section,
)
from pipelines.report_validation_settings import (
    architecture_facts,
    preprocessing_facts,
    time_in_print,
    training_settings,
)
from pipelines.run_folder import RunFolder
from pipelines.tracking_reports import log_validation_report
from pipelines.validation_figures import (
    Level,
    calibration_result,
    labels_and_scores,
    net_benefit,
    prevalence_curve,
    result_row,
    roc,
    subgroup_rows,
)
from pipelines.words import find_row, in_words, intervals_in_words
from reports.parts import Fact, Weight
from reports.validation import (
    Choice,
    Disjointness,
    NotAvailable,
    ScoreDistribution,
    ValidationReport,
    write_validation_report,
)
from reports.wording import percent_and_interval
from reports.words import words_of

DEFERRED_ERROR = 0.05
"""Error allowed among the cases that are not referred, unless another is asked for."""
WORDS = {"patient_id": "patient", "case_id": "case", "slide_id": "slide", None: "image"}


def report_validation(
    run_path: Path,
    out: Path,
    *,
    created: datetime | None = None,
    comparison: Path | None = None,
    prevalence: float | None = None,
    error: float = DEFERRED_ERROR,
    subgroups: tuple[str, ...] = (),
) -> Path:
    """Write the validation report of a run.

    Args:
        run_path: a finished run whose test set was opened (`msht evaluate`).
        out: the PDF.
        created: time of the report; None: now.
        comparison: folder of `msht compare` with this run among its models.
        prevalence: of the place where the model is to be used, in (0, 1).
        error: allowed among the cases that are not referred, for the deferral curve.
        subgroups: further columns of the cohort to part the test fields by.

    Raises:
        InvalidInput: if the run is unfinished, its test set was never opened, or an option makes no sense.
    """
    if prevalence is not None and not 0 < prevalence < 1:
        raise InvalidInput(f"--prevalence is {prevalence:g}.", "Give a share between 0 and 1, such as 0.3.")
    if not 0 <= error < 1:
        raise InvalidInput(f"--error is {error:g}.", "Give a share from 0 to below 1, such as 0.05.")
    run = RunFolder(run_path)
    state = run.require_finished()
    if not run.evaluation_file.is_file():
        raise InvalidInput(
            f"The test set of {run_path} was never opened.", f"Open it with `msht evaluate {quoted(run_path)}`."
        )
    report = build_validation_report(
        run,
        state,
        created or datetime.now(UTC).astimezone(),
        prevalence=prevalence,
        error=error,
        subgroups=subgroups,
    )
    if comparison is not None:
        report = report.model_copy(update={"comparisons": comparisons_for_report(comparison, run.fitted_digest())})
    write_validation_report(report, out)
    log_validation_report(run, report)
    return out


def build_validation_report(
    run: RunFolder,
    state: dict[str, Any],
    created: datetime,
    *,
    prevalence: float | None = None,
    error: float = DEFERRED_ERROR,
    subgroups: tuple[str, ...] = (),
) -> ValidationReport:
    """Put together what the report says; arguments as `report_validation`."""
    recipe, split = run.recipe(), run.split(check_images=False)
    decision = Decision.model_validate(read_json(run.decision_file, what="decision of a run")["decision"])
    evaluation = read_json(run.evaluation_file, what="evaluation of a run")
    rows = [*evaluation["performance"], *read_json(run.figures_file, what="figures of a run")]
    cohort = cohort_facts(split)
    training = training_facts(recipe, split, state, evaluation, decision)
    card = card_of(split)
    test = pd.read_csv(run.test_file, dtype={"group": str, "case": str})
    test = test[test["evaluable"]]
    test_cases = pd.read_csv(run.test_cases_file, dtype={"group": str, "case": str}).dropna(subset=["probability"])
    folds = pd.read_csv(run.out_of_fold_file)
    fold_cases = pd.read_csv(run.out_of_fold_cases_file)
    sets: list[tuple[str, Level, np.ndarray, np.ndarray]] = [
        ("Test", "case", *labels_and_scores(test_cases)),
        ("Test", "field", *labels_and_scores(test)),
        ("Out of fold", "case", *labels_and_scores(fold_cases)),
        ("Out of fold", "field", *labels_and_scores(folds[folds["evaluable"]])),
    ]
    test_rows = {level: find_row(evaluation["performance"], level) for level in ("case", "field")}
    described = describe_split(split)
    return ValidationReport(
        report_id=f"V-{split.digest[:6]}-{created:%Y%m%d-%H%M%S}",
        created=created,
        model_name=f"{run.path.name}, {architecture_in_words(recipe, split.folds)}",
        software=f"msht {__version__}",
        summary=_summary(evaluation, test_rows, [r for r in rows if r["fold"] is not None and r["level"] == "field"]),
        purpose=(
            "Decision support in rapid on-site evaluation: a second look at photographed fields of a smear, with a "
            "calibrated score for each case, while a person responsible for the case decides."
        ),
        users="Cytopathologists, cytotechnologists and endoscopists who know the limits stated here.",
        out_of_scope=card.unsuitable_uses if split.card else LIMITS[:1],
        positive_means=cohort["positive_means"],
        cohort_name=cohort["title"],
        data_source=data_source(card, split),
        reference_standard=f"Labels by: {card.labels.given_by.rstrip('.')}. {reference_in_words(split.frame)}",
        flow=flow(split, evaluation),
        disjointness=Disjointness(
            group=WORDS[split.grouped_by],
            groups=int(groups_of(split.frame, split.grouped_by).nunique()),
            shared_by_roles=described["disjointness"]["groups_in_two_roles"],
            shared_by_folds=described["disjointness"]["groups_in_two_folds"],
            duplicates=disjointness_in_words(split),
            split_digest=split.digest,
        ),
        choices=_choices(training, decision, recipe),
        preprocessing=preprocessing_facts(recipe.preprocessing),
        architecture=architecture_facts(run, recipe, split),
        training=training_settings(recipe, state, training),
        threshold=_threshold(decision),
        results=tuple(result_row(row) for row in rows),
        interval_method=f"By field: {intervals_in_words(test_rows['field'])}. By case: "
        f"{intervals_in_words(test_rows['case'])}",
        calibration=tuple(calibration_result(*s, row=_row_of(rows, s[0], s[1])) for s in sets),
        roc=tuple(roc(*s, row=_row_of(rows, s[0], s[1])) for s in sets if len(set(s[2])) == 2),
        prevalence=tuple(
            curve
            for level in ("case", "field")
            if (curve := prevalence_curve(test_rows[level], level, prevalence)) is not None
        ),
        local=local_values(test_rows, prevalence),
        distributions=tuple(
            ScoreDistribution(
                name=name,
                level=level,
                negative=tuple(values[labels == 0]),
                positive=tuple(values[labels == 1]),
                threshold=(decision.case_point if level == "case" else decision.field_point).threshold,
            )
            for name, level, labels, values in sets
            if name == "Test"
        ),
        subgroups=subgroup_rows(test, decision, recipe.seed, subgroups),
        decision_curve=net_benefit(sets[0], sets[1]),
        deferral=deferral_section(sets[0], sets[1], decision, error),
        **robustness_section(run, evaluation["fitted_digest"]),
        **explanation_section(run, evaluation["fitted_digest"]),
        **failures_section(run, evaluation["fitted_digest"]),
        comparisons=NotAvailable(reason="One model was trained."),
        limits=(*LIMITS, *card_limits(split)),
        data_card=card_in_words(card),
        weights=tuple(
            Weight(name=f"fold {n}", sha256=sha256_of(run.fold(n) / "model.safetensors"))
            for n in range(1, split.folds + 1)
        ),
        digests=(
            Fact(name="manifest", value=split.manifest_digest),
            Fact(name="split", value=split.digest),
            *([Fact(name="audit", value=split.audit_digest)] if split.audit_digest else []),
            Fact(name="out-of-fold predictions", value=sha256_of(run.out_of_fold_file)),
            Fact(name="test predictions", value=sha256_of(run.test_file)),
        ),
        environment=tuple(Fact(name=k, value=v) for k, v in state["environment"].items()),
        split_by_image=split.grouped_by is None,
        synthetic=cohort["synthetic"],
        warnings=(*decision.warnings, *_warnings(evaluation)),
    )


def _row_of(rows: list[dict[str, Any]], name: str, level: str) -> dict[str, Any]:
    return next(row for row in rows if row["name"] == name and row["level"] == level)


def _summary(
    evaluation: dict[str, Any], rows: dict[str, dict[str, Any]], folds: list[dict[str, Any]]
) -> tuple[str, ...]:
    """Findings: the test figures, networks that say one thing of everything, and what is left to a person."""
    sentences = []
    for level in ("case", "field"):
        row = rows[level]
        sensitivity, specificity = (_share(row, measure) for measure in ("sensitivity", "specificity"))
        groups = _counted(row["n_groups"], row["unit"].removesuffix("s"))
        sentences.append(
            f"On {_counted(row['n_rows'], f'test {level}')} ({groups}) the AUROC is {in_words(row, 'auroc')}; at the "
            f"operating point the sensitivity is {sensitivity} and the specificity {specificity}."
        )
    for fold in folds:
        for measure, words in (("specificity", "positive"), ("sensitivity", "negative")):
            if fold["estimates"][measure]["value"] == 0:
                sentences.append(
                    f"The network of fold {fold['fold']} calls all its held-out fields {words} at the field threshold: "
                    f"{measure} 0."
                )
    referred, refused = evaluation["referred_cases"], evaluation["not_evaluable_cases"]
    sentences.append(
        f"Of {_counted(evaluation['cases'], 'test case')}, {referred} {'is' if referred == 1 else 'are'} indeterminate "
        f"and would be referred, and {refused} cannot be evaluated."
    )
    return tuple(sentences)


def _share(row: dict[str, Any], measure: str) -> str:
    """A share of a summary in per cent, with its interval."""
    value, interval = percent_and_interval(estimate_part(row, measure), words_of("en"))
    return f"{value} ({interval})" if interval else value


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' * (number != 1)}"


def _warnings(evaluation: dict[str, Any]) -> tuple[str, ...]:
    times = len(evaluation["opened"])
    return (f"The test set was opened {times} times.",) if times > 1 else ()


def _chosen(decision: Decision, what: str, else_: str) -> str:
    """What the decision says about a choice; runs made before there was one say nothing."""
    return next((c.partition(": ")[2] for c in decision.choices if c.startswith(what)), else_)


def _choices(training: dict[str, Any], decision: Decision, recipe: Recipe) -> tuple[Choice, ...]:
    return (
        Choice(what="Epoch", data=training["epoch_chosen_by"], rule=f"selection: {recipe.training.selection}"),
        Choice(
            what="Calibrator",
            data=training["temperature_fitted_on"],
            rule=_chosen(decision, "Calibrator", "a temperature for each fold's network, fixed beforehand"),
        ),
        Choice(
            what="Case rule",
            data="out-of-fold cases",
            rule=f"{decision.case_rule_in_words} {_chosen(decision, 'Case rule', 'The rule was fixed beforehand.')}",
        ),
        Choice(
            what="Operating point",
            data=decision.case_point.data,
            rule=f"{decision.case_point.rule}: {decision.case_point.threshold:.3f}",
        ),
        Choice(
            what="Quality gate",
            data="development images",
            rule=f"limits at the {recipe.decision.quality_quantile:.1%} quantiles",
        ),
        Choice(
            what="Test set",
            data="nothing was chosen on it",
            rule=f"opened {'; '.join(map(time_in_print, training['test_opened']))}",
        ),
    )


def _threshold(decision: Decision) -> tuple[Fact, ...]:
    return (
        Fact(name="Case threshold", value=f"{decision.case_point.threshold:.4f}: {decision.case_point.rule}"),
        Fact(name="Chosen on", value=decision.case_point.data),
        Fact(name="Guarantee", value=decision.case_point.guarantee),
        Fact(name="Field threshold", value=f"{decision.field_point.threshold:.4f}: {decision.field_point.rule}"),
        Fact(name="Case rule", value=decision.case_rule_in_words),
        Fact(
            name="Conformal sets",
            value=f"by case, error level {decision.conformal_error:.0%} ({decision.conformal_kind}), quantiles "
            f"{decision.quantiles[0]:.3f} (negative) and {decision.quantiles[1]:.3f} (positive) "
            f"from {decision.conformal_cases} out-of-fold {decision.conformal_level}s",
        ),
        Fact(name="What the sets promise", value=decision.conformal_guarantee),
        Fact(name="Referral", value=decision.refer_rule),
        Fact(name="Scope of the guarantees", value=decision.scope),
    )
