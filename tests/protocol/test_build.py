from __future__ import annotations

import ctypes
import shutil
from pathlib import Path

import numpy as np
import pytest

import build_rans
from protocol import rans, rans_native
from tests.protocol.samples import laplace, sample

ROOT = Path(__file__).parents[2]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A working tree with the C source alone."""
    (tmp_path / "protocol").mkdir()
    shutil.copy(ROOT / build_rans.SOURCE, tmp_path / build_rans.SOURCE)
    return tmp_path


@pytest.mark.skipif(not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="no C compiler")
def test_the_coder_is_compiled_in_place_and_leaves_nothing_else(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CC", raising=False)
    assert build_rans.compile_rans(tree) is None
    assert {path.name for path in (tree / "protocol").iterdir()} == {"rans.c", "_rans.so"}
    assert ctypes.CDLL(str(tree / build_rans.LIBRARY)).isthmus_rans_abi() == 2


@pytest.mark.parametrize("compiler", ["no-such-compiler", "false"])
def test_a_compiler_that_fails_leaves_no_library_and_says_why(
    tree: Path, monkeypatch: pytest.MonkeyPatch, compiler: str
) -> None:
    monkeypatch.setenv("CC", compiler)
    reason = build_rans.compile_rans(tree)
    assert reason is not None
    assert compiler in reason
    assert not (tree / build_rans.LIBRARY).exists()


def test_without_a_compiler_the_reason_names_the_fix(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", str(tree))
    assert "set CC" in str(build_rans.compile_rans(tree))


@pytest.fixture
def unbuilt(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the package was installed without a compiler."""
    monkeypatch.setattr(rans_native, "library", lambda: None)


@pytest.mark.usefixtures("unbuilt")
def test_without_the_library_the_public_functions_still_work() -> None:
    tables = laplace(2, seed=1)
    symbols = sample(tables, 30, seed=1)
    assert rans.implementation() == "numpy"
    assert np.array_equal(rans.decode(rans.encode(symbols, tables), tables, 30), symbols)


def test_a_file_that_is_no_library_counts_as_not_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "_rans.so").write_bytes(b"not a library")
    monkeypatch.setattr(rans_native, "LIBRARY", tmp_path / "_rans.so")
    assert rans_native.library.__wrapped__() is None
