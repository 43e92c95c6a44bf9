"""Leakward at a client of Flower (from 1.41): mods that defend what a client app replies with, and watch what leaves.

    @app.train(mods=[site_mod, defense_mod])
    def train(message, context):
        hand_over(context, images, labels, other_images, other_labels)
        ...

The defence stands under ``leakward-defense``, as the JSON of a plan's table, and the file of the site under
``leakward-site``, as an absolute path: in the node's configuration, where the site sets them (``flower-supernode
--node-config``), or else in the run's (``[tool.flwr.app.config]``). The site's count. A client that cannot be defended
or watched sends an error instead. Mods that mask what is sent, as secure aggregation does, belong before these in the
list, which puts them around; ``site_mod`` belongs around everything else, so that it sees what leaves.
"""

from leakward.integrations.flower.defense import defense_mod
from leakward.integrations.flower.site import hand_over, live_site, site_mod

__all__ = ["defense_mod", "hand_over", "live_site", "site_mod"]
