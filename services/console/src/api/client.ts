import createClient, { type Middleware } from "openapi-fetch";

import { session } from "../session";
import type { components, paths } from "./schema";

type Schemas = components["schemas"];
export type Job = Schemas["JobOut"];
export type JobState = Schemas["State"];
export type Worker = Schemas["WorkerOut"];
export type Model = Schemas["ModelOut"];
export type Dataset = Schemas["DatasetOut"];
export type Me = Schemas["Me"];
export type JobEvent = Schemas["EventOut"];
export type Metric = Schemas["MetricOut"];
export type Log = Schemas["LogOut"];
export type Artifact = Schemas["ArtifactOut"];

export interface Page<T> {
  items: T[];
  next: string | null;
}

/** What the platform refused and why: a problem document. */
export class Refused extends Error {
  constructor(
    readonly status: number,
    readonly title: string,
    detail: string,
    readonly requestId: string | null,
    readonly fields: { pointer: string; detail: string }[] = [],
  ) {
    super(detail);
  }
}

export async function refusal(response: Response): Promise<Refused> {
  const requestId = response.headers.get("X-Request-Id");
  try {
    const problem = await response.json();
    return new Refused(response.status, problem.title, problem.detail, requestId, problem.errors ?? []);
  } catch {
    return new Refused(response.status, "No answer of the platform", `${response.status} ${response.statusText}`, requestId);
  }
}

/** Headers of a call with the present key. */
export function authorization(key = session.now().key): Record<string, string> {
  return key ? { Authorization: `Bearer ${key}` } : {};
}

const withKey: Middleware = {
  onRequest({ request }) {
    const key = session.now().key;
    if (key && !request.headers.has("Authorization")) request.headers.set("Authorization", `Bearer ${key}`);
    return request;
  },
  async onResponse({ request, response }) {
    if (response.ok) return response;
    const problem = await refusal(response);
    if (response.status === 401) {
      session.end(problem.message, request.headers.get("Authorization")?.replace("Bearer ", "") ?? null);
    }
    throw problem;
  },
  onError({ error }) {
    // what was stopped from here says why by itself
    if (error instanceof Error && !(error instanceof TypeError)) return error;
    return new Refused(0, "The platform does not answer", "It may be starting again; this page goes on by itself.", null);
  },
};

export const api = createClient<paths>({ baseUrl: window.location.origin });
api.use(withKey);

/** A page of a list; the entries hold at least the fields that were asked for. */
export function pageOf<T>(data: unknown): Page<T> {
  return data as Page<T>;
}

/** The entries of a list page by page, to its end or until there are `most` or the last one is `enough`; `next` is null at the end. */
export async function allOf<T>(read: (cursor: string | null) => Promise<{ data?: unknown }>, most: number, enough: (last: T) => boolean = () => false): Promise<Page<T>> {
  const items: T[] = [];
  for (let cursor: string | null = null; ; ) {
    const page: Page<T> = pageOf<T>((await read(cursor)).data);
    items.push(...page.items);
    const last = page.items.at(-1);
    const isEnough = last !== undefined && enough(last);
    if (page.next === null || isEnough || items.length >= most) return { items, next: isEnough ? null : page.next };
    cursor = page.next;
  }
}

/** A key under which a request that is sent twice counts once. */
export function requestKey(): string {
  return `console-${crypto.getRandomValues(new Uint32Array(4)).join("-")}`;
}
