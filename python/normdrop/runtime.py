"""Which backend runs, with how many threads, and how much output memory is recycled."""

from __future__ import annotations

import contextvars
import importlib
import os
import platform
import threading
import weakref
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Literal, overload

from normdrop import _core
from normdrop._version import __version__


def backends() -> list[str]:
    """Names of the backends that are built in and usable on this machine, fastest first.

    Examples
    --------
    >>> import normdrop as nd
    >>> "baseline" in nd.backends()
    True
    """
    return _core.backends()


class _InContext:
    """Gives a context variable a value for as long as a ``with`` lasts."""

    def __init__(self, variable: contextvars.ContextVar[Any], value: object) -> None:
        self._variable = variable
        self._value = value
        self._resets: list[contextvars.Token[Any]] = []

    def __enter__(self) -> None:
        """Give the value to the context."""
        self._resets.append(self._variable.set(self._value))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Restore what the context had."""
        self._variable.reset(self._resets.pop())


class use_backend(_InContext):
    """Choose the backend.

    A plain call sets it for the process; ``with use_backend(name):`` sets it for the current
    context (thread or task, see :mod:`contextvars`) and leaves everything else as it was. Another
    thread may see the choice in the moment between the call and the entering of the ``with``.

    Parameters
    ----------
    name : str
        One of :func:`backends`.

    Raises
    ------
    ValueError
        An unknown name.
    RuntimeError
        A known backend that this build or this machine does not have, with the reason.

    Examples
    --------
    >>> import numpy as np, normdrop as nd
    >>> with nd.use_backend("baseline"):
    ...     y = nd.layer_norm(np.ones((2, 3)))
    """

    def __init__(self, name: str) -> None:
        super().__init__(_core.context_backend, _core.backend_token(name))
        self._choice = _Choice.publish(name, self)

    def __enter__(self) -> None:
        """Take the choice back from the process and give it to the context."""
        self._choice.withdraw()
        super().__enter__()


class _Choice:
    """One choice for the process, which a later ``with`` may take back.

    Choices form a chain, newest first; the newest that was not withdrawn holds, in whatever
    order threads make and withdraw theirs.
    """

    _lock = threading.Lock()
    _newest: _Choice | None = None

    def __init__(self, name: str, owner: use_backend, previous: _Choice | None) -> None:
        self.name = name
        self.owner = weakref.ref(owner)
        self.previous = previous
        self.withdrawn = False

    @classmethod
    def publish(cls, name: str, owner: use_backend) -> _Choice:
        with cls._lock:
            newest = cls._newest
            if newest is None:
                newest = cls(_core.process_backend(), owner, None)
            elif newest.owner() is None:
                newest.previous = None  # nobody is left who could withdraw it
            cls._newest = cls(name, owner, newest)
            _core.set_process_backend(name)
            return cls._newest

    def withdraw(self) -> None:
        with self._lock:
            self.withdrawn = True
            newest = _Choice._newest
            while newest is not None and newest.withdrawn:
                newest = newest.previous
            if newest is not None and newest is not _Choice._newest:
                _Choice._newest = newest
                _core.set_process_backend(newest.name)


def get_num_threads() -> int:
    """Threads that a large call uses, here and now.

    What ``with num_threads(n)`` says in the current context, else the last :func:`set_num_threads`,
    else ``NORMDROP_NUM_THREADS``, else what OpenMP has at the moment (``OMP_NUM_THREADS``, the
    process's affinity, the limit of a ``threadpoolctl.threadpool_limits`` around the call), at most
    the control group's processor quota.
    """
    return _core.get_num_threads()


def set_num_threads(n: int) -> None:
    """Set the number of threads that a large call uses, 1 to 4096. Results do not change.

    From then on it holds for the whole process, whatever OpenMP's own setting is.
    """
    _core.set_num_threads(n)


class num_threads(_InContext):
    """Set the number of threads of large calls in the current context.

    ``with num_threads(n):`` holds for the calling thread or task (see :mod:`contextvars`) and for
    nothing else; it comes before :func:`set_num_threads`. Results do not change.

    Parameters
    ----------
    n : int
        1 to 4096.

    Raises
    ------
    TypeError, ValueError
        ``n`` is no integer, or out of range.

    Examples
    --------
    >>> import normdrop as nd
    >>> with nd.num_threads(1):
    ...     nd.get_num_threads()
    1
    """

    def __init__(self, n: int) -> None:
        super().__init__(_core.context_threads, _core.checked_thread_count(n))


def set_pool_limit(bytes: int) -> None:
    """Bound the idle output memory that is kept for later outputs; 0 turns recycling off.

    The default is ``NORMDROP_POOL_BYTES``, or 512 MiB.
    """
    _core.set_pool_limit(bytes)


def release_pool() -> None:
    """Give all idle output memory back to the system."""
    _core.release_pool()


@overload
def show_config(mode: Literal["stdout"] = "stdout") -> None: ...
@overload
def show_config(mode: Literal["dict"]) -> dict[str, Any]: ...


def show_config(mode: str = "stdout") -> dict[str, Any] | None:
    """Print or return what this build holds and what this machine runs.

    Parameters
    ----------
    mode : {'stdout', 'dict'}
        Print a few lines, or return a dict.
    """
    if mode not in ("stdout", "dict"):
        raise ValueError(f"show_config: mode must be 'stdout' or 'dict', got {mode!r}")
    config, faults = read_config()
    for fault in faults.values():
        raise fault
    if mode == "dict":
        return config
    print(render_config(config))
    return None


def read_config() -> tuple[dict[str, Any], dict[str, Exception]]:
    """Return what `show_config` does, and the faults that `read_settings` finds."""
    core = _core.config()
    settings, faults = read_settings()
    config = {
        "version": __version__,
        "python": platform.python_version(),
        "numpy": _version("numpy"),
        "ml_dtypes": _version("ml_dtypes"),
        "machine": platform.machine(),
        "compiler": core["compiler"],
        "build_type": core["build_type"],
        "openmp": core["openmp"],
        "threads": settings["threads"],
        "backend": settings["backend"],
        "backends_usable": backends(),
        "backends_built": core["backends_built"],
        "backends_unusable": core["backends_unusable"],
        "pool_limit_bytes": settings["pool_limit_bytes"],
        "pool_idle_bytes": core["pool_idle_bytes"],
        "cuda": core["cuda"],
        "add_cuda": core["add_cuda"],
    }
    return config, faults


def read_settings() -> tuple[dict[str, Any], dict[str, Exception]]:
    """Ask for what the environment may decide, however wrong it is.

    Returns
    -------
    settings, faults : dict
        By the names of `show_config`. A setting that a bad variable leaves unknown is None, and
        its exception is in ``faults``.
    """
    questions: dict[str, tuple[str, Callable[[], Any]]] = {
        "threads": ("NORMDROP_NUM_THREADS", _core.get_num_threads),
        "backend": ("NORMDROP_BACKEND", _core.active_backend),
        "pool_limit_bytes": ("NORMDROP_POOL_BYTES", _core.pool_limit),
    }
    settings: dict[str, Any] = dict.fromkeys(questions)
    faults: dict[str, Exception] = {}
    for name, (variable, ask) in questions.items():
        try:
            settings[name] = ask()
        except UnicodeDecodeError:  # of the message, which quotes the variable
            value = ascii(os.environ.get(variable))
            faults[name] = ValueError(f"{variable} must be text in UTF-8, got {value}")
        except (ValueError, RuntimeError) as fault:
            faults[name] = fault
    return settings, faults


def render_config(config: dict[str, Any]) -> str:
    """Write a line for every entry."""
    return "\n".join(f"{key:18} {text}" for key, text in _lines(config))


def _version(package: str) -> str | None:
    try:
        return str(importlib.import_module(package).__version__)
    except ImportError:
        return None


def _lines(config: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what is printed: a line per entry, and a line per entry of what is about CUDA."""
    cuda, add_cuda = config["cuda"], config["add_cuda"]
    for key, value in config.items():
        if key not in ("cuda", "add_cuda"):
            yield key, _plain(value)
    if cuda is None:
        yield "cuda", f"not in this build; to add it, in the source folder: {add_cuda}"
        return
    yield "cuda_toolkit", cuda["toolkit"]
    yield "cuda_architectures", ", ".join(cuda["architectures"])
    yield "cuda_driver", cuda["driver"] or "none"
    yield "cuda_devices", "; ".join(map(_device, cuda["devices"])) or "none"


def _device(device: dict[str, Any]) -> str:
    text = f"{device['name']} ({device['compute_capability']}, {device['memory_bytes'] >> 20} MiB"
    return text + (")" if device["architecture_built"] else ", not built for)")


def _plain(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, dict):
        return "; ".join(f"{name}: {reason}" for name, reason in value.items()) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "unknown" if value is None else str(value)
