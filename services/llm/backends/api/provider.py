"""Who the provider is, as the flags and the environment say: its address, its key, and what is known of it."""

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from services.common.client_security import is_loopback
from services.common.errors import StartupError

if TYPE_CHECKING:
    from services.llm.settings import LlmSettings

OPENAI_URL = "https://api.openai.com/v1"
_OPENAI_HOSTS = ("openai.com", "openai.azure.com")
_WELL_KNOWN = {
    "openai.azure.com": "azure.ai.openai",
    "openai.com": "openai",
    "groq.com": "groq",
    "mistral.ai": "mistral_ai",
    "deepseek.com": "deepseek",
    "x.ai": "x_ai",
    "openrouter.ai": "openrouter",
    "huggingface.co": "huggingface",
}
"""Hosts, and what OpenTelemetry's `gen_ai.provider.name` calls them (the last two are ours)."""


@dataclass(frozen=True)
class Provider:
    """Where requests go.

    Attributes:
        base_url: of the API, with its version.
        api_key: "" for none.
        key_source: the flag or variable that the key came from, for messages.
        is_openai: OpenAI itself, which refuses parameters that it does not know.
        is_local: the API is on this machine.
        name: in metrics; "openai_compatible" for one that is not well known.
    """

    base_url: str
    api_key: str = field(repr=False)
    key_source: str
    is_openai: bool
    is_local: bool
    name: str = "openai_compatible"


def find_provider(settings: "LlmSettings") -> Provider:
    """The provider that the flags choose.

    Raises:
        StartupError: there is no key for one that needs it.
    """
    base_url = (settings.responses_api_base_url or OPENAI_URL).rstrip("/")
    host = urlsplit(base_url).hostname or ""
    is_local = is_loopback(host)
    given = settings.responses_api_api_key
    key, source = (given.get_secret_value(), "--responses_api_api_key") if given else ("", "")
    if not key:
        key, source = os.environ.get("OPENAI_API_KEY", ""), "OPENAI_API_KEY"
    key = key.strip()
    if not key and not is_local:
        raise StartupError(
            f"no API key for {host}: set OPENAI_API_KEY or PARLEY_RESPONSES_API_API_KEY (any word, where none is "
            "needed), or run a model here with --llm_backend transformers"
        )
    if not key.isascii() or not key.isprintable():
        raise StartupError(f"{source}: the API key has characters that no key has")
    is_openai = any(_is_of(host, known) for known in _OPENAI_HOSTS)
    name = next((name for known, name in _WELL_KNOWN.items() if _is_of(host, known)), "openai_compatible")
    return Provider(base_url, key, source, is_openai, is_local, name)


def _is_of(host: str, domain: str) -> bool:
    return host == domain or host.endswith(f".{domain}")
