"""How entering and leaving a milestone is worded."""

from typing import Final

from kosminar.core.amount import text_of
from kosminar.core.event import EventName
from kosminar.core.fact import Enrolled, ReEnrolled, UnEnrolled
from kosminar.core.notice.notice import Data, Moment, Wordings
from kosminar.core.notice.payload import about, milestone_details, target_details, triggering_activity
from kosminar.core.standing import MILESTONE_RUN


def _enrolment(moment: Moment) -> Data | None:
    programme, target, period = moment.programme, moment.target, moment.period
    assert period is not None, "an enrolment begins with a period"
    return {
        **about(moment.trigger),
        "defaultTargetValue": text_of(target.values[period.number - 1]),
        "targetId": target.target_id,
        "targetName": target.name,
        "targetGroupId": programme.target_group_id,
        "targetGroupName": programme.name,
        "source": "API" if moment.trigger.activity is None else "ACTIVITY",
        "targetPeriodId": programme.period_id(period.number),
        "targetPeriodName": period.name,
        "targetPeriodStartDate": period.starts_at,
        "targetCycleStartDate": programme.periods[0].starts_at,
        # A balance that comes with the enrolment withdraws what was achieved.
        "milestoneDetails": milestone_details(target, moment.outcome, period, MILESTONE_RUN),
    }


def _un_enrolment(moment: Moment) -> Data | None:
    programme = moment.programme
    return {
        **about(moment.trigger),
        "triggeringActivity": triggering_activity(moment.trigger, "milestone unenrollment", "UNENROL_VIA_API"),
        "milestoneUnEnrolmentData": [
            {
                "milestoneName": programme.name,
                "startDate": programme.periods[0].starts_at,
                "endDate": programme.periods[-1].ends_at,
            }
        ],
        "targetData": [target_details(programme, moment.target, moment.period)],
    }


WORDINGS: Final[Wordings] = {
    Enrolled: ((EventName.TARGET_CUSTOMER_ENROLMENT, _enrolment),),
    ReEnrolled: ((EventName.TARGET_CUSTOMER_ENROLMENT, _enrolment),),
    UnEnrolled: ((EventName.MILESTONE_CUSTOMER_UN_ENROLMENT, _un_enrolment),),
}
