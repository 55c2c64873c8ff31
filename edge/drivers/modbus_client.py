"""The pymodbus client of each transport, and what a failed connect means, in words.

| protocol | bytes travel over | framing |
|---|---|---|
| modbus-tcp | TCP | MBAP header |
| modbus-rtu-over-tcp | TCP to a serial bridge | RTU |
| modbus-rtu | a serial line, 8 data bits | RTU |
| modbus-tls | TLS 1.2 or newer, both sides with a certificate (Modbus/TCP Security) | MBAP header |

pymodbus' own TLS client is not used: it leaves the MBAP header out, which the Modbus/TCP Security
protocol keeps, and shares one context without any certificate authority between all connections.
"""

from __future__ import annotations

import errno
import ssl
import termios
from collections.abc import Callable
from functools import partial
from typing import Any

from pymodbus import FramerType
from pymodbus.client import AsyncModbusSerialClient, AsyncModbusTcpClient
from pymodbus.client.base import ModbusBaseClient
from pymodbus.transport import CommParams, CommType

from edge.config.types import ModbusLink, TlsFiles

_RECEIVE_LIMIT = 4096
_MEDIUM = {
    "modbus-tcp": "TCP connection", "modbus-rtu-over-tcp": "TCP connection",
    "modbus-rtu": "serial port", "modbus-tls": "TLS connection",
}  # fmt: skip
_CERTIFICATE = {
    9: "the device's certificate is not valid yet; set the clocks of device and appliance",
    10: "the device's certificate has expired; renew it on the device, or set this clock",
    18: "the device's certificate is signed by itself and not in ca_file; add it there",
    19: "the device's certificate is signed by an authority that is not in ca_file",
    20: "the device's certificate is signed by an authority that is not in ca_file",
    23: "the device's certificate is revoked",
    62: "the device's certificate is for another name; set server_name to a name it carries",
    64: "the device's certificate is for another address; set server_name to a name it carries",
}
"""X509_V_ERR of OpenSSL -> cause and remedy."""
_SYSTEM = {
    errno.ENOENT: "there is no such device",
    errno.EACCES: "permission denied; add the user of ncm-edge to the group of the device",
    errno.EPERM: "not permitted; add DeviceAllow= for it to the service, as ncm-edge.service shows",
    errno.EAGAIN: "another program uses it",
    errno.ECONNREFUSED: "refused; nothing listens on this port",
}


class _TlsClient(AsyncModbusTcpClient):
    """Modbus TCP inside TLS."""

    def __init__(self, params: CommParams, *args: Any, **options: Any) -> None:
        self.comm_params = params  # the base class keeps what it finds here
        super().__init__(*args, **options)


def context(files: TlsFiles) -> ssl.SSLContext:
    """TLS 1.2 or newer, our certificate, and no trust in anybody but `ca_file`.

    Raises OSError (ssl.SSLError included) when a file cannot be used.
    """
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # checks certificate and host name
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.load_verify_locations(cafile=files.ca_file)
    made.load_cert_chain(files.certificate_file, files.key_file, password=_no_password)
    return made


def _no_password() -> str:
    raise ssl.SSLError("key_file is protected by a password; nobody is there to type it")


def client(
    link: ModbusLink,
    on_packet: Callable[[bool, bytes], bytes],
    on_connect: Callable[[bool], None],
    on_failure: Callable[[str], None],
) -> ModbusBaseClient:
    """A client that connects once and sends each request once; `on_failure` hears why not.

    Raises OSError when the certificate files of a TLS link cannot be used.
    """
    timeout_s = link.timeout_ms / 1000
    common: dict[str, Any] = {
        "timeout": timeout_s, "retries": 0, "reconnect_delay": 0,
        "trace_packet": on_packet, "trace_connect": on_connect,
    }  # fmt: skip
    made: ModbusBaseClient
    tls: dict[str, str] = {}
    if link.protocol == "modbus-rtu":
        made = AsyncModbusSerialClient(
            link.device, baudrate=link.baud, parity=link.parity[0].upper(),
            stopbits=link.stop_bits, **common,
        )  # fmt: skip
    elif link.tls is not None:
        params = CommParams(
            comm_type=CommType.TLS, host=link.host, port=link.port, sslctx=context(link.tls),
            reconnect_delay=0, timeout_connect=timeout_s,
        )  # fmt: skip
        made = _TlsClient(params, link.host, **common)
        tls = {"server_hostname": link.tls.server_name or link.host}
    else:
        framer = FramerType.RTU if link.rtu else FramerType.SOCKET
        made = AsyncModbusTcpClient(link.host, port=link.port, framer=framer, **common)
    made.set_max_no_responses(1 << 30)  # the driver decides when to give up
    # The default of 264 bytes discards a late answer and the next one arriving together.
    made.ctx.max_buffer_size = _RECEIVE_LIMIT
    create = partial(made.ctx.call_create, **tls)

    async def open_once() -> Any:
        # pymodbus says only that it failed; the plant needs to know why.
        try:
            return await create()
        except OSError as exc:
            on_failure(explain(link, exc))
            raise
        except (termios.error, ValueError) as exc:  # a setting this serial port does not know
            failure = OSError(f"the port refuses {link.at.partition(' ')[2]}: {exc}")
            on_failure(explain(link, failure))
            raise failure from exc

    made.ctx.call_create = open_once
    return made


def explain(link: ModbusLink, exc: OSError | None) -> str:
    """Why there is no connection, with the remedy; None means that nothing answered in time."""
    if exc is None:
        why = f"silent for {link.timeout_ms} ms"
    elif isinstance(exc, ssl.SSLCertVerificationError):
        why = _CERTIFICATE.get(exc.verify_code, f"certificate refused: {exc.verify_message}")
    elif isinstance(exc, ssl.SSLError):
        why = f"TLS failed: {exc.reason or exc}; both sides need TLS 1.2 or newer"
    elif isinstance(exc, ConnectionResetError | ConnectionAbortedError) and link.tls is not None:
        why = "the device broke off the handshake; both sides need TLS 1.2 or newer"
    else:
        why = _SYSTEM.get(exc.errno or 0, exc.strerror or str(exc))
    return f"no {_MEDIUM[link.protocol]}: {why}"
