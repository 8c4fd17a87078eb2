"""What the engine is compared with, on the same payments and the same test rows in the same run.

Online baselines see payments in the order of arrival, score first, and learn a payment when the label delay has passed. Batch
models learn once, from everything that was known when the test period began. All of them but `customer z` get the fifteen
hand-made windows; trees, which can use them, also the hour of the day and the spending group.

Only the batch models need the extra `bench` (scikit-learn, XGBoost): they import it themselves, so that everything else runs without.
"""

from __future__ import annotations

from collections.abc import Callable
from time import process_time
from typing import Annotated, Any

import msgspec
import numpy as np
from fraud_measures import Tested
from fraud_payments import Array, Payments
from msgspec import Meta
from rich.progress import track
from river import forest, linear_model, optim, preprocessing

from state.windows import DAY_US, HOUR_US

Count = Annotated[int, Meta(ge=1)]
Z_MATURED_MIN = 2
"""Below, a customer has no spread."""


class BaselineConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The table [baselines] of bench/fraud.toml."""

    seed: int
    negatives_1_in: Count
    trees_online: Count
    forest_online_days: Count
    trees_batch: Count
    depth_random_forest: Count
    depth_xgboost: Count
    learning_rate_online: Annotated[float, Meta(gt=0.0)]


class Task(msgspec.Struct, frozen=True):
    """What a baseline is given. `windows` are the hand-made ones; `more` those with hour and group."""

    payments: Payments
    windows: Array
    more: Array
    test: Tested
    label_delay_us: int
    config: BaselineConfig


class Scored(msgspec.Struct, frozen=True):
    """A score for each payment (only the test rows' need be right), and what it took. `learned_us` is a payment learned."""

    scores: Array
    score_us: float
    learn_us: float
    note: str = ""


def customer_z(task: Task) -> Scored:
    """Standard deviations of the amount above the customer's own mean so far (Welford's running moments)."""
    moments: dict[int, tuple[int, float, float]] = {}
    scores = np.zeros(len(task.payments))
    started = process_time()
    pairs = zip(task.payments.customers.tolist(), task.payments.amounts.tolist(), strict=True)
    for row, (customer, amount) in enumerate(pairs):
        n, mean, squares = moments.get(customer, (0, 0.0, 0.0))
        if n >= Z_MATURED_MIN and squares > 0.0:
            scores[row] = (amount - mean) / (squares / (n - 1)) ** 0.5
        gap = amount - mean
        mean += gap / (n + 1)
        moments[customer] = (n + 1, mean, squares + gap * (amount - mean))
    each_us = 1e6 * (process_time() - started) / len(scores)
    return Scored(scores, each_us / 2, each_us / 2)


def online_logistic(task: Task) -> Scored:
    """River's logistic regression by plain gradient descent on standardised windows; learns every payment."""
    model = preprocessing.StandardScaler() | linear_model.LogisticRegression(
        optim.SGD(task.config.learning_rate_online)
    )
    return _online(task, "logistic regression, online", model, task.windows, 1)


def online_forest(task: Task) -> Scored:
    """River's adaptive random forest; learns all frauds and one legitimate payment in `negatives_1_in`, of the last days only."""
    config = task.config
    model = forest.ARFClassifier(n_models=config.trees_online, seed=config.seed)
    since_us = int(task.payments.time_us[task.test.rows].min()) - config.forest_online_days * DAY_US
    scored = _online(task, "adaptive random forest, online", model, task.more, config.negatives_1_in, since_us)
    note = f"learns from {config.forest_online_days} days before the test period on"
    return msgspec.structs.replace(scored, note=note)


def batch_forest(task: Task) -> Scored:
    """scikit-learn's random forest. Raises ImportError without the extra `bench`."""
    from sklearn.ensemble import RandomForestClassifier

    config = task.config
    model = RandomForestClassifier(
        config.trees_batch, max_depth=config.depth_random_forest, n_jobs=-1, random_state=config.seed
    )
    return _batch(task, model)


def batch_xgboost(task: Task) -> Scored:
    """XGBoost's classifier. Raises ImportError without the extra `bench`."""
    from xgboost import XGBClassifier

    config = task.config
    return _batch(
        task, XGBClassifier(n_estimators=config.trees_batch, max_depth=config.depth_xgboost, random_state=config.seed)
    )


BASELINES: dict[str, Callable[[Task], Scored]] = {
    "customer z": customer_z,
    "logistic regression, online": online_logistic,
    "adaptive random forest, online": online_forest,
    "random forest, batch": batch_forest,
    "XGBoost, batch": batch_xgboost,
}
BATCH = {"random forest, batch": "sklearn", "XGBoost, batch": "xgboost"}
"""The baselines that need the extra `bench`, by the library that each imports."""


def with_hour_and_group(payments: Payments, windows: Array) -> Array:
    return np.column_stack((windows, payments.time_us % DAY_US // HOUR_US, payments.groups))


def _kept(task: Task, one_in: int) -> Array:
    """Which payments are learned: all frauds, and of the others one in so many, drawn from the seed."""
    drawn = np.random.default_rng(task.config.seed).integers(one_in, size=len(task.payments)) == 0
    return drawn | (task.payments.fraud == 1)


def _online(task: Task, name: str, model: Any, columns: Array, one_in: int, since_us: int = 0) -> Scored:
    """`since_us`: payments before are not learned."""
    payments = task.payments
    names = [str(number) for number in range(columns.shape[1])]
    kept = _kept(task, one_in) & (payments.time_us >= since_us)
    tested = np.zeros(len(payments), dtype=bool)
    tested[task.test.rows] = True
    # A fraud is learned when it became known, anything else when nothing became known within the delay.
    known_us = np.where(payments.fraud == 1, payments.known_us, payments.time_us + task.label_delay_us)
    due = iter(np.flatnonzero(kept)[np.argsort(known_us[kept], kind="stable")].tolist())
    scores = np.zeros(len(payments))
    learned, spent_learning, spent_scoring = 0, 0.0, 0.0
    last = int(task.test.rows.max())
    pending = next(due, None)
    first = int(np.argmax(payments.time_us >= since_us))
    for row in track(range(first, last + 1), description=name, update_period=1.0):
        if pending is not None and known_us[pending] <= payments.time_us[row]:
            started = process_time()
            while pending is not None and known_us[pending] <= payments.time_us[row]:
                features = dict(zip(names, columns[pending].tolist(), strict=True))
                model.learn_one(features, bool(payments.fraud[pending]))
                learned += 1
                pending = next(due, None)
            spent_learning += process_time() - started
        if tested[row]:
            started = process_time()
            features = dict(zip(names, columns[row].tolist(), strict=True))
            scores[row] = model.predict_proba_one(features).get(True, 0.0)
            spent_scoring += process_time() - started
    return Scored(scores, 1e6 * spent_scoring / len(task.test.rows), 1e6 * spent_learning / max(learned, 1))


def _batch(task: Task, model: Any) -> Scored:
    payments = task.payments
    before = payments.time_us < payments.time_us[task.test.rows].min() - task.label_delay_us
    rows = np.flatnonzero(before & _kept(task, task.config.negatives_1_in))
    started = process_time()
    model.fit(task.more[rows], payments.fraud[rows])
    learned = process_time()
    scores = np.zeros(len(payments))
    scores[task.test.rows] = model.predict_proba(task.more[task.test.rows])[:, 1]
    scored = process_time()
    return Scored(scores, 1e6 * (scored - learned) / len(task.test.rows), 1e6 * (learned - started) / len(rows))
