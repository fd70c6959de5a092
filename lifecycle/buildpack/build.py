"""One build of an app: selects the buildpacks, runs their scripts, writes result, droplet and cache."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from common.goerrors import reason
from lifecycle.buildpack import processes
from lifecycle.buildpack.buildpacks import BuildError, Buildpack, is_custom
from lifecycle.buildpack.processes import Process
from lifecycle.buildpack.removal import remove
from lifecycle.buildpack.results import Used, read_config, result_json
from lifecycle.buildpack.scripts import ScriptError, pack_cache, pack_droplet, run
from lifecycle.buildpack.staging_info import FILE, StagingInfo

NONE_DETECTED = "None of the buildpacks detected a compatible application"
COMPILE_FAILED = "Failed to compile droplet"
RELEASE_FAILED = "Failed to build droplet release"
SUPPLY_FAILED = "Failed to run all supply scripts"
NO_SUPPLY = "Error: one of the buildpacks chosen to supply dependencies does not support multi-buildpack apps"
FINALIZE_FAILED = "Failed to run finalize script"
FINAL_CACHE = "final"
_NOT_MULTI = (
    "Warning: the last buildpack is not compatible with multi-buildpack apps and cannot make use of any "
    "dependencies supplied by the buildpacks specified before it"
)
_NO_COMMAND = (
    "No start command specified by buildpack or via Procfile.\n"
    "App will not start unless a command is provided at runtime."
)


@dataclass(frozen=True, slots=True)
class Settings:
    """Paths and options from the flags."""

    build_dir: Path
    output_droplet: Path
    output_metadata: Path
    output_cache: Path
    buildpacks_dir: Path
    download_dir: Path
    cache_dir: Path
    order: tuple[str, ...]
    skip_detect: bool
    skip_cert_verify: bool


class Build:
    """A build in a private work directory, which ``run`` removes at its end."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._work = Path()
        self._buildpacks: list[Buildpack] = []
        self._detected = ""

    def run(self) -> None:
        """Run the build. Raises BuildError."""
        try:
            self._set_up()
            self._download()
            self._clean_cache()
            location = self._supply() if self._settings.skip_detect else self._detect()
            found = self._finish(location)
            self._write(result_json(self._complete(), found))
            self._pack(found)
        finally:
            if self._work != Path():
                remove(self._work)

    # -- preparation ---------------------------------------------------------------------------------

    @property
    def _deps(self) -> Path:
        return self._work / "deps"

    def _slot(self, number: int) -> str:
        """The directory name of a slot; skip-detect mode pads it to the width of the slot count."""
        slots = len(self._settings.order) if self._settings.skip_detect else 1
        return f"{number:0{len(str(slots))}d}"

    def _set_up(self) -> None:
        settings = self._settings
        failed = "Failed to set up filesystem when generating droplet"
        folder = os.environ.get("TMPDIR") or "/tmp"
        step = f"stat {folder}"
        try:
            for path in (settings.output_droplet, settings.output_metadata, settings.output_cache):
                step = f"mkdir {path.parent}"
                path.parent.mkdir(parents=True, exist_ok=True)
            for name in self._caches():
                step = f"mkdir {settings.cache_dir / name}"
                (settings.cache_dir / name).mkdir(parents=True, exist_ok=True)
            step = f"stat {folder}"
            self._work = Path(tempfile.mkdtemp(prefix="contents", dir=folder))
            for number in range(len(settings.order) if settings.skip_detect else 1):
                (self._deps / self._slot(number)).mkdir(parents=True)
            (self._work / "profile.d").mkdir()
        except OSError as error:
            raise BuildError(f"{failed}: {step}: {_not_exists_as_file(error)}") from error

    def _download(self) -> None:
        settings = self._settings
        for key in settings.order:
            custom = is_custom(key)
            folder = settings.download_dir if custom else settings.buildpacks_dir
            buildpack = Buildpack(key, folder)
            self._buildpacks.append(buildpack)
            if custom:
                from lifecycle.buildpack.download import download  # loads HTTP and zip only when needed

                download(buildpack, not settings.skip_cert_verify)

    def _clean_cache(self) -> None:
        kept = self._caches()
        for path in self._settings.cache_dir.iterdir():
            if path.name not in kept:
                remove(path)

    def _caches(self) -> list[str]:
        """The cache directories of this build. In detect mode only the final buildpack has one."""
        suppliers = self._settings.order[:-1] if self._settings.skip_detect else ()
        return [FINAL_CACHE, *(Buildpack(key, Path()).hash for key in suppliers)]

    # -- selection -----------------------------------------------------------------------------------

    def _detect(self) -> Path:
        """The directory of the first buildpack that detects the app; the build then uses only this one."""
        for buildpack in self._buildpacks:
            try:
                location = buildpack.locate()
            except BuildError as error:
                _complain(str(error))
                continue
            script = location / "bin/detect"
            if not script.exists():
                _complain(f"stat {script}: no such file or directory")
                continue
            if script.stat().st_mode & 0o111 != 0o111:
                print("WARNING: buildpack script '/bin/detect' is not executable", flush=True)
            try:
                output = run(script, self._settings.build_dir, capture=True)
            except ScriptError:
                continue
            self._detected = output.rstrip("\r\n")
            self._buildpacks = [buildpack]
            return location
        raise BuildError(NONE_DETECTED)

    def _supply(self) -> Path:
        """Run ``supply`` of all buildpacks except the last; returns the directory of the last."""
        chosen = []
        for buildpack in self._buildpacks[:-1]:
            try:
                location = buildpack.locate()
            except BuildError as error:
                _complain(str(error))
                raise BuildError(f"{SUPPLY_FAILED}: {error}") from error
            if not (location / "bin/supply").exists():
                raise BuildError(NO_SUPPLY)
            chosen.append((buildpack, location))
        for number, (buildpack, location) in enumerate(chosen):
            cache = self._settings.cache_dir / buildpack.hash
            arguments = (self._settings.build_dir, cache, self._deps, self._slot(number))
            _run_or(SUPPLY_FAILED, location / "bin/supply", *arguments)
        try:
            return self._buildpacks[-1].locate()
        except BuildError as error:
            raise BuildError(f"{SUPPLY_FAILED}: {error}") from error

    # -- the final buildpack -------------------------------------------------------------------------

    def _finish(self, location: Path) -> list[Process]:
        """Run the final buildpack and collect the processes. A failure is also written to the result file."""
        try:
            self._run_final(location)
            return self._gather(location)
        except BuildError:
            self._write(result_json(self._used(), None))
            raise

    def _run_final(self, location: Path) -> None:
        settings = self._settings
        slot = self._slot(len(self._buildpacks) - 1)
        common = (settings.build_dir, settings.cache_dir / FINAL_CACHE)
        if (location / "bin/finalize").exists():
            if (location / "bin/supply").exists():
                failed = f"{COMPILE_FAILED}: {SUPPLY_FAILED}"
                _run_or(failed, location / "bin/supply", *common, self._deps, slot)
            failed = f"{COMPILE_FAILED}: {FINALIZE_FAILED}"
            profile = self._work / "profile.d"
            _run_or(failed, location / "bin/finalize", *common, self._deps, slot, profile)
            return
        if len(self._buildpacks) > 1:
            _complain(_NOT_MULTI)
        remove(self._deps / slot)
        _run_or(f"{COMPILE_FAILED}: {COMPILE_FAILED}", location / "bin/compile", *common)

    def _gather(self, location: Path) -> list[Process]:
        last = len(self._buildpacks) - 1
        sources = []
        for number in range(last):
            sources.append(processes.launch_file(self._deps / str(number) / processes.LAUNCH_FILE) or [])
        launch = processes.launch_file(self._deps / self._slot(last) / processes.LAUNCH_FILE)
        sources.append(self._release(location) if launch is None else launch)
        sources.append(processes.procfile(self._settings.build_dir))
        merged = processes.merge(*sources)
        if not processes.process_types(merged).get(processes.WEB):
            _complain(_NO_COMMAND)
        return merged

    def _release(self, location: Path) -> list[Process]:
        try:
            return processes.released(run(location / "bin/release", self._settings.build_dir, capture=True))
        except BuildError as error:
            raise BuildError(f"{RELEASE_FAILED}: {error}") from error

    # -- results -------------------------------------------------------------------------------------

    def _used(self) -> list[Used]:
        return [
            read_config(buildpack.key, self._deps / self._slot(number))
            for number, buildpack in enumerate(self._buildpacks)
        ]

    def _complete(self) -> list[Used]:
        """The buildpacks used. A final buildpack without a name of its own gets the detected name."""
        *others, final = self._used()
        return [*others, final.or_named(self._detected)]

    def _write(self, content: str) -> None:
        path = self._settings.output_metadata
        _try(lambda: path.write_text(content, encoding="utf-8", errors="surrogateescape"), f"open {path}")

    def _pack(self, found: list[Process]) -> None:
        settings = self._settings
        final = self._complete()[-1]
        command = processes.process_types(found).get(processes.WEB, "")
        info = StagingInfo(final.name, command, final.entrypoint_prefix)
        path = self._work / FILE
        _try(lambda: path.write_text(info.dump(), encoding="utf-8", errors="surrogateescape"), f"open {path}")
        pack_droplet(settings.build_dir, self._work, settings.output_droplet)
        pack_cache(settings.cache_dir, settings.output_cache)


def _run_or(failed: str, program: Path, *arguments: Path | str) -> None:
    try:
        run(program, *arguments)
    except ScriptError as error:
        raise BuildError(f"{failed}: {error}") from error


def _try(write: Callable[[], object], step: str) -> None:
    try:
        write()
    except OSError as error:
        raise BuildError(f"{step}: {reason(error)}") from error


def _complain(message: str) -> None:
    sys.stdout.flush()
    sys.stderr.write(f"{message}\n")
    sys.stderr.flush()


def _not_exists_as_file(error: OSError) -> str:
    """Report a file in place of a directory as a missing directory, whichever system call failed."""
    return "not a directory" if isinstance(error, FileExistsError) else reason(error)
