"""An outbox on a recipient's SFTP server: drafts that take their name in one rename (SSH File Transfer Protocol,
version 3, with the extensions `posix-rename` and `fsync` of OpenSSH where the server has them).

The server must show a host key that `known_hosts` pins, and gets one key of ours for this recipient, never a password.
Both files are in the site's private folder of the recipient. What a user or a machine has configured for SSH counts
not. Whether the names outlive a power cut is up to the server: the protocol cannot ask for that.
"""

from __future__ import annotations

import asyncio
import secrets
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Self, TypeVar

import asyncssh

from governance.errors import GovernanceError
from governance.sharing import outbox
from governance.sharing.endpoints import Endpoint

KEY = "sftp_key"
"""The private key, as `ssh-keygen -t ed25519 -N ''` writes it, mode 0600."""
KNOWN_HOSTS = "known_hosts"
"""The server's public host keys, as OpenSSH has them."""
PATIENCE_SECONDS = 60.0
"""For how long a server may do nothing: answer no connection, take no block."""

_HOST_KEYS = (
    "ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "rsa-sha2-512", "rsa-sha2-256",
)  # fmt: skip
_UNREACHED = "cannot be reached, gave no answer for too long, or cut the connection"
_BLOCK = 4 * outbox.BLOCK  # travels as several requests at once
_REASONS: Mapping[type[Exception], str] = {
    asyncssh.SFTPNoSuchFile: "is not there: its folder, or what was in it a moment ago, is missing",
    asyncssh.SFTPPermissionDenied: "may not be read or written by us: ask for the rights to write and rename",
    asyncssh.SFTPNoSpaceOnFilesystem: "has no room left on its disk",
    asyncssh.SFTPQuotaExceeded: "has no room left in its quota",
    asyncssh.SFTPFailure: "could not do what it was asked, which most often means a full disk",
}
_LASTING: Mapping[type[Exception], str] = {
    asyncssh.HostKeyNotVerifiable: f"shows a host key that {KNOWN_HOSTS} does not pin, and may be another server: "
    "compare its key with what the recipient tells by another way, and only then pin it",
    asyncssh.PermissionDenied: "refused our key: have the recipient enter its public half for this user",
}

_TROUBLE = (asyncssh.Error, OSError)
"""What goes wrong with a server; the second, with TimeoutError in it, comes as it is from the connection below."""

T = TypeVar("T")


class SftpOutbox:
    """An `Outbox` on an SFTP server; every call is a connection of its own."""

    def __init__(self, endpoint: Endpoint, private: Path) -> None:
        self._endpoint, self._recipient = endpoint, endpoint.recipient
        self._key = _key(endpoint.recipient, private / KEY)
        self._known_hosts = _known_hosts(endpoint.recipient, private / KNOWN_HOSTS)

    def put(self, delivery_id: str, files: Mapping[str, Path]) -> None:
        """Deliver files; see `Outbox`."""
        files = outbox.in_order(self._recipient, delivery_id, files)
        draft = outbox.draft_of(delivery_id)

        async def work(server: _Server) -> None:
            await server.discard(draft)
            if not await server.mode(delivery_id):
                try:
                    await server.fill(draft, files)
                    await server.rename(draft, delivery_id)
                except _TROUBLE:
                    with suppress(*_TROUBLE):  # of a connection that is lost, the next try finds it
                        await server.discard(draft)
                    raise
            elif not await server.holds(delivery_id, files):
                raise outbox.other_bytes(self._recipient, delivery_id)

        self._with_server(work)

    def manifest(self, delivery_id: str) -> bytes | None:
        """The manifest of a delivery that is wholly there, else None."""
        outbox.require_id(self._recipient, delivery_id)

        async def work(server: _Server) -> bytes | None:
            if not stat.S_ISDIR(await server.mode(delivery_id)):
                return None
            if not {outbox.MANIFEST, outbox.SIGNATURE} <= set(await server.names(delivery_id)):
                return None
            return await server.read(f"{delivery_id}/{outbox.MANIFEST}", outbox.LARGEST_MANIFEST)

        return self._with_server(work)

    def deliveries(self) -> set[str]:
        """The ids of whatever is there under the name of a delivery."""

        async def work(server: _Server) -> set[str]:
            return set(filter(outbox.is_delivery, await server.names()))

        return self._with_server(work)

    def acknowledgements(self) -> Mapping[str, bytes]:
        """What the recipient has put beside deliveries."""

        async def work(server: _Server) -> Mapping[str, bytes]:
            return {
                delivery_id: await server.read(name, outbox.LARGEST_ACKNOWLEDGEMENT)
                for name in sorted(await server.names())
                if (delivery_id := outbox.acknowledged(name))
            }

        return self._with_server(work)

    def remove(self, delivery_id: str) -> None:
        """Take away a delivery and its acknowledgement."""
        outbox.require_id(self._recipient, delivery_id)
        draft = outbox.draft_of(delivery_id)

        async def work(server: _Server) -> None:
            await server.discard(draft)
            if await server.mode(delivery_id):
                await server.rename(delivery_id, draft)  # never half there
                await server.discard(draft)
            await server.discard(delivery_id + outbox.ACKNOWLEDGEMENT)

        self._with_server(work)

    def discard_drafts(self) -> int:
        """Take away what killed tries have left."""

        async def work(server: _Server) -> int:
            drafts = [name for name in await server.names() if outbox.is_draft(name)]
            for name in drafts:
                await server.discard(name)
            return len(drafts)

        return self._with_server(work)

    def probe(self) -> None:
        """Return when a delivery could be put now."""
        before, after = (outbox.draft_of(secrets.token_hex(32)) for _ in range(2))

        async def work(server: _Server) -> None:
            try:
                await server.fill(before, {})
                await server.rename(before, after)
            finally:
                with suppress(*_TROUBLE):
                    await server.discard(before)
                    await server.discard(after)

        self._with_server(work)

    def _with_server(self, work: Callable[[_Server], Awaitable[T]]) -> T:
        """Do something with a connected server. Raises EndpointUnavailableError, RecipientError."""

        async def connected() -> T:
            async with self._connected() as connection:
                with _Patience(connection) as patience:
                    async with connection.start_sftp_client(path_errors="surrogateescape") as client:
                        return await work(_Server(client, patience, PurePosixPath(self._endpoint.path)))

        try:
            return asyncio.run(connected())
        except _TROUBLE as error:
            raise self._said(error) from None

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[asyncssh.SSHClientConnection]:
        async with asyncio.timeout(PATIENCE_SECONDS):
            connection = await asyncssh.connect(
                self._endpoint.host, self._endpoint.port, username=self._endpoint.user, client_keys=[self._key],
                known_hosts=self._known_hosts, preferred_auth="publickey", agent_path=None, config=None,
                server_host_key_algs=self._host_keys(), x509_trusted_certs=None, compression_algs=None,
            )  # fmt: skip
        try:
            yield connection
        finally:
            connection.abort()  # everything is answered, or nothing more will be

    def _host_keys(self) -> list[str]:
        """Kinds of host keys, those that are pinned first, so that a server with several shows one of them. All others
        too: a server that has none of the pinned kinds has to show that."""
        trusted = self._known_hosts.match(self._endpoint.host, self._endpoint.host, self._endpoint.port)[0]
        pinned = {kind.decode() for key in trusted for kind in key.sig_algorithms}
        return sorted(_HOST_KEYS, key=lambda kind: kind not in pinned)

    def _said(self, error: Exception) -> GovernanceError:
        """An error in our words: those of a server may hold anything."""
        if type(error) in _LASTING:
            return outbox.refused(self._recipient, _LASTING[type(error)])
        return outbox.unavailable(self._recipient, _REASONS.get(type(error), _UNREACHED))


class _Patience:
    """Ends a connection whose server does nothing for too long. Everything that waits for it fails then, also what was
    to tidy up, which a cancelled task would go on waiting for."""

    def __init__(self, connection: asyncssh.SSHClientConnection) -> None:
        self._connection = connection

    def __enter__(self) -> Self:
        self._alarm = asyncio.get_running_loop().call_later(PATIENCE_SECONDS, self._connection.abort)
        return self

    def __exit__(self, *_: object) -> None:
        self._alarm.cancel()

    def renew(self) -> None:
        """The server has done something."""
        self._alarm.cancel()
        self.__enter__()


@dataclass(frozen=True)
class _Server:
    """A connected server: names are relative to the endpoint's folder, and every step that it answers gives it time
    for the next."""

    client: asyncssh.SFTPClient
    patience: _Patience
    root: PurePosixPath

    def _at(self, name: str) -> PurePosixPath:
        self.patience.renew()
        return self.root / name

    async def mode(self, name: str) -> int:
        """What has a name, as `stat` has its mode: a link as a link, and 0 where nothing has it."""
        try:
            return (await self.client.lstat(self._at(name))).permissions or stat.S_IFREG
        except asyncssh.SFTPNoSuchFile:
            return 0

    async def names(self, folder: str = "") -> list[str]:
        """The names in a folder."""
        return [str(name) for name in await self.client.listdir(self._at(folder)) if name not in (".", "..")]

    async def read(self, name: str, longest: int) -> bytes:
        """The bytes of a plain file, and one more of one that is too long; none of anything else."""
        if not stat.S_ISREG(await self.mode(name)):
            return b""
        async with self.client.open(self._at(name), "rb") as file:
            content: bytes = await file.read(longest + 1)
            return content

    async def fill(self, draft: str, files: Mapping[str, Path]) -> None:
        """Write the files of a delivery into a draft that is not there yet."""
        await self.client.mkdir(self._at(draft))
        for name, path in files.items():
            with path.open("rb") as source:
                async with self.client.open(self._at(f"{draft}/{name}"), "xb") as file:
                    while block := source.read(_BLOCK):
                        await file.write(block)
                        self.patience.renew()
                    with suppress(asyncssh.SFTPOpUnsupported):
                        await file.fsync()

    async def rename(self, before: str, after: str) -> None:
        """Give a folder its name, which is free; at most an empty folder would be replaced."""
        try:
            await self.client.posix_rename(self._at(before), self._at(after))
        except asyncssh.SFTPOpUnsupported:
            await self.client.rename(self._at(before), self._at(after))

    async def holds(self, delivery_id: str, files: Mapping[str, Path]) -> bool:
        """Whether what has a delivery's name is a folder of exactly these files, with these bytes."""
        if not stat.S_ISDIR(await self.mode(delivery_id)) or set(await self.names(delivery_id)) != files.keys():
            return False
        for name, path in files.items():
            if not await self._is_same(f"{delivery_id}/{name}", path):
                return False
        return True

    async def _is_same(self, name: str, path: Path) -> bool:
        if not stat.S_ISREG(await self.mode(name)):
            return False
        with path.open("rb") as ours:
            async with self.client.open(self._at(name), "rb") as theirs:
                while block := ours.read(_BLOCK):
                    there: bytes = await theirs.read(len(block))
                    if there != block:
                        return False
                    self.patience.renew()
                more: bytes = await theirs.read(1)
                return not more

    async def discard(self, name: str) -> None:
        """Take away a draft, or whatever else has its name; a link, not what it points to."""
        mode = await self.mode(name)
        if stat.S_ISDIR(mode):
            for within in await self.names(name):
                await self.client.remove(self._at(f"{name}/{within}"))
            await self.client.rmdir(self._at(name))
        elif mode:
            await self.client.remove(self._at(name))


def _key(recipient: str, path: Path) -> asyncssh.SSHKey:
    """Our key for a recipient. Raises RecipientError, which quotes nothing of it."""
    content = outbox.secret(recipient, path)
    try:
        return asyncssh.import_private_key(content)
    except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError):
        raise outbox.refused(recipient, f"has a key {KEY} that is none, or has a passphrase: replace it") from None


def _known_hosts(recipient: str, path: Path) -> asyncssh.SSHKnownHosts:
    """The host keys that are pinned. Raises RecipientError."""
    try:
        return asyncssh.import_known_hosts(path.read_text("utf-8"))
    except (OSError, ValueError):
        raise outbox.refused(
            recipient, f"needs a file {KNOWN_HOSTS} in this site's private folder of it, which pins the host keys that "
            "the recipient told: write it"
        ) from None  # fmt: skip
