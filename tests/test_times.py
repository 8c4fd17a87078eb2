"""Times are spelled as the standard library spells them, and read back to the microsecond."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from state.times import EPOCH, parse_rfc3339, rfc3339

DAY_US = 86_400_000_000
YEARS_US = 230 * 365 * DAY_US
edges = st.integers(-200 * 365, 230 * 365).flatmap(
    lambda day: st.sampled_from([-1, 0, 1]).map(lambda us: day * DAY_US + us)
)


@given(st.integers(-YEARS_US, YEARS_US) | edges)
def test_a_time_is_spelled_as_the_standard_library_does_and_read_back(time_us: int) -> None:
    text = rfc3339(time_us)
    assert text == (EPOCH + timedelta(microseconds=time_us)).isoformat(timespec="microseconds") + "Z"
    assert parse_rfc3339(text) == time_us
