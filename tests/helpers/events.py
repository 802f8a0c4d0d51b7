"""TensorBoard's event files read back: the record format by hand, and what TensorBoard forgets on a restart."""

import io
import struct

import numpy as np
from PIL import Image
from tensorboardX.proto.event_pb2 import Event, SessionLog


def crc(data):
    """CRC-32C, bit by bit, masked as TFRecord masks it."""
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    value ^= 0xFFFFFFFF
    return ((value >> 15 | value << 17) + 0xA282EAD8) & 0xFFFFFFFF


def records(path):
    """The events of one file; every checksum is checked."""
    data, at = path.read_bytes(), 0
    while at < len(data):
        (length,) = struct.unpack_from("<Q", data, at)
        body = data[at + 12 : at + 12 + length]
        assert struct.unpack_from("<I", data, at + 8) == (crc(data[at : at + 8]),)
        assert struct.unpack_from("<I", data, at + 12 + length) == (crc(body),)
        yield Event.FromString(body)
        at += 16 + length


def shown(folder):
    """{tag: [(step, value), ...]} as TensorBoard would show the folder; pictures as uint8 arrays."""
    found = {}
    for path in sorted(folder.iterdir()):
        first, *events = records(path)
        assert first.file_version == "brain.Event:2"
        for event in events:
            if event.session_log.status == SessionLog.START:
                found = {tag: [(s, v) for s, v in points if s < event.step] for tag, points in found.items()}
            for value in event.summary.value:
                is_picture = value.WhichOneof("value") == "image"
                seen = picture(value.image) if is_picture else value.simple_value
                found.setdefault(value.tag, []).append((event.step, seen))
    return found


def picture(image):
    pixels = np.asarray(Image.open(io.BytesIO(image.encoded_image_string)))
    assert pixels.shape[:2] == (image.height, image.width)
    return pixels
