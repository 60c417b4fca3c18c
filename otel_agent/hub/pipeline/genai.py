"""Earlier names of GenAI metrics and attributes, written beside or instead of the latest ones.

`OTEL_AGENT_GENAI_SEMCONV`: latest, 1.36, or dup for both. The renames are data in `otel_instrumentors.semconv`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from otel_agent import wire
from otel_instrumentors import semconv

PROVIDER = "gen_ai.provider.name"
SYSTEM = "gen_ai.system"
_SYSTEMS = {"x_ai": "xai"}  # the only provider whose value was renamed with the key
_ALIASED: dict[str, semconv.Instrument] = {
    value.name: value
    for value in vars(semconv).values()
    if isinstance(value, semconv.Instrument) and value.alias is not None
}


class Target(NamedTuple):
    """One instrument a measurement is recorded with. `known_only`: a 0 stands for "no usage reported"."""

    definition: wire.DefineInstrument
    more: tuple[tuple[str, str], ...] = ()
    known_only: bool = False


class Names:
    """What one setting of OTEL_AGENT_GENAI_SEMCONV means."""

    def __init__(self, mode: str) -> None:
        self._latest = mode != "1.36"
        self._earlier = mode != "latest"

    def targets(self, definition: wire.DefineInstrument) -> list[Target]:
        """The instruments that stand for `definition`: itself, its earlier name, or both."""
        known = _ALIASED.get(definition.name)
        if known is None or known.alias is None or not self._earlier:
            return [Target(definition)]
        alias = wire.DefineInstrument(
            definition.id,
            definition.kind,
            known.alias,
            definition.unit,
            definition.description,
            definition.buckets,
            definition.scope,
            definition.scope_version,
            definition.schema_url,
        )
        earlier = Target(alias, known.alias_attributes, definition.unit == "{token}")
        return [Target(definition), earlier] if self._latest else [earlier]

    def attributes(self, given: dict[str, Any]) -> dict[str, Any]:
        """`given` with the provider under the names of the setting; the same object when nothing changes."""
        provider = given.get(PROVIDER)
        if provider is None or not self._earlier:
            return given
        changed = {**given, SYSTEM: _SYSTEMS.get(provider, provider)}
        if not self._latest:
            del changed[PROVIDER]
        return changed
