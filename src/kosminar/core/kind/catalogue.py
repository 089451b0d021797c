"""Which kind of group a tracking type means."""

from typing import Final

from kosminar.core.kind.milestone import Milestone
from kosminar.core.kind.streak import Streak
from kosminar.core.programme import Kind, TrackingType

KINDS: Final[dict[TrackingType, Kind]] = {
    kind.tracking_type: kind
    for kind in (
        Milestone(),
        Streak(TrackingType.STREAKS),
        Streak(TrackingType.NON_CONTINUOUS_STREAKS),
    )
}
