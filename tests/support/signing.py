"""Someone who signs tokens (JWT), and publishes the keys as a file or at a URL."""

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

ISSUER, AUDIENCE = "https://issuer.example", "parley"


class Signer:
    """Signs with one key, which has a name."""

    def __init__(self, kid: str = "one") -> None:
        self._key, self._kid = ec.generate_private_key(ec.SECP256R1()), kid

    @property
    def keys(self) -> str:
        """What is published (JWKS)."""
        key = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(self._key.public_key()))
        return json.dumps({"keys": [{**key, "kid": self._kid, "use": "sig", "alg": "ES256"}]})

    def token(self, subject: str = "acme", **claims: Any) -> str:
        """A token that is good for a minute, unless the claims say otherwise."""
        good = {"sub": subject, "iss": ISSUER, "aud": AUDIENCE, "exp": int(time.time()) + 60}
        return jwt.encode({**good, **claims}, self._key, algorithm="ES256", headers={"kid": self._kid})


@contextlib.contextmanager
def published(signer: list[Signer]) -> Iterator[tuple[str, list[str]]]:
    """The keys of the last signer of the list at a URL, and the paths that were asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            body = signer[-1].keys.encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/keys", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
