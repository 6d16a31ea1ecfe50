import { EventSourceParserStream } from "eventsource-parser/stream";

import { session } from "../session";
import { authorization, refusal } from "./client";

export interface Heard {
  name: string;
  data: unknown;
  id: string | undefined;
}

const FIRST_PAUSE_MS = 1000;
const LONGEST_PAUSE_MS = 30_000;
/** A line that is silent for so many heartbeats of the platform is dead, even if nobody has closed it. */
const SILENT_BEATS = 4;
/** How long a line may be silent before the platform has said how often it shows that it is there. */
const FIRST_SILENT_MS = 60_000;

/** How long a line may be silent, by what its answer says. */
function silentMs(response: Response): number {
  const beat = Number(response.headers.get("X-Heartbeat-S"));
  return beat > 0 ? Math.max(SILENT_BEATS * beat * 1000, 5000) : FIRST_SILENT_MS;
}

/** Listens to a stream of the platform until the signal ends it or the platform has said `end`. It connects again
 * where it broke off. EventSource cannot send the key, and a key in an address would be in logs.
 */
export async function listen(
  path: string,
  signal: AbortSignal,
  heard: (event: Heard) => void,
  connected: (is: boolean) => void = () => undefined,
): Promise<void> {
  let last: string | undefined;
  let pause = FIRST_PAUSE_MS;
  while (!signal.aborted) {
    const key = session.now().key;
    const line = new AbortController();
    let most = FIRST_SILENT_MS;
    let silence = setTimeout(() => line.abort(), most);
    const isThere = new TransformStream<Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>>({
      transform(piece, next) {
        clearTimeout(silence);
        silence = setTimeout(() => line.abort(), most);
        next.enqueue(piece);
      },
    });
    try {
      const headers = { ...authorization(key), ...(last ? { "Last-Event-ID": last } : {}) };
      const response = await fetch(path, { headers, signal: AbortSignal.any([signal, line.signal]), cache: "no-store" });
      if (response.status === 204) return;
      if (!response.ok || !response.body) {
        const problem = await refusal(response);
        if (response.status === 401) session.end(problem.message, key);
        if (response.status >= 400 && response.status < 500 && response.status !== 429) return;
        throw problem;
      }
      most = silentMs(response);
      connected(true);
      pause = FIRST_PAUSE_MS;
      const events = response.body.pipeThrough(isThere).pipeThrough(new TextDecoderStream()).pipeThrough(new EventSourceParserStream()).getReader();
      for (let next = await events.read(); !next.done; next = await events.read()) {
        const { event, data, id } = next.value;
        last = id ?? last;
        if (event) heard({ name: event, data: JSON.parse(data), id });
        if (event === "end") return;
      }
    } catch {
      if (signal.aborted) return;
    } finally {
      clearTimeout(silence);
    }
    connected(false);
    await new Promise((resume) => setTimeout(resume, pause * (0.5 + Math.random())));
    pause = Math.min(pause * 2, LONGEST_PAUSE_MS);
  }
}
