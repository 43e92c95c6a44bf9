"""What runs at the server."""

from flwr.app import ArrayRecord, ConfigRecord, Context, MetricRecord
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from clinics import task

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Average what the clinics send, and test it after each round."""
    config = context.run_config
    FedAvg(fraction_evaluate=0.0).start(
        grid,
        ArrayRecord(task.make_network().state_dict()),
        num_rounds=int(config["num-server-rounds"]),
        train_config=ConfigRecord({"images": config["images-per-round"], "learning-rate": config["learning-rate"]}),
        evaluate_fn=test,
    )


def test(number: int, arrays: ArrayRecord) -> MetricRecord:
    """Return the accuracy after round ``number``."""
    network = task.make_network()
    network.load_state_dict(arrays.to_torch_state_dict())
    return MetricRecord({"accuracy": task.accuracy(network)})
