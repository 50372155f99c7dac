"""An authority with a tier's certificate and devices' certificates, on disk."""

from __future__ import annotations

from pathlib import Path

from transport.authority import Authority, signing_request, write_secret
from transport.settings import CallerTls, Dial, Listen, Tls


class Pki:
    """An authority, a tier's certificate, and devices that enrolled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = Authority.create(folder)
        self.renew_tier()
        (folder / "revoked").write_text("# nobody\n")

    def renew_tier(self) -> None:
        key, certificate = self.authority.tier("tier", ["127.0.0.1", "localhost"])
        (self.folder / "tier.key").write_bytes(key)
        (self.folder / "tier.pem").write_bytes(certificate)

    @property
    def listen(self) -> Listen:
        tls = Tls(
            certificate=self.folder / "tier.pem",
            key=self.folder / "tier.key",
            client_ca=self.folder / "ca.pem",
            revoked=self.folder / "revoked",
        )
        return Listen(tls=tls)

    def enrol(self, name: str) -> None:
        key, request = signing_request()
        (self.folder / f"{name}.key").unlink(missing_ok=True)
        write_secret(self.folder / f"{name}.key", key)
        (self.folder / f"{name}.pem").write_bytes(self.authority.enrol(self.authority.token(name), request))

    def tls(self, name: str) -> CallerTls:
        return CallerTls(
            ca=self.folder / "ca.pem", certificate=self.folder / f"{name}.pem", key=self.folder / f"{name}.key"
        )

    def dial(self, name: str, port: int) -> Dial:
        return Dial(target=f"127.0.0.1:{port}", tls=self.tls(name))
