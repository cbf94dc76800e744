"""How often a program may die."""

from cli.stack import RestartBudget


def test_three_restarts_a_minute_are_allowed() -> None:
    budget = RestartBudget()
    assert [budget.take(now) for now in (0.0, 10.0, 20.0, 30.0)] == [True, True, True, False]


def test_restarts_of_more_than_a_minute_ago_are_forgotten() -> None:
    budget = RestartBudget()
    assert [budget.take(now) for now in (0.0, 10.0, 20.0, 60.0, 65.0)] == [True, True, True, True, False]


def test_a_refused_restart_is_not_counted() -> None:
    budget = RestartBudget(limit=1, window_s=10.0)
    assert [budget.take(now) for now in (0.0, 9.0, 10.0)] == [True, False, True]
