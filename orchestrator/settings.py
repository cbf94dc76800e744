"""The orchestrator's flags."""

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator
from pydantic.config import JsonDict

from services.common.client_security import ClientSecurity, stays_here
from services.common.settings import ServerSettings

_STAGES: JsonDict = {"group": "stages"}
_LIMITS: JsonDict = {"group": "limits"}
_TURNS: JsonDict = {"group": "turns"}
_REALTIME: JsonDict = {"group": "realtime bridge"}


class OrchestratorSettings(ServerSettings):
    """Chains the three services and talks to clients."""

    port: int = Field(50050, ge=0, le=65535, description="gRPC port; 0 takes a free one and logs it")
    stt_target: str = Field("127.0.0.1:50051", description="speech-to-text service", json_schema_extra=_STAGES)
    llm_target: str = Field("127.0.0.1:50052", description="language model service", json_schema_extra=_STAGES)
    tts_target: str = Field("127.0.0.1:50053", description="text-to-speech service", json_schema_extra=_STAGES)
    llm_affinity: bool = Field(
        True,
        description="send the turns of a conversation to the same replica of the language model service, which has "
        "read it already; False: to the replicas in turn",
        json_schema_extra=_STAGES,
    )
    llm_fallback_target: str = Field(
        "",
        description="language model service that answers where the first is down, or slow to its first token",
        json_schema_extra={**_STAGES, "default_text": "none"},
    )
    llm_first_token_timeout_s: float = Field(
        5.0,
        gt=0,
        description="seconds without a first token after which the fallback is asked instead",
        json_schema_extra=_STAGES,
    )
    tls_ca: Path | None = Field(
        None,
        description="who signs the services' certificates (PEM): calls to all of them use TLS then, and show "
        "--tls_cert to those that ask for a certificate",
        json_schema_extra={**_STAGES, "default_text": "none"},
    )
    tls_server_name: str = Field(
        "",
        description="name that the services' certificates have, where that is not their targets'",
        json_schema_extra={**_STAGES, "default_text": "none"},
    )
    stage_token_file: Path | None = Field(
        None,
        description="file with the token that the services ask for; read again when it changes",
        json_schema_extra={**_STAGES, "default_text": "none"},
    )
    speculation: bool = Field(
        True,
        description="begin to answer at a pause that may be the end of the user's turn; unheard if they go on",
        json_schema_extra=_TURNS,
    )
    false_interruption_timeout: float = Field(
        2.0,
        gt=0,
        description="seconds after which speech goes on that the user's voice has held, where no words have come",
        json_schema_extra=_TURNS,
    )
    max_audio_lead: float = Field(
        2.0,
        ge=0.2,
        description="seconds of speech that may be ahead of what the client plays",
        json_schema_extra=_TURNS,
    )
    apology_text: str = Field(
        "Sorry, something went wrong. Please say that again.",
        max_length=500,
        description="said where a response fails, in the default voice; empty says nothing",
        json_schema_extra=_TURNS,
    )
    response_timeout_s: float = Field(
        120.0, gt=0, description="seconds without progress after which a response fails", json_schema_extra=_LIMITS
    )
    call_timeout_s: float = Field(
        10.0,
        gt=0,
        description="seconds for a call to a service that is no answer in itself: names, and what concerns the history",
        json_schema_extra=_LIMITS,
    )
    transcript_timeout_s: float = Field(
        20.0,
        gt=0,
        description="seconds after the end of speech, or for audio to be taken, after which recognition has failed",
        json_schema_extra=_LIMITS,
    )
    max_sessions: int = Field(
        500,
        ge=1,
        description="sessions and single turns at a time; more are refused",
        json_schema_extra=_LIMITS,
    )
    session_idle_timeout_s: float = Field(
        600.0,
        ge=0,
        description="seconds without a word or a request after which a session ends; 0 is never",
        json_schema_extra=_LIMITS,
    )
    session_max_s: float = Field(
        7200.0, ge=0, description="seconds after which a session ends; 0 is never", json_schema_extra=_LIMITS
    )
    client_read_timeout_s: float = Field(
        10.0,
        ge=0,
        description="seconds after which a client that does not read is dropped; 0 is never",
        json_schema_extra=_LIMITS,
    )
    realtime_port: int = Field(
        -1,
        ge=-1,
        le=65535,
        description="port for clients of the OpenAI Realtime API, and for the web page; 0 takes a free one, -1 is off",
        json_schema_extra=_REALTIME,
    )
    realtime_origins: str = Field(
        "",
        description="web sites whose pages may connect, beside the server's own: https://a.example,…; * is all",
        json_schema_extra={**_REALTIME, "default_text": "none"},
    )

    @property
    def stage_security(self) -> ClientSecurity:
        """How the services are called."""
        if self.tls_ca is None:
            return ClientSecurity(token_file=self.stage_token_file)
        return ClientSecurity(
            True, self.tls_ca, self.tls_cert, self.tls_key, self.tls_server_name, token_file=self.stage_token_file
        )

    @model_validator(mode="after")
    def _check_stages(self) -> Self:
        if self.tls_server_name and self.tls_ca is None:
            raise ValueError("--tls_server_name needs --tls_ca")
        for name in ("stt_target", "llm_target", "llm_fallback_target", "tts_target"):
            target = getattr(self, name)
            if target and self.tls_ca is None and not self.insecure and not stays_here(target):
                raise ValueError(
                    f"--{name} {target} would be called without encryption: give --tls_ca, or --insecure where the "
                    "network is trusted"
                )
        return self
