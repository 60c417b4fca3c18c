"""The repository keeps its own promises: every library has its file, line, test and row; tables and walls are true."""

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import tables
from otel_instrumentors.catalog import LIBRARIES, Library

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "instrumentors" / "otel_instrumentors"


@pytest.mark.parametrize("library", LIBRARIES, ids=lambda library: library.name)
def test_a_library_is_complete(library: Library) -> None:
    """Catalog line, adapter file, twin test and README row."""
    family, _, name = library.adapter.partition(".")
    adapter = PACKAGE / family / f"{name}.py"
    assert adapter.is_file()
    text = adapter.read_text()
    assert re.search(r"^LIBRARY\b", text, re.M), "an adapter names its library"
    assert re.search(r"^def instrument\(module", text, re.M), "an adapter has instrument(module)"
    assert (ROOT / "tests" / "otel_instrumentors" / family / f"test_{name}.py").is_file()
    assert f"| `{library.name}` |" in (ROOT / "README.md").read_text()


def test_no_adapter_without_a_catalog_line() -> None:
    """A file with `instrument(module)` that no catalog line names would never run."""
    named = {library.adapter for library in LIBRARIES}
    found = {
        f"{path.parent.name}.{path.stem}"
        for path in PACKAGE.glob("*/*.py")
        if re.search(r"^def instrument\(module", path.read_text(), re.M)
    }
    assert found == named


def test_names_are_unambiguous() -> None:
    """A library's words select it alone."""
    owners: dict[str, set[str]] = {}
    for library in LIBRARIES:
        for word in library.names():
            owners.setdefault(word, set()).add(library.name)
    assert [word for word, names in owners.items() if word and len(names) > 1] == []


def test_readme_tables() -> None:
    """The README's tables are those of the code; `python tests/tables.py` rewrites them."""
    text = (ROOT / "README.md").read_text()
    assert text == tables.rewritten(text)


def test_readme_has_two_set_up_commands() -> None:
    """Exactly two: one runs the demo, one passes the tests."""
    commands = re.findall(r"^pip install .*$", (ROOT / "README.md").read_text(), re.M)
    assert commands == ["pip install -e '.[demo]' && otel-agent demo", "pip install -e '.[test]' && python -m pytest"]


def test_layout() -> None:
    """The user's top level, and no packages where other people's modules could be shadowed."""
    for name in ("pyproject.toml", "otel_agent", "instrumentors", "tests", "collector-config", "README.md", ".ci/run"):
        assert (ROOT / name).exists(), name
    assert not (ROOT / "instrumentors" / "__init__.py").exists()
    assert not (ROOT / "tests" / "__init__.py").exists()
    assert not (ROOT / "otel_agent" / "inject" / "__init__.py").exists()


def test_import_walls() -> None:
    """The layers of the architecture are contracts."""
    result = subprocess.run(
        [str(Path(sys.executable).parent / "lint-imports")], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout


def test_the_wheel(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The wheel holds both packages, typed, and no .pth file."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    for name in ("otel_agent/cli.py", "otel_agent/py.typed", "otel_agent/inject/sitecustomize.py"):
        assert name in names
    assert "otel_instrumentors/catalog.py" in names
    assert "otel_instrumentors/py.typed" in names
    assert [name for name in names if name.endswith(".pth") or name.startswith(("tests", "instrumentors"))] == []
