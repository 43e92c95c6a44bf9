"""The server's part: averaging that outlives a site which withholds its update."""

from nvflare.app_common.abstract.fl_model import FLModel
from nvflare.app_common.workflows.fedavg import FedAvg
from nvflare.app_opt.pt.recipes.fedavg import FedAvgRecipe


class LenientFedAvg(FedAvg):
    """FedAvg that keeps its model in a round of which nothing came; FLARE's own would go on with an empty one."""

    def update_model(self, model: FLModel, aggr_result: FLModel) -> FLModel:
        """Return the model after a round."""
        return super().update_model(model, aggr_result) if aggr_result.params else model


class LenientRecipe(FedAvgRecipe):
    """FedAvg that goes on with the other sites where one withholds; FLARE's own ends the job at the first error."""

    def _create_controller(self, persistor_id: str, model_params: object, model_aggregator: object) -> FedAvg:
        del model_params, model_aggregator  # of recipes without a persistor, or with averaging of their own
        return LenientFedAvg(
            num_clients=self.min_clients,
            num_rounds=self.num_rounds,
            persistor_id=persistor_id,
            ignore_result_error=True,
        )
