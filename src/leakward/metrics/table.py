"""Every measure by name, in the order of a report: the headline first, papers' own conventions last."""

from leakward.metrics.classification import CLASS_RECOVERED
from leakward.metrics.gain import PSNR_GAIN, SSIM_GAIN
from leakward.metrics.identification import IDENTIFIED, RANK
from leakward.metrics.label_recovery import LABEL_RECOVERED
from leakward.metrics.mean_squared_error import MSE
from leakward.metrics.metric import Metric
from leakward.metrics.normalised import MSE_NORMALISED, PSNR_NORMALISED
from leakward.metrics.peak_signal_to_noise import PSNR
from leakward.metrics.perceptual import LPIPS
from leakward.metrics.region import MSE_INSIDE, MSE_OUTSIDE, SSIM_INSIDE, SSIM_OUTSIDE
from leakward.metrics.relative_leakage import RDLV
from leakward.metrics.site_neighbours import K_IIP_1, K_IIP_3, K_IIP_5
from leakward.metrics.structural_similarity import SSIM

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        IDENTIFIED,
        RANK,
        SSIM_GAIN,
        PSNR_GAIN,
        SSIM,
        PSNR,
        MSE,
        LABEL_RECOVERED,
        CLASS_RECOVERED,
        LPIPS,
        RDLV,
        K_IIP_1,
        K_IIP_3,
        K_IIP_5,
        SSIM_INSIDE,
        SSIM_OUTSIDE,
        MSE_INSIDE,
        MSE_OUTSIDE,
        MSE_NORMALISED,
        PSNR_NORMALISED,
    )
}
