"""What there is to see in a bundle, without torch."""

from __future__ import annotations

from collections.abc import Iterable

from partitioner.inspection.values import Operator, Seen, SeenCut
from runtime.bundle import Bundle


def seen_in_bundle(bundle: Bundle, chosen: Iterable[str] = ()) -> Seen:
    """Segments and cuts of a bundle: a chain."""
    manifest, wanted = bundle.manifest, set(chosen)
    sizes = [cut.tensor.nbytes for cut in manifest.cuts] + [sum(output.nbytes for output in manifest.outputs)]
    total = max(sum(segment.macs for segment in manifest.segments), 1)
    front = [sum(segment.macs for segment in manifest.segments[:number]) for number in range(len(sizes))]
    names = [*(cut.after for cut in manifest.cuts), "output"]
    return Seen(
        title=manifest.model_id,
        facts=(
            ("segments", str(len(manifest.segments))),
            ("multiply-accumulates", f"{total:,}"),
            ("files", f"{sum(entry.bytes for entry in manifest.files.values()) / 1e6:.2f} MB"),
            ("digest", bundle.digest.hex()[:16]),
        ),
        operators=tuple(
            Operator(
                name=name,
                kind="segment" if number else "input",
                reads=(number - 1,) if number else (),
                macs=manifest.segments[number - 1].macs if number else 0,
                bytes=sizes[number],
                live_bytes=sizes[number],
            )
            for number, name in enumerate(names)
        ),
        cuts=tuple(
            SeenCut(
                name=cut.after,
                place=cut.index,
                bytes=cut.tensor.nbytes,
                share=front[cut.index] / total,
                shape=f"{cut.tensor.dtype} {'x'.join(map(str, cut.tensor.shape))}",
                chosen=cut.after in wanted,
            )
            for cut in manifest.cuts
        ),
    )
