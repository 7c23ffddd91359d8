"""Requests that do not have the form of their route, as problems in plain words."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi.exceptions import RequestValidationError

from descant.apps.server.problems import Problem

OBJECT = "must be a JSON object"
WORDS = {
    "missing": "is needed",
    "extra_forbidden": "there is no such field; leave it out",
    "int_type": "must be a whole number",
    "finite_number": "must be a finite number",
    "model_type": OBJECT,
    "model_attributes_type": OBJECT,
    "dict_type": OBJECT,
    "list_type": "must be a list",
    "string_pattern_mismatch": "has characters that are not allowed here, or is too long",
}
"""By the type of the fault; the others are said in the words of the validation."""
_SUBJECT = re.compile(r"^(?:Input|String|List|Tuple|Dictionary) should")


def invalid_request(error: RequestValidationError) -> Problem:
    """The problem of a request whose parameters or body the route does not take."""
    errors = [_told(one, error.body) for one in error.errors()]
    first = errors[0]
    place = first["pointer"].strip("/").replace("/", ".")
    is_broken = any(one["type"] == "json_invalid" for one in error.errors())
    detail = f"{place}: {first['detail']}" if place else first["detail"]
    return Problem("malformed" if is_broken else "invalid-request", detail, errors)


def _told(one: Mapping[str, Any], body: Any) -> dict[str, Any]:
    """What is wrong at one place."""
    place = _place(one["loc"], body)
    if one["type"] == "json_invalid":
        words = f"the body is not JSON: {one['ctx']['error']} at character {one['loc'][-1] + 1}"
    elif place:
        words = WORDS.get(one["type"]) or _SUBJECT.sub("must", str(one["msg"])).replace(" after validation", "")
    else:
        words = f"the body {OBJECT}"
    told: dict[str, Any] = {"pointer": "/" + "/".join(place), "detail": words}
    given = one.get("input")
    # JSON has no word for NaN and the infinities.
    if given is None or isinstance(given, int) or (isinstance(given, float) and math.isfinite(given)):
        told["got"] = given
    return told


def _place(location: Sequence[Any], body: Any) -> list[str]:
    """The place of a fault in the request: the name of a parameter, or the fields down to the value of a body that is
    at fault, without the alternatives that the validation has tried there.
    """
    if location[0] != "body":
        return [str(part) for part in location[1:]]
    place = []
    for part in location[1:]:
        if isinstance(body, dict):
            body = body.get(part)
        elif isinstance(body, list) and isinstance(part, int):
            body = body[part]
        else:
            break
        place.append(str(part))
    return place
