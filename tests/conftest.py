"""How thoroughly properties are tried: a few examples at every commit, many in ``make test``."""

from hypothesis import settings

settings.register_profile("quick", max_examples=15, deadline=None)
settings.register_profile("thorough", max_examples=100, deadline=None)
settings.load_profile("thorough")
