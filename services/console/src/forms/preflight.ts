import { keepPreviousData, queryOptions } from "@tanstack/react-query";

import { api, Refused } from "../api/client";
import type { components } from "../api/schema";
import { bytes, duration, number } from "../format";
import type { Schema, Values } from "./schema";

export type Preflight = components["schemas"]["PreflightOut"];
export type PipelinePreflight = components["schemas"]["PipelinePreflightOut"];
export type Figure = components["schemas"]["FigureOut"];
export type FieldProblem = components["schemas"]["FieldProblem"];
type JobRequest = components["schemas"]["JobRequest"];
type PipelineRequest = components["schemas"]["PipelineRequest"];
/** A job as it is asked for: what is left out has its default. */
export type JobBody = Partial<Omit<JobRequest, "kind" | "spec">> & { kind: string; spec: Values };
export type PipelineBody = Pick<Partial<PipelineRequest>, "name" | "notes" | "project" | "reuse"> & { curriculum: Values };

export const schemaQuery = (kind: string | undefined) =>
  queryOptions({
    queryKey: ["schema", kind], enabled: Boolean(kind), staleTime: Infinity,
    queryFn: async ({ signal }) =>
      (await api.GET("/v1/job-kinds/{kind}/schema", { params: { path: { kind: kind ?? "" } }, signal })).data as unknown as Schema,
  });

export const preflightQuery = (body: JobBody | null) =>
  queryOptions({
    queryKey: ["preflight", body], enabled: body !== null, staleTime: 15_000, gcTime: 60_000,
    placeholderData: keepPreviousData,
    queryFn: async ({ signal }) => (await api.POST("/v1/jobs:validate", { body: body as never, signal })).data as Preflight,
  });

export const pipelinePreflightQuery = (body: PipelineBody | null) =>
  queryOptions({
    queryKey: ["pipeline-preflight", body], enabled: body !== null, staleTime: 15_000, gcTime: 60_000,
    placeholderData: keepPreviousData,
    queryFn: async ({ signal }) => (await api.POST("/v1/pipelines:validate", { body: body as never, signal })).data as PipelinePreflight,
  });

/** A number of a preflight as people read it. */
export function figure(found: Figure | null | undefined): string {
  if (!found || found.value == null) return "not known";
  if (found.unit === "byte") return bytes(found.value);
  if (found.unit === "s") return duration(found.value);
  return `${number(found.value)} ${found.unit}${found.value === 1 || found.unit === "h" || found.unit === "batch" ? "" : "s"}`.replace(/ batch$/, found.value === 1 ? " batch" : " batches");
}

/** Messages by the field that the form shows: the tags that a pointer names between two places are left out. */
export function messages(problems: readonly FieldProblem[], value: Values, start: string): Map<string, string> {
  const found = new Map<string, string>();
  for (const { pointer, detail } of problems) {
    if (!pointer.startsWith(`${start}/`)) continue;
    const path = shownPath(pointer.slice(start.length).split("/").slice(1), value);
    const said = found.get(path);
    found.set(path, said ? `${said}; ${detail}` : detail);
  }
  return found;
}

function shownPath(parts: readonly string[], value: unknown): string {
  let inner = value;
  let path = "";
  for (const part of parts) {
    const isTag = inner !== null && typeof inner === "object" && !(part in inner) && Object.values(inner).includes(part);
    if (isTag) continue;
    path += `/${part}`;
    inner = (inner as Values | null | undefined)?.[part];
  }
  return path;
}

export function wordsOf(error: unknown): string {
  return error instanceof Refused ? error.message : String(error);
}
