"""The audio of the clips that are being made, and whoever waits for its beginning."""

from collections.abc import Callable
from typing import Any

from descant.apps.server.files import Files
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

    def begin(self, clip_id: str, sample_rate_hz: int, channels: int) -> Part:
        """The audio of a clip whose samples are about to come; it goes on with what an earlier attempt has left."""
        if clip_id not in self._parts:
            self._parts[clip_id] = Part(self._files.part(clip_id), sample_rate_hz, channels)
            self._changes.announce()
        return self._parts[clip_id]

    def left(self, clip_id: str, model: dict[str, Any] | None) -> Part | None:
        """The audio of a clip that is not made further, also where only an earlier server has made some."""
        if clip_id not in self._parts and model is not None and self._files.part(clip_id).exists():
            return self.begin(clip_id, model["sample_rate_hz"], model["channels"])
        return self._parts.get(clip_id)

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
