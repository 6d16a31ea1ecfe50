"""Sends messages to webhooks, beside the sweeper: many at once, none for long, and never through a redirect."""

import asyncio
import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

import httpx
import structlog
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from medcoss import __version__
from services.core import deliveries, signing
from services.core.db import Database
from services.core.deliveries import Result, Round
from services.core.errors import MedcossError
from services.core.sealing import Seal
from services.core.settings import Settings
from services.core.tables.base import now
from services.core.targets import Refused, Targets, literal, place_of, resolve
from services.worker import metrics

# one call keeps at it for about so long; the next beat goes on
BUDGET_S = 60.0
EXCERPT = 200
LOOK_UPS = 8
T = TypeVar("T")
_log = structlog.get_logger()


class Postman:
    """Sends what is due. `kick` returns at once, so that the sweeper beside it is not held up."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._settings, self._database = settings, database
        self._seal, self._targets = Seal(settings), Targets(settings.webhook_networks)
        # names that are slow to find hold up nothing else
        self._names = ThreadPoolExecutor(LOOK_UPS, "names")
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def kick(self) -> None:
        """Have what is due sent by a thread of its own, unless one is at it."""
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                # what it holds when the process ends is sent by the next one
                self._thread = threading.Thread(target=self._work, name="postman", daemon=True)
                self._thread.start()

    def _work(self) -> None:
        try:
            self.send_due()
        except DBAPIError as error:
            _log.warning("database_failed", error=type(error.orig).__name__)
        except Exception:  # noqa: BLE001 - the next beat tries again
            _log.exception("webhooks_failed")

    def send_due(self) -> int:
        """Send until nothing is due or the budget is spent; how many were sent, well or badly."""
        return asyncio.run(self._send_due())

    async def _send_due(self) -> int:
        until, sent = time.monotonic() + BUDGET_S, 0
        await self._with(lambda session: deliveries.tidy(session, now(), self._settings.webhook_patience_s))
        # a connection is for one host name: several may share an address
        limits = httpx.Limits(max_connections=deliveries.HOOKS, max_keepalive_connections=0)
        async with httpx.AsyncClient(
            trust_env=False, verify=httpx.create_ssl_context(), follow_redirects=False, limits=limits,
            timeout=self._settings.webhook_timeout_s, headers={"User-Agent": f"medcoss/{__version__}"},
        ) as client:  # fmt: skip
            while time.monotonic() < until:
                rounds = await self._with(lambda session: deliveries.take(session, now()))
                if not rounds:
                    break
                sent += sum(await asyncio.gather(*(self._send_round(client, one) for one in rounds)))
        return sent

    async def _with(self, work: Callable[[Session], T]) -> T:
        def run() -> T:
            with self._database.session() as session:
                return work(session)

        return await asyncio.to_thread(run)

    async def _send_round(self, client: httpx.AsyncClient, one: Round) -> int:
        """One webhook's messages, one after the other; after a failure the others wait for the next round."""
        patience_s = self._settings.webhook_patience_s
        for number, parcel in enumerate(one.parcels):
            result = await self._send(client, one, parcel)
            done = partial(
                deliveries.settle, webhook_id=one.webhook_id, parcel=parcel, result=result, patience_s=patience_s
            )
            state = await self._with(done)
            metrics.message(state)
            _log.info("webhook_sent", message_id=parcel.id, webhook_id=one.webhook_id, attempt=parcel.attempt,
                      status=result.status, state=state)  # fmt: skip
            if result.error is not None:
                await self._with(partial(deliveries.give_back, parcels=one.parcels[number + 1 :]))
                return number + 1
        return len(one.parcels)

    async def _send(self, client: httpx.AsyncClient, one: Round, parcel: deliveries.Parcel) -> Result:
        try:
            opened = [self._seal.open(secret) for secret in one.secrets]
            # from the name's look-up to the last byte of the answer
            async with asyncio.timeout(self._settings.webhook_timeout_s):
                return await self._post(client, one.url, parcel, opened)
        except (Refused, MedcossError) as error:
            return Result(error=str(error))
        except TimeoutError:
            return Result(error=f"no answer within {self._settings.webhook_timeout_s:g} s")
        except httpx.TimeoutException:
            return Result(error=f"no answer within {self._settings.webhook_timeout_s:g} s")
        except (httpx.HTTPError, OSError) as error:
            return Result(error=f"the connection failed ({type(error).__name__})")

    async def _post(self, client: httpx.AsyncClient, url: str, parcel: deliveries.Parcel, opened: list[str]) -> Result:
        place = place_of(url)
        found = [place.host] if literal(place.host) else await self._look_up(place.host, place.port)
        address = self._targets.choose(place.host, found)
        body = json.dumps(parcel.payload, separators=(",", ":"), ensure_ascii=False).encode()
        target = httpx.URL(url)
        headers = signing.headers(opened, parcel.id, int(time.time()), body) | {
            "Content-Type": "application/json", "Host": target.netloc.decode(), "Connection": "close",
        }  # fmt: skip
        # the very address that was looked at; certificates are still checked against the name
        request = client.build_request(
            "POST", target.copy_with(host=address), content=body, headers=headers,
            extensions={"sni_hostname": place.host},
        )  # fmt: skip
        response = await client.send(request, stream=True)
        try:
            return await _read(response)
        finally:
            await response.aclose()

    async def _look_up(self, host: str, port: int) -> list[str]:
        return await asyncio.get_running_loop().run_in_executor(self._names, resolve, host, port)


async def _read(response: httpx.Response) -> Result:
    if response.is_success:
        return Result(status=response.status_code)
    beginning = b""
    async for chunk in response.aiter_raw(EXCERPT):
        beginning += chunk
        if len(beginning) >= EXCERPT:
            break
    excerpt = "".join(c for c in beginning[:EXCERPT].decode(errors="replace") if c.isprintable()) or None
    asked: Any = response.headers.get("retry-after", "")
    wait_s = float(asked) if asked.isascii() and asked.isdecimal() and len(asked) < 8 else None
    code = response.status_code
    error = f"answered {code}"
    if response.is_redirect:
        error += "; redirects are not followed: change the URL of the webhook"
    return Result(status=code, error=error, excerpt=excerpt, wait_s=wait_s)
