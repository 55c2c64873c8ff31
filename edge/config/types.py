"""The typed configuration: what the rest of the appliance may assume about a site.

Built only by `edge.config.load`, which either returns an `Appliance` or every fault at once.
Nothing here assumes 51 tags, 18 h batches or this plant.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edge.core.codec import Encoding
from edge.core.deviation import DeviationSettings
from edge.core.reduce import Reduction
from edge.core.schedule import Schedule
from edge.core.tags import Tag
from edge.core.topology import Topology
from edge.core.trim import TrimSettings

Table = Literal["coil", "discrete", "input", "holding"]
ModbusProtocol = Literal["modbus-tcp", "modbus-rtu-over-tcp", "modbus-rtu", "modbus-tls"]
SERIAL_BITS = 11
"""Bits of a character on a serial line: start, 8 data, parity or a second stop bit, stop."""
RTU_GAP = 10
"""Default max_gap where registers travel over a serial line, at about 20 bytes a request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """What Modbus/TCP Security needs: whom we trust, and who we are."""

    ca_file: Path
    """PEM: the certificate authority (or the device's own certificate) that is trusted."""
    certificate_file: Path
    """PEM: our client certificate; the role the device gives us is an extension of it."""
    key_file: Path
    """PEM: the private key of our certificate, without a password."""
    server_name: str = ""
    """Name the device's certificate must carry; empty: the link's host."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitLimits:
    """What one unit of a link takes, where it takes less than the others."""

    unit_id: int
    max_registers: int
    max_gap: int
    pause_between_requests_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ModbusLink:
    """One Modbus connection, or one serial line."""

    name: str
    protocol: ModbusProtocol = "modbus-tcp"
    host: str = ""
    port: int = 502
    device: str = ""
    """Serial port (modbus-rtu), e.g. ``/dev/ttyUSB0``; 8 data bits."""
    baud: int = 19200
    parity: Literal["even", "odd", "none"] = "even"
    stop_bits: int = 1
    tls: TlsFiles | None = None
    timeout_ms: int = 500
    max_registers: int = 120
    max_gap: int = 120
    """Unused registers a read may span rather than start another request."""
    pause_after_connect_ms: int = 0
    pause_between_requests_ms: int = 0
    units: tuple[UnitLimits, ...] = ()
    """Units that take less than the rest of the link."""
    forbidden: tuple[tuple[Table, int, int], ...] = ()
    """(table, first, last) address ranges that must never be read."""

    @property
    def at(self) -> str:
        """Where the device is, for messages: ``10.0.0.5:502`` or ``/dev/ttyUSB0 19200 8E1``."""
        if self.protocol == "modbus-rtu":
            return f"{self.device} {self.baud} 8{self.parity[0].upper()}{self.stop_bits}"
        return f"{self.host}:{self.port}"

    @property
    def rtu(self) -> bool:
        """True where frames carry no transaction number (RTU framing)."""
        return self.protocol in ("modbus-rtu", "modbus-rtu-over-tcp")

    def limits(self, unit_id: int) -> UnitLimits:
        """What this unit takes."""
        for unit in self.units:
            if unit.unit_id == unit_id:
                return unit
        return UnitLimits(
            unit_id=unit_id,
            max_registers=self.max_registers,
            max_gap=self.max_gap,
            pause_between_requests_ms=self.pause_between_requests_ms,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class OpcUaSecurity:
    """Channel security and identity of one OPC UA connection. Files are read at each connect."""

    policy: Literal["none", "basic256sha256", "aes256sha256rsapss"] = "none"
    mode: Literal["sign", "sign_and_encrypt"] = "sign_and_encrypt"
    client_certificate: Path | None = None
    client_key: Path | None = None
    trust_dir: Path | None = None
    """Trusted certificates and revocation lists."""
    server_certificate: Path | None = None
    """The only certificate the server may show."""
    application_uri: str = ""
    """Empty: the one in `client_certificate`."""
    user: str = ""
    password_file: Path | None = None
    user_certificate: Path | None = None
    user_key: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OpcUaLink:
    """One OPC UA connection."""

    name: str
    url: str
    namespace: str
    """Namespace URI of every node of this link; its index is resolved at each connect."""
    timeout_ms: int = 800
    max_nodes_per_read: int = 500
    mode: Literal["read", "subscription"] = "read"
    publishing_ms: int = 500
    security: OpcUaSecurity = OpcUaSecurity()


Link = ModbusLink | OpcUaLink


@dataclass(frozen=True, slots=True, kw_only=True)
class ModbusSource:
    """Where a tag lives on a Modbus link. Addresses are 0-based, as on the wire."""

    link: str
    unit_id: int
    table: Table
    address: int
    encoding: Encoding


@dataclass(frozen=True, slots=True, kw_only=True)
class OpcUaSource:
    """Where a tag lives on an OPC UA link."""

    link: str
    node: str
    """Identifier inside the link's namespace, e.g. ``s=R106.SIC-106.PV`` or ``i=2001``."""
    scale: float = 1.0
    offset: float = 0.0


Source = ModbusSource | OpcUaSource


ROW_GROUP = ""
"""Poll group of the tags that are read once a row: all that name no other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PollGroup:
    """Tags with a rate of their own; `poll_s` divides the row or is a multiple of it."""

    name: str
    poll_s: float
    reduce: Reduction = "last"
    """How the samples of a row become one value, where there are several."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TagRow:
    """One row of tags.toml."""

    tag: Tag
    source: Source
    group: str = ROW_GROUP
    """Poll group."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WordBlock:
    """A block of 16-bit words in the PLC: Modbus holding registers, or one UInt16[] node."""

    link: str
    count: int
    unit_id: int = 1
    address: int | None = None
    """First holding register, 0-based (Modbus links)."""
    node: str | None = None
    """Node identifier (OPC UA links)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outputs:
    """outputs.toml: the only addresses the appliance may write, and the block it reads."""

    block_w: WordBlock
    block_r: WordBlock | None
    plc_timeout_s: float = 5.0
    """PLC heartbeat older than this counts as PLC gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSettings:
    """Which bundle the line runs and how a verdict is formed from it."""

    bundle: Path
    """Bundle directory."""
    warn_probability: float | None
    """Defect probability that raises the flag; None takes the bundle's calibrated threshold."""
    persist_steps: int
    """Model steps in a row above the threshold before the flag is raised."""
    clear_steps: int
    """Model steps in a row below the lower threshold before the flag is cleared."""
    min_valid: float
    """Fraction of good tag-seconds in a model step below which its output is not valid, 0..1."""
    shadow_steps: int = 30
    """Model steps a newly installed model concludes beside the live one before it takes over."""
    probation_steps: int = 60
    """Model steps it is then judged against the model before it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One production line: its links, tags, plant topology, outputs and model."""

    name: str
    title: str
    links: tuple[Link, ...]
    tags: tuple[TagRow, ...]
    """The process values the model sees, in model order."""
    context: tuple[TagRow, ...]
    """Set-points and the like: read and shown, never model input."""
    topology: Topology
    outputs: Outputs
    model: ModelSettings
    row_s: float
    """Seconds per row of the ring (1.0 here)."""
    ring_rows: int
    """Rows kept in the ring (64,800 = 18 h at 1 Hz here)."""
    schedule: Schedule | None
    """None: a continuous process without batches."""
    trim: TrimSettings | None
    """None: the plant has entered no limits, so no suggestion is ever offered."""
    deviation: DeviationSettings | None = None
    """None: the run is not compared with its schedule."""
    groups: tuple[PollGroup, ...] = ()
    """Poll groups; empty: every tag is read once a row."""
    simulation: bool = False
    """The links lead to a digital twin or a replay: nothing here may be acted on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HistorySettings:
    """[history] of appliance.toml."""

    directory: Path = Path("/var/lib/ncm-edge/history")
    max_mb: int = 4000
    """Size of the file above which the oldest raw rows are dropped."""
    max_age_days: int = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class PageSettings:
    """[page] of appliance.toml: where the operator page listens, and who may see it."""

    listen: str = "127.0.0.1"
    """IP address; whatever is not loopback needs the files below."""
    port: int = 8480
    certificate_file: Path | None = None
    """PEM: the page's own certificate; with it the page is served over TLS."""
    key_file: Path | None = None
    client_ca_file: Path | None = None
    """PEM: whoever shows a certificate of this authority may see the page."""
    token_file: Path | None = None
    """Whoever knows the token in it may see the page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MqttSettings:
    """[mqtt] of appliance.toml: the broker that is told; nothing is ever taken from it."""

    host: str
    topic: str
    """Template of a line's place in the unified namespace; see `edge.config.topic`."""
    port: int = 8883
    site: str = ""
    area: str = ""
    client_id: str = ""
    """Never empty in a loaded configuration."""
    tls: bool = True
    ca_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None
    user: str = ""
    password_file: Path | None = None
    version: Literal["5", "3.1.1"] = "5"
    rows: bool = True
    """Whether every row is told, or only what is made of them."""

    @property
    def at(self) -> str:
        """Where the broker is, as shown to people."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Appliance:
    """The whole box."""

    name: str
    state_dir: Path
    runtime_dir: Path
    provider: Literal["auto", "cpu", "cuda"]
    lines: tuple[Line, ...]
    config_sha256: str
    """SHA-256 over every configuration file read, sorted by path."""
    history: HistorySettings = HistorySettings()
    page: PageSettings = PageSettings()
    trust_root: Path = Path("/etc/ncm-edge/trust/root.json")
    """The provisioned root of trust of updates; where there is none, none are accepted."""
    metrics_file: Path | None = None
    """Prometheus text for a textfile collector; None: not written."""
    mqtt: MqttSettings | None = None
    """None: nobody is told over MQTT."""
