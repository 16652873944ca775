"""`stack run`: jobs by someone's word, where the checkout isn't `main` as it was committed."""

import click

from stack import meltano
from stack.guard import confirm


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("jobs", nargs=-1, required=True, type=click.UNPROCESSED, metavar="JOB…")
@click.option("--yes", is_flag=True, help="Run in `prod` from any checkout, without asking.")
def run(jobs: tuple[str, ...], yes: bool) -> None:
    """Run jobs like `meltano run`; in `prod`, ask if the checkout isn't `main` as committed."""
    confirm(yes)
    meltano.run("run", *jobs)
