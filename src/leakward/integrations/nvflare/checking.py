"""``ModelCheckFilter``: a client does not train a model that looks made for reading images off its update."""

from nvflare.apis.dxo import DataKind, from_shareable
from nvflare.apis.filter import Filter
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable

from leakward.errors import LeakwardError
from leakward.integrations.nvflare.payload import BEGUN, blocking, tensors
from leakward.integrations.nvflare.sites import site_of_task
from leakward.live.recording import of_network
from leakward.models import build_task
from leakward.threat import findings


class ModelCheckFilter(Filter):
    """Refuse a task whose model is not of the network that the site's file names, or looks tampered with.

    It looks for what ``leakward doctor`` looks for in a model; a server that knows this can stay below, so that passing
    is no proof of honesty. With the model a round begins: images and steps of one that was never
    finished are forgotten.

    Args:
        site: Path of the site's file.
    """

    def __init__(self, site: str) -> None:
        super().__init__()
        self.site = site  # as it was given: FLARE writes a job's configuration from fields of this name

    def process(self, shareable: Shareable, fl_ctx: FLContext) -> Shareable:
        """Return the task as it came; one without a model passes.

        Raises:
            ContentBlockedException: If the model must not be trained; the site's log says why.
        """
        with blocking():
            self._check(shareable, fl_ctx)
        return shareable

    def _check(self, shareable: Shareable, fl_ctx: FLContext) -> None:
        try:
            dxo = from_shareable(shareable)
        except ValueError:  # a task without a model
            return
        if dxo.data_kind != DataKind.WEIGHTS:
            raise LeakwardError(f"expected a task with weights or none, got {dxo.data_kind}; the check knows no other")
        client = site_of_task(self.site, fl_ctx)
        client.start()
        fl_ctx.set_prop(BEGUN, True, private=True, sticky=False)
        task = build_task(client.settings.task)
        found = findings(task, of_network(task, tensors(dxo), "the model that came"))
        if found:
            raise LeakwardError(f"expected an honest model, got one that looks tampered with: {'; '.join(found)}")
