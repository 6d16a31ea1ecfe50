import { queryOptions } from "@tanstack/react-query";
import { EventSourceParserStream } from "eventsource-parser/stream";

import { api, pageOf, refusal, Refused } from "./client";
import { authorization } from "./client";
import type { Index } from "./indexes";
import type { components } from "./schema";

/** A served model, as the gateway tells of it. */
export interface Served {
  name: string;
  version: number;
  task: "encoder" | "classification" | "segmentation";
  modality: string;
  kind: "text" | "image2d" | "volume3d";
  classes: string[] | null;
  sample_shape: number[];
  calls: string[];
  model_id: string;
}

export interface Stage {
  stage: string;
  done: number;
  total: number;
}

export interface Classified {
  prediction: string;
  probabilities: Record<string, number>;
  timing_ms: Record<string, number>;
}

export interface Nearest {
  search: string;
  among: number;
  items: { score: number; dataset: string; sample: string; source: string; split: string; label: string; modality: string }[];
  timing_ms: Record<string, number>;
}

/** An answer of the gateway: JSON, or a file. */
export interface Answer {
  mediaType: string;
  headers: Record<string, string>;
  json?: unknown;
  bytes?: Uint8Array<ArrayBuffer>;
}

export const platformQuery = () =>
  queryOptions({
    queryKey: ["platform"],
    queryFn: async ({ signal }) => (await api.GET("/v1/platform", { signal })).data as components["schemas"]["Platform"],
    staleTime: Infinity,
  });

const away = () =>
  new Refused(0, "The gateway does not answer",
    "Models are asked at the inference gateway, which has an address of its own. Either it does not run, or this page's address is not " +
    "among MEDCOSS_CONSOLE_ORIGINS of the gateway.", null);

async function call(url: string, init: RequestInit): Promise<Response> {
  let answer: Response;
  try {
    answer = await fetch(url, init);
  } catch (error) {
    throw error instanceof DOMException && error.name === "AbortError" ? error : away();
  }
  if (!answer.ok) throw await refusal(answer);
  return answer;
}

export const servedQuery = (gateway: string | undefined) =>
  queryOptions({
    queryKey: ["served", gateway],
    queryFn: async ({ signal }) => pageOf<Served>(await (await call(`${gateway}/v1/models`, { headers: authorization(), signal })).json()),
    enabled: gateway !== undefined,
    retry: false,
  });

export type Given = File | string;

function bodyOf(given: Given): { body: BodyInit; type?: string } {
  if (typeof given === "string") return { body: JSON.stringify({ text: given }), type: "application/json" };
  const form = new FormData();
  form.append("file", given);
  return { body: form };
}

/** Ask a served model, and hear how far it is. Raises Refused. */
export async function infer(url: string, given: Given, signal: AbortSignal, heard: (stage: Stage) => void): Promise<Answer> {
  const { body, type } = bodyOf(given);
  const headers = { ...authorization(), Accept: "text/event-stream", ...(type ? { "Content-Type": type } : {}) };
  const answer = await call(url, { method: "POST", body, headers, signal });
  if (!answer.body) throw away();
  const events = answer.body.pipeThrough(new TextDecoderStream()).pipeThrough(new EventSourceParserStream()).getReader();
  for (let next = await events.read(); !next.done; next = await events.read()) {
    const data = JSON.parse(next.value.data);
    if (next.value.event === "progress") heard(data as Stage);
    else if (next.value.event === "problem") throw new Refused(data.status, data.title, data.detail, data.request_id ?? null, data.errors ?? []);
    else if (next.value.event === "answer") {
      const bytes = data.base64 === undefined ? undefined : Uint8Array.from(atob(data.base64), (each) => each.charCodeAt(0));
      return { mediaType: data.media_type, headers: data.headers ?? {}, json: data.json, bytes };
    }
  }
  throw new Refused(0, "The answer broke off", "The gateway ended the connection before its answer; try again.", null);
}

/** The studies of an index that are nearest to a file or a text. Raises Refused. */
export async function nearest(gateway: string, index: Index, given: Given, k: number, signal: AbortSignal): Promise<Nearest> {
  const { body, type } = bodyOf(given);
  const url = `${gateway}/v1/indexes/${encodeURIComponent(index.name)}/search?k=${k}&project=${encodeURIComponent(index.project_id)}`;
  const headers = { ...authorization(), ...(type ? { "Content-Type": type } : {}) };
  return (await (await call(url, { method: "POST", body, headers, signal })).json()) as Nearest;
}
