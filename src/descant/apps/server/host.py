"""The model of a server: the process or the cluster that it runs in, and what is known of it."""

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

from descant.apps.server.config import ServerConfig
from descant.apps.server.engine.link import EngineLink
from descant.apps.server.engine.messages import Message
from descant.apps.server.events import Hub
from descant.apps.server.problems import later
from descant.apps.server.questions import Questions
from descant.version import __version__

if TYPE_CHECKING:
    from descant.apps.server.cluster.link import ClusterLink


class Host:
    """Keeps the engine, and starts it again where it dies or was ended to free its memory.

    Attributes:
        link: the way to the engine, or to several.
        model: the description of the loaded model; None while there is none.
        last_model: the same, also while the engine is started again.

    Args:
        on_message: gets the messages of the engine that are not answers to ``questions``.
        on_death: is called when an engine has died, with the clips that it was making; None for all.
        has_work: whether it should be doing something.
    """

    def __init__(
        self,
        config: ServerConfig,
        hub: Hub,
        *,
        on_message: Callable[[Message], None],
        on_death: Callable[[Collection[str] | None], None],
        has_work: Callable[[], bool],
    ) -> None:
        self._config, self._hub = config, hub
        self._on_message, self._on_death, self._has_work = on_message, on_death, has_work
        self.link = self._new_link()
        self.send = self.link.send
        self.questions = Questions(self.send)
        self.model: dict[str, Any] | None = None
        self.last_model: dict[str, Any] | None = None
        self._is_unloaded = False

    def _new_link(self) -> "EngineLink | ClusterLink":
        if self._config.cluster is None:
            link = EngineLink(self._config.engine, self._config.limits.silence_s, self._receive, self._died)
            link.has_work = self._has_work
            return link
        from descant.apps.server.cluster.link import ClusterLink
        from descant.apps.server.cluster.ray_serve import RayServe, application_name

        name = application_name(self._config.folder)
        return ClusterLink(RayServe(self._config.cluster, name, self._config.limits), self._receive, self._died)

    @property
    def state(self) -> str:
        """Whether it is there, as in the protocol."""
        if self._is_unloaded:
            return "unloaded"
        if self.model is None:
            return "loading" if self.last_model is None else "engine-restarting"
        return "ready"

    @property
    def maker(self) -> str:
        """What makes the music here. Equal ones give the same bits for a request."""
        model = self.last_model or {}
        names = ("id", "fingerprint", "device", "precision")
        return " ".join([__version__, *(str(model.get(name)) for name in names)])

    @property
    def num_slots(self) -> int:
        """Clips that can be made side by side."""
        return self._config.limits.slots * max(1, self.link.num_engines)

    @property
    def is_silent(self) -> bool:
        """Whether the engine should say something and does not."""
        return self._has_work() and self.link.silent_s > 5

    async def run(self) -> None:
        """Keeps the engine running until ``stop``; raises what ends it for good."""
        self._publish("model.loading")
        await self.link.run()

    async def stop(self) -> None:
        """Ends the engine for good."""
        await self.link.stop()

    def load(self) -> None:
        """Starts the engine if it was ended by ``unload``."""
        if self._is_unloaded:
            self._is_unloaded = False
            self._publish("model.loading")
            self.link.load()

    async def unload(self) -> None:
        """Ends the engine, so that its memory is free for other programs; nothing happens if that was done.

        Raises:
            Problem: the model is being loaded.
        """
        if self._is_unloaded:
            return
        if self.model is None:
            raise later("not-ready", "the model is being loaded; unload it when it is there", 3)
        self.model, self._is_unloaded = None, True
        self.questions.on_death()
        self._publish("model.unloaded")
        await self.link.unload()

    def _receive(self, message: Message) -> None:
        if message.kind == "answer":
            self.questions.on_answer(message)
            return
        if message.kind == "unanswered":
            self.questions.drop(message.fields["question"])
            return
        if message.kind == "ready":
            is_first, self.model = self.model is None, dict(message.fields)
            self.last_model = self.model
            if is_first:
                self._publish("model.ready", self.model)
        self._on_message(message)

    def _died(self, clip_ids: Collection[str] | None) -> None:
        if not self.link.num_engines:
            self.model = None
        self.questions.on_death()
        self._on_death(clip_ids)

    def _publish(self, kind: str, model: Mapping[str, Any] | None = None) -> None:
        name = self._config.model if model is None else model["id"]
        self._hub.publish(kind, {"model": name, "problem": None})
