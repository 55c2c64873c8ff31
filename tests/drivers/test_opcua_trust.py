"""Which server certificates are trusted: the rules, without a server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from edge.drivers.opcua_identity import load_trust
from edge.drivers.opcua_trust import Refused, Trust, check_application, expiry_text, judge
from tests.drivers import pki
from tests.drivers.pki import EPOCH_S, Pair, Site, authority, pair


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "pki")


def test_the_text_counts_the_days_both_ways() -> None:
    certificate = pair(end_days=10).certificate
    assert "ends in 10 days" in expiry_text("our own", certificate, EPOCH_S)
    assert "ended 5 days ago" in expiry_text("our own", certificate, EPOCH_S + 15 * pki.DAY_S)
    assert expiry_text("our own", certificate, EPOCH_S - 21 * pki.DAY_S) == ""


def verdict(shown: Pair, trust: Trust, *, now_s: float = EPOCH_S, floor_s: float = 0.0) -> str:
    try:
        judge(shown.certificate, trust, host="127.0.0.1", now_s=now_s, floor_s=floor_s)
    except Refused as exc:
        return str(exc)
    return ""


def test_an_authority_vouches_for_a_server_and_takes_its_word_back() -> None:
    ca = authority()
    good, revoked = pair("plc", issuer=ca), pair("old plc", issuer=ca)
    trust = Trust((ca.certificate,))
    assert verdict(good, trust) == verdict(revoked, trust) == ""
    listed = Trust((ca.certificate,), (crl(ca, revoked),))
    assert verdict(good, listed) == ""
    assert "was revoked" in verdict(revoked, listed)
    # Even where it was put into the trust list by itself.
    both = Trust((ca.certificate, revoked.certificate), listed.revocations)
    assert "was revoked" in verdict(revoked, both)


def crl(issuer: Pair, *revoked: Pair) -> Any:
    return x509.load_der_x509_crl(pki.revocations(issuer, *revoked))


def test_a_trusted_plc_cannot_vouch_for_another() -> None:
    plc = pair(ca=True)  # self-signed certificates often claim to be authorities
    stranger = pair("stranger", issuer=plc)
    assert verdict(plc, Trust((plc.certificate,))) == ""
    assert "is not in" in verdict(stranger, Trust((plc.certificate,)))


def test_a_false_signature_of_an_authority_does_not_count() -> None:
    ca, false = authority(), authority("plant CA ")
    forged = pair("plc", issuer=Pair(ca.certificate, false.key))
    assert "is not in" in verdict(forged, Trust((ca.certificate,)))


@pytest.mark.parametrize(
    ("clock_days", "own_from_days", "trusted_itself", "says"),
    [
        (0, -10, True, ""),
        (-20000, -10, True, ""),  # 1969: no battery; our own certificate knows better
        (-20000, -200, True, ""),  # begins after ours: somebody put it there, so it exists
        (-20000, -200, False, "valid only from"),
        (-100.5, -200, False, ""),  # a PLC that took local time for UTC
        (1001, -10, True, "expired"),
        (-20000, 1001, True, "expired"),
        (20000, -10, False, "expired"),  # a clock that runs ahead refuses: a nuisance, no hole
    ],
)
def test_dates_are_judged_with_a_clock_nobody_vouches_for(
    clock_days: float, own_from_days: float, trusted_itself: bool, says: str
) -> None:
    ca = authority(begin_days=-3000, end_days=9000)
    plc = pair(issuer=ca)
    trust = Trust((plc.certificate,) if trusted_itself else (ca.certificate,))
    found = verdict(
        plc, trust, now_s=EPOCH_S + clock_days * pki.DAY_S,
        floor_s=EPOCH_S + own_from_days * pki.DAY_S,
    )  # fmt: skip
    assert (says in found) if says else found == ""


def test_the_application_is_told_by_its_uri() -> None:
    check_application(pair().certificate, pki.SERVER_URI)
    with pytest.raises(Refused, match="calls itself urn:x, but its certificate is for urn:test"):
        check_application(pair().certificate, "urn:x")


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("broken.der", b"no certificate", "broken.der is no certificate"),
        ("broken.crl", b"no list", "broken.crl is no revocation list"),
        ("other.crl", pki.revocations(authority("other CA")), "not signed by an authority in"),
    ],
)
def test_a_file_of_the_trust_list_that_cannot_be_used_is_not_passed_over(
    site: Site, name: str, content: bytes, says: str
) -> None:
    (site.trusted / name).write_bytes(content)
    with pytest.raises(Refused, match=says):
        load_trust(site.trusted)


def test_a_trust_list_takes_der_pem_and_revocation_lists(site: Site) -> None:
    ca = authority()
    site.trust(ca)
    (site.trusted / "plc.pem").write_bytes(pair().certificate.public_bytes(Encoding.PEM))
    (site.trusted / "ca.crl").write_bytes(pki.revocations(ca))
    (site.trusted / "notes.txt").write_text("not a certificate")
    trust = load_trust(site.trusted)
    assert (len(trust.certificates), len(trust.revocations)) == (2, 1)


def test_an_empty_trust_list_trusts_nobody(site: Site) -> None:
    assert "is not in" in verdict(pair(), load_trust(site.trusted))
