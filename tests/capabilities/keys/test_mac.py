"""MACs, against the cryptography library's own HMAC."""

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.hmac import HMAC
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.capabilities.keys import mac
from pilothouse.capabilities.keys.errors import KMSInvalidMacException

HASHES = {"224": hashes.SHA224, "256": hashes.SHA256, "384": hashes.SHA384, "512": hashes.SHA512}


@pytest.mark.parametrize("bits", HASHES)
@given(data=st.data(), message=st.binary(min_size=1, max_size=4096), junk=st.binary(min_size=1, max_size=70))
def test_a_mac_is_the_hmac_of_the_message(bits, data, message, junk):
    size = mac.KEY_BYTES[f"HMAC_{bits}"]
    key = data.draw(st.binary(min_size=size, max_size=size))
    made = mac.authenticate(key, f"HMAC_SHA_{bits}", message)
    other = HMAC(key, HASHES[bits]())
    other.update(message)
    assert made == other.finalize()
    mac.verify(key, f"HMAC_SHA_{bits}", message, made)
    with pytest.raises(KMSInvalidMacException):
        mac.verify(key, f"HMAC_SHA_{bits}", message + b"!", made)
    if junk != made:
        with pytest.raises(KMSInvalidMacException):
            mac.verify(key, f"HMAC_SHA_{bits}", message, junk)


@pytest.mark.parametrize("bits", HASHES)
def test_a_key_is_as_long_as_the_hash(bits):
    assert mac.KEY_BYTES[f"HMAC_{bits}"] == HASHES[bits].digest_size
