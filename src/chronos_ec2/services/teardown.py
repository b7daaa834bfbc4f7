"""Delete the stack of an environment that is not in use.

Teardown marks the environment, then checks that it is not in use. `launch` takes a lane, then checks for the mark. So
at least one of two that run at the same time sees the other, and no run loses its watchdog.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from chronos_ec2.domain.errors import InvalidInput, LostRace, NotAllowed, ServiceUnavailable, StillInUse, UserError
from chronos_ec2.domain.parsing.codec import dump_json, load_json
from chronos_ec2.domain.parsing.names import one_line
from chronos_ec2.domain.records.s3_keys import schedules_prefix, teardown_key
from chronos_ec2.ports import Deadlines, Deployment, Fleet
from chronos_ec2.run_store import RunStore
from chronos_ec2.services.groups.store import GroupStore
from chronos_ec2.services.verify import verify


@dataclass(frozen=True, slots=True)
class Teardown:
    """The teardown of one environment's stack."""

    environment: str
    stack_id: str
    store: RunStore
    fleet: Fleet
    deadlines: Deadlines
    deployment: Deployment

    def run(self) -> None:
        """Delete the stack and keep the bucket.

        Raises:
            StillInUse: something costs money or a lane is locked; without the stack nothing would end it.
            NotAllowed, ServiceUnavailable: see Deployment. Nothing is lost; tear down again.
        """
        etag = self._mark()
        try:
            self._refuse_if_in_use()
        except (Exception, KeyboardInterrupt, SystemExit) as error:
            self._unmark(etag, error)
            raise
        try:
            self.deployment.delete()
        except (NotAllowed, UserError) as error:
            self._unmark(etag, error)
            raise
        except (Exception, KeyboardInterrupt, SystemExit) as error:
            error.add_note(f"the stack may be on its way out, so {self._refused()}")
            raise

    def _refuse_if_in_use(self) -> None:
        found = verify(self.environment, self.store, self.fleet, self.deadlines)
        left = [f"{one.kind} {one.name}" for one in found]
        # Without the stack nothing starts their runs; in the next one, they would start what nobody remembers.
        orders = self.store.objects.children(schedules_prefix(self.environment))
        groups = GroupStore(self.environment, self.store.objects).open()
        left += [f"the order of schedule {name}" for name in orders] + [f"group {name}" for name in groups]
        if left:
            raise StillInUse(self.environment, left)

    def _mark(self) -> str | None:
        """Mark the environment. Returns the mark's ETag, None if another teardown of this stack has marked it."""
        key, nonce = teardown_key(self.environment), secrets.token_hex(8)
        body = dump_json({"stack_id": self.stack_id, "nonce": nonce})
        try:
            return self.store.objects.create(key, body)
        except (LostRace, ServiceUnavailable):
            # Our own write, if its answer was lost and the retry was refused.
            found = self.store.objects.read(key)
            if found is None:
                raise
            marked = load_json(found.body, key)
            if marked.get("stack_id") != self.stack_id:  # a stack that is gone
                return self.store.objects.replace(key, body, found.etag)
            return found.etag if marked.get("nonce") == nonce else None

    def _unmark(self, etag: str | None, error: BaseException) -> None:
        """Remove our own mark. It stays once CloudFormation was asked: the deletion may go on without us."""
        if etag is None:
            return
        try:
            self.store.objects.remove(teardown_key(self.environment), etag)
        except (Exception, KeyboardInterrupt) as failed:  # noqa: BLE001 - the first error is the one to report
            error.add_note(f"{one_line(str(failed), 300)}: {self._refused()}")

    def _refused(self) -> str:
        key = teardown_key(self.environment)
        return f"`chronos-ec2 launch` is refused in {self.environment} until {key} is deleted from the bucket"


def refuse_teardown(store: RunStore, environment: str, stack_id: str) -> None:
    """Raise InvalidInput if the stack is being deleted. The answer lasts only for who holds a lane."""
    key = teardown_key(environment)
    found = store.objects.read(key)
    if found is not None and load_json(found.body, key).get("stack_id") == stack_id:
        remedy = f"`chronos-ec2 teardown` completes it; if it was given up, delete {key} from the bucket"
        raise InvalidInput(f"environment {environment}", "its stack is being torn down", remedy)
