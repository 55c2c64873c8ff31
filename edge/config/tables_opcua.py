"""Keys of an OPC UA link beyond address and namespace: security, identity, subscription.

Spliced into the link table of `edge.config.tables`.
"""

from __future__ import annotations

from edge.config.keys import Key, Need

_FILE = r"\S.*"
_MAKE = "`ncm-edge certificate` makes it"

SECURITY_KEYS = (
    Key(name="security_policy", kind="choice", protocol="opc-ua", default="none",
        choices=("none", "basic256sha256", "aes256sha256rsapss"),
        doc="Security policy of the secure channel; none neither signs nor encrypts."),
    Key(name="security_mode", kind="choice", protocol="opc-ua", default=Need.OPTIONAL,
        choices=("sign", "sign_and_encrypt"),
        doc="Whether messages are only signed; left out, they are encrypted too."),
    Key(name="client_certificate", kind="text", protocol="opc-ua", default=Need.OPTIONAL,
        pattern=_FILE, example="pki/client.der",
        doc=f"Certificate of this appliance (DER or PEM), relative to the configuration directory; "
        f"{_MAKE}."),
    Key(name="client_key", kind="text", protocol="opc-ua", default=Need.OPTIONAL,
        pattern=_FILE, example="pki/client.key",
        doc="Private key of the certificate (PEM or DER), mode 0600."),
    Key(name="trust_dir", kind="text", protocol="opc-ua", default=Need.OPTIONAL,
        pattern=_FILE, example="pki/trusted",
        doc="Directory of the trusted certificates of servers and certificate authorities (.der "
        ".pem .crt .cer) and of revocation lists (.crl); read anew at each connect."),
    Key(name="server_certificate", kind="text", protocol="opc-ua", default=Need.OPTIONAL,
        pattern=_FILE, example="pki/plc.der",
        doc="The only certificate this server may show. Needed for a server without an unsecured "
        "discovery endpoint, or whose certificate does not name its address."),
    Key(name="application_uri", kind="text", protocol="opc-ua", default=Need.OPTIONAL,
        pattern=r"\S+", example="urn:edge-1:ncm-edge",
        doc="Application URI of this appliance; left out, the one of client_certificate."),
    Key(name="user", kind="text", protocol="opc-ua", default=Need.OPTIONAL,
        pattern=r"\S.*", example="ncm-edge", doc="User name on the server."),
    Key(name="password_file", kind="text", protocol="opc-ua", default=Need.OPTIONAL,
        pattern=_FILE, example="pki/plc.password",
        doc="File with the user's password in its first line, mode 0600; a password never stands "
        "in a configuration file."),
    Key(name="user_certificate", kind="text", protocol="opc-ua", default=Need.OPTIONAL,
        pattern=_FILE, example="pki/user.der", doc="Certificate of the user, instead of a name."),
    Key(name="user_key", kind="text", protocol="opc-ua", default=Need.OPTIONAL,
        pattern=_FILE, example="pki/user.key",
        doc="Private key of user_certificate, mode 0600."),
)  # fmt: skip

SUBSCRIPTION_KEYS = (
    Key(name="mode", kind="choice", protocol="opc-ua", choices=("read", "subscription"),
        default="read",
        doc="read: every node in one Read a row. subscription: the server reports changes, and a "
        "Read checks it every few seconds; for links of a thousand nodes and more."),
    Key(name="publishing_ms", kind="whole", protocol="opc-ua", unit="ms", low=50, high=10000,
        default=500, doc="How often the server reports changes, in mode subscription."),
)  # fmt: skip

NEEDS_SECURITY = tuple(key.name for key in SECURITY_KEYS if key.name != "security_policy")
"""Keys without a meaning, or dangerous, while nothing is signed or encrypted."""
SECRETS = ("client_key", "password_file", "user_key")
FILES = ("client_certificate", "server_certificate", "user_certificate")
PAIRS = (("user", "password_file"), ("user_certificate", "user_key"))
"""Keys that need each other."""
