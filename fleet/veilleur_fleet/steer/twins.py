"""What a box should hold, and what the fleet says of it: rules alone, no database and no clock.

Standing ──pointers_of──▶ Twin        in the order to take them: keys, then stops, then what may be done
   └─────word_for──────▶ Contact      signed by the fleet's own key: nothing newer is being kept from you
"""

import hashlib
from datetime import datetime, timedelta
from typing import Final

from veilleur_contracts.policy_document import Contact, Controller
from veilleur_contracts.standing import Standing

WORD_EVERY: Final = timedelta(minutes=10)
"""A box that misses one word still hears another before the quarter of an hour is over."""

Pointers = tuple[tuple[str, str, int], ...]
"""Kind, SHA-256 and size of documents."""


def pointers_of(standing: Standing, word: bytes | None) -> Pointers:
    """Return the documents from which a new box of that controller would come to ``standing``, and the word of it."""
    policies = () if standing.base is None else (standing.base, *standing.tightenings)
    documents = (
        *(("root", one) for one in standing.roots),
        *(("stop", one) for one in standing.stop_envelopes),
        *(("policy", one) for one in policies),
        *(() if word is None else (("contact", word),)),
    )
    return tuple((kind, hashlib.sha256(one).hexdigest(), len(one)) for kind, one in documents)


def word_for(controller: Controller, standing: Standing, last: Contact | None, now: datetime) -> Contact | None:
    """Return what the fleet has to say now; None while its last word still holds and is young enough.

    It is later than the last by a second at least, since a box hears only what is later.
    """
    at = now.replace(microsecond=0)
    if last is not None:
        at = max(at, last.at + timedelta(seconds=1))
    version = 0 if standing.policy is None else standing.policy.version
    word = Contact(at, version, frozenset(dict(standing.stops)), frozenset({controller}))
    if last is None or now - last.at >= WORD_EVERY or now < last.at - WORD_EVERY:
        return word
    return None if (last.policy_version, last.stops) == (word.policy_version, word.stops) else word
