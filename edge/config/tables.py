"""Every key of every configuration file: name, type, unit, permitted range, default, meaning.

This is data. To add a setting, add a row here and a field to its type in `edge.config.types`; the
check, the JSON Schema and docs/configuration.md follow. No limit of trim.toml has a default: a
limit nobody entered is a limit nobody is responsible for (register contract, hard rule 5).
"""

from __future__ import annotations

from edge.config.keys import MODBUS, PROTOCOLS, FileSpec, Key, Need, Protocol, Section
from edge.config.tables_mqtt import MQTT
from edge.config.tables_opcua import SECURITY_KEYS, SUBSCRIPTION_KEYS
from edge.config.tables_poll import POLL_GROUP
from edge.config.types import RTU_GAP, HistorySettings, PageSettings
from edge.core.registers import BLOCK_R_WORDS, BLOCK_W_WORDS

_NAME = r"[A-Za-z0-9][A-Za-z0-9_-]*"
_TABLES = ("coil", "discrete", "input", "holding")
_TYPES = (
    "int16", "uint16", "int32", "uint32", "float32", "int64", "uint64", "float64", "bit", "bcd16",
    "bcd32", "string",
)  # fmt: skip
_ORDERS = ("big", "little")
_WORD_ORDERS = (*_ORDERS, "big-swapped", "little-swapped")
_NODE = r"i=[0-9]+|[sgb]=.+"
_NODE_REMEDY = "leave the namespace out: it is the link's 'namespace'"

HISTORY = Section(
    subject="[history]",
    keys=(
        Key(name="directory", kind="text", pattern=r"/.*", example="/data/ncm-edge",
            default=Need.OPTIONAL, remedy="give an absolute path",
            doc="Where the history of rows, verdicts and events is kept; left out, the folder "
            "history of state_dir."),
        Key(name="max_mb", kind="whole", unit="MB", low=20, high=1_000_000,
            default=HistorySettings().max_mb,
            doc="Size above which the oldest raw rows are dropped; a year of one line takes about "
            "1800. Events are never dropped, nor is a defective batch before it was exported."),
        Key(name="max_age_days", kind="whole", unit="days", low=1, high=3650,
            default=HistorySettings().max_age_days,
            doc="Age above which raw rows and verdicts are dropped, with the same exception."),
    ),
)  # fmt: skip

PAGE = Section(
    subject="[page]",
    keys=(
        Key(name="listen", kind="text", default=PageSettings().listen, pattern=r"[0-9A-Fa-f.:]+",
            example="127.0.0.1", remedy="give an IP address of this machine, e.g. 127.0.0.1",
            doc="Address the operator page listens on. Anything but loopback needs "
            "certificate_file, key_file, and client_ca_file or token_file: docs/page.md."),
        Key(name="port", kind="whole", low=1, high=65535, default=PageSettings().port,
            doc="TCP port of the operator page."),
        Key(name="certificate_file", kind="text", default=Need.OPTIONAL, example="page/cert.pem",
            doc="PEM certificate of the page, relative to the configuration directory."),
        Key(name="key_file", kind="text", default=Need.OPTIONAL, example="page/key.pem",
            doc="PEM private key of that certificate, without a password."),
        Key(name="client_ca_file", kind="text", default=Need.OPTIONAL, example="page/clients.pem",
            doc="PEM authority whose client certificates open the page."),
        Key(name="token_file", kind="text", default=Need.OPTIONAL, example="page/token",
            doc="File with one line of at least 24 characters: the password that opens the page."),
    ),
)  # fmt: skip

APPLIANCE = Section(
    subject="",
    keys=(
        Key(name="name", kind="text", doc="Name of this appliance, shown on the page and in logs.",
            pattern=_NAME, example="edge-1",
            remedy="use letters, digits, '-' and '_' only"),
        Key(name="lines", kind="texts", min_items=1,
            doc="Production lines served by this appliance: folders below lines/."),
        Key(name="provider", kind="choice", choices=("auto", "cpu", "cuda"), default="auto",
            doc="Where the model runs; auto takes CUDA if it works and says so if it does not."),
        Key(name="state_dir", kind="text", default="/var/lib/ncm-edge", pattern=r"/.*",
            example="/var/lib/ncm-edge", remedy="give an absolute path",
            doc="Ring, history and checkpoints; must survive a power cut."),
        Key(name="runtime_dir", kind="text", default="/run/ncm-edge", pattern=r"/.*",
            example="/run/ncm-edge", remedy="give an absolute path",
            doc="Status file; may be lost at a restart."),
        Key(name="history", kind="table", section=HISTORY, default=Need.OPTIONAL,
            doc="The history kept on this appliance; may be left out."),
        Key(name="page", kind="table", section=PAGE, default=Need.OPTIONAL,
            doc="The operator page; may be left out: it then answers on this machine only."),
        Key(name="metrics_file", kind="text", default=Need.OPTIONAL, pattern=r"/.*\.prom",
            example="/var/lib/prometheus/node-exporter/ncm-edge.prom",
            remedy="give an absolute path that ends with .prom: the collector reads no other",
            doc="Where the figures of the status file also go as Prometheus text, each second, "
            "for the textfile collector of the node exporter; left out, nowhere. The service "
            "must be allowed to write there (ReadWritePaths)."),
        Key(name="mqtt", kind="table", section=MQTT, default=Need.OPTIONAL,
            doc="A broker that is told what the appliance sees and says; left out, none is. "
            "Nothing is ever taken from it."),
    ),
)  # fmt: skip

_FORBIDDEN = Section(
    subject="forbidden range",
    keys=(
        Key(name="table", kind="choice", choices=_TABLES, doc="Modbus table."),
        Key(name="first", kind="whole", low=0, high=65535, doc="First address, 0-based."),
        Key(name="last", kind="whole", low=0, high=65535, doc="Last address, 0-based."),
    ),
)

_UNIT = Section(
    subject="unit",
    keys=(
        Key(name="unit_id", kind="whole", low=0, high=255, doc="Modbus unit id."),
        Key(
            name="max_registers",
            kind="whole",
            low=4,
            high=125,
            default=Need.OPTIONAL,
            remedy="the protocol carries at most 125 registers per request",
            doc="Most registers asked for in one request; left out, the link's.",
        ),
        Key(
            name="max_gap",
            kind="whole",
            low=0,
            high=125,
            default=Need.OPTIONAL,
            doc="Unused registers a read may span; left out, the link's.",
        ),
        Key(
            name="pause_between_requests_ms",
            kind="whole",
            unit="ms",
            low=0,
            high=1000,
            default=Need.OPTIONAL,
            doc="Quiet time before each request to this unit; left out, the link's.",
        ),
    ),
)

_IP: tuple[Protocol, ...] = ("modbus-tcp", "modbus-rtu-over-tcp", "modbus-tls")
_FILE_REMEDY = "name a PEM file, absolute or relative to the configuration directory"

LINK = Section(
    subject="link",
    label="name",
    keys=(
        Key(name="name", kind="text", doc="Name by which tags and blocks refer to the link.",
            pattern=_NAME, example="plc", remedy="use letters, digits, '-' and '_' only"),
        Key(name="protocol", kind="choice", choices=PROTOCOLS, doc="What the device speaks."),
        Key(name="host", kind="text", protocol=_IP, pattern=r"[A-Za-z0-9.:_-]+",
            example="192.168.10.20", remedy="give the host name or IP address alone",
            doc="Host name or IP address of the PLC or of the serial bridge."),
        Key(name="port", kind="whole", protocol=("modbus-tcp", "modbus-rtu-over-tcp"), low=1,
            high=65535, default=502, doc="TCP port."),
        Key(name="port", kind="whole", protocol="modbus-tls", low=1, high=65535, default=802,
            doc="TCP port."),
        Key(name="device", kind="text", protocol="modbus-rtu", pattern=r"/\S+",
            example="/dev/serial/by-id/usb-FTDI-if00-port0", remedy="give an absolute path",
            doc="Serial port; a path below /dev/serial/by-id stays the same after a restart."),
        Key(name="baud", kind="whole", protocol="modbus-rtu", unit="bit/s", low=300, high=4000000,
            default=19200, doc="Speed of the line."),
        Key(name="parity", kind="choice", protocol="modbus-rtu", choices=("even", "odd", "none"),
            default="even", doc="Parity; the standard says even."),
        Key(name="stop_bits", kind="whole", protocol="modbus-rtu", low=1, high=2, default=1,
            doc="Stop bits; the standard says 2 where there is no parity."),
        Key(name="ca_file", kind="text", protocol="modbus-tls", pattern=r"\S+",
            example="tls/plant-ca.pem", remedy=_FILE_REMEDY,
            doc="Certificate of the authority (or device) that is trusted; nobody else is."),
        Key(name="certificate_file", kind="text", protocol="modbus-tls", pattern=r"\S+",
            example="tls/edge.pem", remedy=_FILE_REMEDY,
            doc="Our client certificate. Let the plant's authority put the Modbus role into it "
            "(extension 1.3.6.1.4.1.50316.802.1): the device decides by it what we may write."),
        Key(name="key_file", kind="text", protocol="modbus-tls", pattern=r"\S+",
            example="tls/edge.key", remedy=_FILE_REMEDY,
            doc="Private key of our certificate, without a password, not readable by everyone."),
        Key(name="server_name", kind="text", protocol="modbus-tls", default=Need.OPTIONAL,
            pattern=r"[A-Za-z0-9.:_-]+", example="plc-1.plant",
            doc="Name the device's certificate must carry; left out, 'host'."),
        Key(name="timeout_ms", kind="whole", protocol=MODBUS, unit="ms", low=50, high=10000,
            default=500, doc="Longest wait for an answer; must be shorter than a row."),
        Key(name="max_registers", kind="whole", protocol=MODBUS, low=4, high=125,
            default=120, remedy="the protocol carries at most 125 registers per request",
            doc="Most registers asked for in one request."),
        Key(name="max_gap", kind="whole", protocol=("modbus-tcp", "modbus-tls"), low=0, high=125,
            default=120, doc="Unused registers a read may span rather than start another request."),
        Key(name="max_gap", kind="whole", protocol=("modbus-rtu-over-tcp", "modbus-rtu"), low=0,
            high=125, default=RTU_GAP,
            doc="Unused registers a read may span; on a serial line a request costs about as much "
            "as ten registers."),
        Key(name="pause_after_connect_ms", kind="whole", protocol=MODBUS, unit="ms", low=0,
            high=10000, default=0, doc="Quiet time some devices need after a connect."),
        Key(name="pause_between_requests_ms", kind="whole", protocol=MODBUS, unit="ms",
            low=0, high=1000, default=0, doc="Quiet time some devices need between requests."),
        Key(name="unit", kind="rows", protocol=MODBUS, section=_UNIT, default=(),
            doc="Units behind the link that take less than the others."),
        Key(name="forbidden", kind="rows", protocol=MODBUS, section=_FORBIDDEN, default=(),
            doc="Address ranges that must never be read, e.g. registers cleared by reading."),
        Key(name="url", kind="text", protocol="opc-ua",
            pattern=r"opc\.tcp://[^\s/:]+(:[0-9]+)?(/\S*)?",
            example="opc.tcp://192.168.10.30:4840/plant", remedy="begin with opc.tcp://",
            doc="Endpoint of the OPC UA server."),
        Key(name="namespace", kind="text", protocol="opc-ua", pattern=r"\S+", example="urn:plant",
            remedy="give the namespace URI, not its index: indices differ from server to server",
            doc="Namespace URI of every node of the link."),
        Key(name="timeout_ms", kind="whole", protocol="opc-ua", unit="ms", low=50, high=10000,
            default=800, doc="Longest wait for an answer; must be shorter than a row."),
        Key(name="max_nodes_per_read", kind="whole", protocol="opc-ua", low=1, high=500,
            default=500, doc="Most nodes asked for in one Read."),
        *SUBSCRIPTION_KEYS,
        *SECURITY_KEYS,
    ),
)  # fmt: skip

_RING = Section(
    subject="[ring]",
    keys=(
        Key(name="row_s", kind="real", unit="s", low=0.1, high=3600, doc="Seconds per row."),
        Key(name="rows", kind="whole", low=60, high=1_000_000,
            doc="Rows kept in the ring; must hold one whole batch."),
    ),
)  # fmt: skip

_MODEL = Section(
    subject="[model]",
    keys=(
        Key(name="bundle", kind="text", pattern=r"\S.*", example="models/ncm-1",
            doc="Bundle directory, relative to the configuration directory. Without it the "
            "appliance runs, keeps its ring and says that it has no model."),
        Key(name="warn_probability", kind="real", low=0.001, high=0.999, default=Need.OPTIONAL,
            doc="Defect probability that raises the flag, with the bundle's width of hysteresis "
            "below it; left out, the bundle's calibrated threshold holds."),
        Key(name="persist_steps", kind="whole", unit="model steps", low=1, high=1000,
            doc="Model steps in a row above the threshold before the flag is raised."),
        Key(name="clear_steps", kind="whole", unit="model steps", low=1, high=10000,
            doc="Model steps in a row below the lower threshold before the flag is cleared."),
        Key(name="min_valid", kind="real", low=0, high=1,
            doc="Fraction of good tag-seconds in a model step below which its output is not "
            "valid."),
        Key(name="shadow_steps", kind="whole", unit="model steps", low=1, high=1440,
            default=30,
            doc="Model steps of a running batch that a newly installed model concludes beside the "
            "live one before it takes over."),
        Key(name="probation_steps", kind="whole", unit="model steps", low=10, high=1440,
            default=60,
            doc="Model steps of a running batch with good input in which it is then compared with "
            "the model before it; does it worse, that one comes back by itself."),
    ),
)  # fmt: skip

_RULE = Section(
    subject="deviation rule",
    label="tag",
    keys=(
        Key(name="column", kind="choice", choices=("core_kg_h", "shell_kg_h", "naoh_kg_h",
            "nh4oh_kg_h", "ph_sp", "temp_sp_c", "rpm_sp"), doc="Column of the schedule."),
        Key(name="tag", kind="text", refers="tag", pattern=r"\S{1,64}", example="FIC-101.PV",
            doc="Tag that has to follow it."),
        Key(name="tolerance", kind="real", low=0, high=1_000_000,
            doc="Permitted deviation in the tag's unit, mean of a minute."),
        Key(name="share", kind="real", low=0, high=1, default=0.0,
            doc="Permitted beside it, as a part of what is expected."),
        Key(name="set_point", kind="text", refers="tag", default="", pattern=r"\S{1,64}",
            example="FIC-101.SP", doc="Context row with the set-point in force; left out, the "
            "tag is compared with the schedule itself."),
        Key(name="set_point_share", kind="real", low=0, high=1, default=0.0,
            doc="Permitted difference of that set-point from the schedule at the batch's "
            "throughput, as a part of it; 0 leaves it unjudged."),
        Key(name="throughput", kind="flag", default=False,
            doc="true: this set-point tells the throughput of the batch (the median of them "
            "does)."),
    ),
)  # fmt: skip

_DEVIATION = Section(
    subject="[deviation]",
    keys=(
        Key(name="persist_min", kind="whole", unit="min", low=1, high=120,
            doc="Minutes in a row a tag must be out before the deviation is raised, and back "
            "before it is cleared."),
        Key(name="settle_min", kind="whole", unit="min", low=0, high=120,
            doc="Minutes after a start, hold or stop that are not judged."),
        Key(name="rule", kind="rows", section=_RULE, min_items=1,
            doc="What is compared: one [[deviation.rule]] table each."),
    ),
)  # fmt: skip

LINE = Section(
    subject="",
    keys=(
        Key(name="title", kind="text", pattern=r"\S.*", example="NCM precursor line 1",
            doc="Name of the line in the operator's words."),
        Key(name="schedule", kind="text", default=Need.OPTIONAL, refers="schedule",
            pattern=r"\S.*\.csv", example="schedules/ncm838.csv",
            remedy="name a .csv file",
            doc="Batch schedule, relative to the configuration directory; left out for a "
            "continuous process."),
        Key(name="simulation", kind="flag", default=False,
            doc="true while the links lead to a digital twin or a replay and not to the plant: "
            "every output then says so (STATUS bit 12) and no PLC may act on it."),
        Key(name="ring", kind="table", section=_RING, doc="The rows kept on this appliance."),
        Key(name="model", kind="table", section=_MODEL, doc="The model and its verdict."),
        Key(name="deviation", kind="table", section=_DEVIATION, default=Need.OPTIONAL,
            doc="Watch on the run against its schedule; left out, nothing is compared."),
        Key(name="link", kind="rows", section=LINK, min_items=1,
            doc="Connections to PLCs, DCS and OPC UA servers: one [[link]] table each."),
        Key(name="poll_group", kind="rows", section=POLL_GROUP, default=(),
            doc="Tags that are read faster or slower than the row: one [[poll_group]] table for "
            "each rate. Tags that name none are read once a row."),
    ),
)  # fmt: skip

_COMPONENT = Section(
    subject="component",
    label="code",
    keys=(
        Key(name="code", kind="text", pattern=_NAME, example="C03",
            remedy="use letters, digits, '-' and '_' only",
            doc="Code in the plant's documents."),
        Key(name="number", kind="whole", low=1, high=65534,
            remedy="0 means 'none' and 65535 'invalid' in the register block",
            doc="Number written to the PLC."),
        Key(name="name", kind="text", pattern=r"\S.*", example="NaOH feed",
            doc="Name in the operator's words."),
        Key(name="parts", kind="texts", min_items=1,
            doc="Sub-components, e.g. tank, pump, drive, meter, pipe, instrument."),
        Key(name="reportable", kind="flag", default=True,
            doc="false for context such as ambient temperature: never reported as faulty."),
    ),
)  # fmt: skip

COMPONENTS = Section(
    subject="",
    keys=(
        Key(name="component", kind="rows", section=_COMPONENT, min_items=1,
            doc="Plant components, one row each."),
        Key(name="edges", kind="pairs", default=(), refers="component",
            doc="What feeds or acts on what: [from, to] component codes."),
    ),
)  # fmt: skip


def _tag_keys(*, context: bool) -> tuple[Key, ...]:
    """Keys of a tag row; a context row need not belong to a component."""
    belongs: object = "" if context else Need.REQUIRED
    limits = Need.OPTIONAL if context else Need.REQUIRED  # a string has none; the rest is checked
    return (
        Key(name="name", kind="text", pattern=r"\S{1,64}", example="PI-103.PV",
            remedy="use the plant's tag name without blanks, at most 64 characters",
            doc="As in the plant's tag list."),
        Key(name="text", kind="text", pattern=r"\S.*", example="NaOH line pressure",
            doc="What it is, in the operator's words."),
        Key(name="unit", kind="text", pattern=r"\S.{0,15}", example="bar g",
            remedy="give the engineering unit, 1 if it has none",
            doc="Engineering unit; must agree with the bundle's model card."),
        Key(name="low", kind="real", default=limits, doc="Lower end of the instrument range; "
            "below it the value is bad. Wider than the normal range."),
        Key(name="high", kind="real", default=limits, doc="Upper end of the instrument range."),
        Key(name="component", kind="text", refers="component", default=belongs,
            pattern=_NAME, example="C03", doc="Component code in components.toml."),
        Key(name="part", kind="text", default=belongs, pattern=r"\S.*", example="pipe",
            doc="Sub-component, one of the component's parts."),
        Key(name="frozen_s", kind="real", unit="s", low=0, high=86400, default=0.0,
            doc="Time without any change after which the value counts as frozen; 0 for tags that "
            "may be constant."),
        Key(name="link", kind="text", refers="link", pattern=_NAME, example="plc",
            doc="Link in line.toml that delivers it."),
        Key(name="poll_group", kind="text", refers="poll_group", default="", pattern=_NAME,
            example="agitator", doc="Poll group in line.toml; left out, it is read once a row."),
        Key(name="unit_id", kind="whole", protocol=MODBUS, low=0, high=255, default=1,
            doc="Modbus unit id."),
        Key(name="table", kind="choice", protocol=MODBUS, choices=_TABLES,
            doc="Modbus table."),
        Key(name="address", kind="whole", protocol=MODBUS, low=0, high=65535,
            remedy="addresses are 0-based, as on the wire: register 40001 or 30001 of a manual "
            "is address 0",
            doc="First register, 0-based as on the wire."),
        Key(name="type", kind="choice", protocol=MODBUS, choices=_TYPES, default="uint16",
            doc="How the registers are to be read. bcd: four decimal digits a register; string: "
            "text for context rows, never a number."),
        Key(name="length", kind="whole", protocol=MODBUS, unit="registers", low=1, high=100,
            default=Need.OPTIONAL, doc="Length of a string, two characters a register."),
        Key(name="word_order", kind="choice", protocol=MODBUS, choices=_WORD_ORDERS,
            default="big", doc="Which register of several comes first: the high word (big) or the "
            "low word. The -swapped orders of 64-bit types exchange the two registers of each "
            "half."),
        Key(name="byte_order", kind="choice", protocol=MODBUS, choices=_ORDERS,
            default="big", doc="Byte order within a register; big is the standard."),
        Key(name="scale", kind="real", default=1.0, doc="value = raw x scale + offset."),
        Key(name="offset", kind="real", default=0.0, doc="value = raw x scale + offset."),
        Key(name="bit", kind="whole", protocol=MODBUS, low=0, high=15,
            default=Need.OPTIONAL, doc="Bit number, for type bit in a register table."),
        Key(name="invalid", kind="wholes", protocol=MODBUS, low=0, high=2**63 - 1,
            default=(), doc="Raw codes (unsigned) by which the device says that it has no value."),
        Key(name="node", kind="text", protocol="opc-ua", pattern=_NODE,
            example="s=R106.TIC-106.PV", remedy=_NODE_REMEDY,
            doc="Node identifier inside the link's namespace."),
        Key(name="max_age_s", kind="real", protocol="opc-ua", unit="s", low=1, high=86400,
            default=10.0, doc="Age of the source timestamp beyond which the value is stale."),
    )  # fmt: skip


TAG = Section(subject="tag", label="name", keys=_tag_keys(context=False))
CONTEXT = Section(subject="context", label="name", keys=_tag_keys(context=True))

TAGS = Section(
    subject="",
    keys=(
        Key(name="tag", kind="rows", section=TAG, min_items=1,
            doc="The process values the model sees, in model order, one row each."),
        Key(name="context", kind="rows", section=CONTEXT, default=(),
            doc="Set-points and the like: read and shown, never model input."),
    ),
)  # fmt: skip


def _block(name: str, words: int, meaning: str) -> Section:
    return Section(
        subject=f"[{name}]",
        keys=(
            Key(name="link", kind="text", refers="link", pattern=_NAME, example="plc",
                doc=f"Link that carries {meaning}."),
            Key(name="unit_id", kind="whole", protocol=MODBUS, low=0, high=255, default=1,
                doc="Modbus unit id."),
            Key(name="table", kind="choice", protocol=MODBUS, choices=("holding",),
                default="holding", remedy="only holding registers can be written and read back",
                doc="Modbus table."),
            Key(name="address", kind="whole", protocol=MODBUS, low=0, high=65535,
                doc="First register, 0-based as on the wire."),
            Key(name="node", kind="text", protocol="opc-ua", pattern=_NODE,
                example="s=Edge.W", remedy=_NODE_REMEDY,
                doc="Node of the UInt16 array inside the link's namespace."),
            Key(name="count", kind="whole", unit="words", low=words, high=words, default=words,
                remedy="the length is part of the contract with the PLC",
                doc="Length of the block."),
        ),
    )  # fmt: skip


OUTPUTS = Section(
    subject="",
    keys=(
        Key(name="plc_timeout_s", kind="real", unit="s", low=1, high=600, default=5.0,
            doc="PLC heartbeat older than this counts as PLC gone."),
        Key(name="block_w", kind="table", section=_block("block_w", BLOCK_W_WORDS, "block W"),
            doc="Block W, appliance to PLC: the only thing this appliance ever writes."),
        Key(name="block_r", kind="table", section=_block("block_r", BLOCK_R_WORDS, "block R"),
            default=Need.OPTIONAL,
            doc="Block R, PLC to appliance: heartbeat, operator's answers, batch state."),
    ),
)  # fmt: skip

_LIMITS = Section(
    subject="[limits]",
    keys=(
        Key(name="authority_fraction", kind="real", low=0, high=0.15, above=True,
            remedy="the suggestion may move at most 15 % away from the feed-forward flow",
            doc="Largest part of the feed-forward NaOH flow a suggestion may add or take away."),
        Key(name="max_change_kg_h", kind="real", unit="kg/h per minute", low=0, high=20,
            above=True, doc="Largest change of the suggestion per minute."),
        Key(name="min_change_kg_h", kind="real", unit="kg/h", low=0, high=20, above=True,
            doc="Smallest suggestion worth showing to the operator."),
        Key(name="ttl_s", kind="whole", unit="s", low=120, high=900,
            doc="Time a suggestion stays valid."),
        Key(name="accept_time_s", kind="real", unit="s", low=0, high=3600,
            doc="Mean time the operator takes to accept; slows the law down accordingly."),
        Key(name="ph_low", kind="real", unit="pH", low=7, high=14,
            doc="Lower end of the pH band the batch must keep."),
        Key(name="ph_high", kind="real", unit="pH", low=7, high=14,
            doc="Upper end of the pH band the batch must keep."),
    ),
)  # fmt: skip

_PLANT = Section(
    subject="[plant]",
    keys=(
        Key(name="naoh_mass_fraction", kind="real", unit="kg/kg", low=0.05, high=0.55,
            doc="Strength of the NaOH solution."),
        Key(name="nh4oh_mass_fraction", kind="real", unit="kg/kg", low=0.01, high=0.35,
            doc="Strength of the ammonia water, as NH3."),
        Key(name="metal_mol_l", kind="real", unit="mol/L", low=0.1, high=4,
            doc="Metal sulfate in the core and shell solutions."),
        Key(name="metal_density_kg_m3", kind="real", unit="kg/m3", low=1000, high=1600,
            doc="Density of the core and shell solutions."),
        Key(name="heel_m3", kind="real", unit="m3", low=0, high=1000, above=True,
            doc="Volume in the reactor at batch start."),
        Key(name="heel_ammonia_mol_l", kind="real", unit="mol/L", low=0, high=5,
            doc="Total ammonia in the reactor at batch start."),
        Key(name="max_volume_m3", kind="real", unit="m3", low=0, high=1000, above=True,
            doc="Volume at which mother liquor starts to leave."),
        Key(name="ph_reference", kind="choice", choices=("process", "25C"),
            doc="Temperature the pH transmitters report at."),
    ),
)  # fmt: skip

_ROLES = Section(
    subject="[tags]",
    keys=(
        Key(name="ph_tags", kind="texts", min_items=2, max_items=8, refers="tag",
            refers_unit="pH", remedy="the median needs at least two probes",
            doc="pH transmitters of the reactor."),
        Key(name="naoh_flow", kind="text", refers="tag", refers_unit="kg/h",
            doc="Measured NaOH flow."),
        Key(name="naoh_flow_sp", kind="text", refers="tag", refers_unit="kg/h",
            doc="Set-point of the NaOH flow in the PLC."),
        Key(name="naoh_weight", kind="text", refers="tag", refers_unit="kg",
            doc="Weight of the NaOH tank."),
        Key(name="core_flow", kind="text", refers="tag", refers_unit="kg/h",
            doc="Measured core solution flow."),
        Key(name="shell_flow", kind="text", refers="tag", refers_unit="kg/h",
            doc="Measured shell solution flow."),
        Key(name="nh4oh_flow", kind="text", refers="tag", refers_unit="kg/h",
            doc="Measured ammonia water flow."),
        Key(name="temperature", kind="text", refers="tag", refers_unit="°C",
            doc="Reactor temperature."),
        Key(name="ph_sp", kind="text", default=Need.OPTIONAL, refers="tag", refers_unit="pH",
            doc="pH set-point in force; left out, the schedule's is used and an operator's change "
            "of it goes unnoticed."),
        Key(name="hold_components", kind="texts", min_items=1, refers="component",
            doc="Components whose suspected defect holds the suggestion: at least those of the "
            "NaOH flow and of the pH probes."),
    ),
)  # fmt: skip

TRIM = Section(
    subject="",
    keys=(
        Key(name="limits", kind="table", section=_LIMITS, doc="Limits of authority."),
        Key(name="plant", kind="table", section=_PLANT, doc="The plant, for the reagent demand."),
        Key(name="tags", kind="table", section=_ROLES, doc="Which tag plays which part."),
    ),
)

FILES: tuple[FileSpec, ...] = (
    FileSpec(name="appliance.toml", section=APPLIANCE,
             doc="The appliance: which lines it serves and where it keeps its state."),
    FileSpec(name="line.toml", section=LINE,
             doc="One production line: connections, ring, model. The folder's name is the name "
             "of the line."),
    FileSpec(name="tags.toml", section=TAGS,
             doc="Process values and context, one row each. Their order is the model's order."),
    FileSpec(name="outputs.toml", section=OUTPUTS,
             doc="The write list and the block that is read back from the PLC."),
    FileSpec(name="components.toml", section=COMPONENTS,
             doc="Plant components and what feeds what."),
    FileSpec(name="trim.toml", section=TRIM,
             doc="Limits of the NaOH trim suggestion, entered and answered for by the plant's "
             "engineer. Without this file nothing is ever suggested; no limit has a default."),
)  # fmt: skip
FILE: dict[str, FileSpec] = {spec.name: spec for spec in FILES}
