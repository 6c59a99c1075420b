"""What is there before any search: the start, the best of the members, and all of them together."""

from problems.refinement.controls.points import Point, Setting


def start(_: Setting) -> list[Point]:
    """Returns what the search starts from."""
    return [Point("start", ({},), 0)]


def pretrained(setting: Setting) -> list[Point]:
    """Returns the pre-trained network, where the search starts from something better."""
    return [Point("pre-trained", (setting.pretrained,), 0)]


def best_member(setting: Setting) -> list[Point]:
    """Returns the member of least search loss."""
    losses = setting.losses_of(setting.states)
    best = int(losses.argmin())
    assert setting.members is not None
    return [Point(setting.members.names[best], (setting.states[best],), setting.scored(len(losses)))]


def ensemble(setting: Setting) -> list[Point]:
    """Returns the mean of all members' probabilities: K times the cost of inference, so an upper reference."""
    return [Point(f"{len(setting.states)} members", setting.states, 0)]
