"""The audio of the clips that are being made, and whoever waits for its beginning."""

from collections.abc import Callable

from descant.apps.server.files import Files
from descant.apps.server.open_jobs import Making
from descant.apps.server.parts import Part
from descant.apps.server.tasks import Changes


class Growing:
    """Parts by clip. It belongs to the event loop.

    Args:
        changes: are announced when a clip begins, and wherever one may never begin.
        is_coming: whether a clip without audio may get some.
    """

    def __init__(self, files: Files, changes: Changes, is_coming: Callable[[str], bool]) -> None:
        self._files, self._changes, self._is_coming = files, changes, is_coming
        self._parts: dict[str, Part] = {}

    def __getitem__(self, clip_id: str) -> Part:
        return self._parts[clip_id]

    def get(self, clip_id: str) -> Part | None:
        """The audio of a clip that is being made, if there is any yet."""
        return self._parts.get(clip_id)

    async def begun(self, clip_id: str) -> Part | None:
        """The audio of a clip, once there is any; None for a clip that is finished."""
        while clip_id not in self._parts and self._is_coming(clip_id):
            await self._changes.wait()
        return self._parts.get(clip_id)

    def begin(self, clip: Making, sample_rate_hz: int, channels: int, maker: str) -> Part:
        """The audio of a clip whose samples are about to come.

        It goes on with what an earlier attempt has left, even under an earlier server, if that would give the same
        samples: half of a clip by one model and half by another would be no clip of either.
        """
        if clip.id not in self._parts:
            path = self._files.part(clip.id)
            self._parts[clip.id] = Part(path, sample_rate_hz, channels, goes_on=clip.maker == maker)
            self._changes.announce()
        clip.maker, clip.format = maker, (sample_rate_hz, channels)
        return self._parts[clip.id]

    def left(self, clip: Making) -> Part | None:
        """The audio of a clip that is not made further, also where only an earlier server has made some."""
        if clip.id not in self._parts and clip.format is not None and self._files.part(clip.id).exists():
            self._parts[clip.id] = Part(self._files.part(clip.id), *clip.format)
        return self._parts.get(clip.id)

    def num_samples(self) -> dict[str, int]:
        """Samples of the clips that are being made."""
        return {clip_id: part.num_samples for clip_id, part in list(self._parts.items())}

    def forget(self, clip_id: str) -> None:
        """The clip is kept elsewhere."""
        self._parts.pop(clip_id, None)

    def finish_all(self) -> None:
        """Nothing follows; listeners get what there is."""
        for part in list(self._parts.values()):
            part.finish()
