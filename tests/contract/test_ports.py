"""What every implementation of a port must do. The memory adapters are trusted because they pass what AWS passes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from chronos_ec2.aws.clients import client
from chronos_ec2.domain.errors import LostRace, TerminationProtected
from chronos_ec2.domain.facts import Absent, LockHeld, Unreadable
from chronos_ec2.domain.instance import owner_tags, run_tags
from chronos_ec2.domain.messages import Message
from chronos_ec2.domain.parsing.codec import MAX_DOCUMENT_BYTES
from chronos_ec2.domain.records.capacity import LaunchOption
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.ports import Resource
from chronos_ec2.run_store import RunStore
from chronos_ec2.testing.builders import LANE, RUN_ID, a_heartbeat, a_run, launching
from tests.contract.conftest import COST_CENTER, PROJECT, Ports

STRANGE_NAMES = ("a b", "a+b", "a%20b", "grüße\U0001f600", "a\x01b", "a&<b>\"'", "\x1b[2J")
"""What an instance may name its objects."""


class TestObjects:
    def test_a_missing_key_reads_as_none(self, ports: Ports) -> None:
        assert ports.objects.read("dev/none") is None

    def test_what_was_written_is_read_with_an_aware_time(self, ports: Ports) -> None:
        ports.objects.write("dev/a", b"one")
        found = ports.objects.read("dev/a")
        assert found is not None
        assert found.body == b"one"
        assert found.written_at.utcoffset() == timedelta(0)

    def test_what_nobody_can_read_is_there_and_empty(self, ports: Ports) -> None:
        ports.objects.write("dev/a-readable-one", b"{}")
        ports.withhold("dev/a", b'{"schema_version": 1}')
        found = ports.objects.read("dev/a")
        assert found is not None
        assert found.body == b""
        assert [found.etag] == [one.etag for one in ports.objects.listed("dev/a") if one.key == "dev/a"]
        with pytest.raises(LostRace):
            ports.objects.create("dev/a", b"one")
        ports.objects.write("dev/a", b"one")
        again = ports.objects.read("dev/a")
        assert again is not None
        assert again.body == b"one"

    def test_the_tail_of_an_object_is_its_last_bytes(self, ports: Ports) -> None:
        ports.objects.write("dev/log", b"0123456789")
        ports.objects.write("dev/empty", b"")
        assert ports.objects.tail("dev/log", 4) == b"6789"
        assert ports.objects.tail("dev/log", 100) == b"0123456789"
        assert ports.objects.tail("dev/empty", 4) == b""
        assert ports.objects.tail("dev/none", 4) is None

    def test_a_piece_of_an_object_begins_where_it_is_asked_for(self, ports: Ports) -> None:
        ports.objects.write("dev/log", b"0123456789")
        ports.objects.write("dev/empty", b"")
        assert ports.objects.piece("dev/log", 0, 4) == b"0123"
        assert ports.objects.piece("dev/log", 7, 100) == b"789"
        assert ports.objects.piece("dev/log", 10, 4) == ports.objects.piece("dev/log", 11, 4) == b""
        assert ports.objects.piece("dev/empty", 0, 4) == b""
        assert ports.objects.piece("dev/none", 0, 4) is None

    def test_create_needs_the_key_to_be_absent(self, ports: Ports) -> None:
        ports.objects.create("dev/a", b"one")
        with pytest.raises(LostRace):
            ports.objects.create("dev/a", b"one")

    def test_replace_needs_the_etag(self, ports: Ports) -> None:
        first = ports.objects.create("dev/a", b"one")
        second = ports.objects.replace("dev/a", b"two", first)
        assert second != first
        with pytest.raises(LostRace):
            ports.objects.replace("dev/a", b"three", first)
        found = ports.objects.read("dev/a")
        assert found is not None
        assert (found.body, found.etag) == (b"two", second)

    def test_replace_of_a_missing_key_is_a_lost_race(self, ports: Ports) -> None:
        etag = ports.objects.create("dev/a", b"one")
        ports.objects.remove("dev/a")
        with pytest.raises(LostRace):
            ports.objects.replace("dev/a", b"two", etag)

    def test_the_same_content_has_the_same_etag_again(self, ports: Ports) -> None:
        first = ports.objects.create("dev/a", b"one")
        second = ports.objects.replace("dev/a", b"two", first)
        assert ports.objects.replace("dev/a", b"one", second) == first

    def test_remove_needs_the_etag_but_not_the_key(self, ports: Ports) -> None:
        first = ports.objects.create("dev/a", b"one")
        second = ports.objects.replace("dev/a", b"two", first)
        with pytest.raises(LostRace):
            ports.objects.remove("dev/a", first)
        ports.objects.remove("dev/a", second)
        ports.objects.remove("dev/a", second)
        ports.objects.remove("dev/a")
        assert ports.objects.read("dev/a") is None

    def test_after_removal_the_key_can_be_created_again(self, ports: Ports) -> None:
        ports.objects.remove("dev/a", ports.objects.create("dev/a", b"one"))
        ports.objects.create("dev/a", b"one")

    def test_keys_are_listed_in_order_with_their_sizes(self, ports: Ports) -> None:
        for key, body in (("dev/b/2", b"22"), ("dev/a", b"1"), ("prod/a", b"1")):
            ports.objects.write(key, body)
        assert list(ports.objects.keys("dev/")) == [("dev/a", 1), ("dev/b/2", 2)]

    def test_a_list_has_the_etag_that_a_read_has(self, ports: Ports, tmp_path: Path) -> None:
        for key, body in (("dev/b", b"22"), ("dev/a", b"1")):
            ports.objects.write(key, body)
        listed = list(ports.objects.listed("dev/"))
        assert [(one.key, one.size) for one in listed] == [("dev/a", 1), ("dev/b", 2)]
        for one in listed:
            found = ports.objects.read(one.key)
            assert found is not None
            assert one.etag == found.etag
            assert ports.transfer.download_piece(one.key, tmp_path / "file", None, lambda _: None).etag == one.etag

    def test_children_are_the_names_one_level_below(self, ports: Ports) -> None:
        for key in ("dev/lanes/b/system-state.json", "dev/lanes/a/x", "dev/lanes/a/y", "dev/lanes/z"):
            ports.objects.write(key, b"1")
        assert ports.objects.children("dev/lanes/") == ("a", "b")

    def test_what_was_begun_and_not_ended_is_listed_until_it_is_aborted(self, ports: Ports) -> None:
        for key in ("dev/run/models/a", "dev/run/models/a", "dev/other/b", "prod/c"):
            ports.begin_upload(key)
        ports.objects.write("dev/run/whole", b"1")
        first, second = ports.objects.uploads("dev/run/")
        assert (first.key, second.key) == ("dev/run/models/a", "dev/run/models/a")
        assert first.upload_id != second.upload_id
        ports.objects.abort(first)
        ports.objects.abort(first)
        assert list(ports.objects.uploads("dev/run/")) == [second]
        assert len(list(ports.objects.uploads("dev/"))) == 2

    def test_children_are_listed_in_parts(self, ports: Ports) -> None:
        names = ("a", "a-b", "a0", "b", "c")
        for name in names:
            ports.objects.write(f"dev/lanes/{name}/system-state.json", b"{}")
        in_order = ports.objects.children("dev/lanes/")
        assert in_order == ("a-b", "a", "a0", "b", "c")
        assert ports.objects.children("dev/lanes/", limit=2) == in_order[:2]
        for at, name in enumerate(in_order):
            assert ports.objects.children("dev/lanes/", name) == in_order[at + 1 :]
            assert ports.objects.children("dev/lanes/", name, 2) == in_order[at + 1 : at + 3]

    @pytest.mark.parametrize("name", STRANGE_NAMES, ids=ascii)
    def test_a_key_with_strange_characters_is_listed_as_it_is(self, ports: Ports, name: str) -> None:
        key = f"dev/run/{name}"
        ports.objects.write(key, b"x")
        ports.objects.write(f"dev/lanes/{name}/system-state.json", b"x")
        assert list(ports.objects.keys("dev/run/")) == [(key, 1)]
        assert ports.objects.children("dev/lanes/") == (name,)

    # The emulators list uploads in XML that cannot be read if a key has control characters: see test_pages.
    @pytest.mark.parametrize("name", [name for name in STRANGE_NAMES if name.isprintable()], ids=ascii)
    def test_an_upload_with_strange_characters_is_listed_as_it_is(self, ports: Ports, name: str) -> None:
        key = f"dev/run/{name}"
        ports.begin_upload(key)
        (upload,) = ports.objects.uploads("dev/run/")
        assert upload.key == key
        ports.objects.abort(upload)
        assert list(ports.objects.uploads("dev/run/")) == []

    def test_a_large_object_is_read_only_so_far_that_its_size_shows(self, ports: Ports) -> None:
        ports.objects.write("dev/large", b"x" * (MAX_DOCUMENT_BYTES * 3))
        found = ports.objects.read("dev/large")
        assert found is not None
        assert len(found.body) == MAX_DOCUMENT_BYTES + 1

    def test_files_travel_whole_and_every_byte_is_counted(self, ports: Ports, tmp_path: Path) -> None:
        source, target = tmp_path / "source", tmp_path / "target"
        source.write_bytes(bytes(range(256)) * 4096)
        sent: list[int] = []
        received: list[int] = []
        ports.transfer.upload(source, "dev/file", sent.append)
        ports.transfer.download("dev/file", target, received.append)
        assert target.read_bytes() == source.read_bytes()
        assert sum(sent) == sum(received) == source.stat().st_size

    def test_pieces_of_an_object_make_the_whole_in_any_order(self, ports: Ports, tmp_path: Path) -> None:
        body, target, received = bytes(range(256)) * 64, tmp_path / "target", list[int]()
        ports.objects.write("dev/file", body)
        pieces = [range(9_000, len(body)), range(9_000)]
        sources = [ports.transfer.download_piece("dev/file", target, piece, received.append) for piece in pieces]
        assert target.read_bytes() == body
        assert sum(received) == len(body)
        found = ports.objects.read("dev/file")
        assert found is not None
        assert {(source.etag, source.size) for source in sources} == {(found.etag, len(body))}

    def test_without_a_piece_all_of_an_object_is_had(self, ports: Ports, tmp_path: Path) -> None:
        ports.objects.write("dev/file", b"whole")
        source = ports.transfer.download_piece("dev/file", tmp_path / "target", None, lambda _count: None)
        assert (tmp_path / "target").read_bytes() == b"whole"
        assert source.size == 5

    def test_the_hash_with_which_a_file_was_uploaded_comes_with_each_piece(self, ports: Ports, tmp_path: Path) -> None:
        path, target = tmp_path / "file", tmp_path / "target"
        # So large that it travels in parts, of which S3 makes no checksum of the whole.
        path.write_bytes(bytes(range(256)) * 40_000)
        ports.transfer.upload(path, "dev/file", lambda _count: None, sha256="a" * 64)
        pieces = [range(100), range(9_000_000, 9_000_100), None]
        sources = [ports.transfer.download_piece("dev/file", target, piece, lambda _count: None) for piece in pieces]
        assert [source.sha256 for source in sources] == ["a" * 64] * 3
        ports.objects.write("dev/file", b"written anew")
        assert ports.transfer.download_piece("dev/file", target, None, lambda _count: None).sha256 is None

    def test_a_file_that_shall_expire_is_there_like_any_other(self, ports: Ports, tmp_path: Path) -> None:
        source = tmp_path / "source"
        source.write_bytes(b"weights")
        ports.transfer.upload(source, "dev/file", lambda _count: None, expires=True)
        found = ports.objects.read("dev/file")
        assert found is not None
        assert found.body == b"weights"


class TestLocks:
    @pytest.fixture
    def store(self, ports: Ports) -> RunStore:
        return RunStore(ports.objects)

    def test_a_free_lane_is_absent(self, store: RunStore) -> None:
        assert store.read_lock(LANE) == Absent()

    def test_one_of_two_takes_the_lane(self, store: RunStore) -> None:
        held = store.create_lock(launching())
        assert held.run.seq == 1
        with pytest.raises(LostRace):
            store.create_lock(launching(run_id="20260131T120001Z-ffffff"))

    def test_what_is_read_is_what_was_written(self, store: RunStore) -> None:
        held = store.create_lock(a_run())
        found = store.read_lock(LANE)
        assert isinstance(found, LockHeld)
        assert (found.run, found.etag) == (held.run, held.etag)

    def test_each_write_counts_on_and_the_loser_learns_it(self, store: RunStore) -> None:
        held = store.create_lock(a_run())
        second = store.replace_lock(held.run, held)
        assert second.run.seq == 2
        assert second.run.nonce != held.run.nonce
        with pytest.raises(LostRace):
            store.replace_lock(held.run, held)

    def test_release_needs_the_newest_version(self, store: RunStore) -> None:
        held = store.create_lock(a_run())
        second = store.replace_lock(held.run, held)
        with pytest.raises(LostRace):
            store.remove_lock(LANE, held.etag)
        store.remove_lock(LANE, second.etag)
        store.remove_lock(LANE, second.etag)
        assert store.read_lock(LANE) == Absent()

    @pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff\xfe", b'{"schema_version": 99}', b"x" * 70_000])
    def test_what_is_not_a_record_is_broken(self, ports: Ports, store: RunStore, body: bytes) -> None:
        ports.objects.write(LANE.state_key, body)
        assert isinstance(store.read_lock(LANE), Unreadable)

    def test_lanes_are_found_by_their_locks(self, store: RunStore) -> None:
        store.create_lock(a_run(lane=Lane("dev", "second")))
        assert store.lanes("dev") == (Lane("dev"), Lane("dev", "second"))

    def test_heartbeats_overwrite_each_other(self, store: RunStore) -> None:
        assert store.read_heartbeat("dev", RUN_ID) == Absent()
        store.write_heartbeat("dev", a_heartbeat(counter=1))
        store.write_heartbeat("dev", a_heartbeat(counter=2))
        beat = store.read_heartbeat("dev", RUN_ID)
        assert getattr(beat, "heartbeat", None) == a_heartbeat(counter=2)


class TestDeadlines:
    AT = datetime(2099, 1, 31, 12, 0, 30, tzinfo=UTC)

    def test_what_is_scheduled_is_listed_until_it_is_cancelled(self, ports: Ports) -> None:
        assert ports.deadlines.scheduled() == {}
        ports.deadlines.schedule("i-0123456789abcdef0", self.AT)
        ports.deadlines.schedule("i-0123456789abcdef1", self.AT)
        ports.deadlines.cancel("i-0123456789abcdef0")
        made = ports.deadlines.scheduled()
        assert made.keys() == {"i-0123456789abcdef1"}
        assert made["i-0123456789abcdef1"].utcoffset() == timedelta(0)

    def test_scheduling_again_changes_nothing(self, ports: Ports) -> None:
        for _ in range(2):
            ports.deadlines.schedule("i-0123456789abcdef0", self.AT)
        assert ports.deadlines.scheduled().keys() == {"i-0123456789abcdef0"}

    def test_cancelling_without_a_schedule_is_no_error(self, ports: Ports) -> None:
        ports.deadlines.cancel("i-0123456789abcdef0")

    def test_more_schedules_than_a_page_holds_are_all_listed(self, ports: Ports) -> None:
        if ports.name == "embedded":
            pytest.skip("the embedded AWS cuts a list of schedules off after a page, and names no next one")
        wanted = {f"i-{number:017x}" for number in range(120)}
        for instance_id in wanted:
            ports.deadlines.schedule(instance_id, self.AT)
        assert ports.deadlines.scheduled().keys() == wanted


class TestLogStreams:
    def test_lines_are_added_in_their_order_to_a_stream_that_need_not_exist(self, ports: Ports) -> None:
        # AWS takes nothing that is older than two weeks.
        at = datetime.now(UTC).replace(microsecond=0)
        ports.streams.append("run/1/agent.log", ["one", "two"], at)
        ports.streams.append("run/1/agent.log", ["three"], at + timedelta(seconds=30))
        ports.streams.append("run/2/agent.log", ["other"], at)
        later = at + timedelta(seconds=30)
        assert ports.logged("run/1/agent.log") == [(at, "one"), (at, "two"), (later, "three")]

    def test_lines_that_need_several_calls_all_arrive(self, ports: Ports) -> None:
        lines = [f"{number:05d}{'ä' * 2_000}" for number in range(400)]
        ports.streams.append("run/1/trainer.log", lines, datetime.now(UTC))
        assert [line for _, line in ports.logged("run/1/trainer.log")] == lines


class TestTimetable:
    def test_what_is_put_is_listed_until_it_is_removed(self, ports: Ports) -> None:
        assert ports.timetable.listed() == {}
        ports.timetable.put("nightly", "cron(0 3 * * ? *)")
        ports.timetable.put("hourly", "rate(1 hour)", enabled=False)
        assert ports.timetable.listed() == {"nightly": True, "hourly": False}
        ports.timetable.remove("hourly")
        ports.timetable.remove("hourly")
        assert ports.timetable.listed() == {"nightly": True}

    def test_putting_again_replaces(self, ports: Ports) -> None:
        ports.timetable.put("nightly", "cron(0 3 * * ? *)")
        ports.timetable.put("nightly", "cron(0 4 * * ? *)", enabled=False)
        assert ports.timetable.listed() == {"nightly": False}


class TestFleet:
    @pytest.fixture(autouse=True)
    def _end_everything(self, ports: Ports) -> Iterator[None]:
        yield
        for instance in ports.fleet.instances("dev"):
            ports.fleet.terminate(instance.instance_id)

    def alive(self, ports: Ports) -> list[str]:
        return [instance.instance_id for instance in ports.fleet.instances("dev") if instance.alive]

    def test_an_instance_carries_what_its_run_says(self, ports: Ports) -> None:
        run = launching(run_id="20260131T120000Z-aaaaaa", deadline=datetime(2027, 1, 1, tzinfo=UTC))
        started = ports.fleet.launch(run, LaunchOption("g4dn.2xlarge", ports.subnet_ids[0]), "#cloud-config\n")
        found = ports.fleet.find("dev", started.instance_id)
        assert found is not None
        assert started.launched_at == found.launched_at
        assert (found.run_id, found.attempt, found.lane, found.deadline) == (run.run_id, 1, LANE, run.deadline)
        assert found.instance_type == "g4dn.2xlarge"
        assert found.alive
        assert started.instance_id in self.alive(ports)

    def test_launching_again_does_not_double(self, ports: Ports) -> None:
        if ports.name != "memory":
            pytest.skip("the emulators' EC2 ignores ClientToken; the next test shows that EC2 gets the right ones")
        run = launching(run_id="20260131T120000Z-bbbbbb")
        here, there = (LaunchOption("g4dn.2xlarge", subnet_id) for subnet_id in ports.subnet_ids)
        assert ports.fleet.launch(run, here, "") == ports.fleet.launch(run, here, "")
        assert ports.fleet.launch(run, there, "") != ports.fleet.launch(run, here, "")

    def test_a_repeated_launch_carries_the_same_token_and_another_attempt_another(self, ports: Ports) -> None:
        if ports.name == "memory":
            pytest.skip("memory has no wire to look at")
        tokens: list[str] = []
        events = client("ec2").meta.events
        event = "provide-client-params.ec2.RunInstances"
        events.register(event, hear := lambda params, **_: tokens.append(params["ClientToken"]))
        run = launching(run_id="20260131T120000Z-cccccc")
        here, there = (LaunchOption("g4dn.2xlarge", subnet_id) for subnet_id in ports.subnet_ids)
        for attempt, option in ((1, here), (1, here), (1, there), (2, here)):
            ports.fleet.launch(replace(run, attempt=attempt), option, "")
        events.unregister(event, hear)
        assert tokens[0] == tokens[1]
        assert len(set(tokens)) == 3

    def test_only_instances_with_all_our_tags_are_listed(self, ports: Ports) -> None:
        tags = owner_tags(PROJECT, "dev")
        ours = ports.add_instance(tags)
        for name in tags:
            ports.add_instance(tags | {name: "another"})
        ports.add_instance({"Project": PROJECT})
        assert self.alive(ports) == [ours]

    def test_an_instance_that_a_call_has_ended_has_the_time_of_the_call(self, ports: Ports) -> None:
        if ports.name == "embedded":
            pytest.skip("the embedded AWS names no reasons, and so no times")
        instance_id = ports.add_instance(owner_tags(PROJECT, "dev"))
        running = ports.fleet.find("dev", instance_id)
        assert running is not None
        assert running.ended_at is None
        ports.fleet.terminate(instance_id)
        ended = ports.fleet.find("dev", instance_id)
        assert ended is not None
        assert ended.ended_at is not None
        # EC2 names whole seconds.
        assert timedelta(seconds=-1) <= ended.ended_at - ended.launched_at < timedelta(minutes=5)

    def test_of_a_lane_those_are_listed_whose_tag_names_it(self, ports: Ports) -> None:
        tags = owner_tags(PROJECT, "dev")
        second = ports.add_instance(tags | {"Lane": "second"})
        for other in (tags, tags | {"Lane": "main"}, tags | {"Lane": "Second"}, {"Lane": "second"}):
            ports.add_instance(other)
        assert [instance.instance_id for instance in ports.fleet.instances("dev", "second") if instance.alive] == [
            second
        ]
        assert len(self.alive(ports)) == 4

    def test_a_foreign_instance_is_not_found(self, ports: Ports) -> None:
        foreign = ports.add_instance({"Project": PROJECT})
        assert ports.fleet.find("dev", foreign) is None
        assert ports.fleet.find("dev", "i-0123456789abcdef0") is None

    def test_instances_on_several_pages_are_all_listed(self, ports: Ports) -> None:
        wanted = sorted(ports.add_instance(owner_tags(PROJECT, "pages")) for _ in range(7))
        pages = 0

        def shorten(params: dict[str, Any], **_: Any) -> None:
            nonlocal pages
            params["MaxResults"] = 5
            pages += 1

        event = "provide-client-params.ec2.DescribeInstances"
        if ports.name != "memory":  # which has no pages
            client("ec2").meta.events.register(event, shorten)
        try:
            assert sorted(each.instance_id for each in ports.fleet.instances("pages")) == wanted
            assert sorted(each.instance_id for each in ports.fleet.look_up("pages", wanted)) == wanted
        finally:
            client("ec2").meta.events.unregister(event, shorten)
        assert pages > 2 or ports.name != "moto"  # the embedded AWS has one page
        for instance_id in wanted:
            ports.fleet.terminate(instance_id)

    def test_what_is_looked_up_by_its_id_is_found_with_whatever_tags(self, ports: Ports) -> None:
        ours, foreign = ports.add_instance(owner_tags(PROJECT, "dev")), ports.add_instance({"Project": PROJECT})
        ended, other = ports.add_instance(owner_tags(PROJECT, "dev")), ports.add_instance(owner_tags(PROJECT, "dev"))
        ports.fleet.terminate(ended)
        found = ports.fleet.look_up("dev", (ours, foreign, ended, "i-0123456789abcdef0", "not-an-id"))
        seen = {lookup.instance_id: (lookup.state.alive, lookup.ours) for lookup in found}
        assert seen == {ours: (True, True), foreign: (True, False), ended: (False, True)}
        assert other not in seen
        assert [lookup.ours for lookup in ports.fleet.look_up("prod", (ours,))] == [False]
        assert ports.fleet.look_up("dev", ()) == ()

    def test_terminate_can_be_repeated(self, ports: Ports) -> None:
        instance_id = ports.add_instance(owner_tags(PROJECT, "dev"))
        ports.fleet.terminate(instance_id)
        ports.fleet.terminate(instance_id)
        assert self.alive(ports) == []

    def test_a_protected_instance_ends_once_its_protection_is_lifted(self, ports: Ports) -> None:
        if ports.name == "embedded":
            pytest.skip("the embedded AWS protects no instance")
        instance_id = ports.add_instance(owner_tags(PROJECT, "dev"))
        ports.protect(instance_id)
        with pytest.raises(TerminationProtected):
            ports.fleet.terminate(instance_id)
        with pytest.raises(TerminationProtected):
            ports.fleet.terminate(instance_id, force=True)
        assert self.alive(ports) == [instance_id]
        ports.fleet.lift_protection(instance_id)
        ports.fleet.terminate(instance_id)
        assert self.alive(ports) == []

    def test_lifting_a_protection_that_is_not_there_is_no_error(self, ports: Ports) -> None:
        if ports.name == "embedded":
            pytest.skip("the embedded AWS has no ModifyInstanceAttribute")
        instance_id = ports.add_instance(owner_tags(PROJECT, "dev"))
        ports.fleet.lift_protection(instance_id)
        ports.fleet.lift_protection("i-0123456789abcdef0")

    def test_an_instance_is_on_hold_until_it_is_released(self, ports: Ports) -> None:
        instance_id, other = (ports.add_instance(owner_tags(PROJECT, "dev")) for _ in range(2))
        at = datetime(2099, 1, 31, 12, 0, 30, tzinfo=UTC)

        def hold_of(instance_id: str) -> tuple[bool, datetime | None]:
            found = ports.fleet.find("dev", instance_id)
            assert found is not None
            return found.hold, found.hold_until

        assert hold_of(instance_id) == (False, None)
        for until in (None, at, at + timedelta(hours=1)):
            ports.fleet.hold(instance_id, until)
            assert hold_of(instance_id) == (True, until)
        for _ in range(2):
            ports.fleet.release(instance_id)
            assert hold_of(instance_id) == (False, None)
        assert hold_of(other) == (False, None)
        assert self.alive(ports) == [instance_id, other]

    def test_an_instance_says_why_it_ended(self, ports: Ports) -> None:
        if ports.name == "embedded":
            pytest.skip("the embedded AWS names no reasons")
        instance_id = ports.add_instance(owner_tags(PROJECT, "dev"))
        found = ports.fleet.find("dev", instance_id)
        assert found is not None
        assert found.state_reason is None
        ports.fleet.terminate(instance_id)
        found = ports.fleet.find("dev", instance_id)
        assert found is not None
        assert found.state_reason is not None
        assert found.state_reason.code == "Client.UserInitiatedShutdown"
        assert not found.reclaimed

    def test_terminating_what_ec2_does_not_know_is_no_error(self, ports: Ports) -> None:
        ports.fleet.terminate("i-0123456789abcdef0")

    @pytest.mark.parametrize("kind", ["volume", "network-interface"])
    def test_deleting_a_leftover_that_is_gone_is_no_error(self, ports: Ports, kind: str) -> None:
        prefix = "vol" if kind == "volume" else "eni"
        ports.fleet.delete(Resource(kind, f"{prefix}-0123456789abcdef0", "available"))

    def test_a_spot_request_is_left_as_long_as_it_is_not_over(self, ports: Ports) -> None:
        if ports.name != "moto":
            pytest.skip("memory has no requests, and the embedded AWS answers that there are none")
        run = launching(run_id="20260131T120000Z-dddddd")
        tags = [{"Key": key, "Value": value} for key, value in run_tags(run, PROJECT, COST_CENTER).items()]
        (request,) = client("ec2").request_spot_instances(
            LaunchSpecification={"ImageId": "ami-12c6146b", "InstanceType": "t3.micro"},
            TagSpecifications=[{"ResourceType": "spot-instances-request", "Tags": tags}],
        )["SpotInstanceRequests"]
        request_id = request["SpotInstanceRequestId"]
        (left,) = ports.fleet.leftovers("dev", run.run_id)
        assert (left.kind, left.resource_id, left.unused) == ("spot-instances-request", request_id, False)
        client("ec2").cancel_spot_instance_requests(SpotInstanceRequestIds=[request_id])
        assert ports.fleet.leftovers("dev", run.run_id) == ()

    def test_nothing_is_left_where_nothing_was(self, ports: Ports) -> None:
        assert ports.fleet.leftovers("dev", "20200101T000000Z-000000") == ()


def test_a_message_arrives_with_its_attributes(ports: Ports) -> None:
    attributes = {"environment": "dev", "kind": "started", "severity": "info", "run_id": RUN_ID}
    document = {"kind": "started", "text": "grüße"}
    ports.notifier.publish(
        Message("[chronos-ec2 dev] a subject", "a body\nof two lines\n", attributes, {"version": "1.0"}, document)
    )
    (message,) = ports.published()
    assert message == {"subject": "[chronos-ec2 dev] a subject", "document": document, "attributes": attributes}
