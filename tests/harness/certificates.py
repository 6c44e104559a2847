"""Certificates of the tests' own: an authority, and whatever it is to sign, good or bad."""

from __future__ import annotations

import datetime as dt
import ipaddress
from typing import TYPE_CHECKING, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from pathlib import Path

    Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

DAY = dt.timedelta(days=1)


class Pair(NamedTuple):
    """A certificate and its private key, as files and as what they hold."""

    certfile: Path
    keyfile: Path
    key: Key

    def listener(self, port: int, *more: str) -> list[str]:
        """The lines of mosquitto's configuration for a listener with this certificate."""
        return [
            f"listener {port} 127.0.0.1",
            f"certfile {self.certfile}",
            f"keyfile {self.keyfile}",
            *more,
        ]


class Authority:
    """Signs certificates, and has one of its own in `file`.

    Args:
        folder: Where its files go, and those of what it signs.
        name: Its name, in its certificate and of its files.
    """

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self.folder = folder
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.file = folder / f"{name}.pem"
        certificate = _sign(self.name, self.key, self.name, self.key, (), authority=True)
        _write(self.file, certificate)

    def issue(
        self,
        *names: str,
        days: tuple[int, int] = (-1, 30),
        key: Key | None = None,
        self_signed: bool = False,
        file: str = "",
    ) -> Pair:
        """Make a certificate.

        Args:
            names: What it is for: host names and addresses.
            days: From when to when it is valid, in days from today.
            key: Its private key; by default a new one.
            self_signed: Sign it by itself, as `openssl req -x509` does: it claims to be an authority then.
            file: The name of its files; by default the first name.
        """
        key = key or ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0] if names else "nobody")])
        signer = (subject, key) if self_signed else (self.name, self.key)
        certificate = _sign(subject, key, *signer, names, days=days, authority=self_signed)
        stem = file or (names[0] if names else "nobody")
        pair = Pair(self.folder / f"{stem}.crt", self.folder / f"{stem}.key", key)
        _write(pair.certfile, certificate)
        pair.keyfile.write_bytes(pem(key))
        return pair


def pem(key: Key, *, password: str = "", traditional: bool = False) -> bytes:
    """A private key as PEM: PKCS#8, or with `traditional` PKCS#1 or SEC 1; encrypted if there is a password."""
    form = (
        serialization.PrivateFormat.TraditionalOpenSSL if traditional else serialization.PrivateFormat.PKCS8
    )
    cipher: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password:
        cipher = serialization.BestAvailableEncryption(password.encode())
    return key.private_bytes(serialization.Encoding.PEM, form, cipher)


def rsa_key() -> rsa.RSAPrivateKey:
    """A new RSA key."""
    return rsa.generate_private_key(65537, 2048)


def _sign(
    subject: x509.Name,
    key: Key,
    issuer: x509.Name,
    issuer_key: Key,
    names: tuple[str, ...],
    *,
    days: tuple[int, int] = (-1, 30),
    authority: bool = False,
) -> x509.Certificate:
    today = dt.datetime.now(dt.timezone.utc)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(today + days[0] * DAY)
        .not_valid_after(today + days[1] * DAY)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
    )
    if names:
        alternatives = x509.SubjectAlternativeName([_general(name) for name in names])
        builder = builder.add_extension(alternatives, critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _write(path: Path, certificate: x509.Certificate) -> None:
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
