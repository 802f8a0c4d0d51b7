"""TensorBoard event files: one per session, a sequence of TFRecord-framed protocol buffers."""

import socket
import struct
import time
from typing import Any

import numpy as np
from etils import epath

from fewstep.train.logs.images import png
from fewstep.train.utils.files import AppendFile


class TensorBoard:
    """Writes an event file into `folder`.  Opened at step k, it makes TensorBoard discard events after step k.

    It does not use tensorboardX.SummaryWriter, which overwrites the file of a session started in the same second, and
    writes through a queue that a killed run loses.
    """

    def __init__(self, folder: epath.PathLike, step: int):
        # Imported late: it takes a tenth of a second.  The classes are generated at run time: Any for type checkers.
        from tensorboardX.proto import event_pb2, summary_pb2
        from tensorboardX.record_writer import masked_crc32c

        events: Any = event_pb2
        summaries: Any = summary_pb2
        self._event, self._summary, self._crc = events.Event, summaries.Summary, masked_crc32c
        self._folder, self._step = epath.Path(folder), step
        self._file: AppendFile | None = None
        self._restart = events.SessionLog(status=events.SessionLog.START)

    def log(self, step: int, values: dict) -> None:
        """Add one point to each curve."""
        self._values(step, [self._summary.Value(tag=name, simple_value=value) for name, value in values.items()])

    def picture(self, step: int, pixels: np.ndarray) -> None:
        """Add an image, uint8 (H, W, 1 or 3)."""
        height, width, channels = pixels.shape
        image = self._summary.Image(height=height, width=width, colorspace=channels, encoded_image_string=png(pixels))
        self._values(step, [self._summary.Value(tag="samples", image=image)])

    def flush(self) -> None:
        """Save everything logged so far."""
        if self._file:
            self._file.flush()

    def close(self) -> None:
        """Flush and close the file."""
        if self._file:
            self._file.close()

    def _open(self):
        """Create the file on the first write, so that reopening a finished run adds none."""
        now, host = int(time.time()), socket.gethostname()
        file = AppendFile(self._folder / f"events.out.tfevents.{now:010d}.{host}.{self._step:010d}")
        self._write(file, file_version="brain.Event:2")
        if self._step:
            self._write(file, self._step + 1, session_log=self._restart)
        return file

    def _values(self, step, values):
        if self._file is None:
            self._file = self._open()
        self._write(self._file, step, summary=self._summary(value=values))

    def _write(self, file, step=0, **what):
        data = self._event(wall_time=time.time(), step=step, **what).SerializeToString()
        length = struct.pack("<Q", len(data))
        checks = [struct.pack("<I", self._crc(part)) for part in (length, data)]
        file.write(length + checks[0] + data + checks[1])
