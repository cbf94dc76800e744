"""The LLM service put together: settings in, a server's `Service` out."""

import grpc
from parley.llm.v1 import conversation_service_pb2, conversation_service_pb2_grpc, llm_service_pb2, llm_service_pb2_grpc

from services.common.load import Load
from services.common.server import Service
from services.llm import backends
from services.llm.compactor import Compactor
from services.llm.conversation import stores
from services.llm.conversation.conversations import Conversations
from services.llm.images.images import Images
from services.llm.images.limits import ImageLimits
from services.llm.images.metrics import ImageMetrics
from services.llm.metrics import CompactionMetrics, GenerationMetrics
from services.llm.servicer import ConversationServicer, LanguageModelServicer
from services.llm.settings import LlmSettings
from services.llm.turns import TurnDefaults, Turns


class LlmService(Service):
    """One backend and its conversations."""

    name = "llm"
    descriptors = (
        llm_service_pb2.DESCRIPTOR.services_by_name["LanguageModelService"],
        conversation_service_pb2.DESCRIPTOR.services_by_name["ConversationService"],
    )

    def __init__(self, settings: LlmSettings) -> None:
        self._settings = settings
        self.room = Load(settings.max_load)
        self._backend = backends.create(settings)
        self._store = stores.create(
            settings.conversation_store.get_secret_value(), settings.conversation_ttl_s, settings.max_conversations
        )
        self._images = Images(
            ImageLimits(
                settings.image_max_bytes,
                settings.image_max_pixels,
                settings.image_max_side,
                settings.image_max_per_request,
                settings.image_cache_bytes,
                settings.image_fetch_timeout_s,
                settings.image_allow_urls,
                settings.image_allow_http,
                settings.image_allow_private_hosts,
            ),
            metrics=ImageMetrics(),
        )
        self._conversations = Conversations(
            self._store,
            chat_size=settings.chat_size,
            held_ttl_s=settings.held_response_ttl_s,
            compact=settings.compact_history,
            max_bytes=settings.max_conversation_bytes,
        )
        self._compactor: Compactor | None = None
        self._models = LanguageModelServicer(self._backend)

    async def load(self) -> None:
        await self._store.open()
        await self._backend.load()
        settings = self._settings
        defaults = TurnDefaults(
            instructions=settings.init_chat_prompt,
            first_batch_sentences=settings.first_batch_sentences,
            first_segment_min_chars=settings.first_segment_min_chars,
            first_segment_deadline_s=settings.first_segment_deadline_ms / 1000,
            batch_sentences=settings.stream_batch_sentences,
            language_prompt=settings.enable_lang_prompt,
            max_input_chars=settings.llm_max_input_chars,
            max_waiting=settings.llm_max_waiting,
        )
        # A history may hold images of another replica's model: one that sees none is spared them.
        images = self._images if self._backend.capabilities.images else None
        metrics = GenerationMetrics()
        metrics.watch_prefix_cache(lambda: self._backend.prefix_cache_bytes)
        turns = Turns(self._backend, self._conversations, defaults, images, metrics, self.room)
        self._compactor = Compactor(
            self._backend,
            self._conversations,
            turns.idle,
            CompactionMetrics(),
            timeout_s=settings.compaction_timeout_s,
        )
        self._models.turns = turns

    def register(self, server: grpc.aio.Server) -> None:
        llm_service_pb2_grpc.add_LanguageModelServiceServicer_to_server(self._models, server)
        servicer = ConversationServicer(
            self._backend, self._conversations, self._settings.llm_max_input_chars, self._images
        )
        conversation_service_pb2_grpc.add_ConversationServiceServicer_to_server(servicer, server)

    async def aclose(self) -> None:
        if self._compactor is not None:
            await self._compactor.aclose()
        if self._models.turns is not None:
            await self._models.turns.idle.aclose()
        await self._images.aclose()
        await self._backend.aclose()
        await self._store.aclose()
