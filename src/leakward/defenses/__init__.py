"""Defences, one paper per file.

Each is imported when it is first used: some need libraries that take seconds to import.
"""

from typing import TYPE_CHECKING, Any

from leakward import registry

if TYPE_CHECKING:
    from leakward.defenses.ats import ATS as ATS
    from leakward.defenses.bido import BiDO as BiDO
    from leakward.defenses.brightness_offset import BrightnessOffset as BrightnessOffset
    from leakward.defenses.central_dp import CentralDP as CentralDP
    from leakward.defenses.clipping import Clipping as Clipping
    from leakward.defenses.dp_sgd import DPSGD as DPSGD
    from leakward.defenses.flare_percentile import FlarePercentile as FlarePercentile
    from leakward.defenses.flare_svt import FlareSVT as FlareSVT
    from leakward.defenses.flower_adaptive_clipping import FlowerAdaptiveClipping as FlowerAdaptiveClipping
    from leakward.defenses.flower_fixed_clipping import FlowerFixedClipping as FlowerFixedClipping
    from leakward.defenses.flower_local_dp import FlowerLocalDP as FlowerLocalDP
    from leakward.defenses.frozen_layers import FrozenLayers as FrozenLayers
    from leakward.defenses.gaussian_noise import GaussianNoise as GaussianNoise
    from leakward.defenses.group_norm import GroupNorm as GroupNorm
    from leakward.defenses.instahide import InstaHide as InstaHide
    from leakward.defenses.laplacian_noise import LaplacianNoise as LaplacianNoise
    from leakward.defenses.larger_batches import LargerBatches as LargerBatches
    from leakward.defenses.learnable_perturbation import LearnablePerturbation as LearnablePerturbation
    from leakward.defenses.local_dp import LocalDP as LocalDP
    from leakward.defenses.mixup import Mixup as Mixup
    from leakward.defenses.more_local_steps import MoreLocalSteps as MoreLocalSteps
    from leakward.defenses.outpost import Outpost as Outpost
    from leakward.defenses.precode import PRECODE as PRECODE
    from leakward.defenses.pruning import Pruning as Pruning
    from leakward.defenses.quantise import Quantise as Quantise
    from leakward.defenses.random_pixel_noise import RandomPixelNoise as RandomPixelNoise
    from leakward.defenses.shadow_defense import ShadowDefense as ShadowDefense
    from leakward.defenses.sign import Sign as Sign
    from leakward.defenses.soteria import Soteria as Soteria
    from leakward.defenses.top_k import TopK as TopK
    from leakward.defenses.variational_bottleneck import VariationalBottleneck as VariationalBottleneck
    from leakward.defenses.withheld_layers import WithheldLayers as WithheldLayers


def __getattr__(name: str) -> Any:
    return registry.member("defenses", name)
