"""TensorBoard's event files: one a session, each a sequence of framed records (TFRecord) of protocol buffers."""

import socket
import struct
import time

from etils import epath

from fewstep.train.logs.images import png
from fewstep.train.utils.files import Growing


class TensorBoard:
    """Writes an event file into `folder`; opened at step k, it tells TensorBoard to forget all after k.

    The records are made here and not by tensorboardX.SummaryWriter: its file has the same name as that of a session in
    the same second, which it overwrites, and reaches the disk through a queue, where a killed run leaves it.
    """

    def __init__(self, folder, step: int):
        from tensorboardX.proto import event_pb2, summary_pb2  # here: a tenth of a second
        from tensorboardX.record_writer import masked_crc32c

        self._event, self._summary, self._crc = event_pb2.Event, summary_pb2.Summary, masked_crc32c
        self._folder, self._step, self._file = epath.Path(folder), step, None
        self._restart = event_pb2.SessionLog(status=event_pb2.SessionLog.START)

    def log(self, step: int, values: dict):
        """One point on each curve."""
        self._values(step, [self._summary.Value(tag=name, simple_value=value) for name, value in values.items()])

    def picture(self, step: int, pixels):
        """uint8 (H, W, 1 or 3)."""
        height, width, channels = pixels.shape
        image = self._summary.Image(height=height, width=width, colorspace=channels, encoded_image_string=png(pixels))
        self._values(step, [self._summary.Value(tag="samples", image=image)])

    def flush(self):
        """What was logged is in the file."""
        if self._file:
            self._file.flush()

    def close(self):
        """The last flush."""
        if self._file:
            self._file.close()

    def _begin(self):
        """The file, made when there is something to write: a finished run gets no more of them."""
        now, host = int(time.time()), socket.gethostname()
        self._file = Growing(self._folder / f"events.out.tfevents.{now:010d}.{host}.{self._step:010d}")
        self._write(file_version="brain.Event:2")
        if self._step:
            self._write(self._step + 1, session_log=self._restart)

    def _values(self, step, values):
        if self._file is None:
            self._begin()
        self._write(step, summary=self._summary(value=values))

    def _write(self, step=0, **what):
        data = self._event(wall_time=time.time(), step=step, **what).SerializeToString()
        length = struct.pack("<Q", len(data))
        checks = [struct.pack("<I", self._crc(part)) for part in (length, data)]
        self._file.write(length + checks[0] + data + checks[1])
