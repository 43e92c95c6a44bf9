"""Measures of leakage; the only layer that sees truth and reconstruction together."""

from leakward.metrics.assignment import assign
from leakward.metrics.classification import ClassScores, auc_macro, class_recovered, class_scores
from leakward.metrics.gain import psnr_gain, ssim_gain
from leakward.metrics.identification import identified, rank
from leakward.metrics.intervals import Summary, p_value_above_chance, summarise, upper_bound
from leakward.metrics.label_recovery import label_recovered
from leakward.metrics.mean_squared_error import mse
from leakward.metrics.metric import Metric
from leakward.metrics.normalised import mse_normalised, psnr_normalised
from leakward.metrics.peak_signal_to_noise import psnr
from leakward.metrics.perceptual import lpips
from leakward.metrics.region import by_region
from leakward.metrics.relative_leakage import rdlv
from leakward.metrics.scoring import Extra, Scores, ScoringContext, score
from leakward.metrics.site_neighbours import Neighbours, k_iip
from leakward.metrics.structural_similarity import Moments, moments, ssim, ssim_matrix, ssim_within
from leakward.metrics.table import METRICS

__all__ = [
    "METRICS",
    "ClassScores",
    "Extra",
    "Metric",
    "Moments",
    "Neighbours",
    "Scores",
    "ScoringContext",
    "Summary",
    "assign",
    "auc_macro",
    "by_region",
    "class_recovered",
    "class_scores",
    "identified",
    "k_iip",
    "label_recovered",
    "lpips",
    "moments",
    "mse",
    "mse_normalised",
    "p_value_above_chance",
    "psnr",
    "psnr_gain",
    "psnr_normalised",
    "rank",
    "rdlv",
    "score",
    "ssim",
    "ssim_gain",
    "ssim_matrix",
    "ssim_within",
    "summarise",
    "upper_bound",
]
