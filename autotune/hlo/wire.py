"""The wire format of protocol buffers, for the few messages whose definitions are no part of this project."""

from __future__ import annotations


def field(number: int, value: bytes | int) -> bytes:
    """One field: text, bytes and messages with their length, whole numbers as a varint.

    Source: protobuf.dev/programming-guides/encoding.
    """
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + delimited(value)


def delimited(message: bytes) -> bytes:
    """A message behind its length."""
    return varint(len(message)) + message


def varint(value: int) -> bytes:
    """A whole number of 0 or more, seven bits a byte, the lowest first."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
