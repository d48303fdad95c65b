"""Hypothesis strategies for documents, `where` and `order_by`.

Fields and values come from small pools of awkward ones, so that generated conditions often match
some documents and not others:

```python
@given(documents(), wheres(), order_bys())
def test_my_engine_agrees(document, where, order_by): ...
```

Needs: `pip install 'storage-providers[testing]'`.
"""

from __future__ import annotations

from typing import Any, Final

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from storage_providers.protocol import JsonObject

__all__ = [
    "AWKWARD_IDS",
    "FIELDS",
    "NUMBERS",
    "TEXTS",
    "conditions_of",
    "documents",
    "escaped",
    "ids",
    "json_values",
    "merge_patches",
    "order_bys",
    "paths",
    "scalars",
    "wheres",
]

FIELDS: Final = (
    "a",
    "b",
    "c",
    "A",
    "a.b",
    "back\\slash",
    'quo"te',
    "apo'strophe",
    "sp ace",
    "$a",
    "-a",
    "[0]",
    "0",
    "*",
    "ключ",
    "e\u0301",
    "é",
    "😀",
    "new\nline",
)
"""Names of fields, those that need escaping in one engine or another included."""

NUMBERS: Final = (
    0,
    1,
    -1,
    2,
    0.0,
    -0.0,
    1.0,
    0.5,
    -1.5,
    0.1 + 0.2,
    1e16,
    1e300,
    5e-324,
    2**53 - 1,
    2**53,
    2**53 + 1,
    float(2**53),
    2**63 - 1,
    2**63,
    float(2**63),
    -(2**63),
    -(2**63) - 1,
    2**64,
    10**30,
    10**400,
    -(10**400),
)
"""Numbers at the edges: of doubles, of 64 bits, and beyond every double."""

TEXTS: Final = (
    "",
    "a",
    "A",
    "ab",
    "aB",
    "b",
    "ba",
    "1",
    "1.0",
    "null",
    "true",
    " a",
    "a ",
    "%",
    "_",
    "a%",
    "a_b",
    "*",
    "[a]",
    "'",
    '"',
    "\\",
    "é",
    "e\u0301",
    "ß",
    "İ",
    "日本",
    "\ud7ff",
    "\ue000",
    "\uffff",
    "😀",
    "\U0010ffff",
    "a\nb",
    "a\tb",
    "\x7f",
    "2026-01-31",
    "2026-01-31T12:00:00.000Z",
)
"""Texts that tell apart: case, normal forms, wildcards, code point order from UTF-16 order."""

AWKWARD_IDS: Final = (
    "a",
    "A",
    "aa",
    "é",
    "e\u0301",
    "İ",
    "i\u0307",
    "ß",
    "SS",
    "ss",
    "ſ",
    "K",
    "\u212a",
    "/",
    "//",
    "a/b",
    "a/",
    "/a",
    ".",
    "..",
    "...",
    "../a",
    "a/../b",
    "..\\a",
    "a\\b",
    ".a",
    "a.",
    "a.json",
    "a.json.tmp",
    "a ",
    " a",
    " ",
    "%",
    "%41",
    "%2F",
    "%2f",
    "%2E%2E",
    "%25",
    "a%00b",
    "_",
    "-",
    "--",
    "~",
    "~a",
    ":",
    "a:b",
    "C:",
    "*",
    "?",
    "<a>",
    "|",
    "&",
    "#",
    "+",
    "=",
    "'",
    '"',
    "`",
    "$(a)",
    "a;b",
    "a\nb",
    "a\r\nb",
    "\t",
    "\x01",
    "\x1f",
    "\x7f",
    "\x85",
    "\u2028",
    "\u200b",
    "\ufeff",
    "\ufeffa",
    "\ue000",
    "\uffff",
    "\ud7ff",
    "😀",
    "👩‍👩‍👧",
    "🏳️‍🌈",
    "日本語",
    "שלום",
    "\u202eabc",
    "CON",
    "con",
    "nul",
    "NUL.json",
    "aux.txt",
    "COM1",
    "desktop.ini",
    "Thumbs.db",
    ".DS_Store",
    ".git",
    "__proto__",
    "null",
    "None",
    "true",
    "0",
    "1",
    "01",
    "1.0",
    "1e3",
    "NaN",
    "\U0010ffff",
)
"""Ids that differ, though a file system, a shell, a URL or a database may take some for others."""


_SCALARS: Final[tuple[str | int | float | bool | None, ...]] = (
    None,
    True,
    False,
    *NUMBERS,
    *TEXTS,
)
_OTHER_SCALARS: Final = (
    st.integers(-3, 3)
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=6)
)
_OTHER_SCALARS_AND_NUL: Final = st.sampled_from(["\x00", "a\x00", "a\x00b"]) | _OTHER_SCALARS


def ids(*, max_bytes: int = 512) -> SearchStrategy[str]:
    """Ids the contract allows: awkward ones, and any text without U+0000 up to `max_bytes`."""
    short = st.text(
        st.characters(exclude_categories=["Cs"], exclude_characters="\x00"),
        min_size=1,
        max_size=max(1, min(20, max_bytes // 4)),
    )
    awkward = [item_id for item_id in AWKWARD_IDS if len(item_id.encode()) <= max_bytes]
    return st.sampled_from(awkward) | short


@st.composite
def scalars(draw: DrawFn, *, nul: bool = False) -> str | int | float | bool | None:
    """Values that `where` can compare with: from the pools, and now and then any other.

    Args:
        draw: Given by Hypothesis.
        nul: Whether texts may hold U+0000.
    """
    # A composite, since the repr of the pools in every strategy built on it would be huge.
    position = draw(st.integers(0, len(_SCALARS) + 3))
    if position < len(_SCALARS):
        return _SCALARS[position]
    return draw(_OTHER_SCALARS_AND_NUL if nul else _OTHER_SCALARS)


def json_values(*, max_leaves: int = 8, nul: bool = False) -> SearchStrategy[Any]:
    """Any JSON value: a scalar, or arrays and objects of them.

    Args:
        max_leaves: Most scalars in one value, about.
        nul: Whether texts may hold U+0000.
    """
    return st.recursive(
        scalars(nul=nul),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=3)
        ),
        max_leaves=max_leaves,
    )


def documents(
    item_ids: SearchStrategy[str] | None = None, *, nul: bool = False
) -> SearchStrategy[JsonObject]:
    """Documents with an `id` and up to six other fields.

    Args:
        item_ids: Where ids come from; without, from `ids()`.
        nul: Whether texts may hold U+0000.
    """
    fields = st.dictionaries(st.sampled_from(FIELDS), json_values(nul=nul), max_size=6)
    return st.builds(_with_id, ids() if item_ids is None else item_ids, fields)


def _with_id(item_id: str, fields: JsonObject) -> JsonObject:
    return {"id": item_id, **fields}


def merge_patches(*, nul: bool = False) -> SearchStrategy[JsonObject]:
    """Changes for `Patch`: values to set, `None` to remove, objects to merge."""
    return st.dictionaries(
        st.sampled_from(FIELDS), st.none() | json_values(nul=nul), min_size=1, max_size=4
    )


def escaped(field: str) -> str:
    """A field's name as one step of a dotted path; `.` and backslash are taken literally.

    A name that begins with `$` is escaped for `where`, one that begins with `-` for `order_by`.
    """
    text = field.replace("\\", "\\\\").replace(".", "\\.")
    return "\\" + text if text[:1] in ("$", "-") else text


def paths(*, max_steps: int = 2) -> SearchStrategy[str]:
    """Dotted paths to fields that `documents` has at times, `id` among them."""
    step = st.sampled_from(FIELDS).map(escaped)
    dotted = st.lists(step, min_size=1, max_size=max_steps).map(".".join)
    return st.one_of(step, step, step, dotted, st.just("id"))


def conditions_of(*, nul: bool = False) -> SearchStrategy[Any]:
    """What can stand for one field in `where`: a bare value or operators."""
    value = scalars(nul=nul)
    bound = value.filter(lambda bound: bound is not None)
    text = st.sampled_from(TEXTS)
    operator = st.one_of(
        st.tuples(st.sampled_from(["$eq", "$ne", "$contains"]), value),
        st.tuples(st.sampled_from(["$gt", "$gte", "$lt", "$lte"]), bound),
        st.tuples(st.sampled_from(["$in", "$nin"]), st.lists(value, max_size=4)),
        st.tuples(st.just("$exists"), st.booleans()),
        st.tuples(st.just("$prefix"), text),
    )
    operators = st.lists(operator, min_size=1, max_size=2).map(dict)
    negated = operators.map(lambda inner: {"$not": inner})
    return st.one_of(value, operators, operators, operators, negated)


def wheres(*, nul: bool = False, max_leaves: int = 5) -> SearchStrategy[JsonObject]:
    """Valid `where` conditions, nested with `$and`, `$or` and `$not`; never `$text`.

    Args:
        nul: Whether texts may hold U+0000.
        max_leaves: Most conditions on single fields, about.
    """
    leaf = st.dictionaries(paths(), conditions_of(nul=nul), max_size=2)
    return st.recursive(
        leaf,
        lambda inner: st.one_of(
            st.lists(inner, max_size=3).map(lambda parts: {"$and": parts}),
            st.lists(inner, max_size=3).map(lambda parts: {"$or": parts}),
            inner.map(lambda part: {"$not": part}),
        ),
        max_leaves=max_leaves,
    )


def order_bys(*, max_fields: int = 3) -> SearchStrategy[tuple[str, ...]]:
    """`order_by` of up to `max_fields` different fields, each in either direction."""
    field = st.tuples(paths(), st.sampled_from(["", "-"]))
    return st.lists(field, max_size=max_fields, unique_by=lambda pair: pair[0]).map(
        lambda pairs: tuple(sign + path for path, sign in pairs)
    )
