"""The HTTP protocol over the pacer, in memory: what the page needs, with chunks of a chosen size."""

from tests.apps.studio import fake_clips, fake_jobs, fake_others
from tests.apps.studio.fake_http import Memory


class FakeServer(Memory):
    """Serves the built page and the protocol."""

    routes = (*fake_jobs.ROUTES, *fake_clips.ROUTES, *fake_others.ROUTES)
