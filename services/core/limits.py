"""How often somebody may call: one bucket a caller, shared by all processes through Redis.

The generic cell rate algorithm, a token bucket that keeps one number: the moment at which the bucket is full again.
While Redis is away, each process counts for itself: nobody is locked out, and nobody gets more than a bucket a process.
"""

import threading
import time
from dataclasses import dataclass

import redis
import structlog
from redis.backoff import NoBackoff
from redis.retry import Retry

# no request waits longer for a number that is not vital
PATIENCE_S = 0.1
LOOK_AGAIN_S = 5.0
KEPT = 10_000
_SCRIPT = """
local t = redis.call('TIME')
local now, step, slack = t[1] + t[2] / 1e6, tonumber(ARGV[1]), tonumber(ARGV[2])
local full = math.max(tonumber(redis.call('GET', KEYS[1]) or '0'), now)
local wait = full + step - slack - now
if wait > 0 then return tostring(wait) end
redis.call('SET', KEYS[1], string.format('%.6f', full + step), 'PX', math.ceil((slack + step) * 1000) + 1000)
return '0'
"""
_log = structlog.get_logger()


@dataclass(frozen=True)
class Rate:
    """`per_s` calls a second in the long run, `burst` at once."""

    per_s: float
    burst: int

    @property
    def step_s(self) -> float:
        """The time that one call takes from the bucket."""
        return 1 / self.per_s

    @property
    def slack_s(self) -> float:
        """The time that a whole bucket holds."""
        return self.burst / self.per_s


class Limiter:
    """Counts calls by name."""

    def __init__(self, redis_url: str) -> None:
        self._client = redis.Redis.from_url(
            redis_url, socket_timeout=PATIENCE_S, socket_connect_timeout=PATIENCE_S, retry=Retry(NoBackoff(), 0)
        )
        self._script = self._client.register_script(_SCRIPT)
        self._away_until = 0.0
        self._full: dict[str, float] = {}
        self._lock = threading.Lock()

    def take(self, name: str, rate: Rate) -> float:
        """Count a call: 0 when it may go on, or else the seconds after which the next one may."""
        if time.monotonic() >= self._away_until:
            try:
                return float(self._script(keys=[f"medcoss:rate:{name}"], args=[rate.step_s, rate.slack_s]))
            except (redis.RedisError, OSError) as error:
                self._away_until = time.monotonic() + LOOK_AGAIN_S
                _log.warning("limits_without_redis", error=type(error).__name__)
        return self._take_here(name, rate)

    def _take_here(self, name: str, rate: Rate) -> float:
        now = time.monotonic()
        with self._lock:
            full = max(self._full.get(name, 0.0), now)
            wait = full + rate.step_s - rate.slack_s - now
            if wait > 0:
                return wait
            if len(self._full) >= KEPT:
                self._full = {other: moment for other, moment in self._full.items() if moment > now}
            self._full[name] = full + rate.step_s
        return 0.0

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()
