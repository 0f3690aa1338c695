"""Background work seen from the window: one job of each kind, told by messages, looked at by one timer.

A job is a tethered child process: it ends with Blender, however Blender ends.
The timer lives only while jobs do, survives the loading of another file, and
asks for a redraw only when something has changed.
"""

from __future__ import annotations

import queue
import shutil
import tempfile
import time
from pathlib import Path

import bpy

from ..doctor import learn_python
from ..errors import NanosynthError
from ..jobs.process import Child, host_command

TICK_S = 0.2
CANCEL_S = 1.0
"""A cancelled job that still lives after so many seconds is killed; its files are written whole."""
LAUNCH = Path(__file__).resolve().parent.parent / "launch.py"
KINDS = {"generate": "Generating", "train": "Training", "segment": "Segmenting"}


class Job:
    """A verb of the command line at work in a process of its own.

    Attributes
    ----------
    state : str
        "running", "done", "cancelled" or "failed".
    share, text, seconds_left : float, str, float or None
        The progress.
    error : str
        What went wrong, with its remedy.
    warnings : list of str
    artifacts : dict of role to path
        The newest of each.
    """

    def __init__(self, kind: str, command, then=None):
        self.kind, self.then = kind, then
        self.state, self.share, self.text, self.seconds_left, self.error = "running", 0.0, "starting", None, ""
        self.warnings: list[str] = []
        self.artifacts: dict[str, str] = {}
        self.cancelling = False
        self.begun = time.monotonic()
        self.desk = Path(tempfile.mkdtemp(prefix="nanosynth-job-"))
        try:
            self.child = Child(command(self.desk), log=self.desk / "log.txt", handshake_s=300.0)
        except BaseException:
            shutil.rmtree(self.desk, ignore_errors=True)
            raise

    def listen(self, timeout: float | None = 0.0) -> bool:
        """Take in the messages that wait; True if anything has changed."""
        changed = False
        while self.state == "running":
            try:
                _, message = self.child.inbox.get(block=timeout is None or timeout > 0, timeout=timeout or None)
            except queue.Empty:
                return changed
            changed = True
            if message is None:
                self._end()
            else:
                self._hear(message)
        return changed

    def _hear(self, message):
        kind = message["kind"]
        if kind == "progress":
            self.share = message["done"] / message["total"] if message["total"] else 1.0
            self.text, self.seconds_left = message["text"], message["seconds_left"]
        elif kind == "started":
            self.text = "begun"
        elif kind == "artifact":
            self.artifacts[message["role"]] = message["path"]
        elif kind == "warning":
            self.warnings.append(f"{message['message']} {message['remedy']}".rstrip())
        elif kind == "error":
            self.error = f"{message['message']} {message['remedy']}".rstrip()

    def _end(self):
        code = self.child.process.poll()
        self.child.end()
        self.seconds_left = None
        if self.cancelling:
            self.state = "cancelled"
        elif code == 0:
            self.state, self.share = "done", 1.0
        else:
            self.state = "failed"
            self.error = self.error or str(self.child.failure(KINDS[self.kind]))
        shutil.rmtree(self.desk, ignore_errors=True)

    def cancel(self):
        """Ask the job to end; it is killed if it does not. Returns at once."""
        if self.state == "running" and not self.cancelling:
            self.cancelling = True
            self.text = "cancelling"
            self.child.interrupt(CANCEL_S)

    def wait(self):
        """Take in messages until the job has ended."""
        while self.state == "running":
            self.listen(None)


RUNNING: dict[str, Job] = {}
"""The newest job of each kind; an ended one stays, so that its panel can say how it ended."""


def running(kind: str) -> bool:
    return kind in RUNNING and RUNNING[kind].state == "running"


def blender_command(verb: str, *arguments) -> list[str]:
    return host_command(verb, *arguments, "--json", "--tethered")


def learn_command(verb: str, *arguments) -> list[str]:
    """The command line of a verb in the training environment.

    Raises
    ------
    NanosynthError
        If no training environment is known.
    """
    python = learn_python()
    if python is None:
        raise NanosynthError("No training environment is set.", "Name its Python in the preferences of the extension.")
    if not python.is_file():
        raise NanosynthError(f"{python}: there is no such Python.", "Correct it in the preferences of the extension.")
    words = [str(argument) for argument in arguments]
    # -E: Blender's Python variables are not this one's.
    return [str(python), "-E", str(LAUNCH), verb, *words, "--json", "--tethered"]


def start(kind: str, command, then=None) -> Job:
    """Start a job and look after it.

    Parameters
    ----------
    kind : str
        One of `KINDS`.
    command : callable
        Given a folder for temporary files, which goes with the job, it returns the command line.
    then : callable, optional
        Called without arguments in the main thread after it has ended well.

    Raises
    ------
    NanosynthError
        If one of its kind is running.
    """
    if running(kind):
        raise NanosynthError(f"{KINDS[kind]} is running already.", "Wait for its end, or cancel it.")
    job = RUNNING[kind] = Job(kind, command, then)
    if not bpy.app.background and not bpy.app.timers.is_registered(tick):
        bpy.app.timers.register(tick, first_interval=TICK_S, persistent=True)
    return job


def perform(operator, kind: str, command, *, wait: bool, then=None) -> set[str]:
    """What an operator's `execute` (waiting) and `invoke` (in the background) do with a job."""
    job = start(kind, command, then)
    if not wait:
        redraw()
        return {"FINISHED"}
    try:
        job.wait()
    except KeyboardInterrupt:
        job.cancel()
        job.wait()
        raise
    for warning in job.warnings:
        operator.report({"WARNING"}, warning)
    if job.state != "done":
        operator.report({"ERROR"}, job.error or f"{KINDS[kind]} was cancelled.")
        return {"CANCELLED"}
    if then:
        then()
    return {"FINISHED"}


def tick():
    """The timer: take in messages, redraw on change, end with the last job."""
    changed = False
    for job in list(RUNNING.values()):
        if job.state != "running":
            continue
        changed |= job.listen()
        if job.state == "done" and job.then:
            try:
                job.then()
            except NanosynthError as error:
                job.error = str(error)
    if changed:
        redraw()
    return TICK_S if any(job.state == "running" for job in RUNNING.values()) else None


def redraw():
    """Draw the sidebars anew, and the editors of images."""
    for manager in bpy.data.window_managers:
        for window in manager.windows:
            for area in window.screen.areas:
                if area.type in {"VIEW_3D", "IMAGE_EDITOR"}:
                    area.tag_redraw()


def end_all():
    """End every job; for unregistering."""
    if bpy.app.timers.is_registered(tick):
        bpy.app.timers.unregister(tick)
    for job in RUNNING.values():
        if job.state == "running":
            job.cancelling = True
            job.child.interrupt(CANCEL_S)
            job.wait()
    RUNNING.clear()


class CancelJob(bpy.types.Operator):
    bl_idname = "nanosynth.cancel_job"
    bl_label = "Cancel"
    bl_description = "End this work; what is finished is kept, and it can go on later"
    bl_options = {"INTERNAL"}

    kind: bpy.props.EnumProperty(items=[(kind, name, "") for kind, name in KINDS.items()])

    def execute(self, context):
        if not running(self.kind):
            self.report({"INFO"}, "It has ended already.")
            return {"CANCELLED"}
        RUNNING[self.kind].cancel()
        redraw()
        return {"FINISHED"}


class ForgetJob(bpy.types.Operator):
    bl_idname = "nanosynth.forget_job"
    bl_label = "Dismiss"
    bl_description = "Take this message away"
    bl_options = {"INTERNAL"}

    kind: bpy.props.EnumProperty(items=[(kind, name, "") for kind, name in KINDS.items()])

    def execute(self, context):
        if not running(self.kind):
            RUNNING.pop(self.kind, None)
        return {"FINISHED"}


OPERATORS = (CancelJob, ForgetJob)
