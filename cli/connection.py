"""Channels to Parley's servers, as the options before the command say: `parley --tls_ca ca.pem talk …`."""

from typing import Any

import grpc

from cli.errors import USAGE, CliError
from services.common import channel
from services.common.client_security import PLAIN, ClientSecurity, stays_here
from services.common.errors import first_line

_security, _insecure = PLAIN, False


def use(security: ClientSecurity, *, insecure: bool = False) -> None:
    """What all channels of this process have; `insecure` lets tokens be sent without encryption."""
    global _security, _insecure
    _security, _insecure = security, insecure


def open_channel(target: str, **options: Any) -> grpc.aio.Channel:
    """See `services/common/channel.py`.

    Raises:
        CliError: a file is missing or wrong, or a token would be sent where others can read it.
    """
    if (_security.token or _security.token_file) and not (_security.tls or _insecure or stays_here(target)):
        raise CliError(f"the token would be sent to {target} without encryption; give --tls or --tls_ca", USAGE)
    try:
        return channel.open_channel(target, security=_security, **options)
    except (OSError, ValueError) as error:
        raise CliError(first_line(error), USAGE) from None


def uses_tls() -> bool:
    """Whether the channels are encrypted."""
    return _security.tls
