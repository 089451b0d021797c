"""The database as an operator keeps it: its schema, its back-ups."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from kosminar.settings import Settings
from kosminar.store import backup, generations
from kosminar.store.backup import Backup, BackupRefused, Restored
from kosminar.store.embedded import open_embedded
from kosminar.store.embedded_host import has_cluster
from kosminar.store.migration import migrate as migrate_schema
from kosminar.store.queries import Connection


async def migrate(connection: Connection, *, new_generation: bool, now: datetime) -> list[str]:
    """Bring the schema to this version, and say which migrations that took; then begin a generation if it is asked.

    Raises MigrationRefused.
    """
    applied = await migrate_schema(connection, now=now)
    if new_generation:
        await generations.begin(connection, now=now)
    return applied


def take_backup(settings: Settings, directory: Path, *, wall: Callable[[], datetime]) -> Backup:
    """Back the embedded database up into a new directory. Raises BackupRefused."""
    if settings.database_url is not None:
        raise BackupRefused(
            "This backs the embedded database up. Back a PostgreSQL of yours up with its own pg_basebackup or pg_dump."
        )
    if not has_cluster(settings.data_dir):
        raise BackupRefused(f"There is no database in {settings.data_dir}. Name its directory with --data-dir.")
    backup.refuse_taken(directory)
    with open_embedded(settings.data_dir, archive_directory=settings.archive_dir) as database:
        return backup.take_backup(database, directory, wall=wall)


def restore_backup(
    directory: Path,
    data_directory: Path,
    *,
    archive_directory: Path | None,
    until: datetime | None,
    wall: Callable[[], datetime],
) -> Restored:
    """Recover a back-up into a new data directory: to its end, the archive's end, or an instant. Raises BackupRefused."""
    return backup.restore_backup(directory, data_directory, archive_directory=archive_directory, until=until, wall=wall)
