"""How rewards are worded: the hand-over of one, and its taking back. Receivers drop repeats by `rewardId` (rule 27)."""

from typing import Final

from kosminar.core.amount import text_of
from kosminar.core.event import EventName
from kosminar.core.fact import RewardEarned, RewardReversed
from kosminar.core.ledger import key_of
from kosminar.core.notice.notice import Data, Moment, Wording, Wordings
from kosminar.core.notice.payload import about, target_details
from kosminar.core.reward import RewardState, reward_id


def _reward(state: RewardState) -> Wording:
    def word(moment: Moment) -> Data:
        fact, programme = moment.fact, moment.programme
        definition = programme.reward(fact.reward_definition_id)
        level = next((level for level in programme.levels if level.level_id == fact.level_id), None)
        key = key_of(fact, programme)
        return {
            **about(moment.trigger),
            "targetDetails": target_details(programme, moment.target, moment.period),
            "reward": {
                "rewardId": reward_id(moment.trigger.customer_id, key),
                "kind": definition.kind,
                "value": definition.value if isinstance(definition.value, str) else text_of(definition.value),
                "allocation": definition.allocation,
                "state": state,
                "reason": fact.reason,
                "streakLevelName": None if level is None else level.name,
                "run": key.run,
                "at": fact.at,
            },
        }

    return word


WORDINGS: Final[Wordings] = {
    RewardEarned: ((EventName.REWARD_ISSUED, _reward(RewardState.PENDING)),),
    RewardReversed: ((EventName.REWARD_REVERSED, _reward(RewardState.REVERSED)),),
}
