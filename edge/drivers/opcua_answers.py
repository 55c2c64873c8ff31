"""What an OPC UA server sends, as values, qualities and words: nothing here waits or connects."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
from asyncua import ua
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.status_codes import StatusCodes
from asyncua.ua.uaerrors import UaStatusCodeError

from edge.core.tags import Quality, Reason

_NUMBERS = (bool, int, float)
UNKNOWN = (StatusCodes.BadNodeIdUnknown, StatusCodes.BadNodeIdInvalid)
"""Statuses by which a server says that it does not have a node."""
TOO_LARGE = frozenset(
    {
        StatusCodes.BadTooManyOperations,
        StatusCodes.BadEncodingLimitsExceeded,
        StatusCodes.BadRequestTooLarge,
        StatusCodes.BadResponseTooLarge,
    }
)
"""Service faults that a smaller Read avoids."""


class Answers:
    """Raw answers of one poll, indexed like the rows."""

    def __init__(self, count: int) -> None:
        self.values = np.full(count, np.nan)
        self.quality = np.full(count, Quality.BAD, np.uint8)
        self.reason = np.full(count, Reason.NOT_CONNECTED, np.uint8)
        self.source_s: npt.NDArray[np.float64] = np.full(count, np.nan)
        self.unknown: set[int] = set()
        """Rows whose node the server does not have."""

    def put(self, i: int, answer: ua.DataValue) -> None:
        """Take the answer for row `i`: its value only if status and type allow it."""
        stamp = answer.SourceTimestamp
        self.source_s[i] = math.nan if stamp is None else _epoch_s(stamp)
        self.values[i], self.quality[i] = math.nan, Quality.BAD
        self.unknown.discard(i)
        status = answer.StatusCode or ua.StatusCode()
        value = answer.Value.Value if answer.Value is not None else None
        if status.is_bad():
            self.reason[i] = Reason.STATUS_BAD
            if status.value in UNKNOWN:
                self.unknown.add(i)
        elif not isinstance(value, _NUMBERS):
            self.reason[i] = Reason.BAD_ANSWER
        elif not math.isfinite(value):
            self.reason[i] = Reason.NOT_A_NUMBER
        else:
            self.values[i] = value
            uncertain = status.is_uncertain()
            self.quality[i] = Quality.UNCERTAIN if uncertain else Quality.GOOD
            self.reason[i] = Reason.STATUS_UNCERTAIN if uncertain else Reason.NONE

    def take_over(self, other: Answers) -> None:
        """Become a copy of `other`."""
        self.values[:], self.source_s[:] = other.values, other.source_s
        self.quality[:], self.reason[:] = other.quality, other.reason
        self.unknown = set(other.unknown)


def read_request(nodes: Sequence[ua.NodeId]) -> ua.ReadParameters:
    """One Read of the Value attribute of each node, with source time stamps."""
    params = ua.ReadParameters()
    params.TimestampsToReturn = ua.TimestampsToReturn.Source
    for node in nodes:
        item = ua.ReadValueId()
        item.NodeId = node
        item.AttributeId = AttributeIds.Value
        params.NodesToRead.append(item)
    return params


def _epoch_s(stamp: datetime) -> float:
    """asyncua hands out naive UTC or aware times, by version."""
    return (stamp if stamp.tzinfo else stamp.replace(tzinfo=UTC)).timestamp()


def describe(exc: BaseException) -> str:
    """An error of asyncua or the socket in words; some of its messages are empty."""
    if isinstance(exc, UaStatusCodeError):
        return f"the server answered {ua.StatusCode(exc.code).name}"
    if isinstance(exc, TimeoutError):
        return "no answer in time"
    if isinstance(exc, ConnectionRefusedError):
        return "connection refused: no server listens there"
    if isinstance(exc, AssertionError) and not str(exc):
        return "the server refused the secure channel (certificate or security policy)"
    if isinstance(exc, LookupError):
        return str(exc)
    return f"{type(exc).__name__}: {exc}" if str(exc) else type(exc).__name__
