"""The settings that audiocraft stores with weights: YAML with references between values.

The only file of the package that imports yaml.
"""

import re
import sys
from types import ModuleType
from typing import Any

from descant.errors import ConfigError, MissingExtra

MAX_CHARACTERS = 2**20
_REFERENCE = re.compile(r"\$\{([\w.]+)\}")


def parse(text: Any) -> dict[str, Any]:
    """The settings in a YAML text, as plain data.

    Raises:
        ConfigError: it is not YAML of plain data.
        MissingExtra: PyYAML is not installed.
    """
    yaml = _yaml()
    if not isinstance(text, str) or len(text) > MAX_CHARACTERS:
        raise ConfigError(f"xp.cfg: expected a text of up to {MAX_CHARACTERS} characters, got {type(text).__name__}")
    try:
        # A few lines of aliases can expand to more data than fits into memory; settings do not need them.
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=yaml.SafeLoader)):
            raise ConfigError("xp.cfg: has YAML aliases, which are not read")
        plain = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise ConfigError(f"xp.cfg: not YAML of plain data ({' '.join(str(error).split())[:200]})") from error
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


def section_at(plain: dict[str, Any], path: str, ignored: tuple[str, ...]) -> dict[str, Any]:
    """One section, without its ``ignored`` keys and with references resolved; empty if there is none.

    Raises:
        ConfigError: it is not a mapping, or a reference cannot be resolved.
    """
    found = at(plain, path)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise ConfigError(f"{path}: expected a mapping, got {found!r:.80}")
    return {str(key): resolved(plain, value) for key, value in found.items() if key not in ignored}


def at(plain: dict[str, Any], path: str) -> Any:
    """The value at a dotted path, or None if there is none."""
    found: Any = plain
    for name in path.split("."):
        found = resolved(plain, found.get(name)) if isinstance(found, dict) else None
    return found


def resolved(plain: dict[str, Any], value: Any, depth: int = 8) -> Any:
    """The value that a reference such as ``${encodec.causal}`` resolves to; other values are returned unchanged.

    Raises:
        ConfigError: the reference cannot be resolved.
    """
    reference = _REFERENCE.fullmatch(value) if isinstance(value, str) else None
    if reference is None:
        return value
    found: Any = plain
    for name in reference[1].split("."):
        found = found.get(name) if isinstance(found, dict) else None
    if depth == 0 or found is None:
        raise ConfigError(f"{value:.80}: refers to a value that does not exist")
    return resolved(plain, found, depth - 1)


def only(plain: dict[str, Any], path: str, allowed: str) -> None:
    """Refuses a value other than ``allowed`` at a path.

    Raises:
        ConfigError: the value is another.
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
        ConfigError: it is not such a list.
    """
    if not isinstance(values, list) or not all(type(value) is int for value in values):
        raise ConfigError(f"{path}: expected whole numbers, got {values!r:.80}")
    return tuple(values)
