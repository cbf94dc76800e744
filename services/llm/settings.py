"""The flags of the LLM service."""

import re
from typing import Any, ClassVar, Literal

import yaml
from pydantic import Field, SecretStr, field_validator, model_validator

from services.common.settings import ServerSettings
from services.llm.conversation.conversation import DEFAULT_MAX_BYTES
from services.llm.conversation.stores import MEMORY, URL_SCHEMES
from services.llm.weights import EMBEDDED, display_name

DEFAULT_MODELS = {
    "responses-api": "gpt-5.4-mini",
    "chat-completions": "gpt-5.4-mini",
    "transformers": "Qwen/Qwen3-4B-Instruct-2507",
    "mlx-lm": "mlx-community/Qwen3-4B-Instruct-2507-bf16",
    "fake": "fake",
}
API_BACKENDS = frozenset({"responses-api", "chat-completions"})
_SHARED: dict[str, Any] = {"group": "every backend"}
_LOCAL: dict[str, Any] = {"group": "local backends (transformers, mlx-lm)"}
_API: dict[str, Any] = {"group": "API backends (responses-api, chat-completions)"}
_IMAGES: dict[str, Any] = {"group": "images"}
_CONVERSATIONS: dict[str, Any] = {"group": "conversations"}
_FAKE: dict[str, Any] = {"group": "fake backend"}
FAKE_ANSWER = (
    "This is the fake language model, it understands nothing at all. It answers every question with these same words. "
    "They come at the pace that its flags set. Choose another backend to hear a real answer."
)
_URL = re.compile(r"https?://[^/?#@\s]+(/[^?#\s]*)?")
_WORD = re.compile(r"[\w-]*", re.ASCII)


def _default_models_text() -> str:
    names: dict[str, list[str]] = {}
    for backend, model in DEFAULT_MODELS.items():
        if backend != "fake":
            names.setdefault(model, []).append(backend)
    return ", ".join(f"{model} for {' and '.join(backends)}" for model, backends in names.items())


class LlmSettings(ServerSettings):
    """A language model as a gRPC service."""

    open_prefix: ClassVar[str] = "llm_gen_"

    port: int = Field(50052, ge=0, le=65535, description="gRPC port; 0 takes a free one and logs it")

    llm_backend: Literal["responses-api", "chat-completions", "transformers", "mlx-lm", "fake"] = Field(
        "responses-api",
        description="what generates: responses-api or chat-completions (any OpenAI-compatible API), transformers or "
        "mlx-lm (in this process), or fake (scripted)",
        json_schema_extra=_SHARED,
    )
    model_name: str = Field(
        "",
        description=f"the provider's name for it, a hub id, a local folder, or {EMBEDDED} (the model that comes as a "
        "package)",
        json_schema_extra={**_SHARED, "default_text": _default_models_text()},
    )
    chat_size: int = Field(
        30,
        ge=0,
        le=10_000,
        description="user turns, each with its answer, that a conversation keeps; older ones are summarized, or go",
        json_schema_extra=_SHARED,
    )
    compact_history: bool = Field(
        True,
        description="summarize older turns in the background, with an extra call of the model; False: they go",
        json_schema_extra=_SHARED,
    )
    compaction_timeout_s: float = Field(60, gt=0, description="seconds for one summary", json_schema_extra=_SHARED)
    init_chat_role: str = Field(
        "system",
        min_length=1,
        description="role of the instructions; some chat templates know only user, or want developer",
        json_schema_extra=_SHARED,
    )
    init_chat_prompt: str = Field(
        "You are a friendly voice assistant. Answer in one to three short sentences of plain spoken language.",
        description="instructions of every conversation that sets none",
        json_schema_extra=_SHARED,
    )
    user_role: str = Field("user", min_length=1, description="role of the user's messages", json_schema_extra=_SHARED)
    enable_lang_prompt: bool = Field(
        False,
        description='add "Please reply to my message in <language>." to a user message whose language is known',
        json_schema_extra=_SHARED,
    )
    stream_batch_sentences: int = Field(
        3, ge=1, le=100, description="sentences in a speech segment", json_schema_extra=_SHARED
    )
    first_batch_sentences: int = Field(
        1, ge=1, le=100, description="sentences in the first segment of a response", json_schema_extra=_SHARED
    )
    first_segment_min_chars: int = Field(
        20,
        ge=0,
        description="characters from which the first segment may also end at a comma or before a conjunction; 0: never",
        json_schema_extra=_SHARED,
    )
    first_segment_deadline_ms: float = Field(
        40,
        ge=0,
        description="milliseconds without a token after which the first segment may end at a word, once it has those "
        "characters; 0: never",
        json_schema_extra=_SHARED,
    )
    llm_max_waiting: int = Field(
        64, ge=0, description="requests that may wait for the model; more are refused", json_schema_extra=_SHARED
    )
    llm_max_input_chars: int = Field(
        200_000,
        ge=1,
        description="characters of new messages and instructions in a request, and as many of its tools",
        json_schema_extra=_SHARED,
    )

    llm_device: str = Field(
        "",
        pattern=r"^(|cpu|mps|cuda(:\d+)?)$",
        description="cuda, cuda:1, cpu or mps",
        json_schema_extra={**_LOCAL, "default_text": "cuda, where there is none mps or cpu"},
    )
    llm_torch_dtype: Literal["", "float16", "bfloat16", "float32"] = Field(
        "",
        description="float16, bfloat16 or float32",
        json_schema_extra={**_LOCAL, "default_text": "float16, on a CPU float32"},
    )
    llm_quantization: Literal["", "int8"] = Field(
        "",
        description="int8: 8-bit weights, for float32 on a CPU; about twice as fast, slightly coarser",
        json_schema_extra={**_LOCAL, "default_text": "none"},
    )
    llm_threads: int = Field(
        0,
        ge=0,
        description="threads of the model on a CPU; 0 takes every core this process may use",
        json_schema_extra=_LOCAL,
    )
    llm_gen_max_new_tokens: int = Field(1024, ge=1, description="tokens of an answer at most", json_schema_extra=_LOCAL)
    llm_gen_min_new_tokens: int = Field(0, ge=0, description="tokens of an answer at least", json_schema_extra=_LOCAL)
    llm_gen_temperature: float = Field(
        0.0, ge=0, description="0 takes the likeliest token each time", json_schema_extra=_LOCAL
    )
    llm_gen_do_sample: bool = Field(
        False,
        description="draw tokens at random, by probability and temperature; other parameters are such flags too: "
        "--llm_gen_top_p, --llm_gen_top_k, --llm_gen_repetition_penalty",
        json_schema_extra=_LOCAL,
    )
    generation_options: dict[str, Any] = Field(
        default_factory=dict,
        description="any other --llm_gen_<parameter>, such as top_p, top_k, repetition_penalty",
        json_schema_extra={"hidden": True},
    )
    llm_cache_bytes: int | None = Field(
        None,
        ge=0,
        description="bytes of memory for contexts that were read already, so that a turn reads only what is new; the "
        "least recently used go first; 0 keeps none",
        json_schema_extra={
            **_LOCAL,
            "default_text": "transformers: 16384 tokens' worth, on a GPU a quarter of its memory; mlx-lm: 2 GiB",
        },
    )
    llm_max_batch: int = Field(
        32,
        ge=1,
        le=1024,
        description="answers written at a time, each step for all of them (transformers); more requests wait",
        json_schema_extra=_LOCAL,
    )
    llm_max_tokens_in_flight: int = Field(
        0,
        ge=0,
        description="tokens of the contexts and answers at work at a time (transformers); 0: as many as the memory of "
        "--llm_cache_bytes holds",
        json_schema_extra=_LOCAL,
    )
    llm_trust_remote_code: bool = Field(
        False, description="run code that comes with a model's files", json_schema_extra=_LOCAL
    )
    llm_is_vlm: bool = Field(
        False, description="the model sees images, too (transformers alone)", json_schema_extra=_LOCAL
    )

    image_max_per_request: int = Field(
        8,
        ge=1,
        description="images that a request may bring, and that the model sees at a time: the latest",
        json_schema_extra=_IMAGES,
    )
    image_max_bytes: int = Field(8 << 20, ge=1, description="bytes of an image at most", json_schema_extra=_IMAGES)
    image_max_pixels: int = Field(
        36_000_000,
        ge=1,
        le=150_000_000,
        description="width times height of an image at most",
        json_schema_extra=_IMAGES,
    )
    image_max_side: int = Field(
        2048,
        ge=0,
        description="pixels of the longer side to which larger images of more than 512 KiB are made smaller before a "
        "model gets them: most look at no more, and each turn sends less; 0: never",
        json_schema_extra=_IMAGES,
    )
    image_cache_bytes: int = Field(
        64 << 20,
        ge=0,
        description="bytes of images kept for later turns of their conversations",
        json_schema_extra=_IMAGES,
    )
    image_allow_urls: bool = Field(True, description="fetch images from URLs", json_schema_extra=_IMAGES)
    image_allow_http: bool = Field(
        False, description="fetch images from http URLs, too, not from https ones alone", json_schema_extra=_IMAGES
    )
    image_allow_private_hosts: bool = Field(
        False,
        description="fetch images from private, loopback and link-local addresses, too",
        json_schema_extra=_IMAGES,
    )
    image_fetch_timeout_s: float = Field(
        5.0, gt=0, description="seconds to fetch an image, redirects and all", json_schema_extra=_IMAGES
    )

    responses_api_api_key: SecretStr | None = Field(
        None,
        description="the provider's key; better given by environment or file than here, where `ps` shows it",
        json_schema_extra={**_API, "default_text": "OPENAI_API_KEY of the environment; a loopback URL needs none"},
    )
    responses_api_base_url: str = Field(
        "",
        description="where the API is, with its version: https://router.huggingface.co/v1, http://127.0.0.1:8080/v1",
        json_schema_extra={**_API, "default_text": "OpenAI"},
    )
    responses_api_stream: bool = Field(
        True, description="False: wait for the whole answer, then emit it the same way", json_schema_extra=_API
    )
    responses_api_disable_thinking: bool = Field(
        True,
        description="ask for no thinking (chat_template_kwargs.enable_thinking), at providers other than OpenAI",
        json_schema_extra=_API,
    )
    responses_api_reasoning_effort: str = Field(
        "",
        description="how much to think, in the provider's own words; wins over --responses_api_disable_thinking",
        json_schema_extra={**_API, "default_text": "the provider's"},
    )
    responses_api_connect_timeout_s: float = Field(
        5, gt=0, description="seconds to connect, for each try", json_schema_extra=_API
    )
    responses_api_first_token_timeout_s: float = Field(
        20,
        gt=0,
        description="seconds until the first token, retries included",
        json_schema_extra=_API,
    )
    responses_api_idle_timeout_s: float = Field(
        10, gt=0, description="seconds from token to token", json_schema_extra=_API
    )
    responses_api_request_timeout_s: float = Field(
        120, gt=0, description="seconds for the whole answer", json_schema_extra=_API
    )
    responses_api_max_retries: int = Field(
        2,
        ge=0,
        le=100,
        description="further tries after a failure that may pass; none once a token has come",
        json_schema_extra=_API,
    )
    responses_api_max_parallel: int = Field(
        256, ge=1, le=10_000, description="answers asked for at a time; more requests wait", json_schema_extra=_API
    )

    conversation_store: SecretStr = Field(
        SecretStr(MEMORY),
        description="memory (this process), or a Redis server that replicas share: redis://, rediss:// (TLS) or "
        "unix:///path; a password is better given by environment or file than here, where `ps` shows it",
        json_schema_extra={**_CONVERSATIONS, "default_text": MEMORY},
    )
    conversation_ttl_s: float = Field(
        3600,
        gt=0,
        description="seconds after its last use that a conversation is forgotten",
        json_schema_extra=_CONVERSATIONS,
    )
    max_conversations: int = Field(
        4096, ge=1, description="conversations kept at a time; more are refused", json_schema_extra=_CONVERSATIONS
    )
    max_conversation_bytes: int = Field(
        DEFAULT_MAX_BYTES,
        ge=1024,
        description="what the messages of a conversation may hold, pictures included; the oldest turns go",
        json_schema_extra=_CONVERSATIONS,
    )
    held_response_ttl_s: float = Field(
        600,
        gt=0,
        description="seconds after which a held response that is neither committed nor discarded is dropped",
        json_schema_extra=_CONVERSATIONS,
    )

    fake_first_token_ms: float = Field(0, ge=0, description="milliseconds to the first token", json_schema_extra=_FAKE)
    fake_token_ms: float = Field(0, ge=0, description="milliseconds from token to token", json_schema_extra=_FAKE)
    fake_answer: str = Field(
        FAKE_ANSWER,
        min_length=1,
        description="what it answers; {received} stands for the context that it got",
        json_schema_extra={**_FAKE, "default_text": "a few sentences that say that it is fake"},
    )
    fake_calls_tools: bool = Field(
        False,
        description="before it answers a turn that has tools it calls the first of them, without arguments",
        json_schema_extra=_FAKE,
    )

    @model_validator(mode="before")
    @classmethod
    def _collect_generation_options(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Gather `llm_gen_<parameter>` flags that have no field of their own; text is read as YAML reads it."""
        own, options = {}, dict(values.get("generation_options") or {})
        for name, value in values.items():
            if name.startswith(cls.open_prefix) and name not in cls.model_fields:
                options[name.removeprefix(cls.open_prefix)] = _read(name, value)
            else:
                own[name] = value
        return {**own, "generation_options": options}

    @field_validator("responses_api_base_url")
    @classmethod
    def _check_url(cls, value: str) -> str:
        if value and not _URL.fullmatch(value):
            raise ValueError(
                "must be an http or https URL without user, query and fragment, such as http://host:8000/v1"
            )
        for path in ("/chat/completions", "/responses"):
            if value.rstrip("/").endswith(path):
                raise ValueError(f"must end before {path}: the backend adds that")
        return value

    @field_validator("conversation_store")
    @classmethod
    def _check_store(cls, value: SecretStr) -> SecretStr:
        address = value.get_secret_value()
        if address != MEMORY and not address.startswith(URL_SCHEMES):
            raise ValueError(f"must be {MEMORY}, or begin with {', '.join(URL_SCHEMES)}")
        return value

    @field_validator("responses_api_reasoning_effort")
    @classmethod
    def _check_effort(cls, value: str) -> str:
        if not _WORD.fullmatch(value):
            raise ValueError("must be one word, such as none, minimal, low, medium or high")
        return value

    @model_validator(mode="after")
    def _check_sampling(self) -> "LlmSettings":
        if self.llm_backend in API_BACKENDS:
            return self  # the backend looks at what was set: its parameters are the provider's
        if self.llm_gen_do_sample and not self.llm_gen_temperature:
            raise ValueError("--llm_gen_do_sample needs a --llm_gen_temperature above 0, such as 0.7")
        if self.llm_gen_temperature and not self.llm_gen_do_sample:
            raise ValueError("--llm_gen_temperature above 0 has no effect without --llm_gen_do_sample")
        if self.llm_gen_min_new_tokens > self.llm_gen_max_new_tokens:
            raise ValueError("--llm_gen_min_new_tokens is more than --llm_gen_max_new_tokens")
        return self

    @model_validator(mode="after")
    def _check_vision(self) -> "LlmSettings":
        if self.llm_is_vlm and self.llm_backend == "mlx-lm":
            raise ValueError("--llm_is_vlm: mlx-lm has no models that see; use transformers or an API backend")
        return self

    @property
    def generation_defaults(self) -> dict[str, Any]:
        """What the flags say of generation on a local backend, by the parameters' own names."""
        return {
            **self.generation_options,
            "max_new_tokens": self.llm_gen_max_new_tokens,
            "min_new_tokens": self.llm_gen_min_new_tokens,
            "temperature": self.llm_gen_temperature,
            "do_sample": self.llm_gen_do_sample,
        }

    @property
    def model_reference(self) -> str:
        """The model as configured, or the backend's default."""
        return self.model_name or DEFAULT_MODELS[self.llm_backend]

    @property
    def model(self) -> str:
        """The model's name as clients see it: never a path."""
        return display_name(self.model_reference)


def _read(name: str, value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return yaml.safe_load(value)
    except yaml.YAMLError:
        raise ValueError(f"--{name}: cannot read {value!r}") from None
