"""Put wrappers on a library's functions, once, reversibly, and without failing when a name is missing."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import wrapt

Wrapper = Callable[[Callable[..., Any], Any, tuple[Any, ...], dict[str, Any]], Any]


class Patch(NamedTuple):
    """One replaced attribute: `owner.name` was `original` (whether it stood on the owner itself: `own`)."""

    owner: Any
    name: str
    original: Any
    own: bool


_patches: dict[str, list[Patch]] = {}
_callbacks: dict[str, list[Callable[[], None]]] = {}
missing: dict[str, list[str]] = {}


def wrap(library: str, module: ModuleType, path: str, wrapper: Wrapper) -> bool:
    """Wrap `module.path` ("function" or "Class.method") with a wrapt wrapper `(wrapped, instance, args, kwargs)`.

    The result keeps name, docstring, signature and coroutine-ness. Returns False, and notes the name under
    `missing[library]`, when this version of the library has no such attribute. A second call changes nothing.
    """
    return replace(library, module, path, lambda original: wrapt.FunctionWrapper(original, wrapper))


def replace(library: str, module: ModuleType, path: str, factory: Callable[[Any], Any]) -> bool:
    """Replace `module.path` by `factory(original)`; same rules as `wrap`, for hot paths that build their own function.

    The replacement of a plain function must carry `__wrapped__` (functools.wraps does).
    """
    owner, _, name = path.rpartition(".")
    target: Any = module
    for part in owner.split(".") if owner else ():
        target = getattr(target, part, None)
    original = inspect.getattr_static(target, name, None) if target is not None else None
    if original is None:
        missing.setdefault(library, []).append(f"{module.__name__}:{path}")
        return False
    done = _patches.setdefault(library, [])
    if any(patch.owner is target and patch.name == name for patch in done):
        return False
    own = name in vars(target)
    setattr(target, name, factory(original))
    done.append(Patch(target, name, original, own))
    return True


def on_restore(library: str, callback: Callable[[], None]) -> None:
    """Have `callback` called by `restore(library)`: it undoes what is no patch, such as a registered listener."""
    _callbacks.setdefault(library, []).append(callback)


def restore(library: str) -> None:
    """Undo every patch of `library`: the identical original objects are back."""
    for callback in reversed(_callbacks.pop(library, [])):
        callback()
    for patch in reversed(_patches.pop(library, [])):
        if patch.own:
            setattr(patch.owner, patch.name, patch.original)
        else:
            delattr(patch.owner, patch.name)
    missing.pop(library, None)


def patched() -> dict[str, int]:
    """How many attributes are patched, by library."""
    return {library: len(patches) for library, patches in _patches.items() if patches}
