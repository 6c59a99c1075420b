"""Layers that follow each other in a network, with nothing else between or beside them."""

from torch import fx, nn

from moprune.networks.suffix import traced


def neighbours(network: nn.Module) -> list[tuple[str, str]]:
    """Returns the names of modules, two by two: the second alone reads what the first returns; each is called once.

    Modules with hooks are left out, since these may do anything.

    Args:
        network: is only looked at; of one that cannot be traced nothing is known.
    """
    found = traced(network)
    calls = [node for node in found[1].nodes if node.op == "call_module"] if found else []
    targets = [str(node.target) for node in calls]
    pairs = []
    for node, second in zip(calls, targets, strict=True):
        first = node.args[0] if node.args else None
        if not isinstance(first, fx.Node) or first.op != "call_module" or len(first.users) > 1:
            continue
        names = str(first.target), second
        if all(targets.count(name) == 1 and not _hooked(network.get_submodule(name)) for name in names):
            pairs.append(names)
    return pairs


def _hooked(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks)
