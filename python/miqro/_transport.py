"""What the client of `miqro.mqtt` travels on: TLS and WebSocket, with paho's names (contract C42, C46)."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import logging
    from typing import Any


class TransportSettings:
    """The part of the client that is set before it connects, and is about the transport."""

    _options: dict[str, Any]
    _logger: logging.Logger | None

    if TYPE_CHECKING:

        def _configure(self, **options: object) -> None: ...

    def tls_set(
        self,
        ca_certs: str | None = None,
        certfile: str | None = None,
        keyfile: str | None = None,
        cert_reqs: object = None,
        tls_version: object = None,
        ciphers: str | None = None,
        keyfile_password: str | None = None,
        alpn_protocols: list[str] | None = None,
        *,
        minimum_version: str | None = None,
        server_name: str | None = None,
    ) -> None:
        """Encrypts the connection. The files are read now, and again on a connect if they have changed.

        Args:
            ca_certs: PEM file with the certificates that are trusted; `None`: those of the system.
            certfile: PEM file with this client's own certificate.
            keyfile: PEM file with its private key; `None`: it is in `certfile`.
            cert_reqs: `ssl.CERT_REQUIRED` (the default), `CERT_OPTIONAL` or `CERT_NONE`, or the name.
            tls_version: `ssl.PROTOCOL_TLS` (the default), `PROTOCOL_TLS_CLIENT` or `PROTOCOL_TLSv1_2`, or the name.
            ciphers: Names of OpenSSL with `:` between them.
            keyfile_password: Opens the private key.
            alpn_protocols: Application protocols that are offered.
            minimum_version: `"TLSv1_2"` or `"TLSv1_3"`.
            server_name: What the broker's certificate has to be for; `None`: the host.

        Raises:
            ConfigError: A file cannot be used, or a setting not be honoured. Its second argument names the setting.
        """
        import ssl

        from ._native import try_tls

        section = {
            "ca_certs": ca_certs,
            "certfile": certfile,
            "keyfile": keyfile,
            "keyfile_password": keyfile_password,
            "cert_reqs": _name(cert_reqs, ssl.VerifyMode),
            "tls_version": _name(tls_version, ssl._SSLMethod),
            "ciphers": ciphers,
            "alpn": None if alpn_protocols is None else ",".join(alpn_protocols),
            "minimum_version": minimum_version,
            "server_name": server_name,
        }
        self._configure(tls=try_tls(section))

    def tls_set_context(self, context: object = None) -> None:
        """Raises: a context of Python's `ssl` is OpenSSL's, which is not used here.

        Raises:
            ConfigError: Always.
        """
        from ._errors import ConfigError

        raise ConfigError(
            "an ssl.SSLContext cannot be used, because TLS is not done by OpenSSL: call tls_set()"
        )

    def tls_insecure_set(self, value: bool) -> None:
        """Sets whether the broker's certificate may be for another host: whoever has any certificate is believed.

        Raises:
            ValueError: `tls_set` has not been called.
        """
        if "tls" not in self._options:
            raise ValueError("call tls_set() before tls_insecure_set()")
        self._configure(tls_insecure=bool(value))

    def ws_set_options(self, path: str = "/mqtt", headers: dict[str, str] | None = None) -> None:
        """Sets the path, and more headers, of the request for a WebSocket.

        Raises:
            ValueError: The headers are no mapping.
        """
        if headers is not None and not isinstance(headers, dict):
            raise ValueError("headers are a mapping of names to values")
        self._configure(path=path, websocket_headers=list((headers or {}).items()))

    def _warn_of_trust(self) -> None:
        """Says loudly, once, that anybody may be the broker."""
        tls = self._options.get("tls")
        if tls is None or self._logger is None:
            return
        if tls["cert_reqs"] == "CERT_NONE":
            why, instead = "`cert_reqs: CERT_NONE`", "`ca_certs` with the certificate of its authority"
        elif self._options.get("tls_insecure"):
            why, instead = "tls_insecure_set()", "`server_name` with the name in its certificate"
        else:
            return
        self._logger.warning(
            "THE BROKER IS NOT VERIFIED (%s): the connection to %s is encrypted, but anybody on the way can read and "
            "change everything, the password included. Use %s instead",
            why,
            self._broker(),
            instead,
        )

    def _broker(self) -> str:
        host = self._options.get("host", "localhost")
        if self._options["transport"] == "unix":
            return str(self._options.get("path") or host)
        return f"{host}:{self._options.get('port', 1883)}"


def _name(value: object, names: Any) -> object:
    """The name of a constant of the `ssl` module, given as itself, as its number, or by name."""
    return names(value).name if isinstance(value, int) else value
