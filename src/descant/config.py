"""Dataclass configs to and from plain data and JSON, strictly: an unknown or a missing key is an error.

A field whose type is a union of dataclasses is written with a ``"type"`` key that names the class.
"""

import dataclasses
import json
import sys
import types
import typing
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from descant.errors import ConfigError

Config = TypeVar("Config")


def to_dict(config: Any) -> dict[str, Any]:
    """The config as plain dicts, lists and scalars, every field written out."""
    hints = get_type_hints(type(config))
    return {field.name: _plain(getattr(config, field.name), hints[field.name]) for field in dataclasses.fields(config)}


def from_dict(kind: type[Config], data: Any, path: str = "") -> Config:
    """A config of class ``kind`` from what ``to_dict`` gave.

    Raises:
        ConfigError: a key is unknown or missing, or a value has the wrong type or is not allowed; the message has the
            path to it.
    """
    if not isinstance(data, dict):
        raise ConfigError(f"{path or kind.__name__}: expected an object, got {data!r:.80}")
    fields = {field.name: field for field in dataclasses.fields(kind) if field.init}  # type: ignore[arg-type]
    unknown = sorted(set(data) - set(fields))
    if unknown:
        raise ConfigError(f"{_join(path, unknown[0])}: unknown key; {kind.__name__} has {', '.join(sorted(fields))}")
    required = [
        name
        for name, field in fields.items()
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]
    missing = [name for name in required if name not in data]
    if missing:
        raise ConfigError(f"{_join(path, missing[0])}: missing; {kind.__name__} needs {', '.join(required)}")
    hints = get_type_hints(kind)
    values = {name: _typed(value, hints[name], _join(path, name)) for name, value in data.items()}
    try:
        return kind(**values)
    except ConfigError as error:
        if not path:
            raise
        joint = "." if str(error).startswith(tuple(fields)) else ": "
        raise ConfigError(f"{path}{joint}{error}") from error


def read_json(kind: type[Config], file: Path) -> Config:
    """The config stored in a JSON file.

    Raises:
        ConfigError: the file is not JSON or does not describe a ``kind``.
        FileNotFoundError: there is no such file.
    """
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # not JSON, not UTF-8, or a number with thousands of digits
        raise ConfigError(f"{file}: not a JSON file ({error})") from error
    return from_dict(kind, data, path=file.name)


def write_json(config: Any, file: Path) -> None:
    """Stores the config so that ``read_json`` gives an equal one."""
    file.write_text(json.dumps(to_dict(config), indent=2) + "\n", encoding="utf-8")


def override(config: Config, settings: dict[str, str]) -> Config:
    """The config with some fields replaced, each named by a dotted path and given as JSON or as bare text.

    ``override(run, {"trainer.max_steps": "500"})`` is what ``--set trainer.max_steps=500`` does. The result is checked
    once, with all settings in place, so that values that must agree can be changed together and in any order.

    Raises:
        ConfigError: a path names no field, a value has the wrong type, or the new values contradict each other.
    """
    data = to_dict(config)
    for dotted, text in settings.items():
        *parents, last = dotted.split(".")
        inner = data
        for name in parents:
            inner = _child(inner, name, dotted)
        _child(inner, last, dotted)
        try:
            inner[last] = json.loads(text)
        except (ValueError, RecursionError):
            inner[last] = text
    return from_dict(type(config), data)


def _child(data: Any, name: str, dotted: str) -> Any:
    if not isinstance(data, dict) or name not in data:
        allowed = ", ".join(sorted(data)) if isinstance(data, dict) else "nothing below it"
        raise ConfigError(f"{dotted}: no field {name!r} here; there is {allowed}")
    return data[name]


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _plain(value: Any, hint: Any) -> Any:
    if dataclasses.is_dataclass(value):
        tag = {"type": type(value).__name__} if len(_dataclasses_in(hint)) > 1 else {}
        return {**tag, **to_dict(value)}
    if isinstance(value, tuple | list):
        tuples = [option for option in _options(hint) if get_origin(option) is tuple]
        inner = get_args(tuples[0]) if tuples else (Any, Ellipsis)
        kinds = inner[:1] * len(value) if inner[-1] is Ellipsis else inner
        return [_plain(item, kind) for item, kind in zip(value, kinds, strict=True)]
    if isinstance(value, dict):
        return {key: _plain(item, Any) for key, item in value.items()}
    return str(value) if isinstance(value, Path) else value


def _options(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def _dataclasses_in(hint: Any) -> list[type]:
    return [option for option in _options(hint) if isinstance(option, type) and dataclasses.is_dataclass(option)]


def _typed(value: Any, hint: Any, path: str) -> Any:
    origin = get_origin(hint)
    if hint is Any:
        return value
    if origin in (Union, types.UnionType):
        return _typed_union(value, hint, path)
    if dataclasses.is_dataclass(hint):
        return from_dict(typing.cast(type, hint), value, path)
    if origin is Literal:
        if value not in get_args(hint):
            raise ConfigError(f"{path}={value!r}: allowed are {', '.join(map(repr, get_args(hint)))}")
        return value
    if origin is tuple:
        return _typed_tuple(value, hint, path)
    if origin is dict or hint is dict:
        if not isinstance(value, dict):
            raise ConfigError(f"{path}={value!r:.80}: expected an object")
        return value
    if hint is float and type(value) in (int, float):
        # JSON has no infinity and no NaN, though Python reads them; an int may be too large for a float.
        if not abs(value) <= sys.float_info.max:
            raise ConfigError(f"{path}={value!r:.80}: expected a finite number")
        return float(value)
    if hint is Path and isinstance(value, str):
        return Path(value)
    if type(value) is not hint:
        raise ConfigError(f"{path}={value!r:.80}: expected {getattr(hint, '__name__', hint)}")
    return value


def _typed_union(value: Any, hint: Any, path: str) -> Any:
    kinds = _dataclasses_in(hint)
    if value is None and type(None) in get_args(hint):
        return None
    if len(kinds) > 1:
        names = {kind.__name__: kind for kind in kinds}
        if not isinstance(value, dict) or value.get("type") not in names:
            raise ConfigError(f'{path}: needs a "type" key, one of {", ".join(sorted(names))}; got {value!r:.80}')
        return from_dict(names[value["type"]], {key: item for key, item in value.items() if key != "type"}, path)
    problems = []
    for option in get_args(hint):
        if option is not type(None):
            try:
                return _typed(value, option, path)
            except ConfigError as error:
                problems.append(str(error))
    or_null = ", or null" if type(None) in get_args(hint) else ""
    raise ConfigError(f"{'; or '.join(problems)}{or_null}")


def _typed_tuple(value: Any, hint: Any, path: str) -> tuple[Any, ...]:
    inner = get_args(hint)
    if not isinstance(value, list | tuple):
        raise ConfigError(f"{path}={value!r:.80}: expected a list")
    if len(inner) == 2 and inner[1] is Ellipsis:
        return tuple(_typed(item, inner[0], f"{path}[{index}]") for index, item in enumerate(value))
    if len(value) != len(inner):
        raise ConfigError(f"{path}: expected {len(inner)} items, got {len(value)}")
    pairs = enumerate(zip(value, inner, strict=True))
    return tuple(_typed(item, kind, f"{path}[{index}]") for index, (item, kind) in pairs)
