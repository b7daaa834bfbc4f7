"""Logs that grow in the bucket."""

from __future__ import annotations

from chronos_ec2.domain.records.s3_keys import log_key
from chronos_ec2.services.logs import LogReader, log_names
from chronos_ec2.testing import MemoryAws, MemoryObjects
from chronos_ec2.testing.builders import RUN_ID

KEY = f"dev/{RUN_ID}/logs/trainer.log"


def test_a_log_is_read_line_by_line_as_it_grows() -> None:
    aws = MemoryAws()
    reader = LogReader(aws.objects, "dev", RUN_ID, "trainer")
    assert reader.more() == []
    aws.objects.write(KEY, b"one\ntwo\nthr")
    assert reader.more() == ["one", "two"]
    assert reader.more() == []
    aws.objects.write(KEY, b"one\ntwo\nthree\n\xff\n")
    assert reader.more() == ["three", "\ufffd"]


def test_the_logs_of_a_run_are_named() -> None:
    aws = MemoryAws()
    for name in ("agent.log", "trainer.log", "dump.txt"):
        aws.objects.write(f"dev/{RUN_ID}/logs/{name}", b"x")
    aws.objects.write("dev/20200101T000000Z-000000/logs/other.log", b"x")
    assert log_names(aws.objects, "dev", RUN_ID) == ("agent", "trainer")


def test_a_log_that_got_shorter_is_another_and_read_from_its_beginning() -> None:
    aws = MemoryAws()
    key = f"dev/{RUN_ID}/logs/boot.log"
    reader = LogReader(aws.objects, "dev", RUN_ID, "boot")
    aws.objects.write(key, b"the first boot\nand its end\n")
    reader.more()
    aws.objects.write(key, b"the second boot\n")
    assert reader.more() == ["the second boot"]


def test_a_new_attempts_log_is_followed_from_its_beginning_and_the_old_one_stays() -> None:
    aws = MemoryAws()
    newest, first = (LogReader(aws.objects, "dev", RUN_ID, name) for name in ("trainer", "trainer-1"))
    aws.objects.write(KEY, b"lost\n")
    assert newest.more() == ["lost"]
    aws.objects.write(f"dev/{RUN_ID}/logs/trainer-2.log", b"found again, and longer\n")
    aws.objects.write(f"dev/{RUN_ID}/logs/trainer-10.log", b"at last\n")
    assert newest.more() == ["at last"]
    assert first.more() == ["lost"]
    assert log_names(aws.objects, "dev", RUN_ID) == ("trainer", "trainer-1", "trainer-2", "trainer-10")


def test_a_log_in_parts_is_read_as_one() -> None:
    aws = MemoryAws()
    reader = LogReader(aws.objects, "dev", RUN_ID, "trainer")
    aws.objects.write(KEY, b"one\ntw")
    assert reader.more() == ["one"]
    # A part that is over ends with its last whole line, and the next one begins with the rest.
    aws.objects.write(KEY, b"one\n")
    aws.objects.write(f"{KEY}.0002", b"two\nthree\nfo")
    assert reader.more() == ["two", "three"]
    aws.objects.write(f"{KEY}.0002", b"two\nthree\nfour\n")
    aws.objects.write(f"{KEY}.0003", b"five\n")
    assert reader.more() == ["four", "five"]
    assert reader.more() == []
    again = LogReader(aws.objects, "dev", RUN_ID, "trainer-1")
    assert again.more() == ["one", "two", "three", "four", "five"]
    assert log_names(aws.objects, "dev", RUN_ID) == ("trainer",)


def test_the_parts_of_a_log_are_in_the_order_of_their_numbers() -> None:
    aws = MemoryAws()
    for number in (10_000, 2, 9999):
        aws.objects.write(log_key("dev", RUN_ID, "trainer.log", 1, number), b"%d\n" % number)
    aws.objects.write(KEY, b"1\n")
    assert LogReader(aws.objects, "dev", RUN_ID, "trainer").more() == ["1", "2", "9999", "10000"]


def test_a_line_that_a_killed_agent_had_not_finished_is_followed_by_the_rest_of_the_log() -> None:
    aws = MemoryAws()
    aws.objects.write(KEY, b"one\ntw")
    aws.objects.write(f"{KEY}.0002", b"o\nthe end\n")
    assert LogReader(aws.objects, "dev", RUN_ID, "trainer").more() == ["one", "tw", "o", "the end"]


def test_a_last_line_without_an_end_is_printed_once_when_the_log_is_over() -> None:
    aws = MemoryAws()
    reader = LogReader(aws.objects, "dev", RUN_ID, "trainer")
    aws.objects.write(KEY, b"one\r\nKill")
    assert reader.more() == ["one"]
    aws.objects.write(KEY, b"one\r\nKilled")
    assert reader.more() == []
    assert reader.rest() == ["Killed"]
    assert (reader.more(), reader.rest()) == ([], [])


def test_a_new_attempt_ends_the_last_line_of_the_one_before() -> None:
    aws = MemoryAws()
    reader = LogReader(aws.objects, "dev", RUN_ID, "trainer")
    aws.objects.write(KEY, b"one\nKilled")
    assert reader.more() == ["one"]
    aws.objects.write(f"dev/{RUN_ID}/logs/trainer-2.log", b"two\n")
    assert reader.more() == ["Killed", "two"]


class Served(MemoryObjects):
    """Counts the bytes of pieces."""

    served = 0

    def piece(self, key: str, start: int, limit: int) -> bytes | None:
        found = super().piece(key, start, limit)
        self.served += len(found or b"")
        return found


def test_only_what_is_new_of_a_log_is_read() -> None:
    objects = Served(MemoryAws().clock)
    reader = LogReader(objects, "dev", RUN_ID, "trainer")
    body = b"".join(b"line %d\n" % number for number in range(2_000_000))
    objects.write(KEY, body)
    assert len(reader.more()) == 2_000_000
    assert objects.served == len(body)
    objects.write(KEY, body + b"more\n")
    assert reader.more() == ["more"]
    assert reader.more() == []
    assert objects.served == len(body) + 5


def test_of_a_log_that_is_too_large_its_end_is_read() -> None:
    aws = MemoryAws()
    reader = LogReader(aws.objects, "dev", RUN_ID, "trainer", max_bytes=10)
    aws.objects.write(KEY, b"a long beginning\n")
    aws.objects.write(f"{KEY}.0002", b"two\nthree\n")
    assert reader.more() == ["(17 bytes are left out)", "two", "three"]
    aws.objects.write(f"{KEY}.0002", b"two\nthree\nfour\n")
    assert reader.more() == ["four"]
    aws.objects.write(f"{KEY}.0002", b"two\nthree\nfour\nfive, six\nseven\n")
    assert reader.more() == ["(6 bytes are left out)", "six", "seven"]


def test_a_line_without_an_end_is_shown_in_pieces() -> None:
    aws = MemoryAws()
    reader = LogReader(aws.objects, "dev", RUN_ID, "trainer")
    aws.objects.write(KEY, b"x" * (9 * 1024 * 1024))
    assert [len(line) for line in reader.more()] == [8 * 1024 * 1024]


def test_so_many_parts_of_logs_are_listed_and_no_more() -> None:
    aws = MemoryAws()
    for number in range(10_001):
        aws.objects.write(f"dev/{RUN_ID}/logs/{number:05}.log", b"x")
    assert len(log_names(aws.objects, "dev", RUN_ID)) == 10_000
