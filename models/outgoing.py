"""Which URLs and addresses of stores and issuers may be called: the internet by https, and networks that are named.

Whoever can write a store's URL must not reach through us what only we can reach. So the rule is a written list of
networks, not `ipaddress.is_private`, which lets a third of them through; and a URL is read by a grammar so narrow that
no two parsers differ about its host.
"""

import ipaddress
import re
from dataclasses import dataclass

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address

SETTING = "DESPENSA_OUTGOING_NETWORKS"
#: What the setting has to be for a rehearsal on one machine.
LOOPBACK = "127.0.0.0/8"
URL_CHARACTERS_MAX = 2_000
PORTS = {"https": 443, "http": 80}
#: The only port of the internet: behind any other of an address of our own could be a service that trusts us.
INTERNET_PORT = 443
#: A network that is named is one's own: half the internet in it would be a slip. Bits of the prefix, by IP version.
PREFIX_MIN = {4: 8, 6: 32}


@dataclass(frozen=True, slots=True)
class _Kind:
    what: str
    networks: tuple[_Network, ...]
    nameable: bool = False  #: the setting may name a part of it


def _kind(what: str, *networks: str, nameable: bool = False) -> _Kind:
    return _Kind(what, tuple(ipaddress.ip_network(network) for network in networks), nameable)


#: What is no host of the internet, in the order in which it is asked for. Source: IANA's special-purpose registries of
#: IPv4 and IPv6, and what clouds document of their metadata services. An IPv6 address that carries an IPv4 address
#: leads wherever that one leads: none is called.
KINDS = (
    _kind("a loopback address", "127.0.0.0/8", "::1/128", nameable=True),
    _kind(
        "a metadata service", "100.100.100.200/32", "168.63.129.16/32", "192.0.0.192/32", "fd00:ec2::254/128",
        "fd20:ce::254/128", "fd00:42::42/128", "fd00:c1::a9fe:a9fe/128",
    ),
    _kind("a link-local address", "169.254.0.0/16", "fe80::/10"),
    _kind("an unspecified address", "0.0.0.0/8", "::/128"),
    _kind("a multicast address", "224.0.0.0/4", "ff00::/8"),
    _kind(
        "an IPv4 address within IPv6", "::/96", "::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48",
        "2002::/16", "2001::/32",
    ),
    _kind("a relay of 6to4", "192.88.99.0/24"),
    _kind("a site-local address", "fec0::/10"),
    _kind("an address of protocols", "192.0.0.0/24", "2001::/23", "100::/64", "5f00::/16"),
    _kind("a reserved address", "240.0.0.0/4"),
    _kind("a private address", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7", nameable=True),
    _kind("an address of a carrier", "100.64.0.0/10", nameable=True),
    _kind("an address for benchmarks", "198.18.0.0/15", nameable=True),
    _kind(
        "an address for documentation", "192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32",
        "3fff::/20", nameable=True,
    ),
)  # fmt: skip
#: Whatever else IPv6 has is not assigned to hosts.
_GLOBAL = ipaddress.IPv6Network("2000::/3")

#: Names that no name server of the internet answers for.
_LOCAL_NAMES = (
    "localhost", "local", "localdomain", "internal", "intranet", "private", "corp", "home", "lan", "home.arpa",
)  # fmt: skip
_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>\[[0-9a-f:.]{2,45}\]|[0-9a-z.-]{1,253})(?::(?P<port>[1-9][0-9]{0,4}))?"
    r"(?:[/?][!\"$-\[\]-~]*)?",  # printable ASCII, but # and backslash
    re.ASCII | re.IGNORECASE,
)
_LABEL = r"[0-9a-z](?:[0-9a-z-]{0,61}[0-9a-z])?"
#: The last label begins with a letter: otherwise some take the whole for an IPv4 address, in any base.
_NAME = re.compile(rf"(?:{_LABEL}\.)*[a-z](?:[0-9a-z-]{{0,61}}[0-9a-z])?", re.ASCII)


class RefusedUrl(ValueError):
    """What of a URL is not called. The text has nothing of the URL itself."""


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a URL leads."""

    host: str
    port: int
    tls: bool

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Outgoing:
    """What may be called besides the internet: nothing, or these networks, by http and at any port too."""

    networks: tuple[_Network, ...] = ()

    @classmethod
    def parse(cls, text: str) -> "Outgoing":
        """Networks separated by commas. Raises ValueError with the rule that one breaks."""
        return cls(tuple(_network(word.strip()) for word in text.split(",")) if text.strip() else ())

    def refusal(self, address: str, port: int) -> str:
        """Why nobody connects to an address, such as `a private address`; empty where somebody may.

        The last word: every address that is connected to was asked about here, whatever name led to it.
        """
        try:
            ip = ipaddress.ip_address(address)
        except ValueError:
            return "no address"
        kind = next((kind for kind in KINDS if _within(ip, kind.networks)), None)
        if (kind is None or kind.nameable) and _within(ip, self.networks):
            return ""
        if kind is not None:
            return kind.what
        if ip.version == 6 and ip not in _GLOBAL:
            return "an address of no host"
        return "" if port == INTERNET_PORT else f"another port than {INTERNET_PORT}"

    def destination(self, url: str) -> Destination:
        """Where a URL leads, if it may be called as far as it tells itself. Raises RefusedUrl.

        A name may lead anywhere: its addresses are asked about by `refusal`.
        """
        found = _URL.fullmatch(url) if len(url) <= URL_CHARACTERS_MAX else None
        if found is None:
            raise RefusedUrl("what is not plainly https://HOST/PATH")
        scheme, host = found["scheme"].lower(), found["host"].lower()
        port = int(found["port"] or PORTS[scheme])
        if port > 65_535:
            raise RefusedUrl("a port that there is not")
        # By its port alone an address is later known to be called by https.
        if scheme == "http" and (not self.networks or port == INTERNET_PORT):
            raise RefusedUrl("plain http")
        literal = _literal(host)
        if literal:
            reason = self.refusal(literal, port)
        elif self.networks:
            reason = ""  # one's own names, and the ports of one's own hosts
        elif "." not in host or any(host == name or host.endswith("." + name) for name in _LOCAL_NAMES):
            reason = "a name that only this network knows"
        else:
            reason = "" if port == INTERNET_PORT else f"another port than {INTERNET_PORT}"
        if reason:
            raise RefusedUrl(reason)
        return Destination(literal or host, port, scheme == "https")


#: What an installation may call that names nothing.
INTERNET = Outgoing()


def _literal(host: str) -> str:
    """The address that a host is, in its one spelling; empty where it is a name. Raises RefusedUrl where neither."""
    if _NAME.fullmatch(host):
        return ""
    text = host.strip("[]")
    try:
        address: _Address = ipaddress.IPv6Address(text) if host.startswith("[") else ipaddress.IPv4Address(text)
    except ValueError:
        raise RefusedUrl("a host that is oddly spelt") from None
    if str(address) != text:
        raise RefusedUrl("a host that is oddly spelt")
    return text


def _network(text: str) -> _Network:
    try:
        network = ipaddress.ip_network(text)
    except ValueError:
        raise ValueError(
            "must be networks by their first addresses, such as 10.8.0.0/24, separated by commas"
        ) from None
    if network.prefixlen < PREFIX_MIN[network.version]:
        raise ValueError(f"may name no network wider than /{PREFIX_MIN[network.version]}")
    for kind in KINDS:
        same = [each for each in kind.networks if each.version == network.version]
        if kind.nameable and any(network.subnet_of(each) for each in same):  # type: ignore[arg-type]  # same version
            return network
        for each in same:
            # The addresses of metadata services lie in networks that are otherwise one's own.
            if not kind.nameable and (network.subnet_of(each) or (each.num_addresses > 1 and each.overlaps(network))):  # type: ignore[arg-type]
                raise ValueError(f"can never name {kind.what}")
    if network.version == 6 and not network.subnet_of(_GLOBAL):
        raise ValueError("can never name an address of no host")
    return network


def _within(ip: _Address, networks: tuple[_Network, ...]) -> bool:
    return any(ip in network for network in networks)
