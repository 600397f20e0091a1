"""What may be called: every address of the internet and no other, by URLs that no two parsers read differently."""

import ipaddress
import re
import socket
import unicodedata
from contextlib import suppress
from urllib.parse import unquote, urlsplit

import pytest
import yarl
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from models.errors import Misconfigured
from models.intake.fields import url as url_field
from models.intake.rows import BrokenRule
from models.outgoing import INTERNET, Outgoing, RefusedUrl
from models.settings import read_settings
from tests.addresses import ALLOWED_URLS, FORBIDDEN, ODD_URLS, PUBLIC
from tests.fakes import HERE

#: As wide as they come, each within its kind.
PRIVATE = Outgoing.parse("10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,100.64.0.0/10,fd00:ec2::/32,127.0.0.0/8,::1")


@pytest.mark.parametrize("address", FORBIDDEN)
def test_address_that_is_no_host_of_the_internet_is_refused(address: str) -> None:
    assert INTERNET.refusal(address, 443) != ""


@pytest.mark.parametrize("address", PUBLIC)
def test_address_of_the_internet_is_called_at_the_port_of_https_and_no_other(address: str) -> None:
    """Behind another port of an address of our own could be a service that trusts us."""
    assert INTERNET.refusal(address, 443) == ""
    for port in (22, 80, 6379, 8443):
        assert INTERNET.refusal(address, port) == "another port than 443"


@pytest.mark.parametrize("url", ODD_URLS)
def test_url_that_is_not_plainly_of_the_internet_is_refused(url: str) -> None:
    with pytest.raises(RefusedUrl):
        INTERNET.destination(url)


@pytest.mark.parametrize("address", FORBIDDEN)
def test_url_with_an_address_that_is_refused_is_refused(address: str) -> None:
    host = f"[{address}]" if ":" in address else address

    with pytest.raises(RefusedUrl):
        INTERNET.destination(f"https://{host}/")


@pytest.mark.parametrize("url", ALLOWED_URLS)
def test_url_of_the_internet_is_taken(url: str) -> None:
    assert INTERNET.destination(url).port == 443


@pytest.mark.parametrize(
    ("address", "port"),
    [
        ("10.8.0.5", 8443),
        ("10.8.0.5", 80),
        ("127.0.0.1", 9000),
        ("::1", 443),
        ("192.168.255.1", 1),
        ("100.64.0.1", 443),
    ],
)
def test_named_network_is_called_at_any_port(address: str, port: int) -> None:
    assert PRIVATE.refusal(address, port) == ""


@pytest.mark.parametrize("address", [each for each in FORBIDDEN if not INTERNET.refusal(each, 443).startswith("a pri")])
def test_naming_private_networks_lets_nothing_else_through(address: str) -> None:
    """Above all no metadata service, though two of them lie in networks that were named."""
    own = ("127.0.0.1", "127.255.255.254", "::1", "100.64.0.1", "100.127.255.255")

    assert (PRIVATE.refusal(address, 443) == "") == (address in own)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8089/x", "http://localhost:8089/", "https://127.0.0.1/", "http://[::1]/"]
)
def test_this_host_is_called_only_where_it_is_named(url: str) -> None:
    assert HERE.destination(url).host in ("127.0.0.1", "localhost", "::1")
    with pytest.raises(BrokenRule, match="DESPENSA_OUTGOING_NETWORKS"):
        url_field(INTERNET)(url)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("0.0.0.0/0", "wider than /8"),
        ("::/0", "wider than /32"),
        ("fd00::/8", "wider than /32"),
        ("10.8.0.1/24", "must be networks"),
        ("10.8.0.0/24;10.9.0.0/24", "must be networks"),
        ("localhost", "must be networks"),
        (",", "must be networks"),
        ("10.8.0.0/24,", "must be networks"),
        ("169.254.0.0/16", "a link-local address"),
        ("169.254.169.254", "a link-local address"),
        ("fe80::/64", "a link-local address"),
        ("100.100.100.200", "a metadata service"),
        ("fd00:ec2::254", "a metadata service"),
        ("192.0.0.0/16", "an address of protocols"),
        ("192.0.0.192/32", "a metadata service"),
        ("224.0.0.0/8", "a multicast address"),
        ("0.0.0.0/8", "an unspecified address"),
        ("::/96", "an IPv4 address within IPv6"),
        ("::ffff:10.0.0.0/104", "an IPv4 address within IPv6"),
        ("64:ff9b::/96", "an IPv4 address within IPv6"),
        ("2002:a00::/32", "an IPv4 address within IPv6"),
        ("fec0::/32", "a site-local address"),
        ("4000::/32", "an address of no host"),
        ("240.0.0.0/8", "a reserved address"),
    ],
)
def test_setting_that_would_open_too_much_is_refused(text: str, rule: str) -> None:
    with pytest.raises(Misconfigured, match=f"DESPENSA_OUTGOING_NETWORKS: .*{re.escape(rule)}"):
        read_settings({"DESPENSA_OUTGOING_NETWORKS": text})


def test_setting_takes_networks_and_addresses() -> None:
    settings = read_settings({"DESPENSA_OUTGOING_NETWORKS": "127.0.0.0/8, ::1,10.8.0.0/24 ,198.51.100.7,100.64.0.0/10"})

    assert len(settings.outgoing.networks) == 5
    assert read_settings({}).outgoing == INTERNET


HOSTS = [*FORBIDDEN, *PUBLIC, *(url.partition("//")[2].rpartition("/")[0] for url in ODD_URLS), "store.example", "a.b"]
PIECES = st.sampled_from(
    [*"/\\@:#?[]%.\t\n\r 0127xX٠。．ⓐ", "%00", "%2e", "//", "https:", "http:", "localhost", "443", "::1"]
)
HOSTILE = st.one_of(
    st.text(max_size=60),
    st.lists(PIECES, max_size=12).map("".join).map("https://{}".format),
    st.tuples(
        st.sampled_from(["https://", "http://", "HTTPS://", "https:/", "https:\\\\", " https://", "https://a@", "//"]),
        st.sampled_from(HOSTS), PIECES | st.just(""), st.sampled_from(HOSTS) | st.just(""),
        st.sampled_from(["", "/", ":443", ":443/", ":80/", "?x", "#x", "/\\", "\\", "@127.0.0.1/"]),
    ).map("".join),
    st.ip_addresses().map(lambda ip: f"https://[{ip}]/" if ip.version == 6 else f"https://{ip}/"),
)  # fmt: skip


@hypothesis_settings(max_examples=500)
@given(HOSTILE)
@example("https://store.example\\@127.0.0.1/")
@example("https://8.8.8.8/")
@example("https://store.example/")
def test_url_that_is_taken_leads_every_parser_to_the_same_host_of_the_internet(url: str) -> None:
    """The import and the guard say the same of it, and refuse in their own words alone."""
    rule = ""
    try:
        url_field(INTERNET)(url)
    except BrokenRule as error:
        rule = str(error)
    try:
        to = INTERNET.destination(url)
    except RefusedUrl:
        assert rule and (len(url) < 20 or url not in rule)
        return

    assert rule == ""
    assert to.tls and to.port == 443
    assert urlsplit(url).hostname == yarl.URL(url).raw_host == _host_of_a_browser(url) == to.host
    assert not (urlsplit(url).username or yarl.URL(url).user)
    with suppress(OSError):  # the C library takes more texts for an IPv4 address than anybody
        assert socket.inet_ntoa(socket.inet_aton(to.host)) == to.host
    with suppress(ValueError):
        ip = ipaddress.ip_address(to.host)
        assert ip.is_global and not ip.is_multicast
        assert not (ip.version == 6 and (ip.ipv4_mapped or ip.sixtofour or ip.teredo))


@given(HOSTILE)
def test_url_that_is_taken_where_this_host_is_named_leads_every_parser_to_the_same_host(url: str) -> None:
    try:
        to = HERE.destination(url)
    except RefusedUrl:
        return

    assert urlsplit(url).hostname == yarl.URL(url).raw_host == _host_of_a_browser(url) == to.host
    with suppress(ValueError):
        ip = ipaddress.ip_address(to.host)
        assert ip.is_loopback or (ip.is_global and to.port == 443 and to.tls)


@given(st.ip_addresses(), st.integers(0, 65_535))
def test_no_address_that_is_taken_is_local(ip: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int) -> None:
    """What Python knows to be local is refused; the table has what it does not know."""
    if not INTERNET.refusal(str(ip), port):
        assert port == 443 and ip.is_global and not ip.is_multicast


@given(st.text(max_size=50), st.integers(0, 65_535))
def test_text_that_is_no_address_is_refused(text: str, port: int) -> None:
    with suppress(ValueError):
        ipaddress.ip_address(text)
        return
    assert INTERNET.refusal(text, port)


@given(st.text(max_size=50) | st.lists(st.sampled_from([*"0123456789.:/, f", "10.0.0.0/8", "::1"])).map("".join))
def test_setting_is_read_or_refused_by_its_rule(text: str) -> None:
    with suppress(ValueError):
        for address in FORBIDDEN:
            reason = Outgoing.parse(text).refusal(address, 443)
            assert reason or INTERNET.refusal(address, 443).startswith(("a loop", "a private", "an address"))


def _host_of_a_browser(url: str) -> str | None:
    """As the WHATWG's URL standard reads a special URL; None where it fails. Source: url.spec.whatwg.org, 4.4."""
    text = re.sub(r"[\t\n\r]", "", url.strip("".join(map(chr, range(33))))).replace("\\", "/")
    found = re.match(r"https?:/*([^/?#]*)", text, re.IGNORECASE)
    if not found:
        return None
    host = found[1].rpartition("@")[2]
    if host.startswith("["):
        return host[1 : host.index("]")] if "]" in host else None
    host = unquote(re.sub(r":[0-9]*$", "", host))
    host = re.sub("[。．｡]", ".", unicodedata.normalize("NFKC", host)).lower()  # dots to some
    last = host.rstrip(".").rpartition(".")[2]
    if not re.fullmatch(r"[0-9]+|0x[0-9a-f]*", last):
        return host
    parts = host.rstrip(".").split(".")
    numbers = [int(part, 16 if part.startswith("0x") else 8 if part.startswith("0") and part != "0" else 10)
               for part in parts]  # fmt: skip
    *firsts, rest = numbers
    whole = sum(number << 8 * (3 - place) for place, number in enumerate(firsts)) + rest
    return str(ipaddress.IPv4Address(whole))
