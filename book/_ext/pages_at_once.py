"""Sphinx extension: pages are read, and so executed, on all cores, also by `jupyter-book build`.

On Linux their kernels are forked from a process that has imported what all pages need, which is up
to half of the time of a page whose runs are stored.
"""

import multiprocessing
import os
import pkgutil
import sys
import threading
from importlib.metadata import EntryPoint
from multiprocessing import forkserver
from multiprocessing.context import ForkServerProcess
from multiprocessing.process import BaseProcess
from typing import Any

from ipykernel.kernelapp import IPKernelApp
from jupyter_client.provisioning import KernelProvisionerFactory, LocalProvisioner
from sphinx import builders
from sphinx.application import Sphinx

from minseg import report

FORKED = EntryPoint("forked", f"{__name__}:ForkedKernel", KernelProvisionerFactory.GROUP_NAME)


def setup(app: Sphinx) -> dict[str, bool]:
    """Ask for a process more than there are cores, since pages and their kernels take turns."""
    app.connect("config-inited", _allow)
    app.connect("env-before-read-docs", _prepare)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _allow(app: Sphinx, _: object) -> None:
    app.parallel = max(app.parallel, (os.cpu_count() or 1) + 1)
    # A page each, where Sphinx would share them out beforehand: all processes work to the end.
    builders.make_chunks = lambda pages, _: [[page] for page in pages]
    # A page that trains with the threads of all cores beside the others takes ten times as long.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if sys.platform == "linux":  # elsewhere a process that has been at work may not be forked
        KernelProvisionerFactory.provisioners[FORKED.name] = FORKED
        os.environ[KernelProvisionerFactory.default_provisioner_name_env] = FORKED.name
        reports = (f"minseg.report.{one.name}" for one in pkgutil.iter_modules(report.__path__))
        kernel = ("ipykernel.kernelapp", "ipykernel.debugger")  # which each would import itself
        os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")  # it warns of frozen modules
        multiprocessing.set_forkserver_preload([__name__, *kernel, *reports])
        # Kernels set it before a page imports anything.
        os.environ.setdefault("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    # These say nothing of themselves, at which Sphinx falls back to one process. One numbers the
    # sections, after the reading and in one process; the other is about LaTeX alone.
    for name in ("sphinx_multitoc_numbering", "sphinx_jupyterbook_latex"):
        app.extensions[name].parallel_read_safe = True


def _prepare(app: Sphinx, _: object, pages: list[str]) -> None:
    """Begin the imports if there are pages to read, and order these: Sphinx takes from the end.

    The reference comes first, since it needs none of them, then what is executed.
    """
    if pages and sys.platform == "linux":
        forkserver.ensure_running()
        # Pages are read in other processes, which may not ask after a child of this one.
        forkserver._forkserver.ensure_running = lambda: None
    pages.sort(reverse=True)
    pages.sort(key=lambda name: (name == "api", name.startswith("notebooks/")))


class ForkedKernel(LocalProvisioner):
    """A kernel that begins with the imports of a page done."""

    async def pre_launch(self, **kwargs: Any) -> dict[str, Any]:
        """Choose where it is reached: by a name of its own, since ports are for whoever is first.

        Jupyter chooses ports long before the kernel takes them.
        """
        self.parent.transport = "ipc"
        self.parent.ip = f"@minseg-{self.kernel_id}"  # @: on Linux, no file that could be left
        return await super().pre_launch(**kwargs)

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> dict[str, Any]:
        """Fork it; `cmd` would start one anew, and its options are this one's too."""
        options = cmd[cmd.index("-f") :]
        self.process = _Process(target=_serve, args=(options, kwargs["cwd"], kwargs["env"]))
        main = vars(sys.modules["__main__"])
        hidden = {"__file__": main.pop("__file__")} if "__file__" in main else {}
        self.process.start()  # no kernel needs the program that builds the book
        main.update(hidden)
        self.pid = self.pgid = self.process.pid
        return self.connection_info


class _Process(ForkServerProcess):
    """A process with the names of `subprocess.Popen`, by which Jupyter handles its kernels."""

    stdin = stdout = stderr = None

    def poll(self) -> int | None:
        return self.exitcode

    def wait(self) -> int | None:
        self.join()
        return self.exitcode

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)


def _serve(options: list[str], folder: str, environment: dict[str, str]) -> None:
    """Be a kernel, until it is shut down or the process that asked for it is gone."""
    os.setsid()
    os.environ.update(environment)
    os.chdir(folder)
    threading.Thread(target=_follow, args=(multiprocessing.parent_process(),), daemon=True).start()
    parent = f"--IPKernelApp.parent_handle={os.getppid()}"  # else it prints how to connect to it
    IPKernelApp.launch_instance(argv=[*options, parent])


def _follow(parent: BaseProcess) -> None:
    """End with another process."""
    parent.join()
    os._exit(1)
