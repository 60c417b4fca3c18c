"""The README's tables, made from the settings and the catalogue. Run it to rewrite them."""

from __future__ import annotations

import sys
from pathlib import Path

from otel_agent.settings import SETTINGS
from otel_instrumentors.catalog import LIBRARIES

README = Path(__file__).parent.parent / "README.md"


def settings_table() -> str:
    """One row per setting: variable and aliases, option, default, meaning."""
    rows = ["| Variable | Option | Default | Meaning |", "|---|---|---|---|"]
    for setting in SETTINGS:
        names = ", ".join(f"`{name}`" for name in (setting.name, *setting.aliases))
        option = f"`--{setting.option}`" if setting.option else ""
        default = f"`{setting.default}`" if setting.default else ""
        rows.append(f"| {names} | {option} | {default} | {setting.doc} |")
    return "\n".join(rows)


def libraries_table() -> str:
    """One row per library: name, tested range, the upstream instrumentation it stands for."""
    rows = ["| Library | From version | Stands for |", "|---|---|---|"]
    for library in LIBRARIES:
        name, _, version = library.distribution.partition(">=")
        upstream = f"`{library.upstream}`" if library.upstream else ""
        rows.append(f"| `{library.name}` | {f'{name} {version}' if version else 'standard library'} | {upstream} |")
    return "\n".join(rows)


def rewritten(text: str) -> str:
    """The README's text with both tables as they should be."""
    for name, table in (("settings", settings_table()), ("libraries", libraries_table())):
        begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
        head, _, rest = text.partition(begin)
        text = f"{head}{begin}\n{table}\n{end}{rest.partition(end)[2]}"
    return text


if __name__ == "__main__":
    README.write_text(rewritten(README.read_text()))
    sys.exit(0)
