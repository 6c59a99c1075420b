"""Images that were seen before the test: exact duplicates across the splits of a task."""

from moprune.data.task import Task


def duplicates_across(task: Task) -> list[tuple[str, int, str, int]]:
    """Finds items of train, search and select whose content is also in test.

    Content is what :meth:`Inputs.item_digest` covers: a file's bytes, a tensor's values. The same picture
    encoded twice is not found. Each item is read once.

    Returns:
        (split, index in it, ``"test"``, index in test) for each such item of train, search or select, in
        order; with several equal ones in test, the first.
    """
    test = task.test.inputs
    seen: dict[str, int] = {}
    for index in range(len(test)):
        seen.setdefault(test.item_digest(index), index)
    found = []
    for name in ("train", "search", "select"):
        inputs = task.split(name).inputs
        for index in range(len(inputs)):
            match = seen.get(inputs.item_digest(index))
            if match is not None:
                found.append((name, index, "test", match))
    return found


def repetition(task: Task) -> str | None:
    """Returns in a sentence how many items of test are also in other splits; None where none is, as it should be."""
    parts = {name: task.split(name).inputs for name in ("train", "search", "select", "test")}
    digests = {name: [inputs.item_digest(i) for i in range(len(inputs))] for name, inputs in parts.items()}
    tested = digests.pop("test")
    where = {name: len(set(tested).intersection(known)) for name, known in digests.items()}
    seen = {digest for known in digests.values() for digest in known}
    count = sum(digest in seen for digest in tested)
    if not count:
        return None
    return (
        f"{count} of the {len(tested)} items of test were seen before it, in "
        f"{', '.join(name for name, repeated in where.items() if repeated)}: what is measured on test flatters; take "
        "them out of one side and run again"
    )
