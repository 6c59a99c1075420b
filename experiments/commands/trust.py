"""``moprune trust``: a function that may make the network of runs made elsewhere."""

from typing import Annotated

import typer


def trust(
    factory: Annotated[str, typer.Argument(metavar="MODULE:FUNCTION", help="As network.arch of the run names it.")],
) -> None:
    """Let the networks of run folders from elsewhere be made by a function; your own runs need no such word."""
    from experiments import factories

    factories.trust(factory)
    typer.echo(f"{factory} may be imported and run for run folders that name it.")
