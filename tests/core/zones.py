"""Zones with odd days and nights, and strategies over all of them."""

from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

from hypothesis import strategies as st

from kosminar.core.zone import YEAR_MIN

NEW_YORK = ZoneInfo("America/New_York")
LORD_HOWE = ZoneInfo("Australia/Lord_Howe")
APIA = ZoneInfo("Pacific/Apia")
SAO_PAULO = ZoneInfo("America/Sao_Paulo")
CAIRO = ZoneInfo("Africa/Cairo")
HAVANA = ZoneInfo("America/Havana")
ST_JOHNS = ZoneInfo("America/St_Johns")
KOLKATA = ZoneInfo("Asia/Kolkata")
WITHOUT_CHANGES = ZoneInfo("Etc/UTC")

TICK = timedelta(microseconds=1)
ZONES = st.sampled_from(sorted(available_timezones())).map(ZoneInfo)
DAYS = st.dates(date(YEAR_MIN, 1, 1), date(2150, 1, 1))
LOCAL_TIMES = st.datetimes(datetime(YEAR_MIN, 1, 2), datetime(2150, 1, 1))  # noqa: DTZ001 -- local on purpose.


def utc(text: str) -> datetime:
    return datetime.fromisoformat(f"{text}+00:00")
