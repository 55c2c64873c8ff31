"""A TCP relay between a client and a server, which can hold, corrupt or cut what passes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType


class Relay:
    """Listens on `port`, forwards to `target`. Use as an async context manager."""

    def __init__(self, port: int, target: int) -> None:
        self.port = port
        self.target = target
        self.flowing = asyncio.Event()
        """Cleared: what the server says is held back."""
        self.flowing.set()
        self.change: Callable[[bytes], bytes] = bytes
        """What the client gets instead of what the server said."""
        self.connections = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Relay:
        self._server = await asyncio.start_server(self._client, "127.0.0.1", self.port)
        return self

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        if self._server is not None:
            self._server.close()
        await self.cut()

    async def cut(self) -> None:
        """Drop every connection."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        far_writer: asyncio.StreamWriter | None = None
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(reader, far_writer, False))
                group.create_task(self._pump(far_reader, writer, True))
        except (ExceptionGroup, OSError, asyncio.CancelledError):
            pass  # one side has gone, or cut(): the other goes too
        finally:
            self._tasks.discard(task)
            writer.close()
            if far_writer is not None:
                far_writer.close()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answers: bool
    ) -> None:
        while data := await reader.read(65536):
            if answers:
                await self.flowing.wait()
                data = self.change(data)
            writer.write(data)
        raise ConnectionResetError("this side has closed")
