"""Metabase's names: its semantic and relation types, and how it humanises identifiers.

The types are the descendants of `Semantic/*` and `Relation/*` in Metabase's
`src/metabase/types/core.cljc`; data types such as `type/Number` are not among them.
"""

import re

PRIMARY_KEY = "type/PK"
FOREIGN_KEY = "type/FK"
RELATION_TYPES = frozenset({PRIMARY_KEY, FOREIGN_KEY})

_TEMPORAL_FAMILIES = ("Creation", "Join", "Cancelation", "Deletion", "Updated")
_TEMPORAL_KINDS = ("Temporal", "Timestamp", "Time", "Date")
_NUMBERS = "Quantity Share Percentage Score Duration"
_MONEY = "Currency Income Discount Price GrossMargin Cost"
_PLACES = "Location Coordinate Latitude Longitude Address City State Country ZipCode"
_TEXTS = "URL ImageURL AvatarURL Email Name Title Description Comment IPAddress"
_CATEGORIES = "Category Enum Product Company Subscription Source User Author Owner"
_STRUCTURES = "Structured SerializedJSON JSON DruidJSON XML"

SEMANTIC_TYPES = frozenset(
    f"type/{name}"
    for name in (
        *" ".join((_NUMBERS, _MONEY, _PLACES, _TEXTS, _CATEGORIES, _STRUCTURES)).split(),
        *(family + kind for family in _TEMPORAL_FAMILIES for kind in _TEMPORAL_KINDS),
        "Birthdate",
    )
)

_ACRONYMS = frozenset({"id", "url", "ip", "uid", "uuid", "guid"})


def humanise(identifier: str) -> str:
    """Return Metabase's display name of an identifier: `organisation_id` → `Organisation ID`."""
    words = [word for word in re.split(r"[-_\s]+", identifier) if word]
    return " ".join(_capitalise(word) for word in words) or identifier


def _capitalise(word: str) -> str:
    if word.lower() in _ACRONYMS:
        return word.upper()
    if word == word.upper():
        return word.capitalize()
    return word[0].upper() + word[1:]
