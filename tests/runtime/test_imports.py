import subprocess
import sys

HEAVY = ("torch", "compressai", "onnx", "sklearn", "scipy")


def test_the_room_runs_without_the_libraries_that_train() -> None:
    """In a fresh interpreter: what is imported for bundles, engines, stages and codecs."""
    program = (
        "import sys\n"
        "import runtime.answers, runtime.bundle, runtime.codecs, runtime.measure, runtime.settings, runtime.stage\n"
        "from runtime.engines import engine_named\n"
        "engine_named('onnxruntime')\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert finished.stdout.strip() == "[]", finished.stderr
