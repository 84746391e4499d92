"""The items of three reporting guidelines, by their own numbers and in our words, and where this report answers them.

Sources: CLAIM 2024, Tejani et al. (2024), doi 10.1148/ryai.240300; STARD-AI, Sounderajah et al. (2025), doi
10.1038/s41591-025-03953-8; TRIPOD+AI, Collins et al. (2024), doi 10.1136/bmj-2023-078378. The items say here what is
asked in a few words; whoever reports by them should read them there.
"""

from __future__ import annotations

Item = tuple[str, str, str]
"""Number, what it asks, and the label of the section that answers it; or, after a `!`, why none does."""

PAPER = "!Belongs to the paper about a study; this report is about one model on one cohort."
AUTHORS = "!Only the people behind the study can say; nothing in a run does."
NO_PROTOCOL = "!A run records no protocol and no registration."
ONE_COHORT = "!One cohort with its own test role; data from elsewhere need a run or a scoring of their own."
NO_PERSONS = "!The cohort's table holds nothing about persons beyond their ids."
NO_RATERS = "!The cohort's table holds one label for each image and no second reading."
NO_DATES = "!The cohort's table holds no dates; its data card may."
NO_SIZE = "!The cohort was taken as it is; no size was planned."
NO_DESIGN = "!The cohort's table does not say when, for what or in which order its images were taken."
NO_BLINDING = "!The labels carry no record of what those who gave them knew."
NO_UPDATE = "!The model was not updated after its evaluation."
NO_HARM = "!Images were read after the fact; nothing was done to anyone."

CLAIM: tuple[Item, ...] = (
    ("1", "Title names the technology", PAPER),
    ("2", "Structured summary", PAPER),
    ("3", "Background, intended use and role", "purpose"),
    ("4", "Aims and hypotheses", PAPER),
    ("5", "Prospective or retrospective", NO_DESIGN),
    ("6", "Goal of the study", "purpose"),
    ("7", "Sources of the data", "data"),
    ("8", "Who and what was included and excluded", "data"),
    ("9", "Preprocessing", "model"),
    ("10", "Choice of parts of the data", "data"),
    ("11", "How identities were removed", "data"),
    ("12", "Missing data and images that cannot be evaluated", "data"),
    ("13", "How images were taken", "data"),
    ("14", "Reference standard: what it is", "data"),
    ("15", "Reference standard: why this one", "card"),
    ("16", "Reference standard: who gave it", "data"),
    ("17", "Annotation of the test set", "card"),
    ("18", "Agreement between and within readers", NO_RATERS),
    ("19", "How data were assigned to parts", "data"),
    ("20", "Level at which the parts are disjoint", "data"),
    ("21", "Size of the test set and its reason", NO_SIZE),
    ("22", "The model in detail", "model"),
    ("23", "Software and versions", "environment"),
    ("24", "First values of the parameters", "model"),
    ("25", "Training: augmentation and every setting", "model"),
    ("26", "How the final model was chosen", "choices"),
    ("27", "Ensemble: members and how they are joined", "model"),
    ("28", "Measures of performance", "results"),
    ("29", "Uncertainty and tests", "results"),
    ("30", "Robustness", "robustness"),
    ("31", "Explanations and whether they are valid", "explanation_checks"),
    ("32", "Test on internal data", "results"),
    ("33", "Test on external data", ONE_COHORT),
    ("34", "Registration of a trial", NO_PROTOCOL),
    ("35", "Numbers included and excluded", "data"),
    ("36", "Who the persons are, by part", NO_PERSONS),
    ("37", "Performance against the reference, by part", "results"),
    ("38", "Diagnostic accuracy with intervals", "results"),
    ("39", "Analysis of failures", "failures"),
    ("40", "Limits", "limits"),
    ("41", "What it means for practice", "purpose"),
    ("42", "Full protocol", NO_PROTOCOL),
    ("43", "Where software, model and data are to be had", "data"),
    ("44", "Funding and the funders' role", AUTHORS),
)

STARD: tuple[Item, ...] = (
    ("1", "Title names AI and a measure of accuracy", PAPER),
    ("2", "Structured summary", PAPER),
    ("3", "Background, intended use, place in the workflow", "purpose"),
    ("4", "Objectives", PAPER),
    ("5", "Data collected before or after the test was planned", NO_DESIGN),
    ("6", "Ethics approval", "data"),
    ("7", "Who and what was eligible", "data"),
    ("8", "How participants were found", NO_DESIGN),
    ("9", "Where and when", NO_DATES),
    ("10", "Consecutive, random or convenient series", NO_DESIGN),
    ("11", "Source of the data", "data"),
    ("12", "Who annotated, and how", "data"),
    ("13", "Devices and software", "data"),
    ("14", "Acquisition and preprocessing", "model"),
    ("15a", "The test in enough detail to repeat it", "model"),
    ("15b", "How the test was developed", "choices"),
    ("15c", "Threshold, and whether it was fixed beforehand", "threshold"),
    ("15d", "Who uses it, with which training", "purpose"),
    ("16a", "Reference standard in detail", "data"),
    ("16b", "Reference standard: why this one", "card"),
    ("16c", "Reference standard: its categories", "data"),
    ("17a", "What the test knew of the reference", "choices"),
    ("17b", "What the reference knew of the test", NO_BLINDING),
    ("18", "Statistical methods", "results"),
    ("19", "Indeterminate results", "threshold"),
    ("20", "Missing results", "data"),
    ("21", "Variability of the accuracy", "subgroups"),
    ("22", "Planned size", NO_SIZE),
    ("23", "Analysis of errors, bias and fairness", "failures"),
    ("24", "Flow of participants", "data"),
    ("25", "Who and what is in each part", "data"),
    ("26a", "Severity among those with the condition", NO_PERSONS),
    ("26b", "Other diagnoses among those without", NO_PERSONS),
    ("27", "Time between test and reference", NO_DATES),
    ("28", "Whether the test set is like the place of use", "prevalence"),
    ("29", "How external data differ", ONE_COHORT),
    ("30", "Cross table of test and reference", "results"),
    ("31", "Accuracy with intervals", "results"),
    ("32", "Harm from test or reference", NO_HARM),
    ("33", "Limits", "limits"),
    ("34", "What it means for practice", "purpose"),
    ("35", "Ethics and fairness of its use", "limits"),
    ("36", "Registration", NO_PROTOCOL),
    ("37", "Protocol", NO_PROTOCOL),
    ("38", "Funding", AUTHORS),
    ("39", "Commercial interests", AUTHORS),
    ("40a", "Where data and code are to be had", "data"),
    ("40b", "Whether outputs are kept and can be audited", "environment"),
)

TRIPOD: tuple[Item, ...] = (
    ("1", "Title names model, population and outcome", PAPER),
    ("2", "Summary", PAPER),
    ("3a", "Health context, and why the model", "purpose"),
    ("3b", "Population, purpose and users", "purpose"),
    ("3c", "Known inequalities in health", NO_PERSONS),
    ("4", "Objectives", PAPER),
    ("5a", "Sources of the data, and how representative", "data"),
    ("5b", "Dates", NO_DATES),
    ("6a", "Setting and centres", "data"),
    ("6b", "Who was eligible", "data"),
    ("6c", "Treatments", NO_PERSONS),
    ("7", "Preparation and quality of the data", "model"),
    ("8a", "Outcome: what and how", "data"),
    ("8b", "Outcome: who judged it", "data"),
    ("8c", "Outcome: judged blind or not", NO_BLINDING),
    ("9a", "Choice of predictors", "model"),
    ("9b", "Definition of predictors", "model"),
    ("9c", "Who measured predictors", "!The predictors are the pixels of a photograph; no one judges them."),
    ("10", "Size of the study", NO_SIZE),
    ("11", "Missing data", "data"),
    ("12a", "How data were used and parted", "data"),
    ("12b", "How predictors were handled", "model"),
    ("12c", "Model, building, tuning, internal validation", "model"),
    ("12d", "Differences between clusters", "subgroups"),
    ("12e", "Measures and plots", "results"),
    ("12f", "Updating after evaluation", NO_UPDATE),
    ("12g", "How predictions were calculated", "threshold"),
    ("13", "Imbalance of the classes", "choices"),
    ("14", "Fairness: what was done", "subgroups"),
    ("15", "Output, classes and thresholds", "threshold"),
    ("16", "Development against evaluation data", "data"),
    ("17", "Ethics approval and consent", "data"),
    ("18a", "Funding", AUTHORS),
    ("18b", "Conflicts of interest", AUTHORS),
    ("18c", "Protocol", NO_PROTOCOL),
    ("18d", "Registration", NO_PROTOCOL),
    ("18e", "Where the data are to be had", "data"),
    ("18f", "Where the code is to be had", "environment"),
    ("19", "Part that patients and the public took", AUTHORS),
    ("20a", "Flow, with and without the outcome", "data"),
    ("20b", "Who the participants are", NO_PERSONS),
    ("20c", "Development and evaluation compared", "data"),
    ("21", "Numbers in each analysis", "results"),
    ("22", "The full model, for use by others", "environment"),
    ("23a", "Performance with intervals, by subgroup too", "results"),
    ("23b", "Differences between clusters", "subgroups"),
    ("24", "Results of updating", NO_UPDATE),
    ("25", "Interpretation, with fairness", PAPER),
    ("26", "Limits", "limits"),
    ("27a", "Input of poor quality", "robustness"),
    ("27b", "What users must do and know", "purpose"),
    ("27c", "Next steps", PAPER),
)

GUIDELINES = {"CLAIM 2024": CLAIM, "STARD-AI": STARD, "TRIPOD+AI": TRIPOD}
"""Items by guideline, in the order of the report."""
