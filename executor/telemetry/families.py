"""Metric families of the executor.

Families with ``replaces`` are set by :class:`~executor.telemetry.meter.Meter`, which also sends the component
metric of that name to loggregator.
"""

from __future__ import annotations

from typing import Final

from common.metrics.families import (
    LONG_S,
    OUTCOME,
    OUTCOMES,
    SHORT_S,
    Label,
    counter,
    declared_in,
    gauge,
    histogram,
)
from executor.model import ContainerState

SUCCEEDED, FAILED, CANCELLED = OUTCOMES

STAGES: Final = ("allocate", "queue", "image", "create", "network", "setup", "start", "healthy")
DECISIONS: Final = ("restore", "recreate", "adopt", "finish")
"""See :mod:`executor.containers.adoption`."""
ENGINE_OPERATIONS: Final = (
    "ping",
    "create",
    "destroy",
    "list",
    "find",
    "start_process",
    "adopt_process",
    "copy_in",
    "copy_out",
)
UNAVAILABLE: Final = "unavailable"
FETCH_RESULTS: Final = ("hit", "miss", "uncached", "failed")

STATE: Final = Label("state", tuple(state.value for state in ContainerState))
SINK: Final = Label("sink")
"""A log sink, by its place in ``log_sinks``, as ``file`` or ``syslog+tls``."""

# -- capacity ---------------------------------------------------------------------------------------------

CAPACITY_MEMORY = gauge(
    "diego_cell_capacity_memory_bytes", "Memory that the cell offers to instances.", CapacityTotalMemory=()
)
CAPACITY_DISK = gauge(
    "diego_cell_capacity_disk_bytes", "Disk that the cell offers to instances.", CapacityTotalDisk=()
)
CAPACITY_CONTAINERS = gauge(
    "diego_cell_capacity_containers", "Containers that the cell can hold.", CapacityTotalContainers=()
)
REMAINING_MEMORY = gauge(
    "diego_cell_remaining_memory_bytes", "Memory that is not reserved.", CapacityRemainingMemory=()
)
REMAINING_DISK = gauge(
    "diego_cell_remaining_disk_bytes", "Disk that is not reserved.", CapacityRemainingDisk=()
)
REMAINING_CONTAINERS = gauge(
    "diego_cell_remaining_containers", "Containers that still fit.", CapacityRemainingContainers=()
)
ALLOCATED_MEMORY = gauge(
    "diego_cell_allocated_memory_bytes", "Memory that is reserved.", CapacityAllocatedMemory=()
)
ALLOCATED_DISK = gauge("diego_cell_allocated_disk_bytes", "Disk that is reserved.", CapacityAllocatedDisk=())
USED_MEMORY = gauge(
    "diego_cell_container_usage_memory_bytes", "Memory that containers use.", ContainerUsageMemory=()
)
USED_DISK = gauge("diego_cell_container_usage_disk_bytes", "Disk that containers use.", ContainerUsageDisk=())
CONTAINERS = gauge("diego_cell_containers", "Containers of each state.", STATE, ContainerCount=())
STARTING_CONTAINERS = gauge(
    "diego_cell_starting_containers",
    "Containers that are reserved, initializing or created.",
    StartingContainerCount=(),
)

# -- the life of a container ------------------------------------------------------------------------------

START_DURATION = histogram(
    "diego_cell_container_start_duration_seconds",
    "Time from the reservation of a container until it runs, healthy.",
    buckets=LONG_S,
)
STAGE_DURATION = histogram(
    "diego_cell_container_start_stage_duration_seconds",
    "Time of one stage of the start of a container.",
    Label("stage", STAGES),
    OUTCOME,
    buckets=LONG_S,
)
SETUP_DURATION = histogram(
    "diego_cell_container_setup_duration_seconds",
    "Time from the begin of the creation of a container until the end of its setup.",
    OUTCOME,
    buckets=LONG_S,
    ContainerSetupSucceededDuration=(SUCCEEDED,),
    ContainerSetupFailedDuration=(FAILED,),
)
CREATION_DURATION = histogram(
    "diego_cell_container_creation_duration_seconds",
    "Time in which the engine creates a container, with its image.",
    OUTCOME,
    buckets=LONG_S,
    GardenContainerCreationSucceededDuration=(SUCCEEDED,),
    GardenContainerCreationFailedDuration=(FAILED,),
)
DESTRUCTION_DURATION = histogram(
    "diego_cell_container_destruction_duration_seconds",
    "Time in which engine and network remove a container.",
    OUTCOME,
    buckets=LONG_S,
    GardenContainerDestructionSucceededDuration=(SUCCEEDED,),
    GardenContainerDestructionFailedDuration=(FAILED,),
)
COMPLETED = counter(
    "diego_cell_containers_completed_total",
    "Containers that had run and have ended.",
    ContainerCompletedCount=(),
)
EXITED_ON_TIMEOUT = counter(
    "diego_cell_containers_exited_on_timeout_total",
    "Containers with a process that did not exit after KILL.",
    ContainerExitedOnTimeoutCount=(),
)
LIVENESS_FAILURES = counter(
    "diego_cell_liveness_check_failures_total",
    "Failed liveness checks that ended a container, if enable_healthcheck_metrics is set.",
    Label("kind", ("http", "tcp")),
    HTTPLivenessChecksFailedCount=("http",),
    TCPLivenessChecksFailedCount=("tcp",),
)
ADOPTED = counter(
    "diego_cell_adopted_containers_total",
    "Containers of the previous process, by the decision about them.",
    Label("decision", DECISIONS),
)
ADOPTION_DURATION = gauge(
    "diego_cell_adoption_duration_seconds",
    "Time from the begin of this start of the cell until the containers of the previous process continued.",
)

# -- the engine -------------------------------------------------------------------------------------------

ENGINE_CALL_DURATION = histogram(
    "diego_cell_engine_call_duration_seconds",
    "Time of one call of the container engine.",
    Label("operation", ENGINE_OPERATIONS),
    Label("outcome", (*OUTCOMES, UNAVAILABLE)),
    buckets=(*SHORT_S, 30.0, 120.0),
)
ENGINE_CHECK_FAILED = gauge(
    "diego_cell_engine_health_check_failed",
    "1 while the health check of the engine fails.",
    GardenHealthCheckFailed=(),
)
UNHEALTHY = gauge(
    "diego_cell_engine_health_check_timed_out",
    "1 once a health check of the engine has exceeded its timeout.",
    CellUnhealthy=(),
)
ENGINE_STALLED = gauge(
    "diego_cell_engine_stalled_seconds",
    "Time for which the start of the cell waits for the engine; 0 when it answers.",
    StalledGardenDuration=(),
)
HEALTHY = gauge("diego_cell_healthy", "1 if the cell accepts work: engine and journal are in order.")
JOURNAL_TROUBLE = gauge("diego_cell_journal_trouble", "1 while the journal cannot store what happens.")

# -- logs -------------------------------------------------------------------------------------------------

LOG_LINES = counter("diego_cell_app_log_lines_total", "Lines of apps that passed their limits.")
LOG_BYTES = counter("diego_cell_app_log_bytes_total", "Bytes of these lines.")
LIMIT_EXCEEDED = counter(
    "diego_cell_app_log_rate_limit_exceeded_total",
    "Times that an instance became mute because of a log rate limit.",
    AppInstanceExceededLogRateLimitCount=(),
)
DROPPED_LINES = counter(
    "diego_cell_app_log_dropped_lines_total",
    "Lines of apps that a log rate limit dropped.",
    AppInstanceDroppedLogLines=(),
)
DROPPED_BYTES = counter(
    "diego_cell_app_log_dropped_bytes_total",
    "Bytes of lines of apps that a log rate limit dropped.",
    AppInstanceDroppedLogBytes=(),
)
SINK_DELIVERED = counter(
    "diego_cell_log_sink_delivered_total", "Lines, and for loggregator metrics, that a sink has taken.", SINK
)
SINK_DROPPED = counter(
    "diego_cell_log_sink_dropped_total", "Lines, and for loggregator metrics, that a sink has lost.", SINK
)
SINK_BUFFERED = gauge("diego_cell_log_sink_buffer_bytes", "Bytes that wait for a sink.", SINK)
SINK_UNREACHABLE = gauge("diego_cell_log_sink_unreachable", "1 while a sink cannot be reached.", SINK)
SPOOL_BYTES = gauge("diego_cell_spool_bytes", "Output of apps on disk that the sinks have not taken.")
SPOOL_LIMIT = gauge("diego_cell_spool_limit_bytes", "Limit of the output on disk: log_spool_bytes.")
SPOOL_STREAMS = gauge("diego_cell_spool_streams", "Streams of processes with a spool.")

# -- the cache --------------------------------------------------------------------------------------------

CACHE_BYTES = gauge("diego_cell_cache_bytes", "Size of the download cache.")
CACHE_LIMIT = gauge("diego_cell_cache_limit_bytes", "Limit of the download cache: max_cache_size_in_bytes.")
CACHE_ENTRIES = gauge("diego_cell_cache_entries", "Entries of the download cache.")
CACHE_FETCHES = counter(
    "diego_cell_cache_fetches_total",
    "Fetches by their result: still valid, downloaded, downloaded without a cache key, failed.",
    Label("result", FETCH_RESULTS),
)
FETCH_DURATION = histogram(
    "diego_cell_cache_fetch_duration_seconds",
    "Time of one fetch, with download and unpacking.",
    OUTCOME,
    buckets=LONG_S,
)
DOWNLOADED_BYTES = counter("diego_cell_downloaded_bytes_total", "Bytes of downloads, also around the cache.")

# -- identities and volumes -------------------------------------------------------------------------------

CREDENTIAL_CREATIONS = counter(
    "diego_cell_credential_creations_total",
    "Instance certificates issued.",
    Label("outcome", (SUCCEEDED, FAILED)),
    CredCreationSucceededCount=(SUCCEEDED,),
    CredCreationFailedCount=(FAILED,),
)
CREDENTIAL_DURATION = histogram(
    "diego_cell_credential_creation_duration_seconds",
    "Time to issue an instance certificate.",
    CredCreationSucceededDuration=(),
)
DRIVER: Final = Label("driver")
MOUNT_DURATION = histogram(
    "diego_cell_volume_mount_duration_seconds",
    "Time in which a driver mounts a volume.",
    DRIVER,
    OUTCOME,
    buckets=LONG_S,
    VolmanMountDuration=(),
    VolmanMountErrors=(),
)
UNMOUNT_DURATION = histogram(
    "diego_cell_volume_unmount_duration_seconds",
    "Time in which a driver unmounts a volume.",
    DRIVER,
    OUTCOME,
    buckets=LONG_S,
    VolmanUnmountDuration=(),
    VolmanUnmountErrors=(),
)

FAMILIES: Final = declared_in(globals())
