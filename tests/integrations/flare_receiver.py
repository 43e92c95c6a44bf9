"""What the server of a FLARE job received, kept in files; the job carries this file to the server."""

from pathlib import Path

import torch
from nvflare.apis.dxo import from_shareable
from nvflare.apis.filter import Filter
from nvflare.apis.fl_constant import ReturnCode
from safetensors.torch import save_file


class Receiver(Filter):
    """Write the weights that come from every client in every round, and those that went out, to a folder."""

    def __init__(self, folder):
        super().__init__()
        self.folder = folder

    def process(self, shareable, fl_ctx):
        if shareable.get_return_code() == ReturnCode.OK:
            client = fl_ctx.get_peer_context().get_identity_name()
            number = shareable.get_header("current_round")
            weights = from_shareable(shareable).data
            Path(self.folder).mkdir(parents=True, exist_ok=True)
            kept = {name: torch.as_tensor(value).clone() for name, value in weights.items()}
            save_file(kept, Path(self.folder) / f"{client}-{number}.safetensors")
        return shareable
