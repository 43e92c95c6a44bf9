"""Looking at, and changing, what layers inside a network return, wherever they are."""

from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, contextmanager

from torch import Tensor, nn

Hook = Callable[[Tensor, Tensor], Tensor | None]
"""From a layer's input and output to what takes the place of the output; None leaves it."""


@contextmanager
def hooked(model: nn.Module, hooks: Mapping[str, Hook]) -> Generator[None]:
    """Call ``hooks[name]`` after every pass through the layer ``name`` while the block runs."""

    def calling(hook: Hook) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor | None]:
        return lambda _, inputs, output: hook(inputs[0], output)

    with ExitStack() as stack:
        for name, hook in hooks.items():
            stack.callback(model.get_submodule(name).register_forward_hook(calling(hook)).remove)
        yield
