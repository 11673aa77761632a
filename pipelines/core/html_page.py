"""Sets up the templates of all HTML pages, so that they escape and look alike.

All pages include the style sheet `page.css.j2` of this folder. jinja2 is imported when a page is rendered and not
before: a program that only reads datasets need not have it.
"""

from __future__ import annotations

import pathlib
from typing import TYPE_CHECKING, Any

from pipelines.core.text import printable

if TYPE_CHECKING:
    import jinja2


def environment(folder: pathlib.Path, keep: str = "") -> jinja2.Environment:
    """Returns the jinja2 environment for the templates of a folder.

    It escapes all text that is not markup, shows characters that reorder or break text as \\u escapes, and raises an
    error for a name that is not defined.

    Args:
      folder: holds the templates; `page.css.j2` comes from this package.
      keep: control characters that texts may contain, such as "\\n".

    Example:
      >>> page = environment(pathlib.Path("trainer/ablation")).from_string("{{ name }}")
      >>> page.render(name="<b>")
      '&lt;b&gt;'
    """
    import jinja2
    from markupsafe import Markup

    def finalize(value: Any) -> Any:
        return value if isinstance(value, Markup) or not isinstance(value, str) else printable(value, keep)

    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader([folder, pathlib.Path(__file__).parent]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=finalize,
    )
    made.filters["tail"] = tail
    return made


def tail(text: str, length: int = 48) -> str:
    """Shortens a path to its last `length` characters.

    The end of a path distinguishes it from its neighbours.

    Example:
      >>> tail("photos/cat/17.jpg", 8)
      '…/17.jpg'
    """
    return text if len(text) <= length else "…" + text[1 - length :]
