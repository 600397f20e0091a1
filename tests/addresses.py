"""Addresses and spellings of hosts that nobody may be called at, and some that anybody may."""

#: Each of another kind, or at another edge of its network.
FORBIDDEN = (
    "0.0.0.0",  # noqa: S104  # nothing listens there
    "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.100.100.200", "100.127.255.255", "127.0.0.1",
    "127.255.255.254", "168.63.129.16", "169.254.169.254", "169.254.170.2", "172.16.0.1", "172.31.255.255", "192.0.0.8",
    "192.0.0.192", "192.0.2.1", "192.88.99.1", "192.168.1.1", "198.18.0.1", "198.19.255.255", "198.51.100.1",
    "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
    "::", "::1", "::7f00:1", "::a9fe:a9fe", "::ffff:7f00:1", "::ffff:a9fe:a9fe", "::ffff:808:808", "::ffff:0:a00:1",
    "64:ff9b::a9fe:a9fe", "64:ff9b::808:808", "64:ff9b:1::a00:1", "100::1", "2001::1", "2001:2::1", "2001:10::1",
    "2001:20::1", "2001:db8::1", "2002:7f00:1::", "2002:808:808::1", "3fff::1", "4000::1", "5f00::1", "fc00::1",
    "fd00:ec2::254", "fd20:ce::254", "fe80::1", "febf::1", "fec0::1", "ff02::1", "ff0e::1",
)  # fmt: skip

#: Of the internet, and beside the edges of what is not.
PUBLIC = (
    "8.8.8.8", "93.184.216.34", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "128.0.0.0",
    "172.15.255.255", "172.32.0.0", "192.0.1.0", "192.167.255.255", "223.255.255.255", "2606:4700:4700::1111",
    "2001:4860:4860::8888", "2a00:1450:4001:80e::200e",
)  # fmt: skip

#: What some parser takes for a host that is forbidden, or none can agree on.
ODD_URLS = (
    "https://2130706433/", "https://0x7f000001/", "https://0x7f.0.0.1/", "https://0x7f.1/", "https://0177.0.0.1/",
    "https://017700000001/", "https://127.1/", "https://127.0.1/", "https://127.0.0.1./", "https://127.0.0.01/",
    "https://0/", "https://1.2.3.4.5/", "https://256.1.1.1/", "https://8.8.8.8./", "https://010.8.8.8/",
    "https://localhost/", "https://LOCALHOST/", "https://LocalHost./", "https://localhost.localdomain/",
    "https://db/", "https://db.internal/", "https://metadata.google.internal/", "https://printer.local/",
    "https://a.localhost/", "https://router.lan/", "https://router.home.arpa/", "https://store.example./",
    "https://[::1]/", "https://[0:0:0:0:0:0:0:1]/", "https://[::ffff:127.0.0.1]/", "https://[::ffff:7f00:1]/",
    "https://[::127.0.0.1]/", "https://[fe80::1%25eth0]/", "https://[fe80::1%eth0]/", "https://[::1/", "https://::1/",
    "https://[2606:4700::1111%1]/", "https://[2606:4700:0::1111]/", "https://[8.8.8.8]/",
    "https://store.example@127.0.0.1/", "https://127.0.0.1@store.example/", "https://a:b@store.example/",
    "https://@store.example/", "https://store.example\\@127.0.0.1/", "https:\\\\127.0.0.1/", "https:/\\127.0.0.1/",
    "https://store.example\\.127.0.0.1/", "https://store.example/\\..", "https:127.0.0.1", "https:///127.0.0.1/",
    "https:////127.0.0.1/", "//127.0.0.1/", "https://", "https:///", "https://?", "https://:443/", "https://.../",
    "https://store..example/", "https://.store.example/", "https://-store.example/", "https://store_1.example/",
    "https://store.example:0/", "https://store.example:00443/", "https://store.example:65536/",
    "https://store.example:/", "https://store.example:443:443/", "https://store.example:+443/",
    "https://store.example:٤٤٣/", "https://store.example:8443/", "https://store.example:22/", "https://8.8.8.8:6379/",
    "https://１２７.0.0.1/", "https://①②⑦.⓪.⓪.①/", "https://127。0。0。1/", "https://127．0．0．1/",
    "https://ⓛocalhost/", "https://locaｌhost/", "https://exa℀mple.org/", "https://ﬀ.example/", "https://ß.example/",
    "https://store\u00ad.example/", "https://store\u200b.example/", "https://ñ.example/",
    "https://127%2e0%2e0%2e1/", "https://%31%32%37.0.0.1/", "https://store%00.example/", "https://%6cocalhost/",
    "https://store.example\t/", "https://127.0.0\t.1/", "ht\ntps://127.0.0.1/", " https://store.example/",
    "https://store.example/ ", "https://store.example/\n", "\x00https://store.example/", "https://store.example\x00/",
    "https://store.example#@127.0.0.1/", "https://127.0.0.1#store.example", "https://store.example;127.0.0.1/",
    "https://store.example,127.0.0.1/", "https://<store.example>/", "https://$store.example/", "https://*.example/",
    "http://store.example/", "http://store.example:443/", "http://8.8.8.8/", "http://127.0.0.1/", "ftp://store.example/",
    "file:///etc/passwd", "gopher://127.0.0.1:6379/", "javascript:alert(1)", "data:,x", "unix:///run/redis", "", "x",
    "https", "https:", "https://" + "a" * 64 + ".example/", "https://" + "a." * 127 + "example/",
    "https://store.example/" + "a" * 2_000,
)  # fmt: skip

ALLOWED_URLS = (
    "https://store.example/", "https://store.example", "https://store.example:443/", "https://STORE.example/Path",
    "HTTPS://store.example/", "https://store.example/a/b;c?d=e&f=%20", "https://store.example?x=1",
    "https://xn--mercado-8za.example/", "https://a-1.b-2.example/@b", "https://8.8.8.8/", "https://127.0.0.1.example/",
    "https://[2606:4700:4700::1111]/", "https://[2606:4700:4700::1111]:443/", "https://localhost.example/",
    "https://notinternal.example/", "https://0x7f.example/",
)  # fmt: skip
