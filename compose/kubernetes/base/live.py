"""Liveness of a tier's pod: exit code 0 while its event loop turns. Asks its own door for operators, over its own TLS.

python live.py [IDENTITY [PORT]]    # /identity 9201
"""

import ssl
import sys
import urllib.request


def main(identity: str = "/identity", port: str = "9201") -> int:
    """Ask once; the exit code."""
    context = ssl.create_default_context(cafile=f"{identity}/ca.pem")
    context.load_cert_chain(f"{identity}/tier.pem", f"{identity}/tier.key")
    asking = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    try:
        asking.open(f"https://localhost:{port}/healthz", timeout=5)
    except OSError as exc:
        print(exc)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
