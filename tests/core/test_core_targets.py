"""Where webhooks may not lead, in all its disguises."""

import pytest

from services.core.targets import Refused, Targets, literal, place_of, resolve

NOWHERE = Targets([])
PRIVATE = [
    "127.0.0.1", "127.8.8.8", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
    "192.0.2.1", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "::", "::1", "fe80::1",
    "fc00::1", "ff02::1",
    "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a00:1", "2002:7f00:1::",
    "2001:db8::1", "2001:0:4136:e378:8000:63bf:80ff:fffe",
]  # fmt: skip


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_are_refused(address: str) -> None:
    with pytest.raises(Refused, match="MEDCOSS_WEBHOOK_NETWORKS"):
        NOWHERE.choose("hooks.example", [address])


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_the_internet_is_open(address: str) -> None:
    assert NOWHERE.choose("hooks.example", [address]) == address


def test_one_private_address_among_others_is_enough() -> None:
    with pytest.raises(Refused, match=r"10\.0\.0\.1"):
        NOWHERE.choose("hooks.example", ["8.8.8.8", "10.0.0.1"])


def test_a_setting_opens_networks_and_hosts() -> None:
    opened = Targets(["10.20.0.0/16", "fd00::/8", "Hooks.Clinic.Example"])
    assert opened.choose("a.example", ["10.20.3.4"]) == "10.20.3.4"
    assert opened.choose("a.example", ["fd00::5"]) == "fd00::5"
    assert opened.choose("a.example", ["::ffff:10.20.3.4"]) == "::ffff:10.20.3.4"
    assert opened.choose("hooks.clinic.example", ["192.168.1.1"]) == "192.168.1.1"
    for host, address in (("a.example", "10.21.0.1"), ("evil.hooks.clinic.example", "192.168.1.1")):
        with pytest.raises(Refused):
            opened.choose(host, [address])


@pytest.mark.parametrize("host", ["2130706433", "0x7f.1", "127.1", "017700000001", "localhost"])
def test_other_ways_to_write_this_machine_are_refused(host: str) -> None:
    assert literal(host) is None
    with pytest.raises(Refused):
        NOWHERE.choose(host, resolve(host, 80))


@pytest.mark.parametrize(
    "url",
    [
        "", "hooks", "ftp://a.example", "file:///etc/passwd", "gopher://a.example", "https://", "https:///a",
        "https://u:p@a.example", "https://a@b.example", "https://a.example/#x", "https://a.example\\@b.example/",
        "https://a.example:0/", "https://a.example:99999/", "https://a b.example", "https://a.example/\r\nX: y",
        "https://a..example/", "https://[::1", "https://-a.example/", "https://a.example/" + "x" * 1024, "https://ä.example",
        "javascript:alert(1)", "//a.example/",
    ],
)  # fmt: skip
def test_what_is_no_such_url_is_refused(url: str) -> None:
    with pytest.raises(Refused):
        place_of(url)


def test_the_parts_of_a_url() -> None:
    place = place_of("https://Hooks.Example:8443/a?b=c")
    assert (place.scheme, place.host, place.port) == ("https", "hooks.example", 8443)
    assert place_of("http://[2606:4700::1]/x").host == "2606:4700::1"
    assert place_of("http://a.example").port == 80


def test_a_host_that_is_nowhere_is_refused() -> None:
    with pytest.raises(Refused, match="cannot be found"):
        resolve("no-such-host.invalid", 443)
