"""A subscription to the nodes of one link, and whether it may still be believed.

A subscription can die without a sign: the server drops it, or stops to watch its nodes, while
session and reads go on (`auto_reconnect` of asyncua does not see it either). So nothing is believed
for long:

- the server has to be heard every `KEEP_ALIVE_S`, with data or without. Once it is late, every row
  is read; three in a row missing is loss;
- every `CHECK_S` (sooner for tags whose age limit is shorter) all nodes are read as well. A node
  whose value differs from what was reported has to be reported anew; until it is, every row is
  read, and if it still is not after `SETTLE_INTERVALS` publishing intervals, that is loss.

So a value is never older than `CHECK_S` and a row, whatever the server does. Loss costs the client:
the driver discards it, and a new one gets a new subscription. The Read also brings the source time
stamps up to date, because a value that stands still is not reported.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence

import numpy as np
from asyncua import ua
from asyncua.client.client import Client
from asyncua.ua.attribute_ids import AttributeIds

from edge.drivers.opcua_answers import UNKNOWN, Answers

KEEP_ALIVE_S = 1.0
"""Longest silence of a subscription that is well; the server may ask for more."""
LATE, LOST = 1.5, 3.0
"""Silence in keep-alive periods after which rows are read, and the subscription is given up."""
CHECK_S = 3.0
SETTLE_INTERVALS = 3
LIFETIME_S = 60.0
"""The server forgets the subscription this long after we are gone."""
QUEUE = 1
"""Values the server keeps of a node between two reports: the newest. A row has room for one."""


class Feed:
    """What the subscription said last, row by row."""

    def __init__(
        self, count: int, publishing_ms: int, ages_s: Sequence[float], now: Callable[[], float]
    ) -> None:
        """`ages_s`: age limits of the tags, 0 for none. `now` is monotonic time, s."""
        self.answers = Answers(count)
        """Newest of what was reported and read."""
        self.lost = ""
        """Why it is no longer to be believed."""
        self._publishing_ms = float(publishing_ms)
        self._now = now
        limits = [age_s / 2 for age_s in ages_s if age_s > 0]
        self._check_every_s = min([CHECK_S, *limits])
        self._check_s = -math.inf
        self._heard_s = now()
        self._silence_s = math.inf
        self._unmonitored = False
        self._reported = Answers(count)
        self._reports = np.zeros(count, np.int64)
        self._differs = np.zeros(count, bool)
        self._differs_since_s = np.full(count, math.inf)
        self._reports_then = np.zeros(count, np.int64)

    async def open(
        self, client: Client, nodes: Sequence[ua.NodeId], chunk: int, timeout_s: float
    ) -> None:
        """Create the subscription and its items, `chunk` a request; raises what asyncua raises.

        `timeout_s` bounds each request.
        """
        params = ua.CreateSubscriptionParameters()
        params.RequestedPublishingInterval = self._publishing_ms
        params.RequestedMaxKeepAliveCount = max(1, round(KEEP_ALIVE_S * 1e3 / self._publishing_ms))
        params.RequestedLifetimeCount = max(
            3 * params.RequestedMaxKeepAliveCount, round(LIFETIME_S * 1e3 / self._publishing_ms)
        )
        params.MaxNotificationsPerPublish = 0
        params.PublishingEnabled = True
        async with asyncio.timeout(timeout_s):
            made = await client.uaclient.create_subscription(params, self.take)
        self._publishing_ms = max(self._publishing_ms, made.RevisedPublishingInterval)
        period_s = self._publishing_ms * made.RevisedMaxKeepAliveCount / 1e3
        self._silence_s = max(period_s, KEEP_ALIVE_S)
        for at in range(0, len(nodes), chunk):
            items = ua.CreateMonitoredItemsParameters()
            items.SubscriptionId = made.SubscriptionId
            items.TimestampsToReturn = ua.TimestampsToReturn.Source
            items.ItemsToCreate = [
                self._item(i, node) for i, node in enumerate(nodes[at : at + chunk], at)
            ]
            async with asyncio.timeout(timeout_s):
                results = await client.uaclient.create_monitored_items(items)
            # A node the server does not have gets its status from the Read; one it has but does
            # not watch (too many items, say) has to be read every row.
            self._unmonitored |= any(
                r.StatusCode.is_bad() and r.StatusCode.value not in UNKNOWN for r in results
            )
        self._heard_s = self._now()

    def _item(self, index: int, node: ua.NodeId) -> ua.MonitoredItemCreateRequest:
        item = ua.MonitoredItemCreateRequest()
        item.ItemToMonitor.NodeId = node
        item.ItemToMonitor.AttributeId = AttributeIds.Value
        item.MonitoringMode = ua.MonitoringMode.Reporting
        item.RequestedParameters.ClientHandle = index
        item.RequestedParameters.SamplingInterval = self._publishing_ms / 2
        item.RequestedParameters.QueueSize = QUEUE
        item.RequestedParameters.DiscardOldest = True
        return item

    def take(self, result: ua.PublishResult) -> None:
        """One answer to a publish request: changes, a change of state, or only a keep-alive."""
        self._heard_s = self._now()
        for notification in result.NotificationMessage.NotificationData or ():
            if isinstance(notification, ua.DataChangeNotification):
                for item in notification.MonitoredItems:
                    if 0 <= item.ClientHandle < len(self._reports):
                        self._reported.put(item.ClientHandle, item.Value)
                        self.answers.put(item.ClientHandle, item.Value)
                        self._reports[item.ClientHandle] += 1
            elif isinstance(notification, ua.StatusChangeNotification):
                self.lost = f"the server ended the subscription ({notification.Status.name})"

    def due(self) -> bool:
        """Whether this row has to be read; may find the subscription lost."""
        now_s = self._now()
        silent_s = now_s - self._heard_s
        if silent_s > LOST * self._silence_s:
            self.lost = f"the subscription was silent for {silent_s:.1f} s"
        unexplained = self._differs & (self._reports == self._reports_then)
        late = silent_s > LATE * self._silence_s
        return late or bool(unexplained.any()) or self._unmonitored or now_s >= self._check_s

    def check(self, read: Answers) -> None:
        """Take over a complete Read of all nodes just made; may find the subscription lost."""
        now_s, reported = self._now(), self._reported
        alike = (read.values == reported.values) | np.isnan(read.values) & np.isnan(reported.values)
        differs = ~alike | (read.quality != reported.quality)
        still = differs & self._differs & (self._reports == self._reports_then)
        new = differs & ~still
        self._differs, self._differs_since_s[new] = differs, now_s
        self._reports_then[new] = self._reports[new]
        settle_s = SETTLE_INTERVALS * self._publishing_ms / 1e3
        unreported = int((now_s - self._differs_since_s[still] >= settle_s).sum())
        if unreported and not self._unmonitored:
            self.lost = f"{unreported} changes were read that the subscription did not report"
        self.answers.take_over(read)
        self._check_s = now_s + self._check_every_s
