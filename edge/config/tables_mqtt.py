"""Keys of [mqtt] in appliance.toml: whom the appliance tells, over what, under which names."""

from __future__ import annotations

from edge.config.keys import Key, Need, Section
from edge.config.types import MqttSettings

_LEVEL = r"[^\s/+#{}$][^/+#{}\x00-\x1f]*"
_FILE_REMEDY = "name a PEM file, absolute or relative to the configuration directory"
_LEVEL_REMEDY = "one level of a topic: no '/', '+', '#' or braces"
_DEFAULT = MqttSettings(host="", topic="")

MQTT = Section(
    subject="[mqtt]",
    keys=(
        Key(name="host", kind="text", pattern=r"[A-Za-z0-9.:_-]+", example="192.168.10.40",
            remedy="give the host name or IP address alone",
            doc="Host name or IP address of the broker; with TLS its certificate must carry it."),
        Key(name="port", kind="whole", low=1, high=65535, default=_DEFAULT.port,
            doc="TCP port; without TLS usually 1883."),
        Key(name="topic", kind="text", pattern=r"\S(.{0,198}\S)?",
            example="{site}/{area}/{line}/ncm-edge",
            doc="Where a line stands in the unified namespace: levels with '/' between them, "
            "{line} in one of them, and {site}, {area}, {appliance} where wanted. For what is said "
            "of the appliance itself, its name takes the place of {line}."),
        Key(name="site", kind="text", pattern=_LEVEL, example="acme-north", remedy=_LEVEL_REMEDY,
            default=Need.OPTIONAL, doc="What {site} in 'topic' stands for."),
        Key(name="area", kind="text", pattern=_LEVEL, example="cathode", remedy=_LEVEL_REMEDY,
            default=Need.OPTIONAL, doc="What {area} in 'topic' stands for."),
        Key(name="client_id", kind="text", pattern=r"[A-Za-z0-9_.:-]{1,64}", example="edge-1",
            remedy="use letters, digits and '_', '.', ':', '-'", default=Need.OPTIONAL,
            doc="Name at the broker, of which there may be one only; left out, ncm-edge- and the "
            "name of the appliance."),
        Key(name="tls", kind="flag", default=_DEFAULT.tls,
            doc="false: everything goes in the clear, and no user may be named."),
        Key(name="ca_file", kind="text", pattern=r"\S+", example="tls/plant-ca.pem",
            remedy=_FILE_REMEDY, default=Need.OPTIONAL,
            doc="Certificate of the authority that is trusted to name the broker; nobody else is. "
            "Required with TLS."),
        Key(name="certificate_file", kind="text", pattern=r"\S+", example="tls/edge.pem",
            remedy=_FILE_REMEDY, default=Need.OPTIONAL,
            doc="Our client certificate, where the broker asks for one."),
        Key(name="key_file", kind="text", pattern=r"\S+", example="tls/edge.key",
            remedy=_FILE_REMEDY, default=Need.OPTIONAL,
            doc="Private key of our certificate, without a password, not readable by everyone."),
        Key(name="user", kind="text", pattern=r"\S+", example="ncm-edge", default=Need.OPTIONAL,
            remedy="no blanks", doc="User at the broker."),
        Key(name="password_file", kind="text", pattern=r"\S+", example="tls/mqtt.password",
            remedy="name a file, absolute or relative to the configuration directory",
            default=Need.OPTIONAL,
            doc="File with the password of 'user' in its first line, not readable by everyone."),
        Key(name="version", kind="choice", choices=("5", "3.1.1"), default=_DEFAULT.version,
            doc="Version of MQTT. With 3.1.1 a broker cannot say that it refuses a topic."),
        Key(name="rows", kind="flag", default=_DEFAULT.rows,
            doc="false: verdicts, trim, conditions and the log only, not every row."),
    ),
)  # fmt: skip
