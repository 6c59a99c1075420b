"""Tries random changes of the code on its tests: ``python -m tests.mutants log --sample 60 --seed 1``.

Mutants are mutmut's, made anew in the folder ``mutants``. Those no test noticed are shown, for a person to judge.
"""

import argparse
import random
import shutil
from collections import Counter
from pathlib import Path

from mutmut.__main__ import _run, collect_source_file_mutation_data
from mutmut.configuration import config
from mutmut.mutation.diff_apply import get_diff_for_mutant
from mutmut.mutation.file_mutation import mutate_file_contents
from mutmut.stats import status_by_exit_code

GROUPS = {
    "log": ("moprune/log.py", ["tests/moprune/test_log.py"]),
    "search": ("moprune/search.py", ["tests/moprune/test_search.py", "tests/moprune/test_contexts.py"]),
    "objectives": ("moprune/objectives.py", ["tests/moprune/test_objectives.py"]),
    "algorithms": ("moprune/algorithms/**/*.py", ["tests/moprune/algorithms"]),
}
"""What is changed, and the tests it is tried on."""


def main() -> None:
    options = _options()
    pattern, tests = GROUPS[options.group]
    files = {str(file): _mutants(file) for file in sorted(Path().glob(pattern))}
    config().only_mutate, config().pytest_add_cli_args_test_selection = list(files), tests
    where = {name: file for file, names in files.items() for name in names}
    chosen = random.Random(f"{options.seed} {options.group}").sample(list(where), min(options.sample, len(where)))
    shutil.rmtree("mutants", ignore_errors=True)  # of another group
    _run(chosen, options.jobs)
    tried, _ = collect_source_file_mutation_data(mutant_names=chosen)
    verdicts = {name: status_by_exit_code[code] for _, name, code in tried}
    for name, verdict in sorted(verdicts.items()):
        if verdict not in ("killed", "timeout"):
            print(f"{verdict}: {name}\n{get_diff_for_mutant(name, path=where[name])}")
    print(f"{options.group}: {len(chosen)} of {len(where)} mutants, {dict(Counter(verdicts.values()))}")


def _mutants(file: Path) -> list[str]:
    module = ".".join(file.with_suffix("").parts)
    return [f"{module}.{name}" for name in mutate_file_contents(str(file), file.read_text()).mutant_names]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("group", choices=GROUPS)
    parser.add_argument("--sample", type=int, default=60, help="mutants to try")
    parser.add_argument("--seed", type=int, default=1, help="of the sample")
    parser.add_argument("--jobs", type=int, default=1, help="mutants at a time")
    return parser.parse_args()


if __name__ == "__main__":
    main()
