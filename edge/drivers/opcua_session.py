"""Channel and session of one OPC UA connection, made of asyncua's public calls.

Not `Client.connect()`: that starts a supervisor, a watchdog and a stale-subscription task, and a
link has one owner (`OpcUaDriver.run`). Security policy None only, so far: certificates and a user
belong in `new_client` and `open_session` (`set_security` before the socket is opened); nothing else
in the driver depends on them.
"""

from __future__ import annotations

import asyncio
import logging

from asyncua import ua
from asyncua.client.client import Client
from asyncua.client.ua_client import UaClientState

from edge.config.types import OpcUaLink
from edge.drivers.opcua_answers import describe, read_request

_log = logging.getLogger(__name__)

# asyncua logs each failed request with its traceback; the driver reports failures itself, once per
# change of state. A debug session may lower the level again.
_asyncua_log = logging.getLogger("asyncua.client")
if _asyncua_log.level == logging.NOTSET:
    _asyncua_log.setLevel(logging.CRITICAL + 1)

SESSION_MS = 60_000
"""A server forgets our session this long after we are gone; polls keep it alive."""
CHANNEL_MS = 3_600_000
_RENEW_AT = 0.75  # of the channel's lifetime, OPC 10000-4 section 5.5.2
_OPEN_REQUESTS = 6
_MAX_NODES_PER_READ = ua.NodeId(ua.Int32(11705))


def new_client(link: OpcUaLink) -> Client:
    """A client for one connection; nothing is opened yet."""
    client = Client(link.url, timeout=link.timeout_ms / 1000)
    client.session_timeout = SESSION_MS
    client.secure_channel_timeout = CHANNEL_MS
    client.name = client.description = "ncm-edge"
    return client


async def open_session(client: Client, link: OpcUaLink) -> tuple[int, int]:
    """Open channel and session: (index of the link's namespace, most nodes the server reads).

    Raises LookupError when the server does not have the namespace, and whatever asyncua raises.
    """
    async with asyncio.timeout(_OPEN_REQUESTS * link.timeout_ms / 1000):
        await client.connect_socket()
        await client.send_hello()
        await client.open_secure_channel()
        await client.create_session()
        await client.activate_session()
        uris = await client.get_namespace_array()
        if link.namespace not in uris:
            known = ", ".join(f'"{uri}"' for uri in uris)
            raise LookupError(f'the server has no namespace "{link.namespace}"; it has {known}')
        (answer,) = await client.uaclient.read(read_request([_MAX_NODES_PER_READ]))
        limit = answer.Value.Value if answer.Value is not None else None
        if not isinstance(limit, int) or limit <= 0:
            limit = link.max_nodes_per_read  # the server states none
        return uris.index(link.namespace), limit


def renew_after_s(client: Client) -> float:
    """Seconds after which the channel in force wants to be renewed."""
    return _RENEW_AT * client.secure_channel_timeout / 1000


async def renew_channel(client: Client) -> None:
    """Renew the secure channel; no other request may be under way."""
    await client.open_secure_channel(renew=True)
    client.uaclient.revolve_security_token()


async def close_session(client: Client, timeout_s: float) -> None:
    """End session, channel and socket; politely while the server plays along."""
    try:
        if client.state is UaClientState.CONNECTED:
            async with asyncio.timeout(timeout_s):
                await client.close_session()
                await client.close_secure_channel()
    except Exception as exc:
        _log.debug("close: %s", describe(exc))
    finally:
        client.disconnect_socket()
