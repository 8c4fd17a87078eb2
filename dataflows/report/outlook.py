"""What is expected of a customer's money: recurring streams with their next dates, as the customer's profile has learned them or
as signals state them, and the fan of a balance forecast. What is absent is not drawn."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

from dataflows.commands.signal_reader import ReadSignal
from dataflows.report.rehearsal import Recurring
from state.money import format_minor
from state.times import parse_rfc3339

Json = dict[str, Any]

STREAMS_MAX = 40
FAN_POINTS_MAX = 400
_DATE_FIELDS = ("expected_on", "next_on", "due_on", "next_date", "date", "due")
_TIME_FIELDS = ("time", "at", "date", "on")


def outlook(signals: Iterable[ReadSignal], profile: Mapping[str, Any] | None, recurring: Iterable[Recurring]) -> Json:
    """{"streams": [{name, status, about, next: [[time, amount, whether it came]]}], "fans": [{time, account_id,
    points: [[time, {quantile: value}]]}]}."""
    streams: dict[str, Json] = {}
    fans = []
    for each in recurring:
        streams[f"{len(streams)} {each.name}"] = _stream_as_learned(each)
    learned = {stream["name"] for stream in streams.values()}
    for signal in signals:
        _stream_of(signal.details, streams, learned)
        fan = fan_of(signal.forecast)
        if fan:
            about = (signal.forecast or {}).get("account_id") or signal.details.get("account_id")
            fans.append({"time": _ms(signal.event_time), "account_id": about, "points": fan})
    if profile is not None:
        for each in _list(profile, "streams", "recurring", "recurring_streams"):
            _stream_of(each, streams, learned)
        fan = fan_of(profile.get("forecast"))
        if fan:
            fans.append(
                {"time": _ms(profile.get("event_time")), "account_id": profile.get("account_id"), "points": fan}
            )
    fans.sort(key=lambda each: each["time"] or 0)
    return {"streams": list(streams.values())[:STREAMS_MAX], "fans": fans}


def _stream_as_learned(each: Recurring) -> Json:
    points = [[time_us // 1000, format_minor(minor, each.currency), True] for time_us, minor in each.paid]
    points += [[time_us // 1000, format_minor(minor, each.currency), False] for time_us, minor in each.expected]
    about = f"{each.cadence}, {each.channel.replace('_', ' ')}"
    return {"name": each.name, "status": each.status, "about": about, "currency": each.currency, "next": points}


def _stream_of(told: Any, streams: dict[str, Json], learned: Collection[str]) -> None:
    """Adds what one signal or profile says of one stream, unless the stream is known itself; later ones complete earlier ones."""
    if not isinstance(told, Mapping):
        return
    name = next((told[key] for key in ("stream", "name", "stream_id") if isinstance(told.get(key), str)), None)
    if name is None or name in learned:
        return
    stream = streams.setdefault(name, {"name": name, "status": None, "about": "", "currency": "", "next": []})
    if isinstance(told.get("status"), str):
        stream["status"] = told["status"]
    amount = next((told[key] for key in ("amount", "new", "next_amount") if told.get(key) is not None), None)
    for key in _DATE_FIELDS:
        time = _ms(told.get(key))
        if time is not None:
            stream["next"].append([time, amount if isinstance(amount, str | int | float) else None, False])
            return


def fan_of(forecast: Any) -> list[list[Any]]:
    """A forecast's points [time, {quantile in percent: value}], in order of time. Two spellings are understood: a list of
    points under `balance`, `points` or `days`, each with a time and p10, p50 …; or a list of times beside a list for each quantile.

    >>> fan_of({"dates": ["2025-01-01", "2025-01-02"], "p10": ["1.00", "2.00"], "p90": ["5.00", "7.00"]})[1]
    [1735776000000, {'10': 2.0, '90': 7.0}]
    """
    if not isinstance(forecast, Mapping):
        return []
    points = []
    for each in _list(forecast, "balance", "points", "days"):
        if isinstance(each, Mapping):
            time = next((time for key in _TIME_FIELDS if (time := _ms(each.get(key))) is not None), None)
            nested = each.get("quantiles")
            points.append((time, _quantiles(nested if isinstance(nested, Mapping) else each)))
    nested = forecast.get("quantiles")
    columns = nested if isinstance(nested, Mapping) else forecast
    times = _list(forecast, "dates", "times") or _days_from(forecast, columns)
    for number, text in enumerate(times):
        row = {
            key: column[number] for key, column in columns.items() if isinstance(column, list) and number < len(column)
        }
        points.append((_ms(text), _quantiles(row)))
    drawn = [(time, quantiles) for time, quantiles in points if time is not None and quantiles]
    return [[time, quantiles] for time, quantiles in sorted(drawn, key=lambda point: point[0])][:FAN_POINTS_MAX]


def _days_from(forecast: Mapping[str, Any], columns: Mapping[str, Any]) -> list[str]:
    """Days from `start` or `from` on, one for each value of a quantile."""
    start = _ms(forecast.get("start", forecast.get("from")))
    lengths = [len(column) for column in columns.values() if isinstance(column, list)]
    if start is None or not lengths:
        return []
    first = datetime.fromtimestamp(start / 1000, UTC)
    return [(first + timedelta(days=day)).isoformat() for day in range(max(lengths))]


def _quantiles(row: Mapping[str, Any]) -> dict[str, float]:
    """Values by percent, out of keys such as p10, q10, "0.1" or "10"."""
    found = {}
    for key, value in row.items():
        percent = _percent(str(key))
        if percent is not None and isinstance(value, str | int | float) and not isinstance(value, bool):
            try:
                found[percent] = float(value)
            except ValueError:
                continue
    return found


def _percent(key: str) -> str | None:
    """
    >>> _percent("p10"), _percent("0.05"), _percent("median"), _percent("balance")
    ('10', '5', '50', None)
    """
    if key == "median":
        return "50"
    digits = key[1:] if key[:1] in ("p", "q") else key
    try:
        number = float(digits)
    except ValueError:
        return None
    percent = 100.0 * number if 0.0 < number < 1.0 else number
    return f"{percent:g}" if 0.0 < percent < 100.0 else None


def _ms(value: Any) -> int | None:
    """Milliseconds of a time or a date as text; None for anything else."""
    if not isinstance(value, str):
        return None
    try:
        if len(value) == len("2025-01-01"):
            day = date.fromisoformat(value)
            return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1000
        return parse_rfc3339(value) // 1000
    except ValueError:
        return None


def _list(told: Mapping[str, Any], *keys: str) -> list[Any]:
    return next((told[key] for key in keys if isinstance(told.get(key), list)), [])
