"""`cath-dagster sample`: databases to try the jobs on."""

from typing import Annotated

import typer

from cath_dagster.adapters.terminal import TerminalReporter, out

app = typer.Typer()


@app.command("sample")
def make_sample(
    scale: Annotated[float, typer.Option(help="1 makes about 260,000 rows.", min=0.01, max=1_000)] = 1.0,
    fresh: Annotated[bool, typer.Option("--fresh", help="Drop the sample databases and make them anew.")] = False,
) -> None:
    """Create and fill a sample database of each service on an embedded PostgreSQL, and say how to use them."""
    from cath_dagster.development.local import Local, forget_outside

    forget_outside()
    local = Local.here()
    local.start_database()
    with TerminalReporter(verbose=True) as reporter:
        local.make_samples(scale=scale, fresh=fresh, reporter=reporter)
    out.print("The samples are ready. To use them in this shell:")
    for name, value in sorted(local.shell_environment().items()):
        out.print(f"export {name}='{value}'", markup=False, soft_wrap=True)
