"""Leakward at a client of NVIDIA FLARE (2.9): filters, and what its training script hands over.

Among ``task_data_filters`` belong ``SentModelFilter``, which keeps the model that came, and ``ModelCheckFilter``, which
refuses one that a server tampered with; among ``task_result_filters`` ``DefenseFilter``, and last ``SiteFilter``, the
site's door. None of them returns None, for which FLARE would send the weights as they were: what they cannot deal with
is blocked. A site sets them for every job in its ``local/privacy.json``, a job for itself in its configuration.
"""

from leakward.integrations.nvflare.checking import ModelCheckFilter
from leakward.integrations.nvflare.defending import DefenseFilter, SentModelFilter
from leakward.integrations.nvflare.releasing import SiteFilter
from leakward.integrations.nvflare.sites import hand_over, live_site

__all__ = ["DefenseFilter", "ModelCheckFilter", "SentModelFilter", "SiteFilter", "hand_over", "live_site"]
