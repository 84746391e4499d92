"""Every fixed string of the case report, in one table per language.

The template prints these by name; sentences with figures in them are made in `case_view` from the same table.
"""

from __future__ import annotations

from typing import Literal

Language = Literal["en"]

CASE: dict[Language, dict[str, str]] = {
    "en": {
        "title": "Case report",
        "subtitle": "Cytology image model, rapid on-site evaluation",
        "not_a_diagnosis": "Decision support, not a diagnosis",
        "band_note": "To be read by a cytopathologist together with the smear.",
        "report": "Report",
        "case": "Case, as entered",
        "time": "Time",
        "attention": "Note",
        "page": "page",
        "of": "of",
        "yes": "Yes",
        "no": "No",
        "evaluable_heading": "Can the case be evaluated?",
        "evaluable_answer": "Evaluable",
        "not_evaluable_answer": "Not evaluable",
        "call_heading": "Model call",
        "no_call_heading": "Why there is no model call",
        "positive": "Positive",
        "negative": "Negative",
        "indeterminate": "Indeterminate",
        "not_evaluable": "No call",
        "positive_line": "Positive for {means} at the operating point",
        "negative_line": "Negative: below the operating point for {means}",
        "indeterminate_line": "Indeterminate: the score does not tell positive from negative",
        "not_evaluable_line": "Not evaluable: the model gives no call",
        "negative_caveat": "A negative call does not exclude malignancy.",
        "score_caveat": "The score is the model's, calibrated on its development cohort; it is not this "
        "patient's risk.",
        "unlike": "Unlike the development cohort",
        "unlike_caveat": "The call was made outside what the model knows; nothing should rest on it.",
        "for_the_record": "Model call, for the record:",
        "scale_negative": "negative",
        "scale_positive": "positive",
        "scale_zone": "indeterminate",
        "scale_axis": "Calibrated case score",
        "zone_note": "Hatched: indeterminate, {low} to {high}.",
        "refer_heading": "Refer?",
        "refer_yes": "Refer to a cytopathologist",
        "refer_no": "No referral asked for by the model",
        "deciding_heading": "Fields that weighed most",
        "order_stacked": "Above: as the model saw it; below: the same with the heat map.",
        "order_wide": "Left: as the model saw it; right: the same with the heat map.",
        "scale_unknown": "scale unknown",
        "map_caveat": "The map shows where the network's evidence lies, not that it is right: a heat map "
        "is no proof of malignant cells, and cells outside it can matter.",
        "same_scale": "One scale for all fields of this case.",
        "performance_heading": "How well the model does at this threshold",
        "by_case": "By case",
        "by_field": "By field",
        "reference_positive": "Reference positive",
        "reference_negative": "Reference negative",
        "called_positive": "Called positive",
        "called_negative": "Called negative",
        "sensitivity": "Sensitivity",
        "specificity": "Specificity",
        "ppv": "PPV",
        "npv": "NPV",
        "no_performance": "No performance figures are kept in this bundle: treat the call as unvalidated.",
        "rejections_heading": "What was wrong with the fields",
        "rejected_heading": "Rejected fields",
        "reason": "Reason",
        "fields": "Fields",
        "rejections_note": "Whether to photograph again or to make another pass is for the person at the "
        "microscope to decide; the quality gate looks at the photograph and knows nothing of "
        "the adequacy of the specimen.",
        "table_heading": "All fields",
        "field": "Field",
        "digest": "Digest",
        "size": "Size, px",
        "orientation": "Turned",
        "quality": "Quality",
        "evaluable": "Used",
        "logit": "Raw",
        "probability": "Score",
        "spread": "Spread",
        "unlike_column": "Unlike",
        "call": "Call",
        "table_note": "Digest: first digits of SHA-256. Turned: orientation applied on reading. Used: went "
        "into the case. Raw: mean logit over the networks, before calibration. Score: calibrated. Spread: "
        "standard deviation of the calibrated score over the networks. Unlike: looks unlike the development "
        "cohort.",
        "rule_heading": "Case rule and threshold",
        "entered_heading": "As entered",
        "entered_note": "Typed by a user, not checked by the program.",
        "entered_none": "Nothing was entered about the case.",
        "model_heading": "Model and data",
        "limits_heading": "Limits and unsuitable uses",
        "human_heading": "Assessment by the cytopathologist",
        "human_adequacy": "Adequacy of the specimen",
        "human_adequate": "adequate",
        "human_limited": "limited",
        "human_inadequate": "inadequate",
        "human_category": "Diagnostic category",
        "human_model": "Model call",
        "human_agree": "agree",
        "human_override": "override, because",
        "human_name": "Name",
        "human_signature": "Signature",
        "human_date": "Date",
    }
}

FIXED_LIMITS = (
    "Not for use without the smear: the model sees photographs of single fields, not the specimen.",
    "Says nothing of specimen adequacy, of lesion type or grade, and gives no diagnostic category.",
    "Scores hold for smears, stains and cameras like those of the development cohort.",
)
"""Limits that hold for every model of this kind, printed before those of the bundle."""
