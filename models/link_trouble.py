"""Why a server could not be reached, in words that say what to mend. An error while connecting holds no family.

By what PostgreSQL's client and OpenSSL write, in English, which is what they write without a language set. What is not
known here is told by its type alone.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Trouble:
    """What is wrong, and what mends it."""

    fact: str
    hint: str


_OTHER_NAME = "its certificate is for another name"
_NO_SUCH_LINK = Trouble("it lets this login in over no such link", "TLS: ?sslmode=verify-full in the URL")
_FOREIGN = "nobody who is trusted here has signed its certificate"

#: The first that stands in the error's text.
POSTGRESQL = (
    ("does not match host name", Trouble(_OTHER_NAME, "connect by the name in the certificate, or have one issued")),
    ("certificate verify failed", Trouble(_FOREIGN, "sslrootcert=FILE in the URL: the authority's certificate")),
    ("root certificate file", Trouble("the authority's certificate is missing here", "sslrootcert=FILE in the URL")),
    ("certificate file", Trouble("the client's certificate is missing here", "sslcert=FILE in the URL")),
    ("private key file", Trouble("the client's key is missing, or others may read it", "sslkey=FILE, mode 0600")),
    ("does not support SSL", Trouble("it speaks no TLS", "ssl = on at the server: deploy/postgresql/postgresql.conf")),
    ("no pg_hba.conf entry", _NO_SUCH_LINK),
    ("pg_hba.conf rejects", _NO_SUCH_LINK),
    ("valid client certificate", Trouble("it wants a client certificate", "sslcert=FILE&sslkey=FILE in the URL")),
    ("certificate authentication failed", Trouble(
        "the client's certificate is another login's", "a certificate whose common name is the login"
    )),
    ("password authentication failed", Trouble("it knows no such login with this password", "mend the URL's password")),
    ("no password supplied", Trouble("it wants a password", "a password in the URL, or in PGPASSFILE")),
    ("permission denied for database", Trouble("this login is no member of a role", "deploy/postgresql/logins.sql")),
)  # fmt: skip
REDIS = (
    ("Hostname mismatch", Trouble(_OTHER_NAME, "connect by the name in the certificate, or have one issued")),
    ("IP address mismatch", Trouble(_OTHER_NAME, "connect by the name in the certificate, or have one issued")),
    ("CERTIFICATE_VERIFY_FAILED", Trouble(_FOREIGN, "ssl_ca_certs=FILE in the URL: the authority's certificate")),
    ("invalid username-password", Trouble("it knows no such login with this password", "mend login and password")),
    ("must be called with the client already authenticated", Trouble("it wants a login", "redis://LOGIN:PASSWORD@…")),
    ("Authentication required", Trouble("it wants a login", "redis://LOGIN:PASSWORD@…")),
    ("closed by server", Trouble("it closes the connection at once", "rediss:// in the URL, if it speaks TLS alone")),
    ("reset by peer", Trouble("it closes the connection at once", "rediss:// in the URL, if it speaks TLS alone")),
)


def find_trouble(error: BaseException, known: tuple[tuple[str, Trouble], ...]) -> Trouble | None:
    """None where the text says nothing that is known."""
    text = str(error)
    return next((trouble for words, trouble in known if words in text), None)
