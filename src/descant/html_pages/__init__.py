"""Pages that need no other file and no network, from templates that escape what they are given.

Most templates extend ``base.html``, which has the head, the common style, the title and the summary; ``tables.html``
has tables.
"""

from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined


def render(template: str, **values: object) -> str:
    """The page that a template makes of these values. Texts are escaped, unless they are ``markupsafe.Markup``.

    Args:
        template: its path in this package, such as ``"training/run.html"``.
    """
    return _environment().get_template(template).render(values)


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("descant", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
