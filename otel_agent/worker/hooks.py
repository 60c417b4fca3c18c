"""Call a function after a module was imported, without importing it and without replacing its loader.

`importlib` makes a loader object per module, so `exec_module` of that one object is overridden and taken away again
when it ran: loader types, `__spec__` and resources look as ever.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.abc import MetaPathFinder
    from importlib.machinery import ModuleSpec
    from types import ModuleType

    Hook = Callable[[ModuleType], None]

_hooks: dict[str, list[Hook]] = {}


class _Finder:
    """First on `sys.meta_path`; answers only for hooked names, with what the other finders say."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name not in _hooks:
            return None
        for finder in sys.meta_path:
            if finder is self:
                continue
            find: Callable[..., ModuleSpec | None] | None = getattr(finder, "find_spec", None)
            spec = find(name, path, target) if find is not None else None
            if spec is not None:
                _observe(spec)
                return spec
        return None


def _observe(spec: ModuleSpec) -> None:
    loader = spec.loader
    execute: Callable[[ModuleType], None] | None = getattr(loader, "exec_module", None)
    if loader is None or execute is None:
        return

    def exec_module(module: ModuleType) -> None:
        loader.__dict__.pop("exec_module", None)
        execute(module)
        run(module)

    try:
        loader.exec_module = exec_module  # type: ignore[method-assign]
    except AttributeError:
        pass  # a loader that is a class or has slots: its module stays as it is


def run(module: ModuleType) -> None:
    """Call the hooks of an imported module. Hooks do not raise."""
    for hook in _hooks.get(module.__name__, ()):
        hook(module)


def on_import(name: str, hook: Hook) -> None:
    """Call `hook(module)` after the import of `name`, or now if it has been imported already."""
    if not _hooks:
        finder: MetaPathFinder = _Finder()  # type: ignore[assignment]
        sys.meta_path.insert(0, finder)
    _hooks.setdefault(name, []).append(hook)
    module = sys.modules.get(name)
    if module is not None:
        hook(module)
