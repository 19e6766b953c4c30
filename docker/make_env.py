"""Write docker/.env with fresh random secrets for compose.yaml; an existing file is left alone."""

import base64
import os
import secrets
import sys
from pathlib import Path


def contents() -> str:
    """One `NAME=value` line per secret that compose.yaml asks for."""
    values = {
        "WHATSAPP_FLOWS_JWT_SECRET": secrets.token_urlsafe(64),
        "WHATSAPP_FLOWS_API_SECRET_KEY": secrets.token_urlsafe(32),
        # Fernet wants 32 bytes in base64.
        "WHATSAPP_FLOWS_FERNET_KEY": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        # Hexadecimal, because it becomes part of a URL.
        "WHATSAPP_FLOWS_POSTGRES_PASSWORD": secrets.token_hex(24),
    }
    return "".join(f"{name}={value}\n" for name, value in values.items())


def main(path: Path) -> int:
    """Write the file, readable by its owner only."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        print(f"{path} exists and is kept; its PostgreSQL password belongs to the database volume", file=sys.stderr)
        return 0
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(contents())
    print(f"wrote {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(__file__).with_name(".env")))
