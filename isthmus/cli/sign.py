"""`isthmus sign key|bundle`: make a key, and sign bundles with it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Make a key, and sign bundles with it.")


@app.command()
def key(path: Annotated[Path, typer.Argument(help="File to make; the public key goes to PATH.pub.")]) -> None:
    """Make an Ed25519 key for signing bundles. Keep it; devices and tiers get PATH.pub.

    Example: isthmus sign key maker.pem
    """
    from runtime.signing import new_key

    new_key(path)
    typer.echo(f"{path}: keep it secret; give {path}.pub to whoever runs your bundles")


@app.command()
def bundle(
    path: Annotated[Path, typer.Argument(help="Folder of a bundle.", exists=True, file_okay=False)],
    key: Annotated[Path, typer.Option(help="Your private key, made by: isthmus sign key.")],
) -> None:
    """Sign a bundle: writes manifest.sig into its folder.

    Example: isthmus sign bundle my.bundle --key maker.pem
    """
    from runtime.bundle import Bundle
    from runtime.signing import private_key, sign

    with Bundle.open(path) as opened:
        opened.verify_all()
        digest = opened.digest.hex()
    sign(path, private_key(key))
    typer.echo(f"{path}: signed, digest {digest[:16]}…")
