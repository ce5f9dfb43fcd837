"""Certificates for tests, made with the openssl command."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, as PEM files."""

    certificate: Path
    key: Path


def authority(folder: Path, name: str = "authority") -> Pair:
    """An authority that signs certificates; its own one is self-signed."""
    pair = Pair(folder / f"{name}.crt", folder / f"{name}.key")
    _openssl(
        *("req", "-x509", *_NEW_KEY, "-keyout", pair.key, "-out", pair.certificate),
        *("-subj", f"/CN={name}", "-addext", "basicConstraints=critical,CA:TRUE", "-days", "1"),
    )
    return pair


def issue(signer: Pair, folder: Path, name: str, hosts: str = "DNS:localhost,IP:127.0.0.1") -> Pair:
    """A certificate for hosts, from an authority."""
    pair = Pair(folder / f"{name}.crt", folder / f"{name}.key")
    request = folder / f"{name}.csr"
    extensions = folder / f"{name}.ext"
    extensions.write_text(f"subjectAltName={hosts}\nbasicConstraints=CA:FALSE\n")
    _openssl("req", *_NEW_KEY, "-keyout", pair.key, "-out", request, "-subj", f"/CN={name}")
    _openssl(
        *("x509", "-req", "-in", request, "-CA", signer.certificate, "-CAkey", signer.key, "-CAcreateserial"),
        *("-out", pair.certificate, "-days", "1", "-extfile", extensions),
    )
    return pair


_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


def _openssl(*arguments: object) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("needs the openssl command, to make certificates")
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, timeout=60)
