"""Laws are tested on any machine, however busy: no example has a deadline."""

from hypothesis import settings

settings.register_profile("steady", deadline=None)
settings.load_profile("steady")
