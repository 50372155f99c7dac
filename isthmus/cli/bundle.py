"""`isthmus bundle show|verify`: look into a bundle, check every byte of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Look into a bundle or check it.")

BundlePath = Annotated[Path, typer.Argument(help="Folder or uncompressed zip of a bundle.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def show(path: BundlePath, as_json: AsJson = False) -> None:
    """Print what a bundle declares: cuts, levels, measured bytes and accuracy.

    Example: isthmus bundle show isthmus/builtin/digits.bundle
    """
    from runtime.bundle import Bundle

    with Bundle.open(path) as bundle:
        if as_json:
            typer.echo(bundle.manifest.to_bytes().decode(), nl=False)
            return
        from isthmus.cli.tables import print_bundle

        print_bundle(bundle)


@app.command()
def verify(
    path: BundlePath,
    as_json: AsJson = False,
    maker: Annotated[
        list[Path] | None, typer.Option(help="Public key that must have signed it; may be repeated.")
    ] = None,
) -> None:
    """Check size and SHA-256 of every file, that no other file lies in the bundle, and who signed it.

    Example: isthmus bundle verify isthmus/builtin/digits.bundle

    Example: isthmus bundle verify my.bundle --maker maker.pem.pub
    """
    from runtime.bundle import Bundle

    trust = None
    if maker:
        from runtime.signing import Trust, public_key

        trust = Trust([public_key(key) for key in maker])
    with Bundle.open(path, trust=trust) as bundle:
        bundle.verify_all()
        count, total = len(bundle.manifest.files), sum(entry.bytes for entry in bundle.manifest.files.values())
        if as_json:
            typer.echo(f'{{"digest": "{bundle.digest.hex()}", "files": {count}, "bytes": {total}, "intact": true}}')
        else:
            typer.echo(f"{path}: intact, {count} files, {total:,} bytes, digest {bundle.digest.hex()[:16]}…")
