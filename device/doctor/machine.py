"""Memory and installed versions."""

from __future__ import annotations

from device.doctor.case import Case, Fault
from runtime.bundle import Bundle

PROGRAM_BYTES = 120 << 20
"""The agent without a model."""
LEAST_PYTHON = (3, 11)
NEEDED: dict[str, tuple[tuple[int, ...], tuple[int, ...] | None]] = {
    "numpy": ((1, 26), (2,)),
    "onnxruntime": ((1, 22), None),
    "grpcio": ((1, 80), None),
    "pydantic": ((2, 9), (3,)),
    "protobuf": ((7, 35), None),
}
"""At least, and below; as the distribution declares it."""


async def memory_is_enough(case: Case) -> None:
    """There is memory for the program and twice the bundle: as a file and as the engine holds it."""
    available = case.environment.available_bytes()
    with Bundle.open(case.settings.bundle) as bundle:
        needed = PROGRAM_BYTES + 2 * sum(entry.bytes for entry in bundle.manifest.files.values())
    if available is not None and available < needed:
        raise Fault(
            f"{available >> 20} MiB of memory are available, and agent and bundle need about {needed >> 20} MiB",
            "stop other programs, or use a smaller model",
        )


async def versions_are_right(case: Case) -> None:
    """Python and the packages are those that this release was made for."""
    if case.environment.python < LEAST_PYTHON:
        raise Fault(f"this is Python {'.'.join(map(str, case.environment.python))}", "install Python 3.11 or newer")
    installed = case.environment.installed()
    for name, (least, below) in NEEDED.items():
        found = installed.get(name)
        if found is None:
            raise Fault(f"the package {name} is not installed", "run: pip install 'isthmus[device]'")
        numbers = tuple(int(part) for part in found.split(".")[:3] if part.isdecimal())
        if numbers < least or (below is not None and numbers >= below):
            wanted = f"at least {'.'.join(map(str, least))}"
            wanted += "" if below is None else f" and below {'.'.join(map(str, below))}"
            raise Fault(f"{name} {found} is installed, and {wanted} is needed", "run: pip install 'isthmus[device]'")
