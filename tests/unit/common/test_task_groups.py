"""What comes out of a task group."""

import asyncio

import pytest

from services.common.task_groups import first_error


async def fail(error: Exception) -> None:
    raise error


async def both(*errors: Exception) -> None:
    with first_error(ValueError, TimeoutError):
        async with asyncio.TaskGroup() as group:
            for error in errors:
                group.create_task(fail(error))


async def test_the_first_error_comes_out_as_itself() -> None:
    first = ValueError("first")
    with pytest.raises(ValueError, match="first") as caught:
        await both(first, TimeoutError())
    assert caught.value is first


async def test_another_error_stays_in_its_group() -> None:
    with pytest.raises(ExceptionGroup) as caught, first_error(TimeoutError):
        async with asyncio.TaskGroup() as group:
            group.create_task(fail(ValueError()))
    assert [type(error) for error in caught.value.exceptions] == [ValueError]


async def test_an_error_of_no_group_stays_as_it_is_and_so_does_the_end_of_a_task() -> None:
    with pytest.raises(TimeoutError), first_error(TimeoutError):
        raise TimeoutError
    with pytest.raises(asyncio.CancelledError), first_error(TimeoutError):
        raise asyncio.CancelledError
