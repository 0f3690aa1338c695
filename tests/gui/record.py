"""How long the extension keeps the window waiting: every timer, handler, operator and panel of it is timed."""

import functools
import gc
import sys
import threading
import time
from collections import defaultdict

LIMIT_S = 0.05
SHARED = 2.0
"""What is longer than the limit is called LONG, and fails if it is longer than so many times the limit: processor time
counts, but where other work evicts the caches the same work takes up to about twice as much."""
METHODS = ("execute", "draw", "draw_header", "invoke", "modal", "draw_item")
"""What Blender calls of a class."""
FUNCTIONS = ("_tick", "tick", "changed", "_paint", "_fit", "_rest")
"""What Blender calls, or a value's change, in the modules of operators."""


def counted(call, method):
    """A function with just the arguments that Blender counts when it registers the class, which are handed on to `call`."""
    if method in ("invoke", "modal"):
        return lambda self, context, event: call(self, context, event)
    if method == "draw_item":
        return lambda self, context, layout, data, item, icon, active_data, active_name, index: call(
            self, context, layout, data, item, icon, active_data, active_name, index
        )
    return lambda self, context: call(self, context)


class Recorder:
    """Wraps what Blender calls, and notes how long each call takes.

    Processor time of the window's own thread counts: on a machine that is shared
    with other work, waiting for the processor says nothing about the extension.
    The time on the clock is noted beside it. So is what Python took meanwhile to
    collect garbage, of all that runs in Blender: it falls into whatever call comes
    next, and is not that call's.
    """

    def __init__(self, package):
        self.package, self.calls = package, defaultdict(list)
        self.collected = self.begun = 0.0
        gc.callbacks.append(self.collecting)

    def collecting(self, phase, info):
        if threading.current_thread() is not threading.main_thread():
            return
        if phase == "start":
            self.begun = time.thread_time()
        else:
            self.collected += time.thread_time() - self.begun

    def timed(self, name, function):
        @functools.wraps(function)
        def call(*arguments, **named):
            clock, worked, collected = time.perf_counter(), time.thread_time(), self.collected
            try:
                return function(*arguments, **named)
            finally:
                collected = self.collected - collected
                worked, clock = time.thread_time() - worked - collected, time.perf_counter() - clock
                self.calls[name].append((worked, clock))
                if worked + collected > LIMIT_S:  # among the screenshots' names: when it was
                    print(f"{name}: {worked * 1e3:.0f} ms of work, and {collected * 1e3:.0f} ms of collecting garbage", flush=True)

        return call

    def begin(self):
        """Wrap what Blender will call, and register it anew."""
        package = sys.modules[self.package]
        package.unregister()
        for cls in sys.modules[f"{self.package}.registration"].CLASSES:
            for method in METHODS:
                original = next(
                    (base.__dict__[method] for base in cls.__mro__ if base.__module__.startswith(self.package) and method in base.__dict__),
                    None,
                )
                if original is not None:
                    setattr(cls, method, counted(self.timed(f"{cls.bl_idname}.{method}", original), method))
        operators = sys.modules[f"{self.package}.operators"]
        operators.HANDLERS = tuple(
            (event, self.timed(f"{event} {function.__module__.rpartition('.')[2]}", function)) for event, function in operators.HANDLERS
        )
        for name, module in list(sys.modules.items()):
            if name.startswith(f"{self.package}.operators."):
                for attribute in FUNCTIONS:
                    if hasattr(module, attribute):
                        setattr(module, attribute, self.timed(f"{name.rpartition('.')[2]}.{attribute}", getattr(module, attribute)))
        arrangement = sys.modules[f"{self.package}.operators.workspace"].Arrangement
        arrangement.step = self.timed("Arrangement.step", arrangement.step)
        package.register()

    def report(self, path):
        """Write a line for each, the slowest first; return those that took longer than the limit even for a shared machine."""
        lines, slow = [f"limit {LIMIT_S * 1e3:.0f} ms of work at a time; the walk fails above {SHARED * LIMIT_S * 1e3:.0f} ms"], []
        called = {name: calls for name, calls in self.calls.items() if calls}
        for name, calls in sorted(called.items(), key=lambda item: -max(item[1])[0]):
            worked, clock = max(c[0] for c in calls), max(c[1] for c in calls)
            lines.append(f"{name:<60} {len(calls):6} calls, longest {worked * 1e3:7.1f} ms of work, {clock * 1e3:7.1f} ms on the clock")
            if worked > LIMIT_S:
                lines[-1] += "  LONG"
                slow += [lines[-1]] * (worked > SHARED * LIMIT_S)
        path.write_text("\n".join(lines) + "\n")
        print("\n".join(lines[:25]), flush=True)
        return slow
