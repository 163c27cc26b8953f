"""Records for tests, made byte by byte without the code under test."""

import struct

import google_crc32c


def feature(name: str, kind: int, content: bytes) -> bytes:
    def field(number: int, value: bytes) -> bytes:
        return varint(number << 3 | 2) + varint(len(value)) + value

    return field(1, field(1, name.encode()) + field(2, field(kind, content)))


def varint(number: int) -> bytes:
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def texts(*values: bytes) -> bytes:
    return b"".join(b"\x0a" + varint(len(value)) + value for value in values)


def floats(*values: float) -> bytes:
    packed = struct.pack(f"<{len(values)}f", *values)
    return b"\x0a" + varint(len(packed)) + packed


def integers(*values: int) -> bytes:
    packed = b"".join(varint(value % (1 << 64)) for value in values)
    return b"\x0a" + varint(len(packed)) + packed


def example(**changes: tuple[int, bytes] | None) -> bytes:
    features: dict[str, tuple[int, bytes] | None] = {
        "image/encoded": (1, texts(b"JPEG")),
        "image/filename": (1, texts("Bär.jpg".encode())),
        "image/source_id": (1, texts(b"17")),
        "image/key/sha256": (1, texts(b"ab" * 32)),
        "image/height": (3, integers(100)),
        "image/width": (3, integers(200)),
        "image/object/bbox/ymin": (2, floats(0.1, 0.0)),
        "image/object/bbox/xmin": (2, floats(0.2, 0.0)),
        "image/object/bbox/ymax": (2, floats(0.3, 1.0)),
        "image/object/bbox/xmax": (2, floats(0.4, 0.5)),
        "image/object/class/label": (3, integers(1, 300)),
    }
    features.update({name.replace("__", "/"): value for name, value in changes.items()})
    body = b"".join(feature(name, *value) for name, value in features.items() if value is not None)
    return b"\x0a" + varint(len(body)) + body


def frame(payload: bytes) -> bytes:
    length = struct.pack("<Q", len(payload))
    return length + struct.pack("<I", checksum(length)) + payload + struct.pack("<I", checksum(payload))


def checksum(content: bytes) -> int:
    crc: int = google_crc32c.value(content)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) % (1 << 32)
