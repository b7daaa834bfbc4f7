"""What keeps a launch from success, or a person from knowing of it, in one environment."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.domain.parsing.names import split_instance_types
from chronos_ec2.domain.parsing.times import human_span
from chronos_ec2.domain.planning.instance_type import check_usable
from chronos_ec2.domain.records.capacity import ON_DEMAND, SPOT
from chronos_ec2.domain.stack_status import deploy_command
from chronos_ec2.ports import Alarm, AlarmState, Catalogue, LaunchChecks, Prices, SetupChecks, Stack
from chronos_ec2.run_store import RunStore
from chronos_ec2.services.doctor.diagnosis import Diagnosis, Health, asked, checked
from chronos_ec2.services.doctor.setup import diagnose_setup
from chronos_ec2.services.launch.account import check_image, check_zones

_CLOCK_TOLERANCE, _CLOCK_LIMIT = timedelta(seconds=30), timedelta(minutes=5)
"""AWS refuses a signature that is off by more than the second."""
_OLD_IMAGE_DAYS = 365


@dataclass(frozen=True, slots=True)
class Doctor:
    """Examines one environment. `version` is the command's."""

    stack: Stack
    store: RunStore
    setup_checks: SetupChecks
    launch_checks: LaunchChecks
    catalogue: Catalogue
    prices: Prices
    version: str

    def diagnose(self, aws_time: datetime, own_time: datetime) -> Iterator[Diagnosis]:
        """Each part in turn; `own_time` is this machine's clock at the same moment."""
        yield self._version()
        yield from diagnose_setup(self.stack, self.store, self.setup_checks)
        yield from asked("messages", self._nobody)
        yield from asked("alarms", self._alarms)
        yield from asked("image", lambda: self._image(aws_time))
        yield from asked("types", self._types)
        yield from asked("zones", self._zones)
        yield from asked("quotas", self._quotas)
        yield from asked("volumes", self._volumes)
        yield from asked("prices", lambda: self._prices(aws_time))
        yield _clock(own_time - aws_time)

    @property
    def _instance_types(self) -> tuple[str, ...]:
        return split_instance_types(self.stack.instance_type)

    def _version(self) -> Diagnosis:
        if self.stack.version == self.version:
            return Diagnosis("version", Health.OK, f"command and stack are {self.version}")
        text = f"the command is {self.version}, and the stack was deployed by {self.stack.version}"
        remedy = f"{deploy_command(self.stack.environment)} deploys this checkout"
        return Diagnosis("version", Health.WARNING, text, remedy)

    def _nobody(self) -> Iterator[Diagnosis]:
        found = {each.topic_arn for each in self.setup_checks.subscriptions()}
        if self.stack.topic_arn not in found:
            text = "no subscription, so nobody is told when a run ends"
            yield Diagnosis("messages", Health.WARNING, text, "docs/messages.md has mail, chat and queue")
        if self.stack.alarm_topic_arn not in found:
            text = "no subscription to the alarms, so nobody is told when the watchdog fails"
            remedy = (
                f"`aws sns subscribe --topic-arn {self.stack.alarm_topic_arn} --protocol email "
                "--notification-endpoint YOU@EXAMPLE.COM`"
            )
            yield Diagnosis("messages", Health.WARNING, text, remedy)

    def _alarms(self) -> Iterator[Diagnosis]:
        found = self.setup_checks.alarms()
        if not found:
            text = "the stack has none, so nobody is told when the watchdog fails"
            yield Diagnosis("alarms", Health.WARNING, text, f"{deploy_command(self.stack.environment)} makes them")
        bad = [(alarm, problem) for alarm in found if (problem := _problem(alarm))]
        for alarm, (text, remedy) in bad:
            yield Diagnosis("alarms", Health.WARNING, f"{alarm.name} {text}", remedy)
        if found and not bad:
            waiting = sum(alarm.state is AlarmState.NO_DATA for alarm in found)
            more = f", {waiting} without data yet" if waiting else ""
            yield Diagnosis("alarms", Health.OK, f"{len(found)}, none of them in alarm{more}")

    def _image(self, now: datetime) -> Iterator[Diagnosis]:
        image = self.launch_checks.image()
        words = image.words or "without a name"
        found = checked("image", f"{image.image_id}: {words}", lambda: check_image(image, self.stack.environment))
        if found.health is not Health.OK:
            yield found
            return
        age = 0 if image.created is None else (now - image.created).days
        text = found.text if image.created is None else f"{found.text}, {age} days old"
        if not image.names_driver:
            remedy = "a launch with --trainer probe tries it; ImageIdParameter names another"
            yield Diagnosis("image", Health.WARNING, f"{text}; it does not say that it has NVIDIA's driver", remedy)
        elif age > _OLD_IMAGE_DAYS:
            remedy = f"{deploy_command(self.stack.environment)} takes the newest"
            yield Diagnosis("image", Health.WARNING, text, remedy)
        else:
            yield Diagnosis("image", Health.OK, text)

    def _zones(self) -> Iterator[Diagnosis]:
        found = self.launch_checks.zones(self._instance_types)
        warnings: list[str] = []
        check_zones(found, self._instance_types, warnings.append)
        for text in warnings:
            yield Diagnosis("zones", Health.WARNING, text)
        for kind in self._instance_types:
            if zones := found.offering.get(kind):
                where = "each zone of the stack" if len(zones) == len(found.stack) else f"of {', '.join(found.stack)}"
                text = f"{kind} is offered in {', '.join(zones)}: {where}"
                yield Diagnosis("zones", Health.OK, text)
            elif kind not in found.offering:
                yield Diagnosis("zones", Health.OK, f"{', '.join(found.stack)}; AWS does not say which offer {kind}")

    def _volumes(self) -> Iterator[Diagnosis]:
        found = self.launch_checks.volume_encryption()
        key = found.key or "the account's default key"
        if found.key_state != "Enabled":
            text = f"key {key} is {found.key_state}, so no instance can start"
            yield Diagnosis("volumes", Health.BROKEN, text, "enable the key, or deploy with another VolumeKeyArn")
            return
        default = {True: "on", False: "off", None: "not known"}[found.by_default]
        text = f"encrypted with {key}; the account's own default is {default}"
        yield Diagnosis("volumes", Health.OK, text)

    def _quotas(self) -> Iterator[Diagnosis]:
        types = self._instance_types
        found = [
            (market, each) for market in (ON_DEMAND, SPOT) for each in self.setup_checks.vcpu_quotas(types, market)
        ]
        none_left = all(each.problem for _, each in found)
        for market, each in found:
            if each.problem:
                health = Health.BROKEN if none_left else Health.WARNING
                yield Diagnosis("quotas", health, f"{market}: {each.problem}", each.quota.remedy)
            else:
                text = f"{market} {each.instance_type} needs {each.vcpus} vCPUs, and {each.left}"
                yield Diagnosis("quotas", Health.OK, text)

    def _types(self) -> Iterator[Diagnosis]:
        for kind in self.catalogue.find(self._instance_types).values():
            try:
                check_usable(kind, allow_cpu=False)
            except InvalidInput as error:
                yield Diagnosis("types", Health.WARNING, error.detail, error.hint)
            else:
                yield Diagnosis("types", Health.OK, f"{kind.name}: {kind}")

    def _prices(self, now: datetime) -> Iterator[Diagnosis]:
        for name in self._instance_types:
            found = self.prices.on_demand(self.stack.region, name)
            if found is None:
                text = f"that of {name} in {self.stack.region} is not known, so no run on it can have a cap"
                yield Diagnosis("prices", Health.WARNING, text, "allow pricing:GetProducts, or launch with --price")
            elif not found.live:
                age = (now.date() - found.as_of).days
                text = f"{name} ${found.usd:.3f} an hour, from this release's list, {age} days old: AWS does not tell"
                yield Diagnosis("prices", Health.WARNING, text, "allow pricing:GetProducts to whoever launches")
            else:
                yield Diagnosis("prices", Health.OK, f"{name} ${found.usd:.3f} an hour, as AWS lists it now")


def _problem(alarm: Alarm) -> tuple[str, str] | None:
    if alarm.state is AlarmState.ALARM:
        return "is in alarm", "docs/deploying.md says what each alarm means"
    if not alarm.tells:
        again = f"`aws cloudwatch enable-alarm-actions --alarm-names {alarm.name}`"
        return "tells nobody, because its actions are switched off", again
    return None


def _clock(off: timedelta) -> Diagnosis:
    distance = human_span(abs(off))
    if abs(off) < _CLOCK_TOLERANCE:
        return Diagnosis("clock", Health.OK, "this machine's agrees with AWS's")
    health = Health.BROKEN if abs(off) >= _CLOCK_LIMIT else Health.WARNING
    direction = "ahead of" if off > timedelta(0) else "behind"
    return Diagnosis("clock", health, f"this machine's is {distance} {direction} AWS's", "`timedatectl set-ntp true`")
