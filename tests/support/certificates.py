"""Certificates of an authority of one's own, made anew for each test."""

import datetime
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

_DAY = datetime.timedelta(days=1)


@dataclass(frozen=True)
class Certified:
    """Files of a certificate and its key."""

    cert: Path
    key: Path

    @property
    def flags(self) -> tuple[str, str]:
        """What makes a server use it."""
        return f"--tls_cert={self.cert}", f"--tls_key={self.key}"

    def replace_by(self, other: "Certified") -> None:
        """Put another one into these files, first the one and then the other, as renewals do."""
        for mine, theirs in ((self.cert, other.cert), (self.key, other.key)):
            new = mine.with_suffix(".new")
            new.write_bytes(theirs.read_bytes())
            new.replace(mine)


class Authority:
    """Signs certificates; `cert` is what others trust."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self._folder, self._count = folder / name, 0
        self._folder.mkdir()
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        signed = self._builder(self._name, self._key).add_extension(x509.BasicConstraints(True, None), critical=True)
        self.cert = self._folder / "ca.crt"
        self.cert.write_bytes(signed.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM))

    def certify(self, *names: str) -> Certified:
        """A certificate for DNS names and addresses."""
        self._count += 1
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
        alternatives = x509.SubjectAlternativeName([_general_name(name) for name in names])
        signed = self._builder(subject, key).add_extension(alternatives, critical=False)
        files = Certified(self._folder / f"{self._count}.crt", self._folder / f"{self._count}.key")
        files.cert.write_bytes(signed.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM))
        files.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return files

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        return x509.CertificateBuilder(
            issuer_name=self._name,
            subject_name=subject,
            public_key=key.public_key(),
            serial_number=x509.random_serial_number(),
            not_valid_before=now - _DAY,
            not_valid_after=now + _DAY,
        )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
