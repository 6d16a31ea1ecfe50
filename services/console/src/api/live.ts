import { useQueryClient } from "@tanstack/react-query";
import { useEffect, useSyncExternalStore } from "react";

import type { JobEvent, JobState, Log, Metric } from "./client";
import { listen } from "./sse";

export const STATES = ["waiting", "queued", "running", "paused", "succeeded", "failed", "cancelled"] as const;
export const OVER: ReadonlySet<string> = new Set(["succeeded", "failed", "cancelled"]);
const SETTLE_MS = 1000;
const LOG_LINES = 5000;

interface Announcement {
  job_id: string;
  type: string;
  attempt: number;
}

/** What the feed has said of jobs since the page was opened: newer than what older pages of a table hold. */
let told: ReadonlyMap<string, JobState> = new Map();
let live = false;
const watchers = new Set<() => void>();
const tell = () => {
  for (const each of watchers) each();
};
const watch = (each: () => void) => {
  watchers.add(each);
  return () => watchers.delete(each);
};

export const useTold = () => useSyncExternalStore(watch, () => told);
export const useIsLive = () => useSyncExternalStore(watch, () => live);

/** Follows the state changes of all jobs and has what is shown of them read again, once a second at most. */
export function useFeed(project: string | undefined, key: string | null): void {
  const queries = useQueryClient();
  useEffect(() => {
    if (!key) return undefined;
    const stop = new AbortController();
    const changed = new Map<string, JobState>();
    let due: ReturnType<typeof setTimeout> | undefined;
    const settle = () => {
      due = undefined;
      told = new Map([...told, ...changed]);
      const ids = [...changed.keys()];
      changed.clear();
      tell();
      void queries.invalidateQueries({ queryKey: ["jobs"] });
      // a step's job changes its pipeline
      for (const name of ["workers", "pipelines", "pipeline"]) void queries.invalidateQueries({ queryKey: [name] });
      for (const id of ids) void queries.invalidateQueries({ queryKey: ["job", id] });
      for (const name of ["models", "datasets"]) void queries.invalidateQueries({ queryKey: [name], refetchType: "none" });
    };
    const query = project ? `?project=${encodeURIComponent(project)}` : "";
    void listen(
      `/v1/events${query}`,
      stop.signal,
      ({ name, data }) => {
        if (name !== "event") return;
        const news = data as Announcement;
        if ((STATES as readonly string[]).includes(news.type)) changed.set(news.job_id, news.type as JobState);
        due ??= setTimeout(settle, SETTLE_MS);
      },
      (is) => {
        // what happened while the line was down is not known
        if (is && !live) void queries.invalidateQueries();
        live = is;
        tell();
      },
    );
    return () => {
      stop.abort();
      clearTimeout(due);
      live = false;
      told = new Map();
    };
  }, [project, key, queries]);
}

export interface Progress {
  state: JobState;
  attempt: number;
  done: number | null;
  total: number | null;
  fraction: number | null;
  message: string | null;
  eta_s: number | null;
}

/** What one job has reported so far. */
export interface Reports {
  events: JobEvent[];
  metrics: Metric[];
  logs: Log[];
  dropped: number;
  progress: Progress | null;
  ended: boolean;
}

const NOTHING: Reports = { events: [], metrics: [], logs: [], dropped: 0, progress: null, ended: false };

/** A store of the reports of some jobs, fed by their streams; it tells of changes a few times a second at most. */
export class JobStreams {
  private readonly found = new Map<string, { reports: Reports; stop: AbortController }>();
  private readonly told = new Set<() => void>();
  private due: ReturnType<typeof setTimeout> | undefined;
  private version = 0;

  /** Follow these jobs and no others: the first one whole, of the others the metrics alone. */
  follow(ids: readonly string[]): void {
    for (const [id, { stop }] of this.found) {
      if (!ids.includes(id)) {
        stop.abort();
        this.found.delete(id);
      }
    }
    ids.forEach((id, at) => {
      if (!this.found.has(id)) this.open(id, at === 0 ? "events,metrics,logs,progress" : "metrics");
    });
  }

  of(id: string): Reports {
    return this.found.get(id)?.reports ?? NOTHING;
  }

  readonly subscribe = (each: () => void) => {
    this.told.add(each);
    return () => this.told.delete(each);
  };

  readonly snapshot = () => this.version;

  private open(id: string, parts: string): void {
    const stop = new AbortController();
    const reports: Reports = { ...NOTHING, events: [], metrics: [], logs: [] };
    this.found.set(id, { reports, stop });
    void listen(`/v1/jobs/${encodeURIComponent(id)}/stream?include=${parts}`, stop.signal, ({ name, data }) => {
      if (name === "event") reports.events.push(data as JobEvent);
      else if (name === "metric") reports.metrics.push(data as Metric);
      else if (name === "log") reports.logs.push(data as Log);
      else if (name === "progress") reports.progress = data as Progress;
      else if (name === "end") reports.ended = true;
      if (reports.logs.length > 2 * LOG_LINES) reports.dropped += reports.logs.splice(0, LOG_LINES).length;
      this.due ??= setTimeout(() => this.tell(), 250);
    });
  }

  private tell(): void {
    this.due = undefined;
    this.version += 1;
    for (const each of this.told) each();
  }
}
