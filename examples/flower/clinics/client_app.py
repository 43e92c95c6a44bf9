"""What runs at a clinic."""

from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from clinics import task
from leakward.integrations.flower import defense_mod, hand_over, site_mod

app = ClientApp()


@app.train(mods=[site_mod, defense_mod])
def train(message: Message, context: Context) -> Message:
    """Train on the images of a round, which the site is shown as well."""
    config = message.content.config_records["config"]
    network = task.make_network()
    network.load_state_dict(message.content.array_records["arrays"].to_torch_state_dict())
    held = task.images_of(int(context.node_config["partition-id"]), int(context.node_config["num-partitions"]))
    batch, others = task.choose(held, int(str(config["server-round"])), int(str(config["images"])))
    hand_over(context, batch.images, batch.labels, others.images, others.labels)
    task.train(network, batch, float(str(config["learning-rate"])))
    counted = MetricRecord({"num-examples": len(batch)})
    return Message(RecordDict({"arrays": ArrayRecord(network.state_dict()), "metrics": counted}), reply_to=message)
