"""Background work seen from the window: one job of each kind, told by messages, looked at by one timer.

A job is a child process. A tethered one ends with Blender, however Blender
ends; a detached one goes on and is found again by whichever Blender opens the
project (see `jobs.detached`). The timer survives the loading of another file
and asks for a redraw only when something has changed.
"""

from __future__ import annotations

import queue
import shutil
import tempfile
import time
from collections import deque
from contextlib import suppress
from pathlib import Path

import bpy

from ..doctor import learn_python
from ..errors import NanosynthError
from ..jobs.detached import Detached, job_folder
from ..jobs.process import Child, host_command
from . import state
from .base import Action, told

TICK_S = 0.2
IDLE_S = 2.0
"""How often a window without running jobs looks for detached ones of its project."""
CANCEL_S = {"environment": 15.0}
"""Of some kinds, instead: removing gigabytes takes its time."""
CANCEL_ELSE_S = 1.0
"""A cancelled job that still lives after so many seconds is killed; its files are written whole."""
LAUNCH = Path(__file__).resolve().parent.parent / "launch.py"
KINDS = {
    "generate": ("Generating", "dataset"),
    "match": ("Matching", None),
    "train": ("Training", "run"),
    "segment": ("Segmenting", "result"),
    "report": ("Writing the report", None),
    "environment": ("The training environment", None),
}
"""What a kind of job is called, and the property that names the folder it makes in the project."""


class Job:
    """A verb of the command line at work in a process of its own.

    Attributes
    ----------
    out : pathlib.Path or None
        The folder it makes in a project.
    state : str
        "running", "done", "cancelled" or "failed".
    share, text, seconds_left : float, str, float or None
        The progress.
    error : str
        What went wrong, with its remedy.
    warnings : list of str
    artifacts : dict of role to path
        The newest of each.
    result : dict
        What its last message says.
    recent : deque of str
        The newest pairs.
    """

    detached = False

    def __init__(self, kind: str, out: Path, then=None):
        self.kind, self.out, self.then = kind, out, then
        self.state, self.share, self.text, self.seconds_left, self.error = "running", 0.0, "starting", None, ""
        self.warnings: list[str] = []
        self.artifacts: dict[str, str] = {}
        self.recent: deque[str] = deque(maxlen=4)
        self.result: dict = {}
        self.epochs_shown = 0
        self.cancelling = False

    @property
    def name(self) -> str:
        return KINDS[self.kind][0]

    def hear(self, message):
        kind = message["kind"]
        if kind == "done":
            self.result = message
        elif kind == "progress":
            self.share = message["done"] / message["total"] if message["total"] else 1.0
            self.text, self.seconds_left = message["text"], message["seconds_left"]
        elif kind == "started":
            self.text = "begun"
        elif kind == "artifact":
            self.artifacts[message["role"]] = message["path"]
            if message["role"] == "pair":
                self.recent.append(message["path"])
        elif kind == "warning":
            self.warnings.append(f"{message['message']} {message['remedy']}".rstrip())
        elif kind == "error":
            self.error = f"{message['message']} {message['remedy']}".rstrip()

    def ended(self, well: bool, failure):
        """Take in that the process has ended; `failure` tells what went wrong where no message did."""
        self.seconds_left = None
        if self.cancelling:
            self.state = "cancelled"
        elif well:
            self.state, self.share = "done", 1.0
        else:
            self.state = "failed"
            self.error = self.error or str(failure(self.name))

    def wait(self):
        """Take in messages until the job has ended."""
        while self.state == "running":
            self.listen(0.2)


class Tethered(Job):
    """A job that ends with this Blender."""

    def __init__(self, kind: str, out: Path, command, then=None):
        super().__init__(kind, out, then)
        self.desk = Path(tempfile.mkdtemp(prefix="nanosynth-job-"))
        try:
            self.child = Child([*command(self.desk), "--json", "--tethered"], log=self.desk / "log.txt", handshake_s=300.0)
        except BaseException:
            shutil.rmtree(self.desk, ignore_errors=True)
            raise

    def listen(self, timeout: float = 0.0) -> bool:
        """Take in the messages that wait; True if anything has changed."""
        changed = False
        while self.state == "running":
            try:
                _, message = self.child.inbox.get(block=timeout > 0, timeout=timeout or None)
            except queue.Empty:
                return changed
            changed = True
            if message is None:
                self.child.end()
                # By its last message, as of a detached one: a check that finds something wrong has another exit code than 0.
                self.ended(bool(self.result), self.child.failure)
                shutil.rmtree(self.desk, ignore_errors=True)
            else:
                self.hear(message)
        return changed

    def cancel(self):
        """Ask the job to end; it is killed if it does not. Returns at once."""
        if self.state == "running" and not self.cancelling:
            self.cancelling, self.text = True, "cancelling"
            self.child.interrupt(CANCEL_S.get(self.kind, CANCEL_ELSE_S))


class Followed(Job):
    """A detached job, started here or found.

    Parameters
    ----------
    follow : jobs.detached.Detached
    """

    detached = True

    def __init__(self, kind: str, out: Path, follow: Detached, then=None):
        super().__init__(kind, out, then)
        self.follow, self.well, self.asked = follow, False, 0.0
        self.begun = follow.facts().get("begun")

    @classmethod
    def start(cls, kind: str, out: Path, command, then=None) -> Followed:
        desk = job_folder(out)
        return cls(kind, out, Detached.start([*command(desk), "--json", "--detached", desk], desk, kind=kind), then)

    def listen(self, timeout: float = 0.0) -> bool:
        """Take in the messages that wait; True if anything has changed."""
        alive = self.follow.alive()  # before the messages, so that the last ones are not missed
        messages = self.follow.messages()
        for message in messages:
            try:
                if message["kind"] == "done":
                    self.well = not message.get("cancelled")
                    self.cancelling = not self.well
                self.hear(message)
            except (KeyError, TypeError) as error:  # it lacks something; the others count all the same
                self.error = self.text = told(error)
        if not alive and self.state == "running":
            self.well |= not self.follow.folder.exists()  # another Blender has told its outcome
            self.ended(self.well, self.follow.failure)
            if self.state != "failed":
                self.follow.forget()
            return True
        if self.cancelling and self.asked and time.monotonic() - self.asked > CANCEL_ELSE_S:
            self.follow.kill()  # before its heart began to beat it could not hear
        if timeout and not messages:
            time.sleep(timeout)
        return bool(messages)

    def cancel(self):
        """Ask the job to end. Returns at once."""
        if self.state == "running" and not self.cancelling:
            self.follow.cancel()
            self.cancelling, self.text, self.asked = True, "cancelling", time.monotonic()  # only what could be asked for


NEWS: dict = {}
"""Kind of job -> (role, function): the function is called with the job when an artifact of that role has come."""
RUNNING: dict[str, Job] = {}
"""The newest job of each kind; an ended one stays, so that its panel can say how it ended."""


def running(kind: str) -> bool:
    return kind in RUNNING and RUNNING[kind].state == "running"


def busy(cls, kind: str) -> bool:
    """For an operator's poll: whether a job of its kind runs, with the reason for its button's being grey."""
    if running(kind):
        cls.poll_message_set(f"{KINDS[kind][0]} is at work already")
        return True
    return False


def blender_command(verb: str, *arguments) -> list[str]:
    return host_command(verb, *arguments)


def learn_command(verb: str, *arguments) -> list[str]:
    """The command line of a verb in the training environment.

    Raises
    ------
    NanosynthError
        If no training environment is known.
    """
    python = learn_python()
    if python is None:
        raise NanosynthError("No training environment is set.", "Make or name one in the preferences of the extension.")
    if not python.is_file():
        raise NanosynthError(f"{python}: there is no such Python.", "Correct it in the preferences of the extension.")
    # -E: Blender's Python variables are not this one's.
    return [str(python), "-E", str(LAUNCH), verb, *map(str, arguments)]


def perform(operator, kind: str, command, out: Path, *, then=None) -> set[str]:
    """Start an operator's job, and wait for its end unless a user has started it or it is detached.

    Parameters
    ----------
    operator : base.Action
    kind : str
        One of `KINDS`.
    command : callable
        Given a folder for temporary files, which goes with the job, it returns the command line.
    out : pathlib.Path or None
        The folder that the job makes in the project.
    then : callable, optional
        Called without arguments in the main thread after it has ended well.

    Raises
    ------
    NanosynthError
        If one of its kind is running.
    """
    if running(kind):
        raise NanosynthError(f"{KINDS[kind][0]} is at work already.", "Wait for its end, or cancel it.")
    detached = getattr(operator, "detached", False)
    job = RUNNING[kind] = (Followed.start if detached else Tethered)(kind, out, command, then)
    look_after()
    if detached or not operator.wait:
        redraw()
        return {"FINISHED"}
    return outcome(operator, job)


def outcome(operator, job: Job) -> set[str]:
    """Wait for a job's end and report it as Blender does."""
    try:
        job.wait()
    except KeyboardInterrupt:
        job.cancel()
        job.wait()
        raise
    for warning in job.warnings:
        operator.report({"WARNING"}, warning)
    if job.state != "done":
        operator.report({"ERROR"}, job.error or f"{job.name} was cancelled.")
        return {"CANCELLED"}
    if job.then:
        job.then()
    return {"FINISHED"}


def look_after():
    """Have the timer run, in a window, and look soon."""
    if bpy.app.background:
        return
    if bpy.app.timers.is_registered(tick):
        bpy.app.timers.unregister(tick)
    bpy.app.timers.register(tick, first_interval=TICK_S, persistent=True)


def tick():
    """The timer: take in messages, redraw on change; without a job look for detached ones."""
    changed = False
    for job in list(RUNNING.values()):
        if job.state == "running":
            changed |= take_in(job)
    for kind in KINDS:
        with suppress(Exception):  # a damaged file in a job's folder: *Follow Work* tells of it
            changed |= attach(bpy.context, [kind])
    if changed:
        redraw()
    return TICK_S if any(job.state == "running" for job in RUNNING.values()) else IDLE_S


def take_in(job: Job) -> bool:
    """Take in what a job says, and act on it; True if anything has changed.

    Whatever goes wrong is that job's error: raised, it would end the timer for all of them.
    """
    role, news = NEWS.get(job.kind, ("", None))
    changed, before, error_before = False, job.artifacts.get(role), job.error
    try:
        changed = job.listen()
        if news and job.artifacts.get(role) != before:
            news(job)
        if job.state == "done" and job.then:
            job.then()
    except Exception as error:
        job.error = job.text = told(error)  # its text too: that is shown while it runs
    return changed or job.error != error_before


def attach(context, kinds=tuple(KINDS)) -> bool:
    """Follow the detached jobs of this project that are not followed yet; True if there was one.

    One that has ended unseen is taken up as well: its panel says how.
    """
    found = False
    scene = state.home(context)
    for kind in kinds:
        out = None if running(kind) or KINDS[kind][1] is None else state.place(scene, KINDS[kind][1])
        if out is None or not (job_folder(out) / "job.json").is_file():
            continue
        known = RUNNING.get(kind)
        follow = Detached(job_folder(out))
        facts = follow.facts()
        if known is not None and known.detached and known.begun == facts.get("begun"):
            continue  # it has ended and its panel says so
        if facts.get("kind") == kind:
            RUNNING[kind] = Followed(kind, out, follow)
            RUNNING[kind].listen()
            found = True
    if found and not bpy.app.background:
        bpy.app.timers.register(redraw, first_interval=0.3)  # Blender lays out a panel that has grown when it is drawn again
    return found


@bpy.app.handlers.persistent
def another_file(*_):
    """Another file was loaded: its own jobs are looked for; tethered ones that run stay in sight until they end."""
    for kind, job in list(RUNNING.items()):
        if job.detached or job.state != "running":
            del RUNNING[kind]
    look_after()


def redraw():
    """Draw the sidebars anew, and the editors of images; not the 3D view, which may take its time."""
    for manager in bpy.data.window_managers:
        for window in manager.windows:
            for area in window.screen.areas:
                if area.type in {"IMAGE_EDITOR", "PREFERENCES"}:
                    area.tag_redraw()
                for region in area.regions if area.type == "VIEW_3D" else ():
                    if region.type == "UI":
                        region.tag_redraw()


def end_all():
    """End every tethered job, and no longer follow the others; for unregistering."""
    if bpy.app.timers.is_registered(tick):
        bpy.app.timers.unregister(tick)
    for job in RUNNING.values():
        if job.state == "running" and not job.detached:
            job.cancel()
            job.wait()
    RUNNING.clear()


def _kind():
    return bpy.props.EnumProperty(
        name="Kind", description="Which work", items=[(kind, name, "") for kind, (name, _) in KINDS.items()], options={"SKIP_SAVE"}
    )


def ask_which(operator, context, kinds):
    """Have an operator act on the only kind of work that comes into question, where its button or the script has named none; else ask."""
    if not operator.properties.is_property_set("kind") and kinds:
        operator.kind = kinds[0]
        if len(kinds) > 1:
            return context.window_manager.invoke_props_dialog(operator)
    return operator.execute(context)


class CancelJob(Action):
    bl_idname = "nanosynth.cancel_job"
    bl_label = "Cancel Work"
    bl_description = "End this work; what is finished is kept, and it can go on later"

    kind: _kind()

    @classmethod
    def poll(cls, context):
        if not any(map(running, KINDS)):
            cls.poll_message_set("Nothing is at work")
            return False
        return True

    def invoke(self, context, event):
        return ask_which(self, context, [kind for kind in KINDS if running(kind)])

    def act(self, context):
        if not running(self.kind):
            self.report({"INFO"}, "It has ended already.")
            return {"CANCELLED"}
        RUNNING[self.kind].cancel()
        if bpy.app.background:
            RUNNING[self.kind].wait()
        redraw()


class FollowJob(Action):
    bl_idname = "nanosynth.follow_job"
    bl_label = "Follow Work"
    bl_description = (
        "Follow the detached work of this project that another Blender, or this one before, has started. A window does so by itself"
    )

    kind: _kind()

    def invoke(self, context, event):
        return ask_which(self, context, [kind for kind in KINDS if not running(kind)])

    def act(self, context):
        if not running(self.kind) and not attach(context, [self.kind]):
            raise NanosynthError(f"{KINDS[self.kind][0]}: no detached work is known in this project.", "Start it in its panel.")
        look_after()
        if bpy.app.background:
            return outcome(self, RUNNING[self.kind])


class ForgetJob(bpy.types.Operator):
    bl_idname = "nanosynth.forget_job"
    bl_label = "Dismiss Message"
    bl_description = "Take the message about ended work away"

    kind: _kind()

    def invoke(self, context, event):
        return ask_which(self, context, [kind for kind in RUNNING if not running(kind)])

    def execute(self, context):
        if not running(self.kind):
            job = RUNNING.pop(self.kind, None)
            if job is not None and job.detached:
                job.follow.forget()
        return {"FINISHED"}


OPERATORS = (CancelJob, FollowJob, ForgetJob)
HANDLERS = (("load_post", another_file),)
