"""Signatures over exported files in the format of OpenSSF Model Signing.

May import `config` and what is below; no other step.
"""

from boxcar.run.layout import SIGNATURE
from boxcar.signing.sign import sign_folder
from boxcar.signing.verify import verify_around, verify_folder

__all__ = ["SIGNATURE", "sign_folder", "verify_around", "verify_folder"]
