"""Which licence a clip's tags state, as an SPDX identifier (https://spdx.org/licenses) or in their own words."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

LICENCE_TAGS = ("licence", "license", "license_url", "licence_url", "rights", "copyright")

_CREATIVE_COMMONS = re.compile(r"\b(?:cc|creative\s*commons|creativecommons)\b", re.IGNORECASE)
_ELEMENTS = {"nc": r"\bnc\b|non.?commercial", "nd": r"\bnd\b|no.?deriv", "sa": r"\bsa\b|share.?alike"}
_VERSION = re.compile(r"\b([1-4]\.[05])\b")
_OTHERS = (
    (r"\bcc-?0\b|\bzero\b.*\b1\.0|publicdomain/zero", "CC0-1.0"),
    (r"public.?domain|\bpd\b|publicdomain/mark", "public domain"),
    (r"\bgpl-?(?:v)?2|gnu general public licen[sc]e\D{0,12}2\b", "GPL-2.0"),
    (r"\bgpl-?(?:v)?3|gnu general public licen[sc]e\D{0,12}3\b", "GPL-3.0"),
    (r"\bapache\b", "Apache-2.0"),
    (r"^mit$|\bmit licen[sc]e\b", "MIT"),
    (r"\bfree art\b|\blal\b|artlibre", "LAL-1.3"),
    (r"\ball rights reserved\b|\bproprietary\b|\bown (?:work|music|recording)s?\b", "all rights reserved"),
)


def licence_of(tags: Mapping[str, Any]) -> str | None:
    """The licence that the tags state, None if they state none or one that is not known here."""
    return next((found for text in _statements(tags) if (found := parse_licence(text)) is not None), None)


def stated_licence(tags: Mapping[str, Any]) -> str:
    """What the tags state of rights, in their own words; "" for nothing."""
    return next(_statements(tags), "")


def _statements(tags: Mapping[str, Any]) -> Iterator[str]:
    """The texts of the tags about rights, those of licences first."""
    by_name = {name.lower(): str(value).strip() for name, value in tags.items()}
    return (by_name[name] for name in LICENCE_TAGS if by_name.get(name))


def parse_licence(text: str) -> str | None:
    """The SPDX identifier of a licence in words, by its identifier or by its address."""
    plain = re.sub(r"[\s_]+", " ", text.strip())
    for pattern, name in _OTHERS:
        if re.search(pattern, plain, re.IGNORECASE):
            return name
    spaced = re.sub(r"[-/]", " ", plain)
    if not (_CREATIVE_COMMONS.search(spaced) or re.match(r"by(?: (?:nc|nd|sa))* [1-4]\.[05]", spaced, re.IGNORECASE)):
        return None
    if not re.search(r"\bby\b|attribution", spaced, re.IGNORECASE):
        return None
    elements = [name.upper() for name, pattern in _ELEMENTS.items() if re.search(pattern, spaced, re.IGNORECASE)]
    version = _VERSION.search(plain)
    return "-".join(["CC", "BY", *elements, *(version.groups() if version else ())])
