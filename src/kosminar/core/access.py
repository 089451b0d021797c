"""Who may do what: resources, levels, and the caller of a request.

A client belongs to one organisation and one access group; the group gives none, read or write on each resource
(decision 30). Unknown and foreign ids answer alike (decision 31), so nothing here ever tells that something exists.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Resource(StrEnum):
    """What access is given on."""

    TARGET_GROUPS = "target_groups"
    ENROLMENTS = "enrolments"
    CUSTOMERS = "customers"
    ACTIVITIES = "activities"
    REWARDS = "rewards"
    CLOCK = "clock"
    ORGANISATION = "organisation"


class Level(StrEnum):
    """GET asks for read, everything else for write."""

    NONE = "none"
    READ = "read"
    WRITE = "write"


DEFAULT_GROUP_NAME = "default"
# The built-in group writes everything but the organisation itself (decision 30).
DEFAULT_GRANTS: Mapping[Resource, Level] = {
    resource: Level.READ if resource is Resource.ORGANISATION else Level.WRITE for resource in Resource
}


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sends a request: `name` is the username or the client's name, for the audit trail."""

    organisation_id: int
    name: str
    grants: Mapping[Resource, Level]

    def may(self, level: Level, resource: Resource) -> bool:
        granted = self.grants.get(resource, Level.NONE)
        return granted is Level.WRITE or (granted is Level.READ and level is Level.READ)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hierarchy:
    """An organisation with its parent and its children, who are all that it may know of."""

    organisation_id: int
    parent_id: int | None = None
    child_ids: tuple[int, ...] = ()
