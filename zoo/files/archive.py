"""A zip archive whose members are stored as they are, so that each is a part of the file."""

import io
import struct
import zipfile
import zlib

from fewstep.train.utils.errors import Damaged
from fewstep.zoo.files.mapped import Source, quoted

MOST_DIRECTORY = 8 << 20  # bytes: about 100,000 members
LOCAL = struct.Struct("<4s22xHH")  # before each member: a mark, and the lengths of its name and of an extra field


class Archive:
    """The members of an archive by name.

    Raises Damaged if it is no archive, has a member twice, or one that is compressed, encrypted or beyond the file:
    torch.save writes none of these, and a compressed member can grow to any size.
    """

    def __init__(self, source: Source):
        self._source = source
        try:
            with zipfile.ZipFile(_Reader(source)) as archive:
                members = archive.infolist()
        except Damaged:
            raise
        except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error):
            raise source.damaged("is cut off or damaged (a zip archive without an end): fetch it again") from None
        self._members = {member.filename: member for member in members}
        if len(self._members) < len(members):
            raise source.damaged("is damaged (a zip archive with a member twice): fetch it again")
        for member in members:
            self._check(member)
        if sum(member.file_size for member in members) > len(source.data):
            raise source.damaged("is damaged (members of a zip archive over each other): fetch it again")

    def __contains__(self, name: str) -> bool:
        return name in self._members

    def folder_of(self, name: str) -> str:
        """The folder with a "/", or "", of the one member with this name; Damaged if there are none or more."""
        folders = [member.removesuffix(name) for member in self._members if member.split("/")[-1] == name]
        folders = [folder for folder in folders if folder.count("/") <= 1]
        if len(folders) != 1:
            arrays = any(member.endswith(".npy") for member in self._members)
            found = "an .npz file of arrays" if arrays else "a zip archive, of other files"
            raise self._source.damaged(f"is {found}, not of torch.save (with one {name}): give the .pt file itself")
        return folders[0]

    def read(self, name: str) -> memoryview:
        """The bytes of a member; Damaged if its checksum, where it has one, does not fit."""
        member = self._members[name]
        mark, *lengths = LOCAL.unpack(self._source.part(member.header_offset, LOCAL.size))
        if mark != b"PK\x03\x04":
            raise self._source.damaged(f"is damaged ({quoted(name)} is not where it should be): fetch it again")
        data = self._source.part(member.header_offset + LOCAL.size + sum(lengths), member.file_size)
        if member.CRC and zlib.crc32(data) != member.CRC:
            raise self._source.damaged(f"is damaged (the checksum of {quoted(name)}): fetch it again")
        return data

    def _check(self, member):
        if member.compress_type != zipfile.ZIP_STORED or member.file_size != member.compress_size:
            reason = "is compressed, as torch.save never does: unpack the archive and give the file in it"
        elif member.flag_bits & 1:
            reason = "is encrypted: decrypt it"
        else:
            return
        raise self._source.damaged(f"is not opened: in it {quoted(member.filename)} {reason}")


class _Reader(io.RawIOBase):
    """The file as zipfile reads it, which asks for the whole directory at once."""

    def __init__(self, source: Source):
        self._source, self._at = source, 0

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = 0, /) -> int:
        at = offset + (0, self._at, len(self._source.data))[whence]
        if at < 0:
            raise ValueError("before the start")
        self._at = at
        return at

    def read(self, size: int | None = -1, /) -> bytes:
        data = self._source.data[self._at :]
        data = data if size is None or size < 0 else data[:size]
        if len(data) > MOST_DIRECTORY:
            raise self._source.damaged("is not opened: a zip archive of more members than any of torch.save")
        self._at += len(data)
        return bytes(data)
