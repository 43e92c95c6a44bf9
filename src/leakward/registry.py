"""Every name a plan may use, and where the thing behind it lives.

The tables hold strings, so that listing names imports nothing heavy. Other packages add to them with
entry points in the groups ``leakward.attacks``, ``leakward.defenses``, ``leakward.data``,
``leakward.models`` and ``leakward.metrics``.
"""

from importlib.metadata import entry_points
from typing import Any, Literal

from leakward import lazy
from leakward.errors import UnknownNameError, brief

Family = Literal["attacks", "defenses", "data", "models", "metrics"]

BUILT_IN: dict[Family, dict[str, str]] = {
    "attacks": {
        "ensemble": "leakward.attacks.ensemble:Ensemble",
        "dlg": "leakward.attacks.dlg:DLG",
        "idlg": "leakward.attacks.idlg:IDLG",
        "cpl": "leakward.attacks.cpl:CPL",
        "inverting-gradients": "leakward.attacks.inverting_gradients:InvertingGradients",
        "gaussian-prior": "leakward.attacks.gaussian_prior:GaussianPrior",
        "gradinversion": "leakward.attacks.gradinversion:GradInversion",
        "fl-gradient-inversion": "leakward.attacks.fl_gradient_inversion:FLGradientInversion",
        "analytic-linear": "leakward.attacks.analytic_linear:AnalyticLinear",
        "robbing-the-fed": "leakward.attacks.robbing_the_fed:RobbingTheFed",
        "curious-abandon-honesty": "leakward.attacks.curious_abandon_honesty:CuriousAbandonHonesty",
        "fishing": "leakward.attacks.fishing:Fishing",
        "r-gap": "leakward.attacks.r_gap:RGAP",
        "spear": "leakward.attacks.spear:SPEAR",
        "ggl": "leakward.attacks.ggl:GGL",
        "gias": "leakward.attacks.gias:GIAS",
        "gifd": "leakward.attacks.gifd:GIFD",
        "learning-to-invert": "leakward.attacks.learning_to_invert:LearningToInvert",
        "fedavg-inversion": "leakward.attacks.fedavg_inversion:FedAvgInversion",
    },
    "defenses": {
        "none": "leakward.federated.defense:NoDefense",
        "gaussian-noise": "leakward.defenses.gaussian_noise:GaussianNoise",
        "laplacian-noise": "leakward.defenses.laplacian_noise:LaplacianNoise",
        "clipping": "leakward.defenses.clipping:Clipping",
        "pruning": "leakward.defenses.pruning:Pruning",
        "dp-sgd": "leakward.defenses.dp_sgd:DPSGD",
        "sign": "leakward.defenses.sign:Sign",
        "quantise": "leakward.defenses.quantise:Quantise",
        "top-k": "leakward.defenses.top_k:TopK",
        "local-dp": "leakward.defenses.local_dp:LocalDP",
        "central-dp": "leakward.defenses.central_dp:CentralDP",
        "larger-batches": "leakward.defenses.larger_batches:LargerBatches",
        "more-local-steps": "leakward.defenses.more_local_steps:MoreLocalSteps",
        "withheld-layers": "leakward.defenses.withheld_layers:WithheldLayers",
        "frozen-layers": "leakward.defenses.frozen_layers:FrozenLayers",
        "outpost": "leakward.defenses.outpost:Outpost",
        "soteria": "leakward.defenses.soteria:Soteria",
        "bido": "leakward.defenses.bido:BiDO",
        "precode": "leakward.defenses.precode:PRECODE",
        "variational-bottleneck": "leakward.defenses.variational_bottleneck:VariationalBottleneck",
        "group-norm": "leakward.defenses.group_norm:GroupNorm",
        "mixup": "leakward.defenses.mixup:Mixup",
        "instahide": "leakward.defenses.instahide:InstaHide",
        "ats": "leakward.defenses.ats:ATS",
        "learnable-perturbation": "leakward.defenses.learnable_perturbation:LearnablePerturbation",
        "shadow-defense": "leakward.defenses.shadow_defense:ShadowDefense",
        "random-pixel-noise": "leakward.defenses.random_pixel_noise:RandomPixelNoise",
        "brightness-offset": "leakward.defenses.brightness_offset:BrightnessOffset",
        "flare-percentile": "leakward.defenses.flare_percentile:FlarePercentile",
        "flare-svt": "leakward.defenses.flare_svt:FlareSVT",
        "flower-local-dp": "leakward.defenses.flower_local_dp:FlowerLocalDP",
        "flower-fixed-clipping": "leakward.defenses.flower_fixed_clipping:FlowerFixedClipping",
        "flower-adaptive-clipping": "leakward.defenses.flower_adaptive_clipping:FlowerAdaptiveClipping",
    },
    "data": {
        "phantom": "leakward.data.phantom:load",
        "bloodmnist": "leakward.data.medmnist:load",
        "pneumoniamnist": "leakward.data.medmnist:load",
        "retinamnist": "leakward.data.medmnist:load",
        "cifar10": "leakward.data.cifar10:load",
    },
    "models": {
        "lenet": "leakward.models.lenet:lenet",
        "convnet": "leakward.models.convnet:convnet",
        "cnn6": "leakward.models.cnn6:cnn6",
        "mlp": "leakward.models.mlp:mlp",
        "resnet18": "leakward.models.monai:resnet18",
        "densenet121": "leakward.models.monai:densenet121",
    },
    "metrics": {
        "identified": "leakward.metrics.identification:IDENTIFIED",
        "rank": "leakward.metrics.identification:RANK",
        "ssim_gain": "leakward.metrics.gain:SSIM_GAIN",
        "psnr_gain": "leakward.metrics.gain:PSNR_GAIN",
        "ssim": "leakward.metrics.structural_similarity:SSIM",
        "psnr": "leakward.metrics.peak_signal_to_noise:PSNR",
        "mse": "leakward.metrics.mean_squared_error:MSE",
        "label_recovered": "leakward.metrics.label_recovery:LABEL_RECOVERED",
        "class_recovered": "leakward.metrics.classification:CLASS_RECOVERED",
        "lpips": "leakward.metrics.perceptual:LPIPS",
        "rdlv": "leakward.metrics.relative_leakage:RDLV",
        "k_iip_1": "leakward.metrics.site_neighbours:K_IIP_1",
        "k_iip_3": "leakward.metrics.site_neighbours:K_IIP_3",
        "k_iip_5": "leakward.metrics.site_neighbours:K_IIP_5",
        "ssim_inside": "leakward.metrics.region:SSIM_INSIDE",
        "ssim_outside": "leakward.metrics.region:SSIM_OUTSIDE",
        "mse_inside": "leakward.metrics.region:MSE_INSIDE",
        "mse_outside": "leakward.metrics.region:MSE_OUTSIDE",
        "mse_normalised": "leakward.metrics.normalised:MSE_NORMALISED",
        "psnr_normalised": "leakward.metrics.normalised:PSNR_NORMALISED",
    },
}


def names(family: Family) -> dict[str, str]:
    """Return ``name -> "module:attribute"`` for a family, built-in names first."""
    external = {point.name: point.value for point in entry_points(group=f"leakward.{family}")}
    return external | BUILT_IN[family]


def load(family: Family, name: str) -> Any:
    """Import what ``name`` stands for.

    Raises:
        UnknownNameError: If the family has no such name; the message lists those it has.
    """
    known = names(family)
    if name not in known:
        raise UnknownNameError(f"unknown name {brief(name)} among {family}; choose one of: {', '.join(sorted(known))}")
    return lazy.imported(known[name])


def member(family: Family, attribute: str) -> Any:
    """Import the built-in class or function called ``attribute``, for the package of its family.

    Raises:
        AttributeError: If the family has none, as Python expects of a package.
    """
    places = {place.partition(":")[2]: place for place in BUILT_IN[family].values()}
    return lazy.member(f"leakward.{family}", places, attribute)


def name_of(family: Family, kind: type[Any]) -> str:
    """Return the name under which ``kind`` is registered.

    Raises:
        UnknownNameError: If it is not.
    """
    target = f"{kind.__module__}:{kind.__qualname__}"
    for name, value in names(family).items():
        if value == target:
            return name
    raise UnknownNameError(f"{target} is not registered among {family}; add it as an entry point leakward.{family}")
