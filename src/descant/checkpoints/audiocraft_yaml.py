"""The settings that audiocraft stores with weights: YAML, and what its values refer to.

The only file of the package that imports yaml.
"""

import re
import sys
from types import ModuleType
from typing import Any

from descant.errors import ConfigError, MissingExtra

LONGEST = 2**20
_REFERENCE = re.compile(r"\$\{([\w.]+)\}")


def parse(text: Any) -> dict[str, Any]:
    """What such settings say; nothing but plain data is ever made of them.

    Raises:
        ConfigError: it is no YAML of plain data.
        MissingExtra: PyYAML is not installed.
    """
    yaml = _yaml()
    if not isinstance(text, str) or len(text) > LONGEST:
        raise ConfigError(f"xp.cfg: expected a text of up to {LONGEST} characters, got {type(text).__name__}")
    try:
        # A few lines of aliases can stand for more data than memory holds; settings have no use for them.
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=yaml.SafeLoader)):
            raise ConfigError("xp.cfg: has YAML aliases, which are not read")
        plain = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise ConfigError(f"xp.cfg: no YAML of plain data ({' '.join(str(error).split())[:200]})") from error
    if not isinstance(plain, dict):
        raise ConfigError(f"xp.cfg: expected a mapping, got {type(plain).__name__}")
    if _has_huge_number(plain):
        raise ConfigError("xp.cfg: has a whole number of more than 64 bits")
    return plain


def _has_huge_number(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_has_huge_number(part) for pair in value.items() for part in pair)
    if isinstance(value, list):
        return any(map(_has_huge_number, value))
    return isinstance(value, int) and value.bit_length() > 64


def dump(plain: dict[str, Any]) -> str:
    """The text that ``parse`` reads.

    Raises:
        MissingExtra: PyYAML is not installed.
    """
    text: str = _yaml().safe_dump(plain, sort_keys=False)
    return text


def _yaml() -> ModuleType:
    try:
        import yaml
    except ImportError as error:
        raise MissingExtra('audiocraft stores settings as YAML: pip install "descant[audiocraft]"') from error
    return yaml


def section_at(plain: dict[str, Any], path: str, idle: tuple[str, ...]) -> dict[str, Any]:
    """One section, without its ``idle`` keys and with references followed; empty where there is none.

    Raises:
        ConfigError: it is no mapping, or a reference leads nowhere.
    """
    found = at(plain, path)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise ConfigError(f"{path}: expected a mapping, got {found!r:.80}")
    return {str(key): resolved(plain, value) for key, value in found.items() if key not in idle}


def at(plain: dict[str, Any], path: str) -> Any:
    """The value at a dotted path, or None where there is none."""
    found: Any = plain
    for name in path.split("."):
        found = resolved(plain, found.get(name)) if isinstance(found, dict) else None
    return found


def resolved(plain: dict[str, Any], value: Any, depth: int = 8) -> Any:
    """What a value such as ``${encodec.causal}`` stands for: settings may be stored as they were written.

    Raises:
        ConfigError: it stands for nothing.
    """
    reference = _REFERENCE.fullmatch(value) if isinstance(value, str) else None
    if reference is None:
        return value
    found: Any = plain
    for name in reference[1].split("."):
        found = found.get(name) if isinstance(found, dict) else None
    if depth == 0 or found is None:
        raise ConfigError(f"{value:.80}: refers to nothing that is there")
    return resolved(plain, found, depth - 1)


def only(plain: dict[str, Any], path: str, allowed: str) -> None:
    """Makes sure that the value at a path is the one that is read here.

    Raises:
        ConfigError: it is another.
    """
    if at(plain, path) != allowed:
        raise ConfigError(f"{path}={at(plain, path)!r:.80}: allowed is {allowed!r}")


def number(plain: dict[str, Any], path: str) -> float:
    """The finite number at a path.

    Raises:
        ConfigError: there is none.
    """
    value = at(plain, path)
    if type(value) not in (int, float) or not abs(value) <= sys.float_info.max:
        raise ConfigError(f"{path}={value!r:.80}: expected a finite number")
    return float(value)


def whole_numbers(values: Any, path: str) -> tuple[int, ...]:
    """A list of whole numbers, as a tuple.

    Raises:
        ConfigError: it is no such list.
    """
    if not isinstance(values, list) or not all(type(value) is int for value in values):
        raise ConfigError(f"{path}: expected whole numbers, got {values!r:.80}")
    return tuple(values)
