"""Where webhooks may lead: not into the hospital's own networks, unless a setting opens them.

Whoever may make webhooks must not be able to have the platform call what only the platform can reach. So each address
that a host name stands for is looked at, and the very address that was looked at is connected to.
"""

import ipaddress
import re
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
LONGEST_URL = 1024
PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*\.?")
_VISIBLE = re.compile(r"[\x21-\x7e]+")
# IPv4 addresses inside of IPv6 ones
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class Refused(Exception):
    """A URL or an address that webhooks may not lead to; the message says why and what to do."""


@dataclass(frozen=True)
class Place:
    """A URL in its parts."""

    scheme: str
    host: str
    port: int


def place_of(url: str) -> Place:
    """The parts of a URL that a webhook may have. Refused names what is wrong with it."""
    if len(url) > LONGEST_URL or not _VISIBLE.fullmatch(url):
        raise Refused(f"expected a URL of at most {LONGEST_URL} visible ASCII characters")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise Refused("expected a URL like https://host/path") from None
    if parts.scheme not in PORTS or not parts.hostname:
        raise Refused("expected a URL that begins with https:// or http://")
    if parts.username is not None or parts.password is not None or parts.fragment or "\\" in url:
        raise Refused("expected a URL without user name, password and fragment; messages are signed instead")
    host = parts.hostname.lower()
    if literal(host) is None and not _HOST.fullmatch(host):
        raise Refused(f"'{host}' is no host name")
    if port == 0:
        raise Refused("port 0 cannot be reached")
    return Place(parts.scheme, host, port or PORTS[parts.scheme])


def literal(host: str) -> Address | None:
    """The address, when a host is one."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


class Targets:
    """What may be called: the internet, and the hosts and networks of the setting `webhook_networks`."""

    def __init__(self, allowed: Iterable[str]) -> None:
        self._networks: list[Network] = []
        self._hosts: set[str] = set()
        for entry in allowed:
            try:
                self._networks.append(ipaddress.ip_network(entry, strict=False))
            except ValueError:
                self._hosts.add(entry.lower().rstrip("."))

    def choose(self, host: str, addresses: Sequence[str]) -> str:
        """The address to connect to. Refused when one of them may not be reached, whichever would answer."""
        if not addresses:
            raise Refused(f"the host {host} has no address")
        if host.rstrip(".") in self._hosts:
            return addresses[0]
        for address in map(ipaddress.ip_address, addresses):
            if not self._may_reach(address):
                raise Refused(
                    f"{host} is {address}, an address of a private network or of this machine; an administrator can "
                    "open named hosts and networks with MEDCOSS_WEBHOOK_NETWORKS"
                )
        return addresses[0]

    def _may_reach(self, address: Address) -> bool:
        if any(address.version == network.version and address in network for network in self._networks):
            return True
        inner = _inner(address)
        if inner is not None:
            return self._may_reach(inner)
        return address.is_global and not address.is_multicast and not address.is_reserved


def _inner(address: Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that an IPv6 address leads to."""
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)


def resolve(host: str, port: int) -> list[str]:
    """The addresses of a host, which may take seconds. Refused when it has none."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise Refused(f"the host {host} cannot be found; check its name") from None
    # without the zone of link-local ones, which are refused anyway
    return list(dict.fromkeys(str(entry[4][0]).partition("%")[0] for entry in found))
