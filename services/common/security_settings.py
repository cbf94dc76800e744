"""Flags for who may talk to a server, and how: TLS, tokens, and what a token may use."""

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator
from pydantic.config import JsonDict
from pydantic_settings import BaseSettings

from services.common.client_security import is_loopback, stays_here
from services.common.tls import ServerTls

_TLS: JsonDict = {"group": "TLS"}
_TOKENS: JsonDict = {"group": "tokens"}
_NO_TLS: JsonDict = {**_TLS, "default_text": "none"}
_NO_TOKENS: JsonDict = {**_TOKENS, "default_text": "none"}


class SecuritySettings(BaseSettings):
    """Flags that every server has; see docs/security.md."""

    tls_cert: Path | None = Field(
        None,
        description="certificate of this server, with its chain (PEM); read again when it changes",
        json_schema_extra=_NO_TLS,
    )
    tls_key: Path | None = Field(
        None, description="key of --tls_cert (PEM, without a password)", json_schema_extra=_NO_TLS
    )
    tls_client_ca: Path | None = Field(
        None,
        description="who signs the certificates of clients (PEM); each client must have one then (mTLS)",
        json_schema_extra=_NO_TLS,
    )
    insecure: bool = Field(
        False,
        description="allow connections without encryption beyond this machine, where the network is trusted or "
        "encrypts by itself",
        json_schema_extra=_TLS,
    )
    health_port: int = Field(
        -1,
        ge=-1,
        le=65535,
        description="port for gRPC health alone, without TLS, for probes that know none (Kubernetes'); 0 takes a free "
        "one, -1 is off",
        json_schema_extra=_TLS,
    )
    auth_token_file: Path | None = Field(
        None,
        description="callers' hashed tokens (YAML, see `parley token`); read again when it changes",
        json_schema_extra=_NO_TOKENS,
    )
    auth_jwks: str = Field(
        "",
        description="keys of who signs callers' tokens (JWT): a JWKS file, or its https:// URL",
        json_schema_extra=_NO_TOKENS,
    )
    auth_issuer: str = Field("", description="`iss` that a signed token must have", json_schema_extra=_NO_TOKENS)
    auth_audience: str = Field(
        "", description="`aud` that a signed token must have: this server's", json_schema_extra=_NO_TOKENS
    )
    token_max_sessions: int = Field(
        0,
        ge=0,
        description="calls at a time with a token that sets no `sessions` itself; 0 is no limit",
        json_schema_extra=_TOKENS,
    )
    token_requests_per_minute: int = Field(
        0,
        ge=0,
        description="calls, and responses asked for within a session, a minute with a token that sets no "
        "`requests_per_minute` itself; 0 is no limit",
        json_schema_extra=_TOKENS,
    )
    token_audio_seconds_per_day: float = Field(
        0.0,
        ge=0,
        description="seconds of audio sent in 24 hours with a token that sets no `audio_seconds_per_day` itself; 0 is "
        "no limit",
        json_schema_extra=_TOKENS,
    )

    @property
    def server_tls(self) -> ServerTls | None:
        """None where this server speaks without TLS."""
        if self.tls_cert is None or self.tls_key is None:
            return None
        return ServerTls(self.tls_cert, self.tls_key, self.tls_client_ca)

    @model_validator(mode="after")
    def _check_tls(self) -> Self:
        if (self.tls_cert is None) is not (self.tls_key is None):
            given, missing = ("tls_cert", "tls_key") if self.tls_key is None else ("tls_key", "tls_cert")
            raise ValueError(f"--{given} needs --{missing}")
        if self.tls_client_ca is not None and self.tls_cert is None:
            raise ValueError("--tls_client_ca needs --tls_cert and --tls_key")
        return self

    @model_validator(mode="after")
    def _check_signed_tokens(self) -> Self:
        if self.auth_jwks and not (self.auth_issuer and self.auth_audience):
            raise ValueError(
                "--auth_jwks needs --auth_issuer and --auth_audience: a token that its issuer made for another service "
                "would be let in"
            )
        if (self.auth_issuer or self.auth_audience) and not self.auth_jwks:
            raise ValueError("--auth_issuer and --auth_audience need --auth_jwks")
        scheme, found, rest = self.auth_jwks.partition("://")
        if found and scheme != "https" and not (scheme == "http" and stays_here(rest.partition("/")[0])):
            raise ValueError("--auth_jwks must be a file, or an https:// URL")
        return self

    def check_listening(self, host: str) -> None:
        """Raise ValueError where others than this machine would be served without encryption, and nobody said so."""
        if self.tls_cert is None and not self.insecure and not is_loopback(host):
            raise ValueError(
                f"--host {host} would serve other machines without encryption: give --tls_cert and --tls_key, or "
                "--insecure where the network is trusted"
            )
