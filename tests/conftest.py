"""For all tests: hypothesis draws the same examples on every machine, and prints how to get a failing one again."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "segone",
    derandomize=True,
    deadline=None,
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("segone")
