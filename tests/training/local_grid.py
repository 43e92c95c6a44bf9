"""A federation in this process: nodes with random names, which answer in any order, fall ill, or stay silent."""

from uuid import uuid4

from flwr.app import Context, Error, Message, RecordDict
from flwr.serverapp import Grid
from flwr.supercore.task_identity import TaskIdentity

TaskIdentity.task_id = TaskIdentity.run_id = TaskIdentity.node_id = 1  # of the server, which signs every message


def context(node, **config):
    return Context(run_id=1, node_id=node, node_config=config, state=RecordDict(), run_config={})


class LocalGrid(Grid):
    """Runs a client app at once for every message.

    ``ill(number, round)`` says whether a client raises, ``silent`` whether it never answers.
    """

    def __init__(self, app, clients, order=None, ill=None, silent=None):
        self.app, self.order = app, order or (lambda replies: replies)
        self.ill, self.silent = ill or (lambda *_: False), silent or (lambda *_: False)
        self.contexts = {1000 - 7 * n: context(1000 - 7 * n, **{"partition-id": n}) for n in range(clients)}
        self.replies = {}
        self.sent = []

    run = None

    def set_run(self, run):
        raise NotImplementedError

    def create_message(self, *arguments, **options):
        raise NotImplementedError

    def get_node_ids(self):
        return list(self.contexts)

    def push_messages(self, messages):
        names = []
        for message in messages:
            message.metadata.__dict__["_message_id"] = str(uuid4())
            names.append(message.metadata.message_id)
            self.sent.append(message)
            context = self.contexts[message.metadata.dst_node_id]
            number = context.node_config["partition-id"]
            config = message.content.config_records.get("config", {})
            at = number, config.get("server-round", 0)
            if self.silent(*at):
                continue
            self.replies[names[-1]] = (
                Message(Error(2, f"client {number} is ill"), reply_to=message)
                if self.ill(*at)
                else self.app(message, context)
            )
        return names

    def pull_messages(self, message_ids):
        found = [self.replies.pop(name) for name in list(message_ids) if name in self.replies]
        return self.order(sorted(found, key=lambda reply: reply.metadata.src_node_id))

    def send_and_receive(self, messages, *, timeout=None):
        raise NotImplementedError
