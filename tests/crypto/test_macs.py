"""MACs with pads hashed beforehand are those of the standard library."""

import hmac

from hypothesis import given
from hypothesis import strategies as st

from pilothouse.crypto.macs import Mac, mac


@given(key=st.binary(max_size=64), message=st.binary(max_size=300))
def test_a_mac_is_hmac_sha256(key: bytes, message: bytes) -> None:
    expected = hmac.digest(key, message, "sha256")
    assert Mac(key).digest(message) == expected
    assert Mac(key).sign(message) == expected.hex()
    assert mac(key).digest(message) == expected
