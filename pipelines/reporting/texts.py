"""Texts and headings of the report."""

LEADERBOARD_HEADINGS = {
    "n_recordings": "recordings",
    "lrap": "label ranking average precision (LRAP)",
    "lwlrap": "LRAP weighted by the number of species (LWLRAP)",
    "macro_auc": "mean AUC over species",
    "macro_ap": "mean average precision over species",
}
CALIBRATION_HEADINGS = {
    "brier": "Brier score",
    "log_loss": "log loss",
    "ece": "expected calibration error",
}
LRAP = (
    "<b>LRAP</b> says how near the top of a recording's list of species, sorted by score, the present "
    "species are: 1 if all of them are above all absent ones."
)
LRAP_IS_CONSTANT = (
    " Only one species has positive recordings, so LRAP tells nothing, and AUC selects parameters and "
    "weights."
)
LEADERBOARD = (
    "<b>AUC</b> is the probability that a recording with a species has a higher score for it than a "
    "recording without it; 0.5 is chance. Only recordings with a species count. <b>Out of fold</b>: each "
    "training recording is scored by models that were fitted without its fold. <b>prior</b> scores each "
    "species by its share of training recordings, <b>background</b> by the median spectrum of the recording. "
    "These two do not use calls, so a model that is better than both has learned from calls. Seconds are the "
    "time of fitting and scoring."
)
PRIOR_ESTIMATED = (
    " <b>blend+prior</b> is the blend, corrected for the prevalence that is estimated from the scores of the "
    "test recordings."
)
PRIOR_TABLE = " <b>blend+prior</b> is the blend, corrected for the prevalence in {0}."
PARTIAL = " Out of fold, a species without a TP box in a recording counts as absent, so LRAP is pessimistic."
SPECIES = (
    "A species is reported in a recording if its score reaches its threshold. The thresholds are those of "
    "{0} for a precision of {1:g} on the out-of-fold scores. If no threshold gives this precision, the "
    "threshold is just above the scores of all recordings without the species. <b>Precision</b> is the share "
    "of the reported recordings that contain the species, and <b>recall</b> the share of the recordings with "
    "the species that are reported. A threshold is <b>not verifiable</b> if fewer than {2} training "
    "recordings contain the species, because it is then set on the scores of all species together. Click a "
    "column heading to sort."
)
CALIBRATION = (
    "Brier score, log loss and expected calibration error (over species with at least five positive "
    "recordings) measure how far the probabilities are from the truth; 0 is best. Calibrated probabilities "
    "assume that every species has the mean prevalence of the training recordings. If the prevalence among "
    "the test recordings differs, the probabilities are too high or too low."
)
IMPORTANCE = (
    "Importance of each frequency for each species, from the columns of {0} with a frequency extent. {1} "
    "The orange box is the band of the species, the median of its TP boxes. High importance far outside the "
    "box means that the model relies on other sounds of the same recording sites."
)
EXAMPLES = {
    "Most certain and right": "Species that are present and reported, with the highest scores.",
    "Most certain and wrong": "Species that are absent and reported, with the highest scores.",
    "Missed": "Species that are present and not reported, with the lowest scores.",
}
EXAMPLE_FIGURE = (
    "Each species is shown once. Green: the window with the highest score, or with the missed call, in the "
    "band of the species. White, dashed: boxed calls of the species, where they are known."
)
FALSE_REPORTS = (
    "At the thresholds for a precision of {level:g}, {model} is expected to give <b>{per_hour:.1f} false "
    "reports per hour of audio</b>, over all species. A false report is a species that is reported in a "
    "recording which is known not to contain it; it counts once per recording, and a recording lasts "
    "{seconds:.3g} s on average. The number is the sum over the {n_species} of {of} species that are known "
    "to be absent from a recording, and rests on {hours:.3g} hours of audio."
)
TEST_BASIS = "These are test recordings, which have complete labels."
LABEL_BASIS = (
    "These are training recordings, which have complete labels. Their scores are out of fold, but the "
    "thresholds are set on the same scores, so the rate is slightly optimistic."
)
BOX_BASIS = (
    "These are training recordings with FP boxes of a species and without TP boxes of it, scored out of "
    "fold. FP boxes are places where a detector was wrong before, so the rate is pessimistic."
)
NEVER_ABSENT = (
    "No species is known to be absent from a recording, so the rate of false reports is unknown. FP boxes, "
    "train_labels.csv or test_labels.csv would tell it."
)
HISTORY = (
    "LRAP ({0}) of the models that were trained in this folder, on the same recordings each time, over the "
    "number of boxes that they were trained on, with 95 % intervals. If boxes were added to these "
    "recordings, their truth has changed too. The table has the average precision of each species for {1}."
)
REVIEW = (
    "Call density is the share of windows with the species, estimated from verified windows with 90 % "
    "intervals: for each site, for each hour of the day, and in the table over all recordings, with "
    "precision and recall at the threshold. Few verdicts give wide intervals."
)
NOISE = "Detections of {0} in silence and white noise, at the thresholds for a precision of {1:g}."
BLEND_TEXT = (
    "Weights of the members. The weights for new recordings are fitted on the out-of-fold scores of all "
    "folds. The weights for the scores of a fold are fitted on the other folds."
)
STUDY_TEXT = (
    "Each trial fits the model with other parameters; the first uses the default parameters. A trial is "
    "pruned when it is behind the best one by more than one standard error on the folds so far. The first "
    "trial whose score is within one standard error of the best is selected."
)
