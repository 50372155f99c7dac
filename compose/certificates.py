"""One-shot service of the stack: an authority, a certificate for everyone, the broker's rules, and a signed bundle.

    python certificates.py --tier cloud --tier edge --broker mosquitto --worker edge --device camera-1 ...

Everyone gets a folder of their own, mounted by nobody else. What is there and good for 30 more days is left alone, so
starting the stack again changes nothing and running this by hand renews (`--renew`: all, now). The authority's key and
the maker's key stay in the authority's folder, which only this service mounts.
"""

from __future__ import annotations

import argparse
import filecmp
import os
import secrets
import shutil
import sys
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509

from protocol.errors import IsthmusError
from protocol.topics import rules_of_caller, rules_of_worker
from runtime.bundle import MANIFEST_NAME, SIGNATURE_NAME, Bundle
from runtime.signing import new_key, private_key, sign
from transport.authority import Authority, signing_request, write_secret

RENEW_BEFORE = timedelta(days=30)
"""How long a certificate must still be good to be left alone."""


def issue_tier(authority: Authority, folder: Path, name: str, *, renew: bool = False) -> bool:
    """Give a tier, or the broker, `tier.key` and `tier.pem`; also good as "localhost", for its health check.

    Returns:
        Whether a new certificate was made.
    """
    if not renew and _good(folder / "tier.pem", authority):
        return False
    key, certificate = authority.tier(name, [name, "localhost"])
    _keep(authority, folder, "tier", key, certificate)
    return True


def issue_device(authority: Authority, folder: Path, name: str, *, renew: bool = False) -> bool:
    """Give a device `device.key` and `device.pem`, by a token that is spent at once, as `isthmus enroll` would.

    Returns:
        Whether a new certificate was made.
    """
    if not renew and _good(folder / "device.pem", authority):
        return False
    key, request = signing_request()
    _keep(authority, folder, "device", key, authority.enrol(authority.token(name), request))
    return True


def issue_login(folder: Path) -> bool:
    """Give somebody a random password in the file `login`, if there is none.

    Returns:
        Whether it was made.
    """
    path = folder / "login"
    if path.exists():
        return False
    folder.mkdir(parents=True, exist_ok=True)
    write_secret(path, secrets.token_urlsafe(24).encode())
    return True


def broker_rules(broker: str, group: str, workers: Iterable[str], callers: Iterable[str]) -> str:
    """The broker's access list: everyone by the name in their certificate, and only their own topics.

    The broker itself may read how long it is up, for its health check.
    """
    everyone: list[tuple[str, list[tuple[str, str]]]] = [(broker, [("read", "$SYS/broker/uptime")])]
    everyone += [(worker, list(rules_of_worker(group, worker))) for worker in workers]
    everyone += [(caller, list(rules_of_caller(group, caller))) for caller in callers]
    lines: list[str] = []
    for name, rules in everyone:
        lines += [f"user {name}", *(f"topic {how} {topic}" for how, topic in rules), ""]
    return "\n".join(lines)


def sign_copy(model: Path, bundle: Path, maker: Path) -> bool:
    """Copy a bundle's folder and sign the copy with the stack's own key, made when missing.

    The manifest and its signature are put in place last: until then the copy is none, and nobody starts with it.

    Returns:
        Whether it was copied: not, if the copy there is of the same bundle.

    Raises:
        IsthmusError: it is no bundle, or not whole.
    """
    if not maker.exists():
        new_key(maker)
    if (bundle / SIGNATURE_NAME).exists() and filecmp.cmp(model / MANIFEST_NAME, bundle / MANIFEST_NAME, shallow=False):
        return False
    with Bundle.open(model) as opened:
        opened.verify_all()
    for file in model.iterdir():
        if file.name not in (MANIFEST_NAME, SIGNATURE_NAME):
            shutil.copyfile(file, bundle / file.name)
    shutil.copyfile(model / MANIFEST_NAME, bundle / MANIFEST_NAME)
    sign(bundle, private_key(maker))
    return True


def _good(path: Path, authority: Authority) -> bool:
    """Whether a certificate is there, is of this authority, and lasts a while."""
    if not path.exists():
        return False
    found = x509.load_pem_x509_certificate(path.read_bytes())
    lasts = found.not_valid_after_utc > datetime.now(UTC) + RENEW_BEFORE
    return lasts and found.issuer == authority.certificate.subject


def _keep(authority: Authority, folder: Path, stem: str, key: bytes, certificate: bytes) -> None:
    """Put a pair and the authority's certificate into a folder, each file in one step."""
    fresh = folder / f"{stem}.key.part"
    fresh.unlink(missing_ok=True)
    write_secret(fresh, key)
    fresh.replace(folder / f"{stem}.key")
    _write(folder / f"{stem}.pem", certificate)
    _write(folder / "ca.pem", authority.pem)


def _write(path: Path, content: bytes) -> None:
    fresh = path.with_name(path.name + ".part")
    fresh.write_bytes(content)
    fresh.replace(path)


def _arguments(given: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--authority", type=Path, default=Path("/authority"), help="folder of the authority")
    parser.add_argument("--identities", type=Path, default=Path("/identity"), help="folder of everyone's folders")
    parser.add_argument("--model", type=Path, default=Path("/model"), help="folder of the bundle to sign")
    parser.add_argument("--bundle", type=Path, default=Path("/bundle"), help="folder for the signed copy")
    parser.add_argument("--tier", action="append", default=[], help="name and host of a tier; repeatable")
    parser.add_argument("--broker", help="name and host of the MQTT broker")
    parser.add_argument("--worker", action="append", default=[], help="a tier that works behind the broker")
    parser.add_argument("--group", default="edge", help="the workers' group")
    parser.add_argument("--device", action="append", default=[], help="name of a device; repeatable")
    parser.add_argument("--login", action="append", default=[], help="who gets a random password; repeatable")
    parser.add_argument("--renew", action="store_true", help="new certificates for all, whatever the old ones' age")
    return parser.parse_args(given)


def provide(wanted: argparse.Namespace) -> list[str]:
    """Make what is missing; one line for each thing made.

    Raises:
        IsthmusError: the bundle or the authority is not usable.
        OSError: a folder cannot be written.
    """
    made = []
    authority = Authority(wanted.authority) if (wanted.authority / "ca.pem").exists() else None
    if authority is None:
        authority = Authority.create(wanted.authority)
        made.append("authority")
    maker = wanted.authority / "maker.pem"
    if sign_copy(wanted.model, wanted.bundle, maker):
        made.append("bundle")
    public = maker.with_name("maker.pem.pub").read_bytes()
    servers = [*wanted.tier, *([wanted.broker] if wanted.broker else [])]
    for names, issue in ((servers, issue_tier), (wanted.device, issue_device)):
        for name in names:
            folder = wanted.identities / name
            folder.mkdir(parents=True, exist_ok=True)
            if issue(authority, folder, name, renew=wanted.renew):
                made.append(name)
            _write(folder / "maker.pem.pub", public)
    made += [f"login of {name}" for name in wanted.login if issue_login(wanted.identities / name)]
    if wanted.broker:
        rules = broker_rules(wanted.broker, wanted.group, wanted.worker, wanted.device)
        _write(wanted.identities / wanted.broker / "acl", rules.encode())
    return made


def main(arguments: list[str]) -> int:
    """Run the service; the exit code."""
    os.umask(0o077)
    try:
        made = provide(_arguments(arguments))
    except (IsthmusError, OSError) as exc:
        print(f"certificates: {exc}", file=sys.stderr)
        return exc.exit_code if isinstance(exc, IsthmusError) else 1
    print(f"certificates: made {', '.join(made)}" if made else "certificates: all there, nothing to do")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
