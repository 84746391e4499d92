"""`msht bundle`: make a bundle, and check one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option, Typer
from typer.core import TyperGroup

from cli.options import Device, Images, TrackingUri


class MakeByDefault(TyperGroup):
    """`msht bundle RUN --out FOLDER` is `msht bundle make RUN --out FOLDER`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put `make` before arguments that name no command."""
        if args and args[0] not in self.commands and args[0] not in {"--help", "-h"}:
            args = ["make", *args]
        return super().parse_args(ctx, args)


app = Typer(cls=MakeByDefault, no_args_is_help=True, help="Write the deployable folder of a run, or check one.")


@app.command()
def make(
    run: Annotated[Path, Argument(help="Finished run of `msht crossval`.")],
    out: Annotated[Path, Option(help="Folder to write; it must not exist.")],
    name: Annotated[str | None, Option(help="Name in reports; default: the folder's.")] = None,
    images: Images = None,
    device: Device = "auto",
    tracking_uri: TrackingUri = None,
    register: Annotated[str | None, Option(help="Also register it in MLflow under this name.")] = None,
) -> None:
    """Write a bundle (`msht bundle RUN --out FOLDER`); opens the test set unless that was done before."""
    from cli.show import progress, say
    from pipelines.bundle import make_bundle

    with progress() as bars:
        bundle = make_bundle(
            run, out, name=name, images=images, device=device, tracking_uri=tracking_uri, progress=bars
        )
    say(f"{out}: {len(bundle.description.folds)} networks, digest {bundle.digest}.")
    if register is not None:
        from pipelines.registry import register_bundle

        made = register_bundle(out, register, run=run, tracking_uri=tracking_uri)
        say(f"{made.name}, version {made.version}: promote it with `msht promote {made.name} {made.version}`.")


@app.command()
def verify(bundle: Annotated[Path, Argument(help="Folder written by `msht bundle`.")]) -> None:
    """Check every digest, and that the networks can be built and answer."""
    from cli.show import say
    from pipelines.bundle import verify_bundle

    found = verify_bundle(bundle)
    say(f"{bundle} is whole: {len(found.description.files)} files, digest {found.digest}.")
