"""Certificates of tests' own, and the authority that has issued them: browsers take none that has issued itself."""

import ipaddress
import subprocess

KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]


def openssl(*words):
    subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)


def authority(folder):
    """(certificate, key), made once in each folder."""
    certificate, key = folder / "authority.pem", folder / "authority.key"
    if not certificate.exists():
        openssl("req", "-x509", *KEY, "-days", 30, "-subj", "/CN=authority", "-keyout", key, "-out", certificate)
    return certificate, key


def make_certificate(folder, *names, days=30, usage="serverAuth"):
    """One for `names`, which may be addresses: (chain, key)."""
    issuer, issuer_key = authority(folder)
    chain, key, request, extensions = (folder / f"{names[0]}.{kind}" for kind in ("pem", "key", "csr", "ext"))
    extensions.write_text(
        f"subjectAltName={','.join(f'{kind_of(name)}:{name}' for name in names)}\nextendedKeyUsage={usage}\n"
    )
    openssl("req", *KEY, "-subj", f"/CN={names[0]}", "-keyout", key, "-out", request)
    openssl(
        *("x509", "-req", "-in", request, "-CA", issuer, "-CAkey", issuer_key, "-CAcreateserial"),
        *("-days", days, "-extfile", extensions, "-out", chain),
    )
    return chain, key


def kind_of(name):
    try:
        ipaddress.ip_address(name)
        return "IP"
    except ValueError:
        return "DNS"
